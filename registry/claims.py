"""What clients say of where they are, cut down to what tells endpoints apart.

Each distinct place is a view of its own, of every service that is looked at from there. So a place has only what
matters: what a client is shown does not depend on which zone, region, cluster or network without endpoints it names,
and all of them are ``ELSEWHERE``. That takes nothing from anybody, and what strangers make up is few views.

What is left can be put together at will. Places that fit together, since there are endpoints in that zone of that
cluster, are as many as there are, and are always taken as they are. Of others ``MOST_MIXED`` may be in use at once;
what is beyond is told apart by its network and family alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Protocol

from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import ChangeSet, Endpoint
from registry.views.place import Place

ELSEWHERE = "(elsewhere)"
"""No value of a label or name of Kubernetes."""

MOST_MIXED = 500

_locality = itemgetter(Endpoint._fields.index("locality"))


class Networks(Protocol):
    """Who knows which networks there are."""

    def is_known(self, network: str) -> bool:
        """Whether there are endpoints on it, or gateways of it."""


class Nodes(Protocol):
    """Who knows the Nodes of clusters."""

    def zone_of(self, cluster: ClusterId, node: str) -> tuple[str, str] | None:
        """Region and zone of the Node; None: there is none of that name."""


class Claims:
    """Follows where endpoints are, and says which place a client's claim comes to.

    ``again`` is called when a place that was cut down may come to another one now. ``in_use`` says whether anybody is
    shown what is seen from a place.
    """

    def __init__(
        self,
        networks: Networks,
        nodes: Nodes,
        again: Callable[[], object],
        in_use: Callable[[Place], bool],
    ) -> None:
        self._networks = networks
        self._nodes = nodes
        self._again = again
        self._in_use = in_use
        self._of: dict[ServiceKey, frozenset[Locality]] = {}
        self._services: dict[frozenset[Locality], list[object]] = {}
        """How many services have endpoints in just these localities, as [set, count]: many are in the same ones."""
        self._known: frozenset[Locality] = frozenset()
        self._zones: frozenset[str] = frozenset()
        self._regions: frozenset[str] = frozenset()
        self._clusters: frozenset[str] = frozenset()
        self._pairs: frozenset[tuple[str, str]] = frozenset()
        """Regions with their zones."""
        self._cut = False
        """Some place was cut down."""
        self._mixed: dict[Place, None] = {}

    def publish(self, changes: ChangeSet) -> None:
        """The merged list changed. Of each service this costs what depends on its localities."""
        sets = len(self._services)
        added = False
        for change in changes:
            new = frozenset(_localities(change.new.endpoints)) if change.new is not None else frozenset()
            old = self._of.get(change.key, frozenset[Locality]())
            if new != old:
                added |= self._replace(change.key, old, new)
        if added or len(self._services) != sets:
            self._learn()

    def admit(self, place: Place, node: str = "") -> Place:
        """What of the place counts. ``node`` is the client's, also where that makes no difference to the place."""
        found = self._cut_down(place)
        if found not in self._mixed and not self._fits(place, found, node or place.node):
            if len(self._mixed) >= MOST_MIXED:
                self._mixed = {each: None for each in self._mixed if self._in_use(each)}
            if len(self._mixed) < MOST_MIXED:
                self._mixed[found] = None
            else:
                found = Place(network=found.network, family=found.family, node=ELSEWHERE if found.node else "")
        self._cut |= found != place
        return found

    def _fits(self, place: Place, found: Place, node: str) -> bool:
        """Whether the place, of which ``found`` is left, is one of those that there are.

        There is a Node in its zone, or there are endpoints in the zone of the cluster, or as much as it says.
        """
        at = self._nodes.zone_of(ClusterId(place.cluster), node) if node else None
        if found.node and at is None:
            return False
        if not found.zone or at == (found.region, found.zone):
            return True
        if found.cluster in ("", ELSEWHERE):
            return found.region in ("", ELSEWHERE) or (found.region, found.zone) in self._pairs
        return Locality(found.region, found.zone, found.cluster) in self._known

    def _cut_down(self, place: Place) -> Place:
        region, zone, cluster, network, node, family = place
        if zone and zone not in self._zones:
            zone = ""
        if region and region not in self._regions:
            region = ELSEWHERE if zone else ""
        if cluster and cluster not in self._clusters:
            cluster = ELSEWHERE
        if network and not self._networks.is_known(network):
            network = ELSEWHERE
        return Place(region, zone, cluster, network, node, family)

    def _replace(self, key: ServiceKey, old: frozenset[Locality], new: frozenset[Locality]) -> bool:
        """The service's endpoints are there now; whether no other's are in just these localities."""
        if old and not self._count(old, -1):
            del self._services[old]
        if not new:
            self._of.pop(key, None)
            return False
        added = self._count(new, 1) == 1
        kept = self._services[new][0]
        assert isinstance(kept, frozenset)
        self._of[key] = kept
        return added

    def _count(self, localities: frozenset[Locality], change: int) -> int:
        counted = self._services.setdefault(localities, [localities, 0])
        count = counted[1]
        assert isinstance(count, int)
        counted[1] = count + change
        return count + change

    def _learn(self) -> None:
        before = self._known
        self._known = frozenset[Locality]().union(*self._services)
        self._zones = frozenset(each.zone for each in self._known)
        self._regions = frozenset(each.region for each in self._known)
        self._clusters = frozenset(each.sub_zone for each in self._known)
        self._pairs = frozenset((each.region, each.zone) for each in self._known)
        if self._cut and not self._known <= before:
            self.look_again()

    def look_again(self) -> None:
        """A place that was cut down may come to another one, if there is any."""
        if self._cut:
            self._cut = False
            self._again()


def _localities(endpoints: Sequence[Endpoint]) -> Iterator[Locality]:
    """Where the endpoints are, which are ordered by that."""
    at = 0
    while at < len(endpoints):
        locality = _locality(endpoints[at])
        yield locality
        at = bisect_right(endpoints, locality, at, key=_locality)
