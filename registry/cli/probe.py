"""What is spoken at a port, to say more of it than that it was not understood."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing

from registry.cli.server import GRPC_PORT, HTTP_PORT, Server
from registry.config import Address

SECONDS = 2.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How HTTP/2 begins (RFC 9113, section 3.4): the preface and an empty SETTINGS frame."""

FRAME_HEADER = 9
SETTINGS = 4
TLS_RECORD = (b"\x15\x03", b"\x16\x03")
"""An alert or a handshake, of TLS (RFC 8446, section 5.1)."""

HTTP2, HTTP1, TLS, SILENT = "HTTP/2", "HTTP/1", "TLS", ""
H2, H1 = "h2", "http/1.1"
"""HTTP/2 and HTTP/1 in TLS's application-layer protocol negotiation (RFC 7301)."""


def spoken(address: Address) -> str:
    """Which of the protocols above a server there begins to speak."""
    try:
        with closing(socket.create_connection(address, timeout=SECONDS)) as connection:
            connection.sendall(PREFACE)
            found = _protocol(connection)
    except (OSError, ValueError):  # ValueError: no name that could be looked up
        found = SILENT
    return found or (TLS if _shakes_hands(address) else SILENT)


def _shakes_hands(address: Address) -> bool:
    """Whether TLS is served there, by a server that says nothing to others."""
    return _chosen(address) is not None


def _inside_tls(address: Address) -> str:
    """What alone is served there over TLS, HTTP/2 or HTTP/1; ``TLS``: both, or it is not known."""
    chosen = _chosen(address, H2, H1)
    if chosen in (H1, ""):
        return HTTP1
    return HTTP2 if chosen == H2 and _chosen(address, H1) != H1 else TLS


def _chosen(address: Address, *offered: str) -> str | None:
    """Which of the protocols that are offered a server there chooses in a TLS handshake, empty: none of them.

    None: there is no handshake.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if offered:
        context.set_alpn_protocols(offered)
    try:
        with (
            socket.create_connection(address, timeout=SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=address.host) as encrypted,
        ):
            return encrypted.selected_alpn_protocol() or ""
    except (OSError, ValueError):
        return None


def _protocol(connection: socket.socket) -> str:
    said = b""
    while len(said) < FRAME_HEADER and (more := connection.recv(FRAME_HEADER - len(said))):
        said += more
    if said[:2] in TLS_RECORD:
        return TLS
    if said.startswith(b"HTTP/1"):
        return HTTP1
    return HTTP2 if len(said) == FRAME_HEADER and said[3] == SETTINGS and not any(said[5:]) else SILENT


def mismatch(server: Server, wanted: str) -> str:
    """Why a server there does not understand the command, which needs ``wanted``, with the mend; empty: not known."""
    found = spoken(server.address)
    host = f"[{server.address.host}]" if ":" in server.address.host else server.address.host
    if found in (HTTP1, HTTP2) and server.tls:
        return f"{server.address} is not served over TLS: use --server {server.address}"
    if found == TLS:
        found = _inside_tls(server.address)
        if not server.tls and found in (TLS, wanted):
            return f"{server} is served over TLS: use --server https://{server.address}"
    if found == HTTP2 and wanted == HTTP1:
        return f"{server} is a gRPC port; this command needs the HTTP port: use --server {host}:{HTTP_PORT}"
    if found == HTTP1 and wanted == HTTP2:
        return f"{server} is an HTTP port; this command needs the gRPC port: use --server {host}:{GRPC_PORT}"
    return ""
