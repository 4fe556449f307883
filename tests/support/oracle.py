"""What the merged list must be, recomputed from all facts in the plainest way: slow, obvious, and sharing no code.

Rules: a service is a Service object that is exported and no ExternalName. Of what its clusters say, the oldest export's
word counts; exports with endpoints, ready or not, come before those without, and so do ports with endpoints behind.
Its ports are those of its clusters, each name and each number of a protocol once. Its endpoints are those
of slices that name it, at the service's port numbers, without what is unready, no address, or offers no port; of two
that stand for one address and target, the healthy one, then that of which more is known, then the first in order. What
differs in its ports alone is one endpoint. Copies of other clusters' endpoints do not count. A Pod with one address of
each family is one endpoint.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Fact,
    Node,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SlicePort,
)
from registry.model.names import ClusterId, Kind, Locality, ObjectRef, ServiceKey
from registry.model.services import Conflict, Endpoint, Expected, Health, MergedService, TargetPort

World = Mapping[ClusterId, Mapping[ObjectRef, Fact]]
EXCLUDED = {"kube-system", "kube-public", "kube-node-lease", "istio-system"}


Owners = dict[tuple[ClusterId, ServicePort], ServicePort]
"""Of each cluster's ports the merged port that it is."""


def merged(world: World) -> dict[ServiceKey, MergedService]:
    """Every service of the world."""
    keys = {
        ServiceKey(ref.namespace, ref.name) for facts in world.values() for ref in facts if ref.kind is Kind.SERVICE
    }
    found = {key: _service(world, key) for key in keys}
    return {key: service for key, service in found.items() if service is not None}


def _service(world: World, key: ServiceKey) -> MergedService | None:
    if key.namespace in EXCLUDED or key == ServiceKey("default", "kubernetes"):
        return None
    holders: dict[ClusterId, Service] = {}
    for cluster in world:
        fact = world[cluster].get(ObjectRef(Kind.SERVICE, key.namespace, key.name))
        if isinstance(fact, Service) and not fact.external_name and not fact.copy_mark:
            holders[cluster] = fact
    if not holders:
        return None
    ages, union, clashes, owners = _united(world, key, holders)
    ports = sorted((port for port, _ in union), key=_port_order)
    everything: list[Endpoint] = []
    unready = 0
    expected: list[Expected] = []
    for cluster, service in holders.items():
        there, out, places = _endpoints(world[cluster], cluster, key, service)
        unready += out
        expected += [Expected(place, places.count(place)) for place in set(places)]
        for endpoint in there:
            kept = _translated(endpoint, cluster, owners, ports)
            if kept or not union:
                everything.append(_with_ports(endpoint, kept))
    oldest = holders[ages[0]]
    for name, words in _words(holders, ages).items():
        said = [(cluster, word) for cluster, word in words if word is not None]
        others = sorted(each for each in said if each[1] != said[0][1])
        if others:
            clashes[name] = Conflict(name, said[0][1], said[0][0], tuple(others))
    return MergedService(
        key,
        tuple(ports),
        _distinct(everything),
        tuple(sorted(holders)),
        unready,
        oldest.headless,
        oldest.affinity_seconds,
        oldest.traffic_distribution,
        oldest.annotations,
        tuple(clashes[name] for name in sorted(clashes)),
        tuple(sorted(expected)),
        oldest.local_only,
        tuple(dict.fromkeys(family for cluster in ages for family in holders[cluster].ip_families)),
        _unexposed(holders, ports, owners),
    )


def _united(
    world: World, key: ServiceKey, holders: Mapping[ClusterId, Service]
) -> tuple[list[ClusterId], list[tuple[ServicePort, ClusterId]], dict[str, Conflict], Owners]:
    """Whose word counts before whose; the ports, each with whose it is; where they differ; and which each port is."""
    manned = {cluster: _manned(world[cluster], key, service) for cluster, service in holders.items()}
    ages = sorted(holders, key=lambda cluster: (manned[cluster] is None, holders[cluster].created or "9999", cluster))
    union: list[tuple[ServicePort, ClusterId]] = []
    clashes: dict[str, Conflict] = {}
    owners: Owners = {}
    for empty in (False, True):
        for cluster in ages:
            for port in _ports(holders[cluster]):
                if ((port.port, port.protocol) not in (manned[cluster] or ())) is empty:
                    owners[cluster, port] = _unite(union, clashes, port, cluster)
    return ages, union, clashes, owners


