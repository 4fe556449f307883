"""An API server that does what a test tells it: for answers a real one cannot be made to give when wanted."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Object = dict[str, Any]
LIST_KINDS = {
    "services": "ServiceList",
    "endpointslices": "EndpointSliceList",
    "pods": "PodList",
    "nodes": "NodeList",
    "namespaces": "NamespaceList",
    "serviceentries": "ServiceEntryList",
}


def a_list(*items: Object, version: str = "1", token: str = "") -> Answer:
    """A list, or a page of one."""

    async def answer(request: web.Request) -> web.Response:
        kind = LIST_KINDS.get(request.path.rpartition("/")[2], "List")
        metadata = {"resourceVersion": version, "continue": token}
        return web.json_response({"kind": kind, "metadata": metadata, "items": items})

    return answer


def a_status(code: int, message: str = "no", **headers: str) -> Answer:
    """An error, as the API server says it."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": message}, status=code, headers=headers)

    return answer


def a_watch(*chunks: bytes, end: str = "stay") -> Answer:
    """A watch that sends ``chunks``. ``end``: ``stay`` open, ``close`` in order, or ``abort`` the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if end == "stay":
            await asyncio.Event().wait()
        if end == "abort" and request.transport is not None:
            request.transport.abort()
        return response

    return answer


def event(kind: str, body: Object) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


class FakeApiServer:
    """Lists and watches of each resource are answered by the scripts, in turn; the last of each again and again.

    Resources without a script list empty and watch in silence. ``requests`` has every path with its query.
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[Answer]] = {}
        self.watches: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if context else 'http'}://{host}:{port}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def kubeconfig(self, path: Path, **cluster: Any) -> Path:
        """A kubeconfig for it; ``cluster`` are more keys of the cluster."""
        document = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": self.url, **cluster}}],
            "users": [{"name": "it", "user": {"token": "secret"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def asked(self, resource: str, *, watch: bool) -> list[dict[str, str]]:
        """The queries of all lists or watches of a resource, oldest first."""
        return [query for path, query in self.requests if path.endswith(f"/{resource}") and ("watch" in query) == watch]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query)))
        resource = request.path.rpartition("/")[2]
        watch = "watch" in request.query
        script = (self.watches if watch else self.lists).get(resource) or [a_watch() if watch else a_list()]
        answer = script.pop(0) if len(script) > 1 else script[0]
        return await answer(request)
