"""The lookup API: ``Lookup`` one service, ``Watch`` several. Written against ``registry.rpc.seam``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from registry.model.gateways import Gateways
from registry.model.names import ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.protos import registry_pb2 as pb
from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream
from registry.views.lookup import (
    PLAIN,
    ServiceViews,
    View,
    encode_absence,
    encode_lookup,
    encode_update,
    place_of_client,
)
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import ResolvedPolicy

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Registry"].full_name
MAX_WATCHED = 10_000
"""Services one Watch may name."""

Request = TypeVar("Request", bound=Message)


class Orders(Protocol):
    """In which order clients are shown services, over xDS too."""

    @property
    def gateways(self) -> Gateways: ...

    def policy(self, service: MergedService) -> ResolvedPolicy: ...


class LookupServer:
    """Answers from the merged services that ``get`` finds, and tells watchers what ``publish`` is told.

    Until ``open`` is called, Lookup is UNAVAILABLE and watchers wait: what is not read yet is not absent. Who says his
    place is told what he is to use, ordered as ``orders`` say; ``meet`` says where a client is.
    """

    def __init__(
        self,
        get: Callable[[ServiceKey], MergedService | None],
        names: Names,
        orders: Orders,
        meet: Callable[[pb.Client], Place] = place_of_client,
    ) -> None:
        self._get = get
        self._names = names
        self._orders = orders
        self._meet = meet
        self._gateways = orders.gateways
        self._watchers: dict[ServiceKey, _Watchers] = {}
        self.is_open = False
        self._partial = False

    def service(self) -> Service:
        """What the gRPC server is to carry."""
        return Service(SERVICE_NAME, unary={"Lookup": self._lookup}, streams={"Watch": self._watch})

    def open(self) -> None:
        """Every cluster is accounted for: answer."""
        self.is_open = True
        self.regroup()
        _wake(self._everybody())

    def cover(self, partial: bool) -> None:
        """While the list is ``partial`` a service that is not in it may exist: it is not said at first that it does
        not."""
        before, self._partial = self._partial, partial
        if before and not partial:
            watches = self._everybody()
            for watch in watches:
                watch.dirty.update(dict.fromkeys(sorted(watch.untold)))
            _wake(watches)

    def regroup(self, concerned: Callable[[Place], bool] = lambda _: True) -> None:
        """More is known of clients than when they asked: tell those of whom it is what they are to use now.

        Of those who said where they are, these alone whose place is ``concerned``.
        """
        moved = set()
        for watch in self._everybody():
            place = watch.view.place
            view = self.view(watch.asked) if place is not None and concerned(place) else watch.view
            if view != watch.view:
                self.remove(watch)
                watch.view = view
                self.add(watch)
                watch.dirty.update(dict.fromkeys(watch.keys))
                moved.add(watch)
        _wake(moved)

    def publish(self, changes: ChangeSet) -> None:
        """Tell those who watch what changed; a watcher that is slow gets the newest state when it can take it."""
        touched: set[_Watch] = set()
        for change in changes:
            watchers = self._watchers.get(change.key)
            if watchers is not None:
                touched.update(watchers.again(change.key, watchers.watches))
        _wake(touched)

    def set_gateways(self, gateways: Gateways) -> None:
        """The gateways between networks are these now, as ``orders`` say too: tell those who may be shown any."""
        before, self._gateways = self._gateways, gateways
        changed = {each for each in before.keys() | gateways.keys() if before.get(each) != gateways.get(each)}
        touched: set[_Watch] = set()
        for key, watchers in self._watchers.items() if changed else ():
            placed = [each for each in watchers.watches if each.view.place is not None]
            service = self._get(key) if placed else None
            if service is not None and not changed.isdisjoint(end.network for end in service.endpoints):
                touched.update(watchers.again(key, placed))
        _wake(touched)

    def look_again(self, keys: Iterable[ServiceKey]) -> None:
        """``orders`` have another policy for these services: tell those who said where they are."""
        touched: set[_Watch] = set()
        for key in keys:
            watchers = self._watchers.get(key)
            if watchers is not None:
                placed = [each for each in watchers.watches if each.view.place is not None]
                touched.update(watchers.again(key, placed))
        _wake(touched)

    def update(self, key: ServiceKey, view: View, first: bool) -> bytes | None:
        """The WatchResponse that tells the present state of the service, the ``first`` one or a later one.

        None as long as it is not known whether there is such a service, and nothing was said of it.
        """
        if first and self._partial and self._get(key) is None:
            return None
        watchers = self._watchers[key]
        found = watchers.told.get(view)
        if found is None:
            service = self._get(key)
            if service is not None and watchers.service is None:
                watchers.service = self._views(service)
            shown = watchers.service
            found = encode_absence(key) if shown is None else encode_update(shown.message(view))
            watchers.told[view] = found
        return found

    def view(self, request: pb.LookupRequest | pb.WatchRequest) -> View:
        """What is asked for."""
        return View(self._meet(request.client), request.reasons) if request.HasField("client") else PLAIN

    def add(self, watch: _Watch) -> None:
        for key in watch.keys:
            self._watchers.setdefault(key, _Watchers()).add(watch)

    def remove(self, watch: _Watch) -> None:
        for key in watch.keys:
            if not self._watchers[key].remove(watch):
                del self._watchers[key]

    def _everybody(self) -> set[_Watch]:
        return {watch for watchers in self._watchers.values() for watch in watchers.watches}

    def _views(self, service: MergedService) -> ServiceViews:
        return ServiceViews(service, self._names, self._orders.policy(service).policy, self._orders.gateways)

    async def _lookup(self, message: bytes, _call: CallInfo) -> bytes:
        request = _parse(pb.LookupRequest, message)
        key = _key(request.service, "service")
        if not self.is_open:
            raise RpcError(Code.UNAVAILABLE, "the registry has not read all its clusters yet; try again")
        service = self._get(key)
        if service is None and self._partial:
            text = f"no service {key} in the clusters that are known yet, and not all of them are; try again"
            raise RpcError(Code.UNAVAILABLE, text)
        if service is None:
            raise RpcError(Code.NOT_FOUND, f"no service {key} in any cluster")
        return encode_lookup(self._views(service).message(self.view(request)))

    def _watch(self, stream: Stream, _call: CallInfo) -> _Watch:
        return _Watch(self, stream)


class _Watchers:
    """Who watches one service, and what they are told of it: encoded once for all who look from one place."""

    def __init__(self) -> None:
        self.watches: set[_Watch] = set()
        self.views: Counter[View] = Counter()
        self.service: ServiceViews | None = None
        """Its present state, once that was asked for."""
        self.told: dict[View, bytes] = {}

    def add(self, watch: _Watch) -> None:
        self.watches.add(watch)
        self.views[watch.view] += 1

    def remove(self, watch: _Watch) -> bool:
        """Whether anybody is left."""
        self.watches.discard(watch)
        self.views[watch.view] -= 1
        if not self.views[watch.view]:
            del self.views[watch.view]
            self.told.pop(watch.view, None)
        return bool(self.watches)

    def again(self, key: ServiceKey, watches: Collection[_Watch]) -> Collection[_Watch]:
        """Its state is another, and these are to be told; gives them."""
        self.service = None
        self.told.clear()
        for watch in watches:
            watch.dirty[key] = None
        return watches


class _Watch:
    """One open Watch: which services it names, and which of them its client does not yet know the present state of."""

    def __init__(self, server: LookupServer, stream: Stream) -> None:
        self.stream = stream
        self.keys: frozenset[ServiceKey] = frozenset()
        self.asked = pb.WatchRequest()
        """Without the services."""
        self.view = PLAIN
        self.dirty: dict[ServiceKey, None] = {}
        self.untold: set[ServiceKey] = set()
        """Those of which nothing was said yet."""
        self._server = server

    def received(self, message: bytes) -> None:
        if self.keys:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request; open another to watch more")
        request = _parse(pb.WatchRequest, message)
        services = request.services
        if not 1 <= len(services) <= MAX_WATCHED:
            raise RpcError(
                Code.INVALID_ARGUMENT, f"services: name 1 to {MAX_WATCHED} services to watch, not {len(services)}"
            )
        self.dirty = {_key(name, f"services[{position}]"): None for position, name in enumerate(services)}
        self.keys = frozenset(self.dirty)
        self.untold = set(self.dirty)
        self.asked.reasons = request.reasons
        if request.HasField("client"):
            self.asked.client.CopyFrom(request.client)
        self.view = self._server.view(self.asked)
        self._server.add(self)

    def half_closed(self) -> None:
        if not self.keys:
            raise RpcError(Code.INVALID_ARGUMENT, "services: name at least one service to watch")

    def next_message(self) -> bytes | None:
        while self.dirty and self._server.is_open:
            key = next(iter(self.dirty))
            del self.dirty[key]
            message = self._server.update(key, self.view, key in self.untold)
            if message is not None:
                self.untold.discard(key)
                return message
        return None

    def closed(self) -> None:
        self._server.remove(self)


def _wake(watches: Iterable[_Watch]) -> None:
    for watch in watches:
        watch.stream.wake()


def _parse(kind: type[Request], message: bytes) -> Request:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}: {error}") from error


def _key(name: pb.ServiceName, field: str) -> ServiceKey:
    if not name.namespace or not name.name:
        raise RpcError(Code.INVALID_ARGUMENT, f"{field}: a service has a namespace and a name")
    return ServiceKey(name.namespace, name.name)
