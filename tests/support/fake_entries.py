"""The ServiceEntries of a fake API server: held in memory, with faults a test can put in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

Object = dict[str, Any]
PATH = "/apis/networking.istio.io/v1"


class FakeEntries:
    """Server-side apply, list, get and delete, for one field manager.

    ``fault`` may answer a request instead: it is given the method and the name (empty for a list), and returns a status
    or None. ``wrote`` has method and name of every write that came through; ``uid`` is the cluster's.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.fault: Callable[[str, str], int | None] = lambda _method, _name: None
        self.wrote: list[tuple[str, str]] = []
        self.requests = 0
        self.uid = "uid-a"
        self._runner: web.AppRunner | None = None
        self._uids = 0
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces", self._identity)
        app.router.add_get(f"{PATH}/serviceentries", self._list)
        app.router.add_route("*", PATH + "/namespaces/{namespace}/serviceentries/{name}", self._one)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def put(self, namespace: str, name: str, spec: Object, manager: str, labels: dict[str, str]) -> None:
        """Somebody wrote an object."""
        self._uids += 1
        metadata = {"namespace": namespace, "name": name, "uid": str(self._uids), "labels": labels}
        metadata["managedFields"] = [{"manager": manager, "operation": "Apply"}]  # type: ignore[assignment]
        self.objects[namespace, name] = {"metadata": metadata, "spec": spec}

    async def _identity(self, _request: web.Request) -> web.Response:
        metadata = {"name": "kube-system", "uid": self.uid}
        listed = {"kind": "NamespaceList", "metadata": {"resourceVersion": "1"}, "items": [{"metadata": metadata}]}
        return web.json_response(listed)

    async def _list(self, request: web.Request) -> web.Response:
        self.requests += 1
        status = self.fault("GET", "")
        if status is not None:
            return _status(status)
        key, _, value = request.query["labelSelector"].partition("=")
        items = [each for each in self.objects.values() if each["metadata"]["labels"].get(key) == value]
        return web.json_response({"kind": "ServiceEntryList", "metadata": {"resourceVersion": "1"}, "items": items})

    async def _one(self, request: web.Request) -> web.Response:
        self.requests += 1
        key = (request.match_info["namespace"], request.match_info["name"])
        status = self.fault(request.method, key[1])
        if status is not None:
            return _status(status)
        held = self.objects.get(key)
        if request.method == "PATCH":
            return await self._apply(request, key, held)
        if held is None:
            return _status(404)
        if request.method == "DELETE":
            body = await request.json()
            if body["preconditions"]["uid"] != held["metadata"]["uid"]:
                return _status(409)
            del self.objects[key]
            self.wrote.append(("DELETE", key[1]))
        return web.json_response(held)

    async def _apply(self, request: web.Request, key: tuple[str, str], held: Object | None) -> web.Response:
        body = await request.json()
        uid = body["metadata"].get("uid")
        if uid is not None and (held is None or held["metadata"]["uid"] != uid):
            return _status(409)
        self.put(*key, body["spec"], request.query["fieldManager"], body["metadata"]["labels"])
        if held is not None:
            self.objects[key]["metadata"]["uid"] = held["metadata"]["uid"]
        self.wrote.append(("PATCH", key[1]))
        return web.json_response(self.objects[key])


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "message": f"fault {code}"}, status=code)


async def a_moment() -> None:
    """Let everything that is ready run: for the claim that nothing happens."""
    for _ in range(50):
        await asyncio.sleep(0.001)
