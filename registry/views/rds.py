"""RouteConfiguration: which cluster a request for a host goes to."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2

from registry.model.facts import Protocol, ServicePort
from registry.model.names import ServiceKey
from registry.views.names import OUTBOUND_HTTP, Names
from registry.views.protocol import default_port, routes_http
from registry.views.rendered import packed, serialized

RETRY_ON = "connect-failure,refused-stream,reset-before-request"
"""Retried are only requests that cannot have reached the application."""

RETRIES = 2
ATTEMPTS_PER_PRIORITY = 2
"""The first retry goes to another endpoint as near as the first, the second one to the next priority: so a zone that is
gone, and of which nobody has said so yet, loses only requests that it was answering."""

HOST_SELECTION_ATTEMPTS = 5


SOURCE_ADDRESS = route_components_pb2.RouteAction.HashPolicy(
    connection_properties=route_components_pb2.RouteAction.HashPolicy.ConnectionProperties(source_ip=True)
)
"""``sessionAffinity: ClientIP`` in Envoy: who connects. To a sidecar that is its own Pod, to a gateway the client."""

GRPC_CHANNEL = route_components_pb2.RouteAction.HashPolicy(
    filter_state=route_components_pb2.RouteAction.HashPolicy.FilterState(key="io.grpc.channel_id")
)
"""The same in gRPC, which knows no address of its own and skips Envoy's policy: one channel stays (gRFC A42)."""


def encode_virtual_hosts(key: ServiceKey, ports: Iterable[ServicePort], names: Names, *, sticky: bool = False) -> bytes:
    """One service's part of ``outbound_http``: a virtual host per port that HTTP can be sent to.

    The result is a run of fields of a RouteConfiguration. Protobuf lets fields of one message be concatenated, so
    ``assemble_routes`` joins such runs without encoding them again (protobuf.dev, "Encoding", "Last One Wins").
    """
    http = http_ports(ports)
    default = default_port(http)
    return serialized(
        route_pb2.RouteConfiguration(
            virtual_hosts=[
                _virtual_host(
                    key,
                    port.port,
                    names,
                    names.domains(key, port.port, default=port.port == default),
                    retry=True,
                    hashed=SOURCE_ADDRESS if sticky else None,
                )
                for port in http
            ]
        )
    )


def http_ports(ports: Iterable[ServicePort]) -> list[ServicePort]:
    """Those that HTTP can be sent to: all that a service's part of ``outbound_http`` depends on."""
    return [port for port in ports if routes_http(port)]


def assemble_routes(virtual_hosts: Iterable[bytes]) -> bytes:
    """The RouteConfiguration ``outbound_http`` out of the services' parts, in the order given."""
    return serialized(route_pb2.RouteConfiguration(name=OUTBOUND_HTTP)) + b"".join(virtual_hosts)


def encode_grpc_route(
    key: ServiceKey, port: int, ports: Iterable[ServicePort], names: Names, *, sticky: bool = False
) -> bytes:
    """The route of gRPC clients of one port, named ``<host>:<port>``; its domains are every name they may dial."""
    default = port == default_port(each for each in ports if each.protocol is Protocol.TCP)
    return serialized(
        route_pb2.RouteConfiguration(
            name=names.authority(key, port),
            virtual_hosts=[
                _virtual_host(
                    key,
                    port,
                    names,
                    names.targets(key, port, default=default),
                    retry=False,
                    hashed=GRPC_CHANNEL if sticky else None,
                )
            ],
        )
    )


def _virtual_host(
    key: ServiceKey,
    port: int,
    names: Names,
    domains: Iterable[str],
    *,
    retry: bool,
    hashed: route_components_pb2.RouteAction.HashPolicy | None,
) -> route_components_pb2.VirtualHost:
    """Everything for ``domains``, names of one port, goes to its cluster.

    No timeout but the client's own. gRPC retries by itself what never left the client, so ``retry`` is for Envoy.
    ``hashed``: what of a request decides which endpoint takes it.
    """
    action = route_components_pb2.RouteAction(cluster=names.cluster(key, port))
    action.timeout.SetInParent()
    if hashed is not None:
        action.hash_policy.append(hashed)
    message = route_components_pb2.VirtualHost(
        name=names.authority(key, port),
        domains=domains,
        routes=[route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"), route=action)],
    )
    if retry:
        message.retry_policy.CopyFrom(_RETRY_POLICY)
    return message


def _retry_policy() -> route_components_pb2.RetryPolicy:
    policy = route_components_pb2.RetryPolicy(
        retry_on=RETRY_ON, host_selection_retry_max_attempts=HOST_SELECTION_ATTEMPTS
    )
    policy.num_retries.value = RETRIES
    policy.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
    policy.retry_priority.typed_config.CopyFrom(
        packed(previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=ATTEMPTS_PER_PRIORITY))
    )
    return policy


_RETRY_POLICY = _retry_policy()
