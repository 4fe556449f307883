"""Where a command finds the registry: the forms of ``--server``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from registry.config import Address, parse_address

HTTP_PORT = 15014
GRPC_PORT = 15010
"""The registry's ports where nobody named others."""

_HOST = re.compile(r"[^\s/?#@\\\[\]<>\"'`|,;]+")
"""A host name in any script, an IPv4 address, or what was in brackets."""


@dataclass(frozen=True, slots=True)
class Server:
    """A port of the registry. ``tls``: it is asked over TLS."""

    address: Address
    tls: bool = False

    def __str__(self) -> str:
        return f"https://{self.address}" if self.tls else str(self.address)

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}{path}"


def parse_server(text: str, default_port: int | None) -> Server:
    """``HOST[:PORT]``, ``http://HOST[:PORT][/]`` or ``https://...``; an IPv6 host in brackets.

    Without a ``default_port`` the port has to be there.

    Raises:
        ValueError: it is not that.
    """
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Server(_address(text, default_port, text))
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f"{text!r} begins with {scheme}://; write HOST:PORT, http://HOST:PORT or https://HOST:PORT")
    extra = _extra(urlsplit(f"//{rest}"))
    if extra:
        raise ValueError(f"{text!r} has {extra}; write http://HOST:PORT alone")
    return Server(_address(rest.rstrip("/"), default_port, text), scheme.lower() == "https")


def _address(authority: str, default_port: int | None, text: str) -> Address:
    bare = authority.startswith("[") and authority.endswith("]")
    complete = default_port is None or (":" in authority and not bare)
    address = parse_address(authority if complete else f"{authority}:{default_port}")
    if not complete and authority.isdecimal():
        raise ValueError(f"{text!r} is a port without its host; write HOST:PORT, as in 127.0.0.1:{authority}")
    if not address.port:
        raise ValueError(f"{text!r} names port 0; nobody can be reached there")
    if not _HOST.fullmatch(address.host) or (":" in address.host) != authority.startswith("["):
        raise ValueError(f"{text!r} has no host that can be reached; write HOST:PORT")
    return address


def _extra(parts: SplitResult) -> str:
    """What stands beside host and port."""
    if "@" in parts.netloc:
        return "a user before the host"
    if parts.path.strip("/"):
        return f"the path {parts.path}"
    return "a query" if parts.query else "a fragment" if parts.fragment else ""
