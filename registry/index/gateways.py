"""Gateways between networks: those the configuration names, and those that Services of member clusters are. Pure.

A Service is a gateway of a network as Istio reads it: it has the label ``topology.istio.io/network`` with the network's
name. Its addresses are those under which it is reached from outside the cluster, its port is

1. the configuration's ``gatewayPort`` of the network,
2. else the Service's label ``networking.istio.io/gatewayPort``,
3. else 15443, where Istio's east-west gateways listen (their port ``tls``).

Host names are not resolved, and a Service that lacks the port is no gateway; either is said. Where the configuration
names gateways of a network these are all it has, whatever Services say: that is how a broken one is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.index.addresses import canonical_address, member_address, special_of
from registry.model.facts import NETWORK_LABEL, Protocol, Service
from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.standing import Standing

GATEWAY_PORT_LABEL = "networking.istio.io/gatewayPort"
GATEWAY_PORT = 15443
MAX_GATEWAYS = 64
"""So many addresses of one Service count: each is an endpoint in the assignments of clients on other networks."""


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """What the configuration says of one network: its gateways, or the port of those that are Services."""

    gateways: tuple[Gateway, ...] = ()
    port: int | None = None


NO_RULES: Mapping[str, NetworkRule] = {}
NO_RULE = NetworkRule()


@dataclass(frozen=True, slots=True)
class Entrance:
    """What one labelled Service is: gateways of ``network``, or none. ``problems`` say what of it cannot be used."""

    network: str
    gateways: tuple[Gateway, ...] = ()
    problems: tuple[str, ...] = ()


def network_of(service: Service) -> str:
    """The network whose gateway the Service is, empty when it is none."""
    return next((value for key, value in service.labels if key == NETWORK_LABEL), "")


def entrance(cluster: ClusterId, service: Service, rules: Mapping[str, NetworkRule] = NO_RULES) -> Entrance | None:
    """The Service as a gateway; None when it is not labelled as one."""
    network = network_of(service)
    if not network:
        return None
    said = service.external[:MAX_GATEWAYS]
    addresses = {member_address(text) for text in said} - {None}
    problems = [f"{service.key}: {_why_not(text)}" for text in said if member_address(text) is None]
    if len(service.external) > len(said):
        problems.append(
            f"{service.key}: it has {len(service.external)} addresses, of which the first {len(said)} count"
        )
    port, asked = _port(service, rules.get(network, NO_RULE))
    if port is None:
        problems.append(f"{service.key}: it has no TCP port {asked}: add it, or say gatewayPort of network {network}")
        return Entrance(network, (), tuple(problems))
    if not service.external:
        problems.append(f"{service.key}: it has no address yet (status.loadBalancer, spec.externalIPs)")
    found = sorted(Gateway(address, port, Locality("", "", cluster)) for address in addresses if address is not None)
    return Entrance(network, tuple(found), tuple(problems))


def _why_not(text: str) -> str:
    address = canonical_address(text)
    if address is None:
        return f"{text[:253]} is a host name, and host names are not resolved"
    return f"{address} is {special_of(address)}, and no gateway is reached there"


def _port(service: Service, rule: NetworkRule) -> tuple[int | None, str]:
    """The gateway's port, None when the Service does not have it; and what was looked for."""
    label = next((value for key, value in service.labels if key == GATEWAY_PORT_LABEL), str(GATEWAY_PORT))
    asked = label if rule.port is None else str(rule.port)
    ports = {str(each.port): each.port for each in service.ports if each.protocol is Protocol.TCP}
    return ports.get(asked), asked


class GatewayTable:
    """The gateways of all networks, kept as Services come and go, of whichever cluster."""

    def __init__(self, rules: Mapping[str, NetworkRule] = NO_RULES) -> None:
        self._rules = rules
        self._entrances: dict[ClusterId, dict[ServiceKey, Entrance]] = {}
        self._found: dict[str, tuple[Gateway, ...]] | None = None

    def set_rules(self, rules: Mapping[str, NetworkRule]) -> Mapping[ClusterId, tuple[ServiceKey, ...]]:
        """The configuration says this from now on. Gives the Services that are gateways: they are to be put again."""
        self._rules = rules
        self._found = None
        return {cluster: tuple(held) for cluster, held in self._entrances.items()}

    def put(self, cluster: ClusterId, key: ServiceKey, service: Service | None) -> None:
        """The cluster's Service ``key`` is this now. None: it is no gateway, or not there."""
        new = None if service is None else entrance(cluster, service, self._rules)
        held = self._entrances.get(cluster)
        if new == (None if held is None else held.get(key)):
            return
        self._found = None
        held = self._entrances.setdefault(cluster, {})
        if new is not None:
            held[key] = new
            return
        del held[key]
        if not held:
            del self._entrances[cluster]

    def forget(self, cluster: ClusterId) -> None:
        """The cluster is no member any more."""
        if self._entrances.pop(cluster, None) is not None:
            self._found = None

    def stands(self, cluster: ClusterId) -> None:
        """The cluster has another standing than before."""
        if cluster in self._entrances:
            self._found = None

    def find(self, standing: Mapping[ClusterId, Standing]) -> Gateways:
        """The gateways of each network that has any; the same object as long as nothing about them changed.

        Those of a cluster that is EVICTED, whose data plane is down, are left out where the network has others. An API
        server that is not heard of says nothing of gateways, so those of a cluster that is DEMOTED stay.
        """
        if self._found is None:
            read: dict[str, set[Gateway]] = {}
            evicted: dict[str, set[Gateway]] = {}
            for cluster, held in self._entrances.items():
                out = standing.get(cluster, Standing.CURRENT) is Standing.EVICTED
                for each in held.values():
                    (evicted if out else read).setdefault(each.network, set()).update(each.gateways)
            self._found = {}
            for network in sorted(read.keys() | evicted.keys() | self._rules.keys()):
                said: Iterable[Gateway] = self._rules.get(network, NO_RULE).gateways
                gateways = distinct(said or read.get(network) or evicted.get(network) or ())
                if gateways:
                    self._found[network] = gateways
        return self._found

    def problems(self) -> Mapping[ClusterId, tuple[str, ...]]:
        """What of each cluster's labelled Services cannot be used, where there is anything to say."""
        found = {
            cluster: tuple(problem for _, each in sorted(held.items()) for problem in each.problems)
            for cluster, held in self._entrances.items()
        }
        return {cluster: problems for cluster, problems in sorted(found.items()) if problems}


def distinct(gateways: Iterable[Gateway]) -> tuple[Gateway, ...]:
    """In order, no address and port twice: gRPC refuses an assignment that repeats one."""
    return tuple({(each.address, each.port): each for each in sorted(gateways, reverse=True)}.values())[::-1]
