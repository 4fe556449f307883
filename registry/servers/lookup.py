"""The lookup API: ``Lookup`` one service, ``Watch`` several. Written against ``registry.rpc.seam``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from registry.model.gateways import Gateways
from registry.model.names import ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.protos import registry_pb2 as pb
from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream
from registry.servers.renderings import Renderings
from registry.servers.requests import parse_lookup, service_key
from registry.servers.turns import Work, at_once
from registry.servers.watches import TAKEN_IN, Watch
from registry.views.lookup import PLAIN, ServiceViews, View, encode_lookup, place_of_client
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import ResolvedPolicy

EMPTIED = 1_000
"""A dict from which very many names went keeps its size: it is copied when they were most of it."""

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Registry"].full_name


class Orders(Protocol):
    """In which order clients are shown services, over xDS too."""

    @property
    def gateways(self) -> Gateways: ...

    def policy(self, service: MergedService) -> ResolvedPolicy: ...


class LookupServer:
    """Answers from the merged services that ``get`` finds, and marks for watchers what ``publish`` says has changed.

    Until ``open`` is called, Lookup is UNAVAILABLE and watchers wait: what is not read yet is not absent. A client that
    says its place is told what it is to use, ordered as ``orders`` say; ``meet`` says where a client is. What concerns
    many watches or services is done by ``work``.
    """

    def __init__(
        self,
        get: Callable[[ServiceKey], MergedService | None],
        names: Names,
        orders: Orders,
        meet: Callable[[pb.Client], Place] = place_of_client,
        work: Work = at_once,
        left: Callable[[Place], None] = lambda _: None,
    ) -> None:
        """``left`` is told a place when nobody watches anything from there any more."""
        self._get = get
        self._names = names
        self._orders = orders
        self._meet = meet
        self._work = work
        self._left = left
        self._gateways = orders.gateways
        self._renderings = Renderings(self._views)
        self._watches: dict[Watch, None] = {}
        self._views_in_use: Counter[View] = Counter()
        self._watchers: dict[ServiceKey, _Watchers] = {}
        self._gone = 0
        """Services of which the last watcher left, since the dict was made."""
        self.is_open = False
        self._partial = False

    def service(self) -> Service:
        """What the gRPC server is to carry."""
        return Service(SERVICE_NAME, unary={"Lookup": self._lookup}, streams={"Watch": self._watch})

    def open(self) -> None:
        """Every cluster is accounted for: answer."""
        self.is_open = True
        self.regroup()
        self._work(map(Watch.wake, tuple(self._watches)))

    def cover(self, partial: bool) -> None:
        """While the list is ``partial`` a service that is not in it may exist: it is not said at first that it does
        not."""
        before, self._partial = self._partial, partial
        if before and not partial:
            self._work(map(Watch.mark_untold, tuple(self._watches)))

    def regroup(self, concerned: Callable[[Place], bool] = lambda _: True) -> None:
        """More is known of clients than when they asked: tell those of whom it is what they are to use now.

        Of those who said where they are, these alone whose place is ``concerned``.
        """
        self._work(map(partial(self._place_anew, concerned), tuple(self._watches)))

    def publish(self, changes: ChangeSet) -> None:
        """Tell those who watch what changed; a watcher that is slow gets the newest state when it can take it."""
        self._work(self._marking((change.key for change in changes), placed=False))

    def set_gateways(self, gateways: Gateways) -> None:
        """The gateways between networks are these now, as ``orders`` say too: tell those who may be shown any."""
        before, self._gateways = self._gateways, gateways
        changed = {each for each in before.keys() | gateways.keys() if before.get(each) != gateways.get(each)}
        if changed:
            self._renderings.outdated()
            self._work(self._marking(self._on(changed), placed=True))

    def look_again(self, keys: Iterable[ServiceKey]) -> None:
        """``orders`` have another policy for these services: tell those who said where they are."""
        self._renderings.outdated()
        self._work(self._marking(tuple(keys), placed=True))

    def places(self) -> list[Place]:
        """From which services are watched."""
        return [view.place for view in self._views_in_use if view.place is not None]

    def looks_from(self, place: Place) -> bool:
        """Whether anybody watches anything from there."""
        return View(place) in self._views_in_use or View(place, reasons=True) in self._views_in_use

    # The watches

    def update(self, key: ServiceKey, view: View, first: bool) -> bytes | None:
        """The WatchResponse that tells the present state of the service, the ``first`` one or a later one.

        None as long as it is not known whether there is such a service, and nothing was said of it.
        """
        service = self._get(key)
        if first and self._partial and service is None:
            return None
        return self._renderings.update(key, service, view)

    def view(self, request: pb.LookupRequest | pb.WatchRequest) -> View:
        """What is asked for."""
        return View(self._meet(request.client), request.reasons) if request.HasField("client") else PLAIN

    def enter(self, watch: Watch) -> None:
        self._watches[watch] = None
        self._views_in_use[watch.view] += 1

    def watch(self, name: ServiceKey, watch: Watch) -> ServiceKey:
        watchers = self._watchers.get(name)
        if watchers is None:
            service = self._get(name)
            key = name if service is None else service.key
            watchers = self._watchers[key] = _Watchers(key)
        watchers.watches.add(watch)
        return watchers.key

    def leave(self, watch: Watch) -> None:
        if watch in self._watches:
            del self._watches[watch]
            self._stop_using(watch.view)
            self._work(self._forgetting(watch))

    def _place_anew(self, concerned: Callable[[Place], bool], watch: Watch) -> None:
        if watch.over or watch.asked is None or watch.view.place is None or not concerned(watch.view.place):
            return
        view = self.view(watch.asked)
        if view != watch.view:
            self._views_in_use[view] += 1
            self._stop_using(watch.view)
            watch.view = view
            watch.mark_all()

    def _stop_using(self, view: View) -> None:
        self._views_in_use[view] -= 1
        if not self._views_in_use[view]:
            del self._views_in_use[view]
            self._renderings.forget(view)
            if view.place is not None:
                self._left(view.place)
        if not self._watches:
            self._renderings.clear()

    def _marking(self, keys: Iterable[ServiceKey], *, placed: bool) -> Iterator[None]:
        """Mark these for those who watch them; ``placed``: for those alone who said where they are."""
        for key in keys:
            watchers = self._watchers.get(key)
            if watchers is None:
                continue
            for watch in watchers.watches:
                if not placed or watch.view.place is not None:
                    watch.mark(key)
            yield None

    def _on(self, networks: set[str]) -> Iterator[ServiceKey]:
        """The services that are watched and have endpoints on any of these."""
        for key in tuple(self._watchers):
            service = self._get(key)
            if service is not None and not networks.isdisjoint(each.network for each in service.endpoints):
                yield key

    def _forgetting(self, watch: Watch) -> Iterator[None]:
        for number, key in enumerate(watch.keys):
            watchers = self._watchers[key]
            watchers.watches.discard(watch)
            if not watchers.watches:
                del self._watchers[key]
                self._gone += 1
            if self._gone > EMPTIED and self._gone > 4 * len(self._watchers):
                self._gone = 0
                self._watchers = dict(self._watchers)
            if number % TAKEN_IN == TAKEN_IN - 1:
                yield None
        watch.keys.clear()
        watch.dirty.clear()

    def _views(self, service: MergedService) -> ServiceViews:
        return ServiceViews(service, self._names, self._orders.policy(service).policy, self._orders.gateways)

    async def _lookup(self, message: bytes, _call: CallInfo) -> bytes:
        request = parse_lookup(message)
        key = service_key(request.service, "service")
        if not self.is_open:
            raise RpcError(Code.UNAVAILABLE, "the registry has not read all its clusters yet; try again")
        service = self._get(key)
        if service is None and self._partial:
            text = f"no service {key} in the clusters that are known yet, and not all of them are; try again"
            raise RpcError(Code.UNAVAILABLE, text)
        if service is None:
            raise RpcError(Code.NOT_FOUND, f"no service {key} in any cluster")
        return encode_lookup(self._views(service).message(self.view(request)))

    def _watch(self, stream: Stream, _call: CallInfo) -> Watch:
        return Watch(self, stream)


class _Watchers:
    """Who watches the service of that name."""

    __slots__ = ("key", "watches")

    def __init__(self, key: ServiceKey) -> None:
        self.key = key
        self.watches: set[Watch] = set()
