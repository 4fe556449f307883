"""The parts of all clusters as one service. Pure; the order in which parts are given does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from registry.index.join import Contribution
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.model.standing import Standing

NO_STANDING: Mapping[ClusterId, Standing] = {}


def merge(
    key: ServiceKey, contributions: Iterable[Contribution], standing: Mapping[ClusterId, Standing] = NO_STANDING
) -> MergedService | None:
    """One service out of the parts of its clusters; None when there are none.

    ``standing`` has the clusters that are not CURRENT. Endpoints of a cluster that is DEMOTED come one priority later;
    those of one that is EVICTED are left out, but for ports that nobody else offers.
    """
    parts = sorted(contributions, key=lambda part: part.cluster)
    if not parts:
        return None
    ports = merge_ports(parts)
    offered = {port.port: port for port in ports}
    candidates: list[Endpoint] = []
    evicted: list[Endpoint] = []
    for part in parts:
        endpoints = _routable(part, offered)
        match standing.get(part.cluster, Standing.CURRENT):
            case Standing.DEMOTED:
                candidates += map(demoted, endpoints)
            case Standing.EVICTED:
                evicted += map(demoted, endpoints)
            case _:
                candidates += endpoints
    if evicted:
        manned = {pair.port for endpoint in candidates for pair in endpoint.ports}
        candidates += [each for each in evicted if not manned.issuperset(pair.port for pair in each.ports)]
    return MergedService(
        key=key,
        ports=ports,
        endpoints=distinct_endpoints(candidates),
        clusters=tuple(part.cluster for part in parts),
        unready=sum(part.unready for part in parts),
    )


def demoted(endpoint: Endpoint) -> Endpoint:
    return endpoint if endpoint.demoted else endpoint._replace(demoted=True)


def merge_ports(parts: Sequence[Contribution]) -> tuple[ServicePort, ...]:
    """The union of the ports, by number. Where clusters differ about one number, the first cluster's word counts.

    This is the one place where a conflict between clusters is decided (KEP-1645 has the rules that come next).
    """
    union: dict[int, ServicePort] = {}
    for part in parts:
        for port in part.ports:
            union.setdefault(port.port, port)
    return tuple(union[number] for number in sorted(union))


def distinct_endpoints(candidates: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints in their order, no two of which stand for one address and port of one network.

    Of two that do, the one that is not in doubt stays, then the healthy one, then the first in order. An endpoint that
    loses all its ports to others is gone; one without ports at all is told apart by its address.
    """
    found = sorted(candidates)
    if len({(endpoint.network, endpoint.address) for endpoint in found}) == len(found):
        return tuple(found)
    taken: set[tuple[str, str, TargetPort | None]] = set()
    kept: list[Endpoint] = []
    for endpoint in sorted(found, key=_preference):
        wanted: tuple[TargetPort | None, ...] = endpoint.ports or (None,)
        free = [port for port in wanted if (endpoint.network, endpoint.address, port) not in taken]
        if not free:
            continue
        taken.update((endpoint.network, endpoint.address, port) for port in free)
        ports = tuple(port for port in free if port is not None)
        kept.append(endpoint if ports == endpoint.ports else endpoint._replace(ports=ports))
    kept.sort()
    return tuple(kept)


def _preference(endpoint: Endpoint) -> tuple[object, ...]:
    return (endpoint.demoted, endpoint.health is not Health.HEALTHY, endpoint)


def _routable(part: Contribution, offered: dict[int, ServicePort]) -> Iterable[Endpoint]:
    """The part's endpoints without ports of another transport protocol than the merged service offers there."""
    foreign = {port.port for port in part.ports if offered[port.port].protocol is not port.protocol}
    if not foreign:
        return part.endpoints
    stripped = (
        endpoint._replace(ports=tuple(port for port in endpoint.ports if port.port not in foreign))
        for endpoint in part.endpoints
    )
    return [endpoint for endpoint in stripped if endpoint.ports]
