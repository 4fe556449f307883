"""The parts of all clusters as one service. Pure; the order in which parts are given does not matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter

from registry.index.conflicts import NOT_MOVED, by_precedence, exposed, ip_families, merge_ports, property_conflicts
from registry.index.contribution import Contribution
from registry.index.ports import NAMED, named, target_order
from registry.model.facts import Protocol, ServicePort
from registry.model.names import ClusterId, ServiceKey
from registry.model.reasons import Reason
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.model.standing import Standing
from registry.model.trace import Trace

ADDRESS = attrgetter("address")
FURTHER = attrgetter("additional_addresses")

NO_STANDING: Mapping[ClusterId, Standing] = {}

Claims = dict[TargetPort | None, Endpoint]
"""Of one address of a network, the ports that are taken, each with who has it; None: the address itself, of an endpoint
without ports."""
NO_CLAIMS: Claims = {}

Behind = Mapping[ServicePort, ServicePort]
"""The merged ports that a cluster exposes, each with its own port."""


def merge(
    key: ServiceKey,
    contributions: Iterable[Contribution],
    standing: Mapping[ClusterId, Standing] = NO_STANDING,
    trace: Trace | None = None,
) -> MergedService | None:
    """One service out of the parts of its clusters; None when there are none.

    Where the parts differ, the first export's word counts (``registry.index.conflicts``).
    ``standing`` has the clusters that are not CURRENT. Endpoints of a cluster that is DEMOTED come one priority later;
    those of one that is EVICTED are left out, but for ports that nobody else offers. Both as other clusters see them:
    for its own clients they stay where they were. A ``trace`` that was told of the contributions is told what becomes
    of their endpoints.
    """
    parts = sorted(contributions, key=lambda part: part.cluster)
    if not parts:
        return None
    ordered = by_precedence(parts)
    first = ordered[0].service
    ports, conflicts, moved = merge_ports(ordered)
    behind = [exposed(part.ports, moved.get(part.cluster, NOT_MOVED)) for part in parts]
    candidates: list[Endpoint] = []
    evicted: list[Endpoint] = []
    apart: tuple[Endpoint, ...] = ()
    for part, own in zip(parts, behind, strict=True):
        endpoints = routable(part, ports, own, trace)
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
        headless=first.headless,
        affinity_seconds=first.affinity_seconds,
        traffic_distribution=first.traffic_distribution,
        annotations=first.annotations,
        conflicts=tuple(sorted([*conflicts, *property_conflicts(ordered)])) if len(parts) > 1 else (),
        expected=tuple(sorted(chain.from_iterable(part.expected for part in parts))),
        local_only=first.local_only,
        ip_families=ip_families(ordered),
        unexposed=unexposed(parts, ports, behind) if len(parts) > 1 else (),
        evicted=apart,
    )


def unexposed(
    parts: Sequence[Contribution], ports: Sequence[ServicePort], behind: Sequence[Behind]
) -> tuple[tuple[int, ClusterId], ...]:
    """The merged TCP ports, each with the clusters that have the service without it; ordered."""
    if all(len(own) == len(ports) for own in behind):
        return ()
    return tuple(
        (port.port, part.cluster)
        for port in ports
        if port.protocol is Protocol.TCP
        for part, own in zip(parts, behind, strict=True)
        if port not in own
    )


def demoted(endpoint: Endpoint, trace: Trace | None, reason: Reason) -> Endpoint:
    """The endpoint as its cluster's doubt makes it, for this reason; one that is in doubt itself stays so at home."""
    moved = endpoint if endpoint.demoted else endpoint._replace(demoted=True, standing=Standing.DEMOTED)
    if trace is not None:
        trace.became(endpoint, moved)
        trace.note(moved, reason)
    return moved


def _last_ones(
    evicted: Sequence[Endpoint], candidates: Sequence[Endpoint], trace: Trace | None
) -> tuple[list[Endpoint], list[Endpoint]]:
    """Those of evicted clusters that offer a port which none of the ``candidates`` does, demoted; and the others."""
    offered = {id(each.ports): each.ports for each in candidates}
    manned = {(pair.port, pair.protocol) for ports in offered.values() for pair in ports}
    known: dict[int, bool] = {}
    last, others = [], []
    for each in evicted:
        needless = known.get(id(each.ports))
        if needless is None:
            needless = known[id(each.ports)] = manned.issuperset([(pair.port, pair.protocol) for pair in each.ports])
        if needless:
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
    uses = Counter([*[(each.network, each.address) for each in found], *further])
    alone: list[Endpoint] = []
    shared: list[Endpoint] = []
    for each in found:
        addresses = (each.address, *each.additional_addresses)
        (shared if any(uses[each.network, address] > 1 for address in addresses) else alone).append(each)
    return tuple(sorted([*alone, *_united(_claimed(shared, trace), trace)]))


