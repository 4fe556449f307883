"""The parts of all clusters as one service. Pure; the order in which parts are given does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter

from registry.index.conflicts import NOT_MOVED, Moved, by_age, exposed, ip_families, merge_ports, property_conflicts
from registry.index.join import Contribution
from registry.index.ports import target_order
from registry.model.facts import Protocol, ServicePort
from registry.model.names import ClusterId, ServiceKey
from registry.model.reasons import Reason
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.model.standing import Standing
from registry.model.trace import Trace

ADDRESS = attrgetter("address")
FURTHER = attrgetter("additional_addresses")

NO_STANDING: Mapping[ClusterId, Standing] = {}

Claim = tuple[str, str, TargetPort | None]
"""Network, address, and port; None: the address itself, of an endpoint without ports."""


def merge(
    key: ServiceKey,
    contributions: Iterable[Contribution],
    standing: Mapping[ClusterId, Standing] = NO_STANDING,
    trace: Trace | None = None,
) -> MergedService | None:
    """One service out of the parts of its clusters; None when there are none.

    Where the parts differ, the oldest export's word counts (``registry.index.conflicts``).
    ``standing`` has the clusters that are not CURRENT. Endpoints of a cluster that is DEMOTED come one priority later;
    those of one that is EVICTED are left out, but for ports that nobody else offers. Both as other clusters see them:
    for its own clients they stay where they were. A ``trace`` that was told of the contributions is told what becomes
    of their endpoints.
    """
    parts = sorted(contributions, key=lambda part: part.cluster)
    if not parts:
        return None
    aged = by_age(parts)
    oldest = aged[0].service
    ports, conflicts, moved = merge_ports(aged)
    candidates: list[Endpoint] = []
    evicted: list[Endpoint] = []
    apart: tuple[Endpoint, ...] = ()
    for part in parts:
        endpoints = routable(part, ports, moved, trace)
        match standing.get(part.cluster, Standing.CURRENT):
            case Standing.DEMOTED:
                candidates += [demoted(each, trace, Reason.DEMOTED) for each in endpoints]
            case Standing.EVICTED:
                evicted += endpoints
            case _:
                candidates += endpoints
    if evicted:
        last, others = _last_ones(evicted, candidates, trace)
        candidates += last
        apart = _for_their_own_cluster(others, candidates, trace)
    return MergedService(
        key=key,
        ports=ports,
        endpoints=distinct_endpoints(candidates, trace),
        clusters=tuple(part.cluster for part in parts),
        unready=sum(part.unready for part in parts),
        headless=oldest.headless,
        affinity_seconds=oldest.affinity_seconds,
        traffic_distribution=oldest.traffic_distribution,
        annotations=oldest.annotations,
        conflicts=tuple(sorted([*conflicts, *property_conflicts(aged)])) if len(parts) > 1 else (),
        expected=tuple(sorted(chain.from_iterable(part.expected for part in parts))),
        local_only=oldest.local_only,
        ip_families=ip_families(aged),
        unexposed=unexposed(parts, ports, moved) if len(parts) > 1 else (),
        evicted=apart,
    )


def unexposed(
    parts: Iterable[Contribution], ports: Iterable[ServicePort], moved: Moved
) -> tuple[tuple[int, ClusterId], ...]:
    """The merged TCP ports, each with the clusters that have the service without it; ordered."""
    return tuple(
        (port.port, part.cluster)
        for port in ports
        if port.protocol is Protocol.TCP
        for part in parts
        if exposed(port, part.ports, moved.get(part.cluster, NOT_MOVED)) is None
    )


def demoted(endpoint: Endpoint, trace: Trace | None, reason: Reason) -> Endpoint:
    """The endpoint as its cluster's doubt makes it, for this reason; one that is in doubt itself stays so at home."""
    moved = endpoint if endpoint.demoted else endpoint._replace(demoted=True, standing=Standing.DEMOTED)
    if trace is not None:
        trace.became(endpoint, moved)
        trace.note(moved, reason)
    return moved


def _last_ones(
    evicted: Iterable[Endpoint], candidates: Iterable[Endpoint], trace: Trace | None
) -> tuple[list[Endpoint], list[Endpoint]]:
    """Those of evicted clusters that offer a port which none of the ``candidates`` does, demoted; and the others."""
    manned = {(pair.port, pair.protocol) for endpoint in candidates for pair in endpoint.ports}
    last, others = [], []
    for each in evicted:
        if manned.issuperset([(pair.port, pair.protocol) for pair in each.ports]):
            others.append(each)
        else:
            last.append(demoted(each, trace, Reason.LAST_OF_EVICTED))
    return last, others


def _for_their_own_cluster(
    evicted: Iterable[Endpoint], listed: Iterable[Endpoint], trace: Trace | None
) -> tuple[Endpoint, ...]:
    """What clients in the evicted clusters are still shown: none at an address that a listed endpoint has."""
    used = {address for each in listed for address in (each.address, *each.additional_addresses)}
    found = []
    for each in evicted:
        if used.isdisjoint((each.address, *each.additional_addresses)):
            moved = each._replace(standing=Standing.EVICTED)
            if trace is not None:
                trace.became(each, moved)
                trace.note(moved, Reason.EVICTED)
            found.append(moved)
        elif trace is not None:
            trace.dropped(each, Reason.EVICTED)
    return distinct_endpoints(found, trace)


