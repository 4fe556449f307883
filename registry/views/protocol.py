"""What a Service port speaks, chosen as Istio chooses it (istio.io, "Protocol Selection")."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from registry.model.facts import Protocol, ServicePort

DEFAULT_HTTP_PORT = 80


class AppProtocol(StrEnum):
    """The protocols Istio knows, spelt as in a ServiceEntry port. ``UNKNOWN``: nobody said; Istio detects it."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    UNKNOWN = ""


_BY_NAME = {protocol.lower(): protocol for protocol in AppProtocol if protocol}
_KUBERNETES = {
    "kubernetes.io/h2c": AppProtocol.HTTP2,
    "kubernetes.io/ws": AppProtocol.HTTP,
    "kubernetes.io/wss": AppProtocol.HTTPS,
}
"""The standard values of ``appProtocol`` (KEP-3726)."""

_SERVER_SPEAKS_FIRST = frozenset({25, 53, 3306, 27017})
"""Ports whose protocol is never detected, since there the client waits for the server (SMTP, DNS, MySQL, MongoDB)."""

_HTTP = frozenset({AppProtocol.HTTP, AppProtocol.HTTP2, AppProtocol.GRPC, AppProtocol.GRPC_WEB, AppProtocol.UNKNOWN})
_HTTP2 = frozenset({AppProtocol.HTTP2, AppProtocol.GRPC})


def app_protocol(port: ServicePort) -> AppProtocol:
    """The port's protocol: ``appProtocol`` if given, else the port name up to its first ``-``."""
    if port.protocol is Protocol.UDP:
        return AppProtocol.UDP
    if port.app_protocol in _KUBERNETES:
        return _KUBERNETES[port.app_protocol]
    said = (port.app_protocol or port.name).lower()
    if said.startswith("grpc-web"):
        return AppProtocol.GRPC_WEB
    found = _BY_NAME.get(said.partition("-")[0], AppProtocol.UNKNOWN)
    if found is AppProtocol.UDP:
        return AppProtocol.TCP
    if found is AppProtocol.UNKNOWN and port.port in _SERVER_SPEAKS_FIRST:
        return AppProtocol.TCP
    return found


def routes_http(port: ServicePort) -> bool:
    """Whether Envoy's HTTP listener routes to the port: it speaks HTTP, or nobody said that it does not."""
    return port.protocol is Protocol.TCP and app_protocol(port) in _HTTP


def unsupported(port: ServicePort) -> str:
    """Which views leave the port out, for people; empty where none does."""
    match port.protocol:
        case Protocol.UDP:
            return "not in xDS, which serves TCP; in the ServiceEntry unless TCP has the same number"
        case Protocol.SCTP:
            return "not in xDS, which serves TCP, nor in the ServiceEntry: Istio has no SCTP"
        case Protocol.TCP:
            return ""


def speaks_http2(port: ServicePort) -> bool:
    """Whether Envoy must speak HTTP/2 to the port."""
    return app_protocol(port) in _HTTP2


def one_per_number(ports: Iterable[ServicePort]) -> tuple[ServicePort, ...]:
    """The first of each number, which is TCP where that is one: for formats in which a number is one port."""
    first: dict[int, ServicePort] = {}
    for port in ports:
        first.setdefault(port.port, port)
    return tuple(first.values())


def default_port(ports: Iterable[ServicePort]) -> int | None:
    """The port meant by a name without one: 80 if offered, else the lowest. None when there are none."""
    numbers = {port.port for port in ports}
    return DEFAULT_HTTP_PORT if DEFAULT_HTTP_PORT in numbers else min(numbers, default=None)
