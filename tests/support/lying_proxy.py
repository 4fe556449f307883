"""A proxy in front of an API server that ends TLS, with a certificate of its own, and does not always tell the truth.

Left alone it forwards every request and its answer. A lie answers the requests it is for in place of the API server,
with what the API server said, less something, or with nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from support.certificates import write_certificate
from support.kube_wire import a_status, an_error
from yarl import URL

FORWARDED = ("Accept", "Authorization", "Content-Type", "User-Agent")
RETURNED = ("Content-Type", "Retry-After")
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a list which came as a watch (KEP-3157)."""

GONE = an_error(410, "Expired", "too old resource version: the proxy says so")
MAX_BODY_BYTES = 64 * 1024 * 1024
Answer = Callable[[web.Request, "Upstream"], Awaitable[web.StreamResponse]]


class Verb(StrEnum):
    """What a request wants. A list may come as the beginning of a watch (KEP-3157).

    A list of one object is ``OTHER``: it is asked for the resourceVersion, or for that object's sake.
    """

    LIST = "list"
    WATCH = "watch"
    OTHER = "other"


READS = (Verb.LIST, Verb.WATCH)


@dataclass(slots=True)
class _Lie:
    answer: Answer
    resource: str | None
    verbs: tuple[Verb, ...]
    left: int | None

    def is_for(self, verb: Verb, resource: str) -> bool:
        return self.left != 0 and verb in self.verbs and self.resource in (None, resource)


class Upstream:
    """The API server behind the proxy."""

    def __init__(self, server: str, ca: Path) -> None:
        self._server = server
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(ca)), limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @contextlib.asynccontextmanager
    async def answer(self, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """What the API server says to ``request``."""
        headers = {name: request.headers[name] for name in FORWARDED if name in request.headers}
        async with self._session.request(
            request.method,
            URL(self._server + request.raw_path, encoded=True),
            headers={**headers, "Accept-Encoding": "identity"},
            data=await request.read() or None,
        ) as response:
            yield response

    async def close(self) -> None:
        await self._session.close()


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

    def be_honest(self) -> None:
        self._lies.clear()

    @property
    def watches(self) -> int:
        """How many are open now."""
        return len(self._watches)

    def cut_watches(self) -> None:
        """Break every watch off."""
        for transport in tuple(self._watches):
            transport.abort()

    async def expire_watches(self) -> None:
        """Tell every open watch that its version is too old, in an ERROR event: all is listed anew."""
        for stream in tuple(self._watches.values()):
            await stream.write(GONE + b"\n")

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
        transport = request.transport
        assert transport is not None
        async with upstream.answer(request) as response:
            stream = web.StreamResponse(status=response.status, headers=returned(response))
            await stream.prepare(request)
            if streams(request) and response.status == 200:
                self._watches[transport] = stream
            try:
                async for chunk in response.content.iter_any():
                    await stream.write(chunk)
            finally:
                self._watches.pop(transport, None)
            await stream.write_eof()
            return stream


def asked(request: web.Request) -> tuple[Verb, str]:
    """The verb, and the resource in the plural."""
    parts = request.path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    resource = rest[0] if rest else ""
    one = request.query.get("limit") == "1" or "fieldSelector" in request.query
    if request.method != "GET" or len(rest) != 1 or one:
        return Verb.OTHER, resource
    resumed = streams(request) and not begins_with_list(request)
    return Verb.WATCH if resumed else Verb.LIST, resource


def streams(request: web.Request) -> bool:
    """The answer goes on for long."""
    return request.query.get("watch") in ("true", "1")


def begins_with_list(request: web.Request) -> bool:
    return request.query.get("sendInitialEvents") == "true"


def cut(request: web.Request) -> None:
    """Break the connection off, with whatever is being said on it."""
    if request.transport is not None:
        request.transport.abort()


def refused(status: int, retry_after: int | None = None, reason: str = "") -> Answer:
    """An error of the API server; ``retry_after`` seconds as its header."""

    async def answer(_request: web.Request, _upstream: Upstream) -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        body = a_status(status, reason, "the proxy says so")
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)

    return answer


def gone_event() -> Answer:
    """A watch that is accepted and says at once that its version is too old."""

    async def answer(_request: web.Request, _upstream: Upstream) -> web.StreamResponse:
        return web.Response(body=GONE + b"\n", content_type="application/json")

    return answer


def without(lacks: Callable[[str], bool]) -> Answer:
    """A complete list, 200, without the objects whose names ``lacks`` picks; a watch tells the truth after its list."""

    async def answer(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        if streams(request):
            return await _without_initial(request, upstream, lacks)
        async with upstream.answer(request) as response:
            body = await response.read()
            if response.status == 200:
                document = json.loads(body)
                document["items"] = [each for each in document["items"] or () if not lacks(each["metadata"]["name"])]
                body = json.dumps(document).encode()
            return web.Response(status=response.status, headers=returned(response), body=body)

    return answer


def empty() -> Answer:
    """A complete list of nothing, 200."""
    return without(lambda _name: True)


def half(*, then_stall: bool) -> Answer:
    """Half of the body (of a watch: of what comes first), and then a broken connection, or nothing more, ever."""

    async def answer(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        async with upstream.answer(request) as response:
            stream = web.StreamResponse(status=response.status, headers=returned(response))
            if streams(request):
                body = await response.content.readany()
            else:
                body = await response.read()
                stream.content_length = len(body)
            await stream.prepare(request)
            await stream.write(body[: len(body) // 2])
            if then_stall:
                await asyncio.Event().wait()
            cut(request)
            return stream

    return answer


async def _without_initial(
    request: web.Request, upstream: Upstream, lacks: Callable[[str], bool]
) -> web.StreamResponse:
    async with upstream.answer(request) as response:
        stream = web.StreamResponse(status=response.status, headers=returned(response))
        await stream.prepare(request)
        listing = begins_with_list(request)
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if not (listing and event["type"] == "ADDED" and lacks(event["object"]["metadata"]["name"])):
                    await stream.write(line + b"\n")
                listing = listing and not _ends_list(event)
        await stream.write(rest)
        return stream


def _ends_list(event: dict[str, Any]) -> bool:
    annotations = event["object"].get("metadata", {}).get("annotations") or {}
    return event["type"] == "BOOKMARK" and annotations.get(INITIAL_EVENTS_END) == "true"


def returned(response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """The headers that go on to the client."""
    return CIMultiDict((name, response.headers[name]) for name in RETURNED if name in response.headers)
