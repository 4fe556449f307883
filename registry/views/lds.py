"""Listener: where an Envoy takes requests in, and what a gRPC client asks for first."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from registry.views.cds import ads
from registry.views.names import OUTBOUND_HTTP
from registry.views.rendered import packed, serialized

HttpConnectionManager = http_connection_manager_pb2.HttpConnectionManager


def encode_outbound_listener(host: str, port: int) -> bytes:
    """Envoy's outbound HTTP listener on ``host``:``port``, routed by ``outbound_http``; WebSocket may upgrade.

    A host that ends with a dot, as absolute DNS names do, is routed, and passed on, without it.
    """
    manager = _http_connection_manager(OUTBOUND_HTTP)
    manager.strip_trailing_host_dot = True
    manager.upgrade_configs.add(upgrade_type="websocket")
    message = listener_pb2.Listener(name=OUTBOUND_HTTP, traffic_direction=base_pb2.OUTBOUND)
    message.address.socket_address.address = host
    message.address.socket_address.port_value = port
    chain = message.filter_chains.add()
    chain.filters.add(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    return serialized(message)


def encode_api_listener(name: str, route: str) -> bytes:
    """What a gRPC client that dials ``xds:///<name>`` asks for: a listener without a socket (gRFC A27)."""
    message = listener_pb2.Listener(name=name)
    message.api_listener.api_listener.CopyFrom(packed(_http_connection_manager(route)))
    return serialized(message)


def _http_connection_manager(route: str) -> HttpConnectionManager:
    manager = HttpConnectionManager(
        stat_prefix=OUTBOUND_HTTP,
        rds=http_connection_manager_pb2.Rds(config_source=ads(), route_config_name=route),
    )
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))
    return manager
