"""Where to listen or connect, as text."""

from __future__ import annotations

from typing import NamedTuple

MAX_PORT = 65535
UNIX = "unix:"
DEFAULT_PORT = 15010
"""Of gRPC."""


class Address(NamedTuple):
    """Where to listen or connect. Port 0: any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_peer(text: str) -> Address:
    """``HOST:PORT``, or a host alone, whose port is the one that a registry's gRPC has by default.

    Raises:
        ValueError: it is neither, or has no port to connect to.
    """
    bare = ":" not in text or (text.startswith("[") and text.endswith("]"))
    address = parse_address(f"{text}:{DEFAULT_PORT}" if bare else text)
    if address.port == 0:
        raise ValueError(f"expected a port above 0, got {text!r}")
    return address


def parse_address(text: str) -> Address:
    """``HOST:PORT``, an IPv6 host in brackets.

    Raises:
        ValueError: it is not that.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f"expected HOST:PORT, got {text!r} (an IPv6 address goes in brackets: [::1]:15010)")
    if not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
        raise ValueError(f"expected a port from 0 to {MAX_PORT} after the last colon, got {text!r}")
    return Address(host, int(port))
