"""How connections are made: directly, through an HTTP proxy, or through a SOCKS proxy."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from registry.sources.kubernetes.heads import BoundedHandler
from registry.sources.kubernetes.urls import Address

KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A peer that vanished without a word is noticed within 30 s; a watch may be silent for long, and would not notice."""


class Way(TypedDict, total=False):
    """The arguments of a request that take it through an HTTP proxy."""

    proxy: str
    proxy_headers: dict[str, str]


def connector(proxy: Address | None, **options: Any) -> aiohttp.TCPConnector:
    """What makes the connections of a session whose requests all take ``proxy``."""
    if proxy is not None and proxy.scheme.startswith("socks5"):
        return _SocksConnector(proxy, **options)
    return _Connector(**options)


def through(proxy: Address | None) -> Way:
    """What a request has to say for ``proxy``."""
    if proxy is None or proxy.scheme.startswith("socks5"):
        return {}
    return {"proxy": proxy.url, "proxy_headers": dict(proxy_headers(proxy))}


def proxy_headers(proxy: Address) -> tuple[tuple[str, str], ...]:
    """The headers that a request to the proxy itself has: CONNECT, and requests of plain HTTP."""
    if not proxy.username and not proxy.password:
        return ()
    pair = b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    return (("Proxy-Authorization", f"Basic {pair}"),)


def kept_alive_socket(address: tuple[int, int, int, str, object]) -> socket.socket:
    """A socket that notices a peer that is gone."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    _keep_alive(made)
    return made


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Unresolved(AbstractResolver):
    """Leaves names as they are: a SOCKS proxy resolves them."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)
        return [found]

    async def close(self) -> None:
        """Nothing is open."""


class _Connector(aiohttp.TCPConnector):
    """Makes connections whose answers have bounded heads. aiohttp has no other seam for the protocol."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handler: Callable[..., ResponseHandler] = BoundedHandler
        self._factory = partial(handler, loop=self._loop)


class _SocksConnector(_Connector):
    """Makes each connection through a SOCKS5 proxy (RFC 1928, RFC 1929). TLS is spoken with the server behind it.

    aiohttp-socks is the same idea, but drops the name that the server's certificate is checked against.
    """

    def __init__(self, proxy: Address, **options: Any) -> None:
        options.pop("socket_factory", None)
        super().__init__(resolver=_Unresolved(), use_dns_cache=False, **options)
        self._proxy = proxy

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: Any, req: aiohttp.ClientRequest, timeout: Any, **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        options.pop("client_error", None)
        connected = await self._connected(req, *addr_infos[0][4][:2])
        try:
            _keep_alive(connected)
            return await self._wrap_existing_connection(*args, req=req, timeout=timeout, sock=connected, **options)
        except BaseException:
            connected.close()
            raise

    async def _connected(self, req: aiohttp.ClientRequest, host: str, port: int) -> socket.socket:
        from python_socks import ProxyError, ProxyType
        from python_socks.async_.asyncio import Proxy

        at = urlsplit(self._proxy.url)
        user, password = self._proxy.username or None, self._proxy.password or None
        try:
            proxy = Proxy(ProxyType.SOCKS5, at.hostname or "", at.port or 0, user, password, rdns=True)
            return await proxy.connect(host, port)
        except (OSError, ProxyError) as error:
            cause = error if isinstance(error, OSError) else OSError(None, "the proxy answered with an error")
            raise aiohttp.ClientProxyConnectionError(req.connection_key, cause) from error