def _manned(facts: Mapping[ObjectRef, Fact], key: ServiceKey, service: Service) -> set[tuple[int, Protocol]] | None:
    """The ports with an endpoint behind them, ready or not; None where the cluster has no endpoint at all."""
    found: set[tuple[int, Protocol]] = set()
    there = False
    for each in facts.values():
        if isinstance(each, EndpointSlice) and ServiceKey(each.namespace, each.service) == key:
            alone = {ref: fact for ref, fact in facts.items() if not isinstance(fact, EndpointSlice) or ref == each.ref}
            endpoints, waiting, _ = _endpoints(alone, ClusterId("x"), key, service)
            if endpoints or waiting:
                there = True
                found |= {(target.port, target.protocol) for target in _targets(_ports(service), each)}
    return found if there else None


def _unexposed(
    holders: dict[ClusterId, Service], ports: list[ServicePort], owners: Owners
) -> tuple[tuple[int, ClusterId], ...]:
    """The TCP ports, each with the clusters none of whose ports over TCP is it."""
    found = []
    for port in ports:
        for cluster in sorted(holders):
            own = [each for each in holders[cluster].ports if each.protocol is Protocol.TCP]
            if port.protocol is Protocol.TCP and not any(owners[cluster, each] == port for each in own):
                found.append((port.port, cluster))
    return tuple(found)


def _port_order(port: ServicePort) -> tuple[int, bool, ServicePort]:
    return port.port, port.protocol != Protocol.TCP, port


def _ports(service: Service) -> list[ServicePort]:
    found: list[ServicePort] = []
    for port in sorted(service.ports, key=_port_order):
        if port.name in [each.name for each in found]:
            continue
        if (port.port, port.protocol) not in [(each.port, each.protocol) for each in found]:
            found.append(port)
    return found


def _unite(
    union: list[tuple[ServicePort, ClusterId]], clashes: dict[str, Conflict], port: ServicePort, cluster: ClusterId
) -> ServicePort:
    """Which merged port the cluster's is."""
    same = [each for each in union if each[0].name == port.name]
    same += [each for each in union if (each[0].port, each[0].protocol) == (port.port, port.protocol)]
    if not same:
        union.append((port, cluster))
        return port
    kept, winner = same[0]
    number = str(kept.port) if kept.protocol == Protocol.TCP else f"{kept.port}/{kept.protocol.value}"
    for name, ours, theirs in (
        ("port", str(kept.port), str(port.port)),
        ("name", kept.name, port.name),
        ("protocol", kept.protocol.value, port.protocol.value),
        ("appProtocol", kept.app_protocol, port.app_protocol),
    ):
        if ours != theirs:
            field = f"ports[{number}].{name}"
            before = clashes[field].losers if field in clashes else ()
            clashes[field] = Conflict(field, ours, winner, tuple(sorted((*before, (cluster, theirs)))))
    return kept


def _words(
    holders: Mapping[ClusterId, Service], ages: list[ClusterId]
) -> dict[str, list[tuple[ClusterId, str | None]]]:
    words: dict[str, list[tuple[ClusterId, str | None]]] = {}
    keys = {key for service in holders.values() for key, _ in service.annotations}
    for cluster in ages:
        service = holders[cluster]
        said: dict[str, str | None] = {
            "type": "Headless" if service.headless else "ClusterSetIP",
            "sessionAffinity": "ClientIP" if service.affinity_seconds else "None",
            "sessionAffinityConfig": str(service.affinity_seconds) if service.affinity_seconds else None,
            "trafficDistribution": service.traffic_distribution,
            "internalTrafficPolicy": "Local" if service.local_only else "Cluster",
            "ipFamilies": ",".join(sorted(service.ip_families)) if service.ip_families else None,
        }
        said |= {f"annotations[{key}]": dict(service.annotations).get(key, "") for key in keys}
        for name, word in said.items():
            words.setdefault(name, []).append((cluster, word))
    return words


def _translated(
    endpoint: Endpoint, cluster: ClusterId, owners: Owners, ports: list[ServicePort]
) -> tuple[TargetPort, ...]:
    """What the endpoint offers of the merged ``ports``: by their name, else by their number."""
    found: list[TargetPort] = []
    for port in ports:
        own = [each for (of, each), owner in owners.items() if of == cluster and owner == port]
        same = [each for each in own if each.protocol == port.protocol]
        behind = [each for each in same if each.name == port.name] + same
        found += [
            TargetPort(port.port, pair.target, port.protocol)
            for pair in endpoint.ports
            if behind and (pair.port, pair.protocol) == (behind[0].port, behind[0].protocol)
        ]
    return tuple(found)


