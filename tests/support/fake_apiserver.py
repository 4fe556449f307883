"""An API server that misbehaves when told to: real HTTP, scripted answers.

Left alone it lists what it was given, in pages, and streams each change to whoever watches. ``script`` puts answers in
front of that, each used once. Its verbs are ``list``, ``watch``, ``stream`` (a streaming list), ``version`` (a list
of one), ``names`` (a list of metadata) and ``identity`` (a list of the one namespace that tells the cluster).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from support.kube_wire import (
    a_list_of_groups,
    a_list_of_resources,
    a_page,
    a_page_of_names,
    a_status,
    an_error,
    an_event,
    the_end_of_a_list,
)

from registry.model.names import Kind
from registry.sources.kubernetes.resources import RESOURCES

DEADLINE_SECONDS = 10.0
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    verb: str
    kind: Kind
    query: dict[str, str]
    authorization: str


@dataclass(slots=True)
class _Store:
    """The objects of one kind, and every change that a watch can still ask for."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: list[tuple[int, bytes]] = field(default_factory=list)
    compacted: int = 0


class FakeApiServer:
    """Use as an async context. Versions count up over all kinds."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.version = 1
        self.accepts = ""
        """The only ``Authorization`` that is taken; empty for any."""
        self.streams: bool | None = False
        """Whether there are streaming lists; None: it does not know the parameter and answers with a plain watch."""
        self.served: dict[Kind, str | None] = {kind: RESOURCES[kind].paths[0] for kind in Kind}
        """Where each kind is; None: nowhere."""
        self.uid = "uid-1"
        """Of the namespace ``kube-system``, as far as the cluster's identity is asked for."""
        self.ready = True
        """Whether it says that it is."""
        self.other_groups: list[str] = []
        """Resources that it has besides, by their paths."""
        self.more: Callable[[web.Application], None] = lambda _: None
        """Adds what it answers besides, before it starts."""
        self._tls = tls
        self._stores = {kind: _Store() for kind in Kind}
        self._scripts: dict[tuple[str, Kind], deque[Answer]] = {
            (verb, kind): deque() for verb in VERBS for kind in Kind
        }
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        for kind in Kind:
            for path in RESOURCES[kind].paths:
                app.router.add_get(path, self._handler(kind, path))
        self.more(app)
        app.router.add_get("/readyz", self._readiness)
        app.router.add_get("/apis", self._groups)
        app.router.add_get("/apis/{group}/{version}", self._resources)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def script(self, verb: str, kind: Kind, *answers: Answer) -> None:
        """Answer the next requests of ``verb`` (list, watch) for ``kind`` so."""
        self._scripts[verb, kind].extend(answers)

    async def put(self, kind: Kind, document: dict[str, Any]) -> None:
        """Create or replace, and tell the watches."""
        store, name = self._stores[kind], document["metadata"]["name"]
        await self._change(kind, "MODIFIED" if name in store.objects else "ADDED", document)

    async def delete(self, kind: Kind, name: str) -> None:
        await self._change(kind, "DELETED", self._stores[kind].objects[name])

    async def _change(self, kind: Kind, event: str, document: dict[str, Any]) -> None:
        store, name = self._stores[kind], document["metadata"]["name"]
        async with self._changed:
            self.version += 1
            versioned = document | {"metadata": document["metadata"] | {"resourceVersion": str(self.version)}}
            if event == "DELETED":
                del store.objects[name]
            else:
                store.objects[name] = versioned
            store.changes.append((self.version, an_event(event, versioned)))
            self._changed.notify_all()

    def betray(self, kind: Kind, document: dict[str, Any]) -> None:
        """Put it there without telling the watches, as a bug would: only an audit can find out."""
        self.version += 1
        metadata = document["metadata"] | {"resourceVersion": str(self.version)}
        self._stores[kind].objects[metadata["name"]] = document | {"metadata": metadata}

    def forget(self, kind: Kind, name: str) -> None:
        """Delete it without any event that a watch could have brought: only a list can tell."""
        store = self._stores[kind]
        del store.objects[name]
        self.version += 1
        store.changes.clear()
        store.compacted = self.version

    async def requests(self, verb: str, kind: Kind, count: int) -> list[Seen]:
        """Wait until so many requests of this sort were made."""
        found: list[Seen] = []

        def enough() -> bool:
            found[:] = [each for each in self.seen if (each.verb, each.kind) == (verb, kind)]
            return len(found) >= count

        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(enough)
        return found

    def _handler(self, kind: Kind, path: str) -> Answer:
        async def handle(request: web.Request) -> web.StreamResponse:
            verb = _verb(request)
            seen = Seen(verb, kind, dict(request.query), request.headers.get("Authorization", ""))
            async with self._changed:
                self.seen.append(seen)
                self._changed.notify_all()
            if self.accepts and seen.authorization != self.accepts:
                return await refuse(401, "Unauthorized", "Unauthorized")(request)
            script = self._scripts[verb, kind]
            if script:
                return await script.popleft()(request)
            if self.served[kind] != path:
                return web.Response(status=404, text="404 page not found\n")
            return await self._answer(verb, request, kind)

        return handle

    async def _readiness(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok") if self.ready else web.Response(status=500, text="[-]crd-informer-synced failed")

    def _paths(self) -> list[str]:
        return [*filter(None, self.served.values()), *self.other_groups]

    async def _groups(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=a_list_of_groups(self._paths()), content_type="application/json")

    async def _resources(self, request: web.Request) -> web.StreamResponse:
        version = f"{request.match_info['group']}/{request.match_info['version']}"
        names = [path.rpartition("/")[2] for path in self._paths() if path.startswith(f"/apis/{version}/")]
        if not names:
            return web.Response(status=404, text="404 page not found\n")
        return web.Response(body=a_list_of_resources(version, *names), content_type="application/json")

    async def _answer(self, verb: str, request: web.Request, kind: Kind) -> web.StreamResponse:
        match verb:
            case "watch":
                return await self._watch(request, kind, int(request.query["resourceVersion"]))
            case "stream":
                return await self._stream(request, kind)
            case "identity":
                system = {"metadata": {"name": "kube-system", "uid": self.uid}}
                return web.Response(body=a_page([system], version=str(self.version), kind=kind))
            case _:
                return await self._list(request, kind, names=verb == "names")

    async def _list(self, request: web.Request, kind: Kind, *, names: bool) -> web.StreamResponse:
        items = list(self._stores[kind].objects.values())
        start, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        token = str(start + limit) if start + limit < len(items) else ""
        page = items[start : start + limit]
        if names:
            body = a_page_of_names(page, version=str(self.version), token=token)
        else:
            body = a_page(page, version=str(self.version), token=token, kind=kind)
        response = web.Response(body=body, content_type="application/json")
        response.enable_compression()
        return response

    async def _stream(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        if self.streams is False:
            return await refuse(422, "Invalid", "sendInitialEvents: Forbidden")(request)
        stream, version = await _opened(request), self.version
        for document in list(self._stores[kind].objects.values()):
            await stream.write(an_event("ADDED", document) + b"\n")
        if self.streams:
            await stream.write(the_end_of_a_list(str(version)) + b"\n")
        return await self._follow(stream, kind, version)

    async def _watch(self, request: web.Request, kind: Kind, version: int) -> web.StreamResponse:
        stream = await _opened(request)
        if version < self._stores[kind].compacted:
            await stream.write(an_error(410, "Expired", f"too old resource version: {version}") + b"\n")
            return stream
        return await self._follow(stream, kind, version)

    async def _follow(self, stream: web.StreamResponse, kind: Kind, version: int) -> web.StreamResponse:
        store = self._stores[kind]
        with contextlib.suppress(ConnectionError):
            while True:
                news = [each for each in store.changes if each[0] > version]
                for at, line in news:
                    await stream.write(line + b"\n")
                    version = at
                if not news:
                    async with self._changed:
                        await self._changed.wait()
        return stream


VERBS = ("list", "watch", "stream", "version", "names", "identity")


def _verb(request: web.Request) -> str:
    if request.query.get("watch") == "true":
        return "stream" if request.query.get("sendInitialEvents") == "true" else "watch"
    if "PartialObjectMetadataList" in request.headers.get("Accept", ""):
        return "names"
    if "fieldSelector" in request.query:
        return "identity"
    return "version" if request.query.get("limit") == "1" else "list"


async def _opened(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "application/json"})
    await stream.prepare(request)
    return stream


def refuse(status: int, reason: str = "", message: str = "scripted", **headers: str) -> Answer:
    """An error as an API server puts it; ``Retry_After`` in ``headers`` is the header ``Retry-After``."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=a_status(status, reason, message), headers=named)

    return answer


def body(content: bytes) -> Answer:
    """200 with exactly this."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content)

    return answer


def stream(*pieces: bytes, then: str = "end", gate: asyncio.Event | None = None) -> Answer:
    """These pieces, each on the wire before the next; after ``gate`` ``end``, ``cut`` the connection, or ``stall``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await _opened(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        if gate is not None:
            await gate.wait()
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
        elif then == "stall":
            await asyncio.Event().wait()
        return response

    return answer


def silence() -> Answer:
    """Take the request and never answer."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return answer


def kubeconfig(server: str, *, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """A kubeconfig with one of everything; ``cluster`` adds to its cluster, dashes as underscores."""
    fields = {name.replace("_", "-"): value for name, value in cluster.items()}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": server, **fields}}],
        "users": [{"name": "it", "user": {"token": "secret"} if user is None else user}],
    }
    return json.dumps(document)
