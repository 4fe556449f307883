"""All xDS resources of one service, and of no service in particular."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from registry.model.facts import Protocol
from registry.model.services import MergedService
from registry.views.cds import encode_cluster
from registry.views.eds import ServiceAssignments
from registry.views.lds import encode_api_listener, encode_outbound_listener
from registry.views.names import OUTBOUND_HTTP, Names
from registry.views.place import NOWHERE, Place
from registry.views.policy import NO_POLICY, TrafficPolicy
from registry.views.protocol import default_port
from registry.views.rds import encode_grpc_route
from registry.views.rendered import Rendered

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def assignments(
    service: MergedService, names: Names, place: Place = NOWHERE, policy: TrafficPolicy = NO_POLICY
) -> Iterator[Rendered]:
    """The ClusterLoadAssignment of each port, as clients at ``place`` are shown it."""
    made = ServiceAssignments(service.key, names)
    made.update(service, policy)
    for number in served_ports(service):
        yield Rendered(ASSIGNMENT, names.cluster(service.key, number), made.show(number, place).encode)


def shape(service: MergedService, names: Names, policy: TrafficPolicy = NO_POLICY) -> Iterator[Rendered]:
    """What endpoints have no part in."""
    yield from clusters(service, names, policy)
    yield from on_demand(service, names)


def clusters(service: MergedService, names: Names, policy: TrafficPolicy = NO_POLICY) -> Iterator[Rendered]:
    """The Cluster of each port."""
    for port in service.ports:
        if port.protocol is Protocol.TCP:
            encode = partial(encode_cluster, service.key, port, names, policy, sticky=sticky(service))
            yield Rendered(CLUSTER, names.cluster(service.key, port.port), encode)


def on_demand(service: MergedService, names: Names) -> Iterator[Rendered]:
    """The Listeners and routes of gRPC clients: many names, of which each client asks for a few."""
    served = [port for port in service.ports if port.protocol is Protocol.TCP]
    default = default_port(served)
    for port in served:
        route = names.authority(service.key, port.port)
        for name in names.targets(service.key, port.port, default=port.port == default):
            yield Rendered(LISTENER, name, partial(encode_api_listener, name, route), on_demand=True)
        encode = partial(encode_grpc_route, service.key, port.port, service.ports, names, sticky=sticky(service))
        yield Rendered(ROUTE, route, encode, on_demand=True)


def sticky(service: MergedService) -> bool:
    """A client stays with one endpoint. Not of a headless service (MCS ``ServiceImportSpec.sessionAffinity``)."""
    return service.affinity_seconds > 0 and not service.headless


def served_ports(service: MergedService) -> tuple[int, ...]:
    """The ports that xDS serves: those over TCP. UDP and SCTP are listed, but not served."""
    return tuple(port.port for port in service.ports if port.protocol is Protocol.TCP)


def outbound_listener(host: str, port: int) -> Rendered:
    """Envoy's outbound HTTP listener."""
    return Rendered(LISTENER, OUTBOUND_HTTP, partial(encode_outbound_listener, host, port))