def _claimed(found: Iterable[Endpoint], trace: Trace | None) -> list[Endpoint]:
    """The endpoints with the ports of their address that none before them has, by preference; those that have any."""
    taken: dict[tuple[str, str], Claims] = {}
    kept: list[Endpoint] = []
    for endpoint in sorted(found, key=_preference):
        wanted: tuple[TargetPort | None, ...] = endpoint.ports or (None,)
        claims = taken.get((endpoint.network, endpoint.address), NO_CLAIMS)
        free = [port for port in wanted if port not in claims] if claims else wanted
        if trace is not None and len(free) < len(wanted):
            (trace.note if free else trace.dropped)(endpoint, Reason.DUPLICATE, _owners(wanted, claims))
        if not free:
            continue
        additional = []
        for address in endpoint.additional_addresses:
            others = taken.get((endpoint.network, address), NO_CLAIMS)
            if others and any(port in others for port in free):
                if trace is not None:
                    trace.dropped(endpoint, Reason.DUPLICATE, _owners(free, others), address)
            else:
                additional.append(address)
        for address in (endpoint.address, *additional):
            taken.setdefault((endpoint.network, address), {}).update(dict.fromkeys(free, endpoint))
        if len(free) == len(wanted) and len(additional) == len(endpoint.additional_addresses):
            kept.append(endpoint)
        else:
            ports = tuple([port for port in free if port is not None])
            kept.append(endpoint._replace(ports=ports, additional_addresses=tuple(additional)))
        if trace is not None:
            trace.became(endpoint, kept[-1])
    return kept


def _united(endpoints: Iterable[Endpoint], trace: Trace | None) -> Iterator[Endpoint]:
    """The endpoints, where those that differ in nothing but the Service's ports that they offer are one."""
    groups: dict[Endpoint, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint._replace(ports=()), []).append(endpoint)
    for parts in groups.values():
        if len(parts) == 1:
            yield parts[0]
            continue
        pairs = sorted([pair for part in parts for pair in part.ports], key=target_order)
        if len({(pair.port, pair.protocol) for pair in pairs}) < len(pairs):
            yield from parts
            continue
        whole = parts[0]._replace(ports=tuple(pairs))
        if trace is not None:
            for part in parts:
                trace.became(part, whole)
        yield whole


def _owners(ports: Iterable[TargetPort | None], claims: Claims) -> str:
    """Who has what the endpoint wanted, for people; of many ports the first few."""
    owners = [(owner, port) for port in ports if (owner := claims.get(port)) is not None]
    texts = [
        f"{f'port {port.port}' if port is not None else 'the address'} is "
        f"{owner.address} of cluster {owner.cluster}, {f'Pod {owner.pod}' if owner.pod else 'no Pod'}, {owner.health}"
        for owner, port in owners[:NAMED]
    ]
    return "; ".join(texts) + (f"; and {len(owners) - NAMED} more ports" if len(owners) > NAMED else "")


def _preference(endpoint: Endpoint) -> tuple[object, ...]:
    unknown = (not endpoint.pod, not endpoint.node, not endpoint.locality.zone, not endpoint.locality.region)
    return (endpoint.demoted, endpoint.health is not Health.HEALTHY, sum(unknown), unknown, endpoint)


def routable(
    part: Contribution, ports: Sequence[ServicePort], behind: Behind, trace: Trace | None = None
) -> Iterable[Endpoint]:
    """The part's endpoints with what they offer of the merged ``ports``: those that their own Service exposes."""
    if not part.ports and ports:
        return _without_ports(part.endpoints, trace)
    if len(behind) == len(part.ports) and all(port[:3:2] == own[:3:2] for port, own in behind.items()):
        return part.endpoints
    return _offering(part, [(port, behind[port]) for port in ports if port in behind], trace)


def _without_ports(endpoints: Iterable[Endpoint], trace: Trace | None) -> Iterable[Endpoint]:
    """Nothing: the service has ports, of which these offer none."""
    for each in endpoints if trace is not None else ():
        assert trace is not None
        trace.dropped(each, Reason.PORT_NOT_OFFERED, "its own Service has no ports")
    return ()


def _offering(
    part: Contribution, behind: Sequence[tuple[ServicePort, ServicePort]], trace: Trace | None
) -> Iterable[Endpoint]:
    """The endpoints with the merged ports in the place of their Service's own; without those that offer none.

    The endpoints of a slice share their ports, before and after.
    """
    known: dict[int, tuple[tuple[TargetPort, ...], str]] = {}
    found = []
    for endpoint in part.endpoints:
        moved = known.get(id(endpoint.ports))
        if moved is None:
            moved = known[id(endpoint.ports)] = _moved(endpoint.ports, behind, trace)
        ports, lost = moved
        offering = endpoint._replace(ports=ports)
        if trace is not None:
            trace.became(endpoint, offering)
            if lost:
                (trace.note if ports else trace.dropped)(offering, Reason.PORT_CONFLICT, f"port {lost}")
        if ports:
            found.append(offering)
    return found


def _moved(
    pairs: Sequence[TargetPort], behind: Sequence[tuple[ServicePort, ServicePort]], trace: Trace | None
) -> tuple[tuple[TargetPort, ...], str]:
    """The merged ports in the place of ``pairs``, and for a ``trace`` those that are lost, as text."""
    targets = {(pair.port, pair.protocol): pair.target for pair in pairs}
    ports = tuple(
        [
            TargetPort(port.port, targets[own.port, own.protocol], port.protocol)
            for port, own in behind
            if (own.port, own.protocol) in targets
        ]
    )
    ports = _same(ports)
    if trace is None or len(ports) == len(pairs):
        return ports, ""
    lost = sorted({_port_text(each) for each in pairs} - {_port_text(own) for _, own in behind})
    return ports, named(lost, len(lost))


@lru_cache(maxsize=64)
def _same(ports: tuple[TargetPort, ...]) -> tuple[TargetPort, ...]:
    """The same object as at the last merge, so that endpoints are compared at a glance."""
    return ports


def _port_text(port: ServicePort | TargetPort) -> str:
    return f"{port.port}/{port.protocol}"
