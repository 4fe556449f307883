"""What the merged list must be, recomputed from all facts in the plainest way: slow, obvious, and sharing no code.

Rules: a service is a Service object that is exported and no ExternalName. Its ports are those of its clusters, by
number, TCP before others within a cluster and the first cluster's between clusters. Its endpoints are those of slices
that name it, at the service's port numbers, without what is unready, no address, or offers no port; of two that stand
for one address and target, the healthy one, then the first in order.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from registry.model.facts import AddressType, EndpointSlice, Fact, Node, Pod, Protocol, Service, ServicePort
from registry.model.names import ClusterId, Kind, Locality, ObjectRef, ServiceKey
from registry.model.services import Endpoint, Health, MergedService, TargetPort

World = Mapping[ClusterId, Mapping[ObjectRef, Fact]]
EXCLUDED = {"kube-system", "kube-public", "kube-node-lease", "istio-system"}


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
    holders = {}
    for cluster in sorted(world):
        fact = world[cluster].get(ObjectRef(Kind.SERVICE, key.namespace, key.name))
        if isinstance(fact, Service) and not fact.external_name:
            holders[cluster] = {port.port: port for port in reversed(_ranked(fact))}
    if not holders:
        return None
    ports: dict[int, ServicePort] = {}
    for own in reversed(holders.values()):
        ports.update(own)
    everything: list[Endpoint] = []
    unready = 0
    for cluster, own in holders.items():
        there, out = _endpoints(world[cluster], cluster, key, own)
        unready += out
        for endpoint in there:
            kept = tuple(pair for pair in endpoint.ports if own[pair.port].protocol is ports[pair.port].protocol)
            if kept or not own:
                everything.append(_with_ports(endpoint, kept))
    return MergedService(
        key, tuple(ports[number] for number in sorted(ports)), _distinct(everything), tuple(holders), unready
    )


def _ranked(service: Service) -> list[ServicePort]:
    return sorted(service.ports, key=lambda port: (port.port, port.protocol != Protocol.TCP, port))


def _endpoints(
    facts: Mapping[ObjectRef, Fact], cluster: ClusterId, key: ServiceKey, ports: Mapping[int, ServicePort]
) -> tuple[list[Endpoint], int]:
    found: list[Endpoint] = []
    waiting: set[str] = set()
    for each in facts.values():
        if not isinstance(each, EndpointSlice) or each.address_type is AddressType.FQDN:
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
            if raw.ready:
                health = Health.HEALTHY
            elif raw.serving and raw.terminating:
                health = Health.DRAINING
            else:
                if not raw.terminating:
                    waiting.add(address)
                continue
            pod = facts.get(ObjectRef(Kind.POD, each.namespace, raw.pod))
            node = facts.get(ObjectRef(Kind.NODE, "", raw.node))
            found.append(
                Endpoint(
                    Locality(
                        node.region if isinstance(node, Node) else "",
                        raw.zone or (node.zone if isinstance(node, Node) else ""),
                        cluster,
                    ),
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
                )
            )
    return found, len(waiting - {endpoint.address for endpoint in found})


def _targets(ports: Mapping[int, ServicePort], fact: EndpointSlice) -> list[TargetPort]:
    return [
        TargetPort(number, number if slice_port.port is None else slice_port.port)
        for number in sorted(ports)
        for slice_port in fact.ports
        if slice_port.name == ports[number].name
    ]


def _distinct(endpoints: list[Endpoint]) -> tuple[Endpoint, ...]:
    kept: list[Endpoint] = []
    for endpoint in sorted(endpoints, key=lambda each: (each.health is Health.DRAINING, each)):
        others = [each for each in kept if each.address == endpoint.address]
        if not endpoint.ports:
            if all(each.ports for each in others):
                kept.append(endpoint)
            continue
        free = tuple(pair for pair in endpoint.ports if not any(pair in each.ports for each in others))
        if free:
            kept.append(_with_ports(endpoint, free))
    return tuple(sorted(kept))


def _with_ports(endpoint: Endpoint, ports: tuple[TargetPort, ...]) -> Endpoint:
    return Endpoint(**{**endpoint._asdict(), "ports": ports})
