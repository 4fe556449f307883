"""The Secrets of a fake home cluster: real HTTP, and answers that can be spoiled."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from io import BytesIO
from typing import Any, Self

from aiohttp import web
from support.kube_wire import a_status, an_error, an_event

PATH = "/api/v1/namespaces/istio-system/secrets"


def a_secret(name: str, **clusters: str) -> dict[str, Any]:
    """A remote secret: cluster -> kubeconfig. Underscores in cluster names are dashes."""
    data = {key.replace("_", "-"): b64encode(content.encode()).decode() for key, content in clusters.items()}
    return {"metadata": {"name": name, "labels": {"istio/multiCluster": "true"}}, "data": data}


class FakeSecrets:
    """Use as an async context. ``refuse``: the status every request gets; ``forget``: lists are empty from now on.

    ``uid``: the cluster's; empty, and nobody may list namespaces.
    """

    def __init__(self) -> None:
        self.refuse = 0
        self.forget = False
        self.uid = "uid-home"
        self.lists = 0
        self._concealed: set[str] = set()
        self.selectors: set[str] = set()
        self._held: dict[str, dict[str, Any]] = {}
        self._changes: list[tuple[int, bytes]] = []
        self._version = 1
        self._changed = asyncio.Condition()
        self._watches: list[web.Request] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(PATH, self._handle)
        app.router.add_get("/api/v1/namespaces", self._identity)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def watches(self) -> int:
        """How many are open."""
        return len(self._watches)

    async def put(self, secret: dict[str, Any]) -> None:
        name = secret["metadata"]["name"]
        await self._change("MODIFIED" if name in self._held else "ADDED", secret)
        self._held[name] = secret

    async def delete(self, name: str) -> None:
        await self._change("DELETED", self._held.pop(name))

    async def expire(self) -> None:
        """Every watch is too old: there will be a list."""
        async with self._changed:
            self._version += 1
            self._changes.append((self._version, an_error(410, "Expired", "too old")))
            self._changed.notify_all()

    def conceal(self, name: str) -> None:
        """Lists lack this Secret from now on."""
        self._concealed.add(name)

    def cut(self) -> None:
        """Break off every watch."""
        for request in list(self._watches):
            assert request.transport is not None
            request.transport.abort()

    async def _change(self, event: str, secret: dict[str, Any]) -> None:
        async with self._changed:
            self._version += 1
            versioned = secret | {"metadata": secret["metadata"] | {"resourceVersion": str(self._version)}}
            self._changes.append((self._version, an_event(event, versioned)))
            self._changed.notify_all()

    async def _identity(self, _request: web.Request) -> web.Response:
        if self.refuse or not self.uid:
            return web.Response(status=self.refuse or 403, body=a_status(self.refuse or 403, "", "scripted"))
        metadata = {"name": "kube-system", "uid": self.uid}
        listed = {"kind": "NamespaceList", "metadata": {"resourceVersion": "1"}, "items": [{"metadata": metadata}]}
        return web.json_response(listed)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.selectors.add(request.query.get("labelSelector", ""))
        if self.refuse:
            return web.Response(status=self.refuse, body=a_status(self.refuse, "", "scripted"))
        if request.query.get("watch") == "true":
            return await self._watch(request)
        self.lists += "continue" not in request.query
        shown = {} if self.forget else self._held
        items = [secret for name, secret in shown.items() if name not in self._concealed]
        begin, size = int(request.query.get("continue", "0")), int(request.query["limit"])
        metadata = {"resourceVersion": str(self._version)}
        if len(items) > begin + size:
            metadata["continue"] = str(begin + size)
        listed = json.dumps({"metadata": metadata, "items": items[begin : begin + size]})
        return web.Response(body=BytesIO(listed.encode()))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        stream = web.StreamResponse()
        await stream.prepare(request)
        self._watches.append(request)
        try:
            while True:
                for at, line in [each for each in self._changes if each[0] > version]:
                    version = at
                    await stream.write(line + b"\n")
                async with self._changed:
                    await self._changed.wait()
        finally:
            self._watches.remove(request)
