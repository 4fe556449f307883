"""Istio's ServiceEntry (``networking.istio.io/v1``): the list for meshes that read it from the API server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from registry.model.facts import Protocol, ServicePort
from registry.model.services import Endpoint, Health, MergedService
from registry.views.bundles import facing
from registry.views.names import Names
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy
from registry.views.protocol import AppProtocol, app_protocol, one_per_number
from registry.views.resources import sticky

API_VERSION = "networking.istio.io/v1"
KIND = "ServiceEntry"
NAME_PREFIX = "mesh-registry-"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "mesh-registry"
MAX_ENDPOINTS = 4096
"""How many endpoints the custom resource definition allows."""

Document = dict[str, object]


def entry_name(service_name: str) -> str:
    """The object's name; the prefix keeps clear of entries that people write themselves."""
    return f"{NAME_PREFIX}{service_name}"


def service_entry(
    service: MergedService, names: Names, policy: TrafficPolicy = NO_POLICY, family: str = ""
) -> Document:
    """The service as a ServiceEntry, its keys and lists in a fixed order.

    It is one for all clients of a cluster, so it has what is the same for all: what the ``policy`` leaves out for
    everybody is not in it, and of an endpoint with addresses of both families it has that of ``family``, the cluster's
    own. What it cannot say is in ``unsaid``.

    SCTP ports are left out: Istio has no such protocol; and so is a UDP port where TCP has its number, since there a
    number is one port. A ServiceEntry has no health either, so draining endpoints are
    left out as long as there are others. Where an endpoint lacks a port that others have, its ``ports`` lack it too;
    Istio then takes the service's own number, which a ServiceEntry cannot prevent.
    """
    ports = one_per_number(port for port in service.ports if port.protocol is not Protocol.SCTP)
    port_names = unique_port_names(ports)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": entry_name(service.key.name),
            "namespace": service.key.namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
        },
        "spec": {
            "hosts": [names.host(service.key)],
            "ports": [_port(port, port_names[port.port]) for port in ports],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "endpoints": [_endpoint(endpoint, ports, port_names) for endpoint in _endpoints(service, policy, family)],
        },
    }


def _preferred(endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The healthy endpoints, and those that drain and offer a port which no healthy one does."""
    healthy = [each for each in endpoints if each.health is Health.HEALTHY]
    manned = {pair[::2] for each in healthy for pair in each.ports}
    if not healthy or len(healthy) == len(endpoints):
        return endpoints
    return [
        each for each in endpoints if each.health is Health.HEALTHY or not manned.issuperset(p[::2] for p in each.ports)
    ]


def unsaid(service: MergedService, policy: TrafficPolicy) -> tuple[str, ...]:
    """What clients are shown over xDS, and an entry has no word for, each with what can be done about it."""
    found = []
    if policy.local_only:
        found.append(
            "internalTrafficPolicy: Local: an entry does not know its client's node, so every client is shown all "
            "endpoints; Istio obeys the field in a cluster's own Service alone"
        )
    if policy.distribution is not Distribution.ANY or policy.failover:
        found.append(
            "the order by place: Istio orders an entry's endpoints by their localities, as localityLbSetting of a "
            "DestinationRule says"
        )
    if sticky(service):
        found.append("sessionAffinity: say consistentHash in a DestinationRule")
    if any(each.demoted for each in service.endpoints):
        found.append("that endpoints are in doubt: they are in the entry like the others")
    if any(each.additional_addresses for each in service.endpoints):
        found.append("further addresses of endpoints: an entry has one of each")
    return tuple(found)


def _endpoints(service: MergedService, policy: TrafficPolicy, family: str) -> list[Endpoint]:
    """Those that no client is to be without, no address and port twice among what every client reaches.

    Who reaches an endpoint reaches those on no network that is known too (``registry.views.shadows``).
    """
    listed = [each for each in service.endpoints if not policy.failover or policy.tier(each) is not None]
    seen = [facing(each, family) for each in _preferred(listed)]
    everywhere = {(each.address, pair) for each in seen if not each.network for pair in each.ports}
    return [
        each
        for each in seen
        if not each.network or not each.ports or any((each.address, pair) not in everywhere for pair in each.ports)
    ]


def unique_port_names(ports: Sequence[ServicePort]) -> Mapping[int, str]:
    """A name for each port number, no name twice: a ServiceEntry's ports and its endpoints' meet by name.

    A port without a name is called ``<protocol>-<number>``; of ports that clusters call the same, the lowest number
    keeps the name and the others get theirs behind it.
    """
    found: dict[int, str] = {}
    for port in sorted(ports):
        name = port.name or f"{(app_protocol(port) or AppProtocol.TCP).lower()}-{port.port}"
        while name in found.values():
            name = f"{name}-{port.port}"
        found[port.port] = name
    return found


def _port(port: ServicePort, name: str) -> Document:
    """Without ``protocol`` where nobody said it: then Istio detects it, as it does for such a Service."""
    document: Document = {"number": port.port, "name": name}
    if protocol := app_protocol(port):
        document["protocol"] = str(protocol)
    return document


def _endpoint(endpoint: Endpoint, ports: Sequence[ServicePort], port_names: Mapping[int, str]) -> Document:
    """One WorkloadEntry; what is unknown is left out. Where the region is not known, ``/zone/cluster`` is the locality.

    Istio compares its parts one by one, so that it has zones without regions too.
    """
    document: Document = {"address": endpoint.address}
    targets = ((port.port, endpoint.target(port.port, port.protocol)) for port in ports)
    offered = {port_names[number]: target for number, target in targets if target is not None}
    if offered:
        document["ports"] = offered
    if endpoint.locality.region or endpoint.locality.zone:
        document["locality"] = str(endpoint.locality)
    if endpoint.labels:
        document["labels"] = dict(endpoint.labels)
    if endpoint.network:
        document["network"] = endpoint.network
    if endpoint.service_account:
        document["serviceAccount"] = endpoint.service_account
    document["weight"] = endpoint.weight
    return document
