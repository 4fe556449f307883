"""What a lying proxy says in place of an API server: answers made of what the API server said, or of nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from support.kube_wire import a_status, an_error
from yarl import URL

FORWARDED = ("Accept", "Authorization", "Content-Type", "User-Agent")
RETURNED = ("Content-Type", "Retry-After")
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a list which came as a watch (KEP-3157)."""

GONE = an_error(410, "Expired", "too old resource version: the proxy says so")
Edit = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What becomes of an object; None: it is left out."""

Answer = Callable[[web.Request, "Upstream"], Awaitable[web.StreamResponse]]


class Verb(StrEnum):
    """What a request wants. A list may come as the beginning of a watch (KEP-3157).

    A list of one object is ``OTHER``: it is asked for the resourceVersion, or for that object's sake.
    """

    LIST = "list"
    WATCH = "watch"
    OTHER = "other"


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
    """A complete list, 200, without the objects whose names ``lacks`` picks."""
    return edited(lambda item: None if lacks(item["metadata"]["name"]) else item)


def empty() -> Answer:
    """A complete list of nothing, 200."""
    return edited(lambda _item: None)


def edited(edit: Edit) -> Answer:
    """A complete list, 200, of what ``edit`` makes of each object; a watch tells the truth after its list."""

    async def answer(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        if streams(request):
            return await _edited_stream(request, upstream, edit)
        async with upstream.answer(request) as response:
            body = await response.read()
            if response.status == 200:
                document = json.loads(body)
                items = map(edit, document["items"] or ())
                body = json.dumps({**document, "items": [each for each in items if each is not None]}).encode()
            return web.Response(status=response.status, headers=returned(response), body=body)

    return answer


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


async def _edited_stream(request: web.Request, upstream: Upstream, edit: Edit) -> web.StreamResponse:
    async with upstream.answer(request) as response:
        stream = web.StreamResponse(status=response.status, headers=returned(response))
        await stream.prepare(request)
        listing = begins_with_list(request)
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                told = edit(event["object"]) if listing and event["type"] == "ADDED" else event["object"]
                if told is not None:
                    await stream.write(json.dumps({**event, "object": told}).encode() + b"\n")
                listing = listing and not _ends_list(event)
        await stream.write(rest)
        return stream


def _ends_list(event: dict[str, Any]) -> bool:
    annotations = event["object"].get("metadata", {}).get("annotations") or {}
    return event["type"] == "BOOKMARK" and annotations.get(INITIAL_EVENTS_END) == "true"


def returned(response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """The headers that go on to the client."""
    return CIMultiDict((name, response.headers[name]) for name in RETURNED if name in response.headers)