def _endpoints(
    facts: Mapping[ObjectRef, Fact], cluster: ClusterId, key: ServiceKey, service: Service
) -> tuple[list[Endpoint], int, list[Locality]]:
    """The endpoints; how many are not ready; and where each of both is."""
    ports = _ports(service)
    found: list[Endpoint] = []
    waiting: list[tuple[str, Locality]] = []
    for each in facts.values():
        if not isinstance(each, EndpointSlice) or each.address_type is AddressType.FQDN or each.copy_mark:
            continue
        if ServiceKey(each.namespace, each.service) != key:
            continue
        targets = _targets(ports, each)
        if ports and not targets:
            continue
        for raw in each.endpoints:
            try:
                address = str(ipaddress.ip_address(raw.address))
            except ValueError:
                continue
            if ipaddress.ip_address(raw.address).version != (6 if each.address_type is AddressType.IPV6 else 4):
                continue
            pod = facts.get(ObjectRef(Kind.POD, each.namespace, raw.pod))
            node = facts.get(ObjectRef(Kind.NODE, "", raw.node))
            place = Locality(
                node.region if isinstance(node, Node) else "",
                raw.zone or (node.zone if isinstance(node, Node) else ""),
                cluster,
            )
            if raw.ready:
                health = Health.HEALTHY
            elif raw.serving and raw.terminating:
                health = Health.DRAINING
            else:
                if not raw.terminating:
                    waiting.append((f"pod {raw.pod}" if raw.pod else address, place))
                continue
            found.append(
                Endpoint(
                    place,
                    address,
                    tuple(targets),
                    cluster,
                    health,
                    raw.pod,
                    raw.node,
                    pod.service_account if isinstance(pod, Pod) else "",
                    "",
                    1,
                    pod.labels if isinstance(pod, Pod) else (),
                    False,
                    raw.hostname,
                )
            )
    listed = [(f"pod {each.pod}" if each.pod else each.address, each.locality) for each in found]
    names = {name for name, _ in listed}
    waiting = [each for each in waiting if each[0] not in names]
    places = [min(place for other, place in listed if other == name) for name in names]
    out = {name for name, _ in waiting}
    places += [min(place for other, place in waiting if other == name) for name in out]
    return _paired(found, service), len(out), places


def _paired(endpoints: list[Endpoint], service: Service) -> list[Endpoint]:
    six_first = service.ip_families[:1] == (AddressType.IPV6,)
    found: list[Endpoint] = []
    for endpoint in endpoints:
        twins = {each.address for each in endpoints if each.pod and each == endpoint._replace(address=each.address)}
        if len(twins) == 2 and len({":" in address for address in twins}) == 2:
            first, second = sorted(twins, key=lambda address: (":" in address) is not six_first)
            found.append(endpoint._replace(address=first, additional_addresses=(second,)))
        else:
            found.append(endpoint)
    return found


def _targets(ports: list[ServicePort], fact: EndpointSlice) -> list[TargetPort]:
    return [
        TargetPort(port.port, port.port if slice_port.port is None else slice_port.port, port.protocol)
        for port in ports
        for slice_port in fact.ports
        if slice_port == _slice_port(port, fact.ports)
    ]


def _slice_port(port: ServicePort, offered: tuple[SlicePort, ...]) -> SlicePort | None:
    """The last of its name, else one that stands for every port."""
    same = [each for each in offered if (each.name, each.protocol) == (port.name, port.protocol)]
    every = [each for each in offered if each == SlicePort("", None, port.protocol)]
    return (same or every or [None])[-1]


def _distinct(endpoints: list[Endpoint]) -> tuple[Endpoint, ...]:
    kept: list[Endpoint] = []
    for endpoint in sorted(endpoints, key=lambda each: (each.health is Health.DRAINING, *_unknown(each), each)):
        pairs = {(address, pair) for each in kept for address in _all_addresses(each) for pair in each.ports or (None,)}
        wanted = endpoint.ports or (None,)
        free = [pair for pair in wanted if (endpoint.address, pair) not in pairs]
        if free:
            further = tuple(
                each for each in endpoint.additional_addresses if not any((each, pair) in pairs for pair in free)
            )
            ports = tuple(pair for pair in free if pair is not None)
            kept.append(_with_ports(endpoint, ports)._replace(additional_addresses=further))
    whole: list[Endpoint] = []
    for some in kept:
        endpoint = some
        parts = [each for each in kept if _with_ports(each, ()) == _with_ports(endpoint, ())]
        pairs = [pair for each in parts for pair in each.ports]
        if len({pair[::2] for pair in pairs}) == len(pairs):
            endpoint = _with_ports(endpoint, tuple(sorted(pairs, key=lambda pair: (pair.port, pair.protocol != "TCP"))))
        whole.append(endpoint)
    return tuple(sorted(set(whole)))


def _unknown(endpoint: Endpoint) -> tuple[int, list[bool]]:
    known = (endpoint.pod, endpoint.node, endpoint.locality.zone, endpoint.locality.region)
    return known.count(""), [not each for each in known]


def _all_addresses(endpoint: Endpoint) -> tuple[str, ...]:
    return (endpoint.address, *endpoint.additional_addresses)


def _with_ports(endpoint: Endpoint, ports: tuple[TargetPort, ...]) -> Endpoint:
    return Endpoint(**{**endpoint._asdict(), "ports": ports})
