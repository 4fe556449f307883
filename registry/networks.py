"""Which networks cannot be reached from others, as conditions of the clusters that have endpoints there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

from registry.model.conditions import Condition, ConditionType
from registry.model.gateways import Gateways
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import ChangeSet, Endpoint
from registry.servers.reports import NetworkReport

NO_GATEWAY = "NoGateway"
GATEWAY_KNOWN = "GatewayKnown"
NOT_USABLE = "NotUsable"
CLIENT_NETWORKS = 100
"""So many networks are kept of clients alone: anybody may name any, and each is a row of the reports and metrics."""

NETWORK_CHARACTERS = 253
"""A longer name, of a client, is none."""

_network = itemgetter(Endpoint._fields.index("network"))
_presence = itemgetter(*map(Endpoint._fields.index, ("cluster", "network")))


def _nobody() -> None:
    """Where nobody waits for networks."""


class Believers(Protocol):
    """Who is told what was found. Calls never block and never raise."""

    def condition(self, cluster: ClusterId, condition: Condition) -> None: ...

    def withdraw(self, cluster: ClusterId, kind: ConditionType) -> None: ...


class Presence(NamedTuple):
    """Some service has endpoints of ``cluster`` on ``network``, which has a name."""

    cluster: ClusterId
    network: str


class Networks:
    """Follows which networks there are, of endpoints, gateways and clients, and says which of them nobody gets to.

    While there is one network alone nothing is said: nobody needs a gateway then. A client's network counts from its
    first subscription on, until no client is left that is on a network of which nothing else is known; of such there
    are ``CLIENT_NETWORKS`` at most. ``appeared`` is called when there are endpoints or gateways of a network that had
    none. A change of a service costs what depends on its endpoints.
    """

    def __init__(self, believers: Believers, appeared: Callable[[], object] = _nobody) -> None:
        self._believers = believers
        self._appeared = appeared
        self._present: dict[ServiceKey, frozenset[Presence]] = {}
        self._services: Counter[Presence] = Counter()
        """How many services are present so; none is counted as nought."""
        self._of_endpoints: frozenset[str] = frozenset()
        self._gateways: Gateways = {}
        self._of_clients: set[str] = set()
        self._said: set[tuple[ClusterId, ConditionType]] = set()

    def publish(self, changes: ChangeSet) -> None:
        """The merged list changed."""
        news = False
        for change in changes:
            new = _presences(change.new.endpoints) if change.new is not None else frozenset[Presence]()
            old = self._present.get(change.key, frozenset[Presence]())
            if new != old:
                news |= self._replace(change.key, old, new)
        if news:
            self._say()

    def set_gateways(self, gateways: Gateways, problems: Mapping[ClusterId, Sequence[str]]) -> None:
        """These are the gateways now; ``problems`` are what of each cluster's cannot be used."""
        more = not gateways.keys() <= self._gateways.keys()
        self._gateways = gateways
        if more:
            self._appeared()
        usable = {
            cluster: Condition(ConditionType.GATEWAYS_USABLE, False, NOT_USABLE, "; ".join(found))
            for cluster, found in problems.items()
        }
        self._tell(ConditionType.GATEWAYS_USABLE, usable)
        self._say()

    def client_of(self, network: str) -> None:
        """A client of that network, or of none, subscribes to endpoints."""
        if not network or network in self._of_clients or self.is_known(network):
            return
        if len(self._of_clients) < CLIENT_NETWORKS and len(network) <= NETWORK_CHARACTERS:
            self._of_clients.add(network)
            self._say()

    def clients_left(self) -> None:
        """No client is left that is on a network of which nothing else is known."""
        if self._of_clients:
            self._of_clients.clear()
            self._say()

    def is_known(self, network: str) -> bool:
        """Whether there are endpoints on it, or gateways of it."""
        return network in self._of_endpoints or network in self._gateways

    def report(self) -> tuple[NetworkReport, ...]:
        """The networks that have endpoints, gateways or clients, ordered by name."""
        clusters: dict[str, list[ClusterId]] = {network: [] for network in self._known()}
        for cluster, network in sorted(self._services):
            clusters[network].append(cluster)
        return tuple(
            NetworkReport(network, tuple(map(_written, self._gateways.get(network, ()))), tuple(clusters[network]))
            for network in sorted(clusters)
        )

    def _replace(self, key: ServiceKey, old: frozenset[Presence], new: frozenset[Presence]) -> bool:
        """The service is present so now; whether a network has come to a cluster, or gone from it."""
        before = len(self._services)
        appeared = any(each not in self._services for each in new)
        self._services.update(new - old)
        for each in old - new:
            self._services[each] -= 1
            if not self._services[each]:
                del self._services[each]
        if new:
            self._present[key] = new
        else:
            self._present.pop(key, None)
        return appeared or len(self._services) != before

    def _known(self) -> set[str]:
        return {*self._of_endpoints, *self._gateways, *self._of_clients}

    def _say(self) -> None:
        before, self._of_endpoints = self._of_endpoints, frozenset(each.network for each in self._services)
        if not self._of_endpoints <= before:
            self._appeared()
        lonely = len(self._known()) < 2
        networks: dict[ClusterId, list[str]] = {}
        for cluster, network in sorted(self._services):
            networks.setdefault(cluster, []).append(network)
        found = {} if lonely else {cluster: self._reachable(on) for cluster, on in networks.items()}
        self._tell(ConditionType.NETWORK_REACHABLE, found)

    def _reachable(self, networks: Iterable[str]) -> Condition:
        closed = [network for network in networks if not self._gateways.get(network)]
        if not closed:
            return Condition(ConditionType.NETWORK_REACHABLE, True, GATEWAY_KNOWN)
        text = (
            f"clients of other networks are not shown its endpoints on {', '.join(closed)}, which has no gateway: name "
            f"one under `networks` in the configuration, or label its Service topology.istio.io/network={closed[0]}"
        )
        return Condition(ConditionType.NETWORK_REACHABLE, False, NO_GATEWAY, text)

    def _tell(self, kind: ConditionType, found: Mapping[ClusterId, Condition]) -> None:
        """Say these, and of all other clusters that it does not apply any more."""
        for cluster, said in tuple(self._said):
            if said is kind and cluster not in found:
                self._said.discard((cluster, said))
                self._believers.withdraw(cluster, kind)
        for cluster, condition in found.items():
            self._said.add((cluster, kind))
            self._believers.condition(cluster, condition)


def _presences(endpoints: Sequence[Endpoint]) -> frozenset[Presence]:
    if not any(set(map(_network, endpoints))):
        return frozenset()
    found = set(map(_presence, endpoints))
    return frozenset(Presence(cluster, network) for cluster, network in found if network)


def _written(gateway: tuple[str, int, object]) -> str:
    host = f"[{gateway[0]}]" if ":" in gateway[0] else gateway[0]
    return f"{host}:{gateway[1]}"