def distinct_endpoints(candidates: Iterable[Endpoint], trace: Trace | None = None) -> tuple[Endpoint, ...]:
    """The endpoints in their order, no two of which stand for one address and port of one network.

    Of two that do, the one that is not in doubt stays, then the healthy one, then the one of which more is known (Pod,
    Node, zone, region), then the first in order: a slice that was copied by hand knows no Pod. An endpoint that loses
    all its ports to others is gone, and so is a further address; one without ports at all is told apart by its address.
    One that is in several slices, of a port each, is one endpoint with all of these ports.
    """
    found = sorted(candidates)
    if len(set(map(ADDRESS, found))) == len(found) and not any(map(FURTHER, found)):
        return tuple(found)
    named = {(endpoint.network, endpoint.address) for endpoint in found}
    further = [(each.network, address) for each in found for address in each.additional_addresses]
    if len(named.union(further)) == len(found) + len(further):
        return tuple(found)
    taken: dict[Claim, Endpoint] = {}
    kept: list[Endpoint] = []
    for endpoint in sorted(found, key=_preference):
        wanted: tuple[TargetPort | None, ...] = endpoint.ports or (None,)
        free = [port for port in wanted if (endpoint.network, endpoint.address, port) not in taken]
        if trace is not None and len(free) < len(wanted):
            (trace.note if free else trace.dropped)(endpoint, Reason.DUPLICATE, _owners(endpoint, wanted, taken))
        if not free:
            continue
        additional = tuple(
            address
            for address in endpoint.additional_addresses
            if not any((endpoint.network, address, port) in taken for port in free)
        )
        addresses = (endpoint.address, *additional)
        if trace is not None:
            for address in set(endpoint.additional_addresses).difference(additional):
                trace.dropped(endpoint, Reason.DUPLICATE, _owners(endpoint, free, taken, address), address)
        taken.update(
            dict.fromkeys(((endpoint.network, address, port) for address in addresses for port in free), endpoint)
        )
        ports = tuple(port for port in free if port is not None)
        same = ports == endpoint.ports and additional == endpoint.additional_addresses
        kept.append(endpoint if same else endpoint._replace(ports=ports, additional_addresses=additional))
        if trace is not None:
            trace.became(endpoint, kept[-1])
    return tuple(sorted(_united(kept, trace)))


def _united(endpoints: Iterable[Endpoint], trace: Trace | None) -> Iterator[Endpoint]:
    """The endpoints, where those that differ in nothing but the Service's ports that they offer are one."""
    groups: dict[Endpoint, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint._replace(ports=()), []).append(endpoint)
    for parts in groups.values():
        pairs = sorted([pair for part in parts for pair in part.ports], key=target_order)
        if len(parts) == 1 or len({(pair.port, pair.protocol) for pair in pairs}) < len(pairs):
            yield from parts
            continue
        whole = parts[0]._replace(ports=tuple(pairs))
        if trace is not None:
            for part in parts:
                trace.became(part, whole)
        yield whole


def _owners(
    endpoint: Endpoint, ports: Iterable[TargetPort | None], taken: Mapping[Claim, Endpoint], address: str = ""
) -> str:
    """Who has what the endpoint wanted, for people."""
    claims = ((endpoint.network, address or endpoint.address, port) for port in ports)
    owners = {(owner, claim[2]): None for claim in claims if (owner := taken.get(claim)) is not None}
    return "; ".join(
        f"{f'port {port.port}' if port is not None else 'the address'} is "
        f"{owner.address} of cluster {owner.cluster}, {f'Pod {owner.pod}' if owner.pod else 'no Pod'}, {owner.health}"
        for owner, port in owners
    )


def _preference(endpoint: Endpoint) -> tuple[object, ...]:
    unknown = (not endpoint.pod, not endpoint.node, not endpoint.locality.zone, not endpoint.locality.region)
    return (endpoint.demoted, endpoint.health is not Health.HEALTHY, sum(unknown), unknown, endpoint)


def routable(
    part: Contribution, ports: Sequence[ServicePort], others: Moved, trace: Trace | None = None
) -> Iterable[Endpoint]:
    """The part's endpoints with what they offer of the merged ``ports``: those that their own Service exposes."""
    elsewhere = others.get(part.cluster, NOT_MOVED)
    behind = [(port, own) for port in ports if (own := exposed(port, part.ports, elsewhere)) is not None]
    if not part.ports and ports:
        return _without_ports(part.endpoints, trace)
    if len(behind) == len(part.ports) and all(port[:3:2] == own[:3:2] for port, own in behind):
        return part.endpoints
    return [moved for endpoint in part.endpoints if (moved := _offering(endpoint, behind, trace)).ports]


def _without_ports(endpoints: Iterable[Endpoint], trace: Trace | None) -> Iterable[Endpoint]:
    """Nothing: the service has ports, of which these offer none."""
    for each in endpoints if trace is not None else ():
        assert trace is not None
        trace.dropped(each, Reason.PORT_NOT_OFFERED, "its own Service has no ports")
    return ()


def _offering(endpoint: Endpoint, behind: Iterable[tuple[ServicePort, ServicePort]], trace: Trace | None) -> Endpoint:
    """The endpoint with the merged ports in the place of its Service's own."""
    targets = {(pair.port, pair.protocol): pair.target for pair in endpoint.ports}
    pairs = (
        TargetPort(port.port, targets[own.port, own.protocol], port.protocol)
        for port, own in behind
        if (own.port, own.protocol) in targets
    )
    moved = endpoint._replace(ports=tuple(pairs))
    if trace is not None:
        trace.became(endpoint, moved)
        if len(moved.ports) < len(endpoint.ports):
            lost = ", ".join(
                sorted({_port_text(each) for each in endpoint.ports} - {_port_text(own) for _, own in behind})
            )
            (trace.note if moved.ports else trace.dropped)(moved, Reason.PORT_CONFLICT, f"port {lost}")
    return moved


def _port_text(port: ServicePort | TargetPort) -> str:
    return f"{port.port}/{port.protocol}"
