"""A proxy in front of an API server that ends TLS, with a certificate of its own, and does not always tell the truth.

Left alone it forwards every request and its answer. A lie (``kube_lies``) answers the requests it is for in place of
the API server.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web
from support.certificates import write_certificate
from support.kube_lies import GONE, Answer, Upstream, Verb, asked, cut, returned, streams

MAX_BODY_BYTES = 64 * 1024 * 1024
READS = (Verb.LIST, Verb.WATCH)


@dataclass(slots=True)
class _Lie:
    answer: Answer
    resource: str | None
    verbs: tuple[Verb, ...]
    left: int | None

    def is_for(self, verb: Verb, resource: str) -> bool:
        return self.left != 0 and verb in self.verbs and self.resource in (None, resource)


Expired = frozenset[asyncio.Transport]
"""Watches that were told that they are too old."""


class LyingProxy:
    """Forwards HTTP/1.1 to ``server``, whose authority is ``ca``. Use as an async context."""

    def __init__(self, server: str, ca: Path, folder: Path) -> None:
        """``folder`` gets the proxy's own ``ca.crt`` and certificate; it is made."""
        self._server = server
        self._server_ca = ca
        self._folder = folder
        self._lies: list[_Lie] = []
        self._watches: dict[asyncio.Transport, web.StreamResponse] = {}
        self._upstream: Upstream | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._losing = ""
        self.lost = 0
        """How many pieces of watches were lost."""
        self.told = 0
        """How many requests were answered with a lie."""

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True)
        write_certificate(self._folder, "ca", "proxy")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._folder / "proxy.crt", self._folder / "proxy.key")
        self._upstream = Upstream(self._server, self._server_ca)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._runner is not None
        assert self._upstream is not None
        self.cut_watches()
        await self._runner.cleanup()
        await self._upstream.close()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca(self) -> Path:
        return self._folder / "ca.crt"

    def lie(
        self, answer: Answer, resource: str | None = None, verbs: tuple[Verb, ...] = READS, times: int | None = None
    ) -> None:
        """Answer requests of ``verbs`` for ``resource`` (``endpointslices``; None for any) so: the next ``times``.

        The first lie that is for a request and not used up yet is told.
        """
        self._lies.append(_Lie(answer, resource, verbs, times))

    def lose_events(self, resource: str) -> None:
        """From now on nothing that watches of ``resource`` bring goes through, and they stay open."""
        self._losing = resource

    def be_honest(self) -> None:
        """From now on; what was said is said."""
        self._lies.clear()
        self._losing = ""

    @property
    def watches(self) -> int:
        """How many are open now."""
        return len(self._watches)

    def cut_watches(self) -> None:
        """Break every watch off."""
        for transport in tuple(self._watches):
            transport.abort()

    async def expire_watches(self) -> Expired:
        """Tell every open watch that its version is too old, in an ERROR event: all is listed anew."""
        expired = dict(self._watches)
        for stream in expired.values():
            await stream.write(GONE + b"\n")
        return frozenset(expired)

    def watches_after(self, expired: Expired) -> int:
        """How many are open now, without those that were expired and are not closed yet."""
        return len(self._watches.keys() - expired)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert self._upstream is not None
        verb, resource = asked(request)
        try:
            lie = next((each for each in self._lies if each.is_for(verb, resource)), None)
            if lie is None:
                return await self._forward(request, self._upstream)
            self.told += 1
            if lie.left is not None:
                lie.left -= 1
            return await lie.answer(request, self._upstream)
        except aiohttp.ClientConnectorError:
            return web.Response(status=502, text="the API server cannot be reached")
        except (aiohttp.ClientError, ConnectionError):
            cut(request)  # either end broke off
            return web.Response(status=502)

    async def _forward(self, request: web.Request, upstream: Upstream) -> web.StreamResponse:
        """No lie: the API server's own words, as they come."""
        transport, resource = request.transport, asked(request)[1]
        assert transport is not None
        async with upstream.answer(request) as response:
            stream = web.StreamResponse(status=response.status, headers=returned(response))
            await stream.prepare(request)
            if streams(request) and response.status == 200:
                self._watches[transport] = stream
            try:
                async for chunk in response.content.iter_any():
                    if streams(request) and self._losing == resource:
                        self.lost += 1
                    else:
                        await stream.write(chunk)
            finally:
                self._watches.pop(transport, None)
            await stream.write_eof()
            return stream
