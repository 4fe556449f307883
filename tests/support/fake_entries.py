"""The ServiceEntries of a fake API server: held in memory, with faults a test can put in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

Object = dict[str, Any]
PATH = "/apis/networking.istio.io/v1"
Fault = int | tuple[int, str] | None


class FakeEntries:
    """Server-side apply, list, watch, get and delete.

    ``fault`` may answer a request instead: it is given the method (``WATCH`` for a watch) and the name (empty for a
    list), and returns a status, or one with a message, or None; ``refuse`` likewise, given the object that is applied.
    ``wrote`` has method and name of every write that came through; ``uid`` is the cluster's.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.fault: Callable[[str, str], Fault] = lambda _method, _name: None
        self.refuse: Callable[[Object], Fault] = lambda _object: None
        self.garbage = b""
        """Answers every list with 200, if it is any."""
        self.wrote: list[tuple[str, str]] = []
        self.requests = 0
        self.watches = 0
        self.uid = "uid-a"
        self.version = 1
        self._events: list[tuple[int, Object]] = []
        self._changed = asyncio.Event()
        self._cut = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._uids = 0
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces", self._identity)
        self.serve(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def serve(self, app: web.Application) -> None:
        """Answer for ServiceEntries in that API server."""
        app.router.add_get(f"{PATH}/serviceentries", self._list)
        app.router.add_route("*", PATH + "/namespaces/{namespace}/serviceentries/{name}", self._one)

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def cut(self) -> None:
        """Every watch ends."""
        self._cut.set()
        self._cut = asyncio.Event()

    def put(
        self, namespace: str, name: str, spec: Object, manager: str, labels: dict[str, str], *, quietly: bool = False
    ) -> None:
        """Somebody applied an object in the place of any that was there; ``quietly``: watches do not tell."""
        self._uids += 1
        metadata = {"namespace": namespace, "name": name, "uid": str(self._uids), "labels": labels}
        fields = {"f:spec": {f"f:{field}": {} for field in spec}}
        metadata["managedFields"] = [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]  # type: ignore[assignment]
        event = "MODIFIED" if (namespace, name) in self.objects else "ADDED"
        self.objects[namespace, name] = {"metadata": metadata, "spec": spec}
        self._tell(event, self.objects[namespace, name], quietly=quietly)

    def edit(self, namespace: str, name: str, manager: str = "kubectl-edit", **spec: Any) -> None:
        """Somebody changed fields of the spec: they are theirs from now on."""
        held = self.objects[namespace, name]
        held["spec"] = {**held["spec"], **spec}
        managers = held["metadata"]["managedFields"]
        for each in managers:
            each["fieldsV1"]["f:spec"] = {k: v for k, v in each["fieldsV1"]["f:spec"].items() if k[2:] not in spec}
        fields = {"f:spec": {f"f:{field}": {} for field in spec}}
        managers.append({"manager": manager, "operation": "Update", "time": str(self.version), "fieldsV1": fields})
        self._tell("MODIFIED", held)

    def remove(self, namespace: str, name: str) -> None:
        """Somebody deleted it."""
        self._tell("DELETED", self.objects.pop((namespace, name)))

    def _tell(self, event: str, it: Object, *, quietly: bool = False) -> None:
        self.version += 1
        it["metadata"]["resourceVersion"] = str(self.version)
        if not quietly:
            self._events.append((self.version, json.loads(json.dumps({"type": event, "object": it}))))
            self._changed.set()
            self._changed = asyncio.Event()

    async def _identity(self, _request: web.Request) -> web.Response:
        metadata = {"name": "kube-system", "uid": self.uid}
        listed = {"kind": "NamespaceList", "metadata": {"resourceVersion": "1"}, "items": [{"metadata": metadata}]}
        return web.json_response(listed)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        watch = "watch" in request.query
        fault = self.fault("WATCH" if watch else "GET", "")
        if fault is not None:
            return _status(fault)
        if self.garbage:
            return web.Response(body=self.garbage)
        if watch:
            return await self._watch(request)
        key, _, value = request.query["labelSelector"].partition("=")
        items = [each for each in self.objects.values() if each["metadata"]["labels"].get(key) == value]
        metadata = {"resourceVersion": str(self.version)}
        return web.json_response({"kind": "ServiceEntryList", "metadata": metadata, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watches += 1
        cut = self._cut
        response = web.StreamResponse()
        await response.prepare(request)
        at = int(request.query["resourceVersion"])
        key, _, value = request.query["labelSelector"].partition("=")
        while not cut.is_set() and request.transport is not None:
            changed = self._changed
            for version, event in [each for each in self._events if each[0] > at]:
                at = version
                if event["object"]["metadata"]["labels"].get(key) == value:
                    await response.write(json.dumps(event).encode() + b"\n")
            waits = [asyncio.ensure_future(each.wait()) for each in (changed, cut)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()
        return response

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
            self.remove(*key)
            self.wrote.append(("DELETE", key[1]))
        return web.json_response(held)

    async def _apply(self, request: web.Request, key: tuple[str, str], held: Object | None) -> web.Response:
        body = await request.json()
        if request.content_type == "application/json-patch+json":
            return self._patch_managers(held, {each["path"].rpartition("/")[2]: each["value"] for each in body})
        uid = body["metadata"].get("uid")
        if uid is not None and (held is None or held["metadata"]["uid"] != uid):
            return _status(409)
        refused = self.refuse(body)
        if refused is not None:
            return _status(refused)
        manager, spec = request.query["fieldManager"], body["spec"]
        labels = {**(held["metadata"]["labels"] if held else {}), **body["metadata"]["labels"]}
        others = {k: v for k, v in held["spec"].items() if k not in spec} if held else {}
        mine = held["metadata"]["managedFields"][:1] if held else []
        foreign = {k: v for k, v in others.items() if not mine or f"f:{k}" not in mine[0]["fieldsV1"]["f:spec"]}
        self.put(*key, {**spec, **foreign}, manager, labels, quietly=True)
        now = self.objects[key]
        now["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"] = {f"f:{field}": {} for field in spec}
        if held is not None:
            now["metadata"]["uid"] = held["metadata"]["uid"]
        self._tell("MODIFIED" if held else "ADDED", now)
        self.wrote.append(("PATCH", key[1]))
        return web.json_response(now)

    def _patch_managers(self, held: Object | None, metadata: Object) -> web.Response:
        if held is None or held["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            return _status(409)
        held["metadata"]["managedFields"] = metadata["managedFields"]
        self._tell("MODIFIED", held)
        return web.json_response(held)


def _status(fault: int | tuple[int, str]) -> web.Response:
    code, message = fault if isinstance(fault, tuple) else (fault, f"fault {fault}")
    return web.json_response({"kind": "Status", "message": message}, status=code)


async def a_moment() -> None:
    """Let everything that is ready run: for the claim that nothing happens."""
    for _ in range(50):
        await asyncio.sleep(0.001)
