"""The tests' own kubelet, whose API server goes away in the middle of what it answers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.away import AwayError
from support.certificates import write_certificate
from support.kube_api import CORE, KubeApi, pod_spec
from support.kubelet import Kubelet, Stop
from support.processes import free_port, until

PODS = f"{CORE}/namespaces/shop/pods"
TIMES = 2
Answer = Callable[[web.Request, web.Response], Awaitable[web.StreamResponse]]


async def cut_connection(request: web.Request, whole: web.Response) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return whole


async def cut_payload(request: web.Request, whole: web.Response) -> web.StreamResponse:
    """The length of the whole answer, half of it, and the end."""
    body = whole.body
    assert isinstance(body, bytes)
    assert request.transport is not None
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    request.transport.close()
    return response


async def cut_json(_request: web.Request, whole: web.Response) -> web.StreamResponse:
    body = whole.body
    assert isinstance(body, bytes)
    return web.Response(body=body[:-1])


async def empty(_request: web.Request, _whole: web.Response) -> web.StreamResponse:
    return web.Response()


async def starting(_request: web.Request, _whole: web.Response) -> web.StreamResponse:
    return web.Response(status=503, text="not yet")


async def storage_initializes(_request: web.Request, _whole: web.Response) -> web.StreamResponse:
    return web.json_response({"message": "storage is (re)initializing"}, status=429)


class ApiServer:
    """Has the pod ``one``. Each operation is answered falsely ``TIMES`` times, done or not, and then right."""

    def __init__(self, fault: Answer, *, does: bool) -> None:
        self.pods: dict[str, dict[str, Any]] = {"one": {"metadata": {"name": "one"}, "spec": pod_spec(), "status": {}}}
        self._fault = fault
        self._does = does
        self._false = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), TIMES)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        false = self._false[request.method] > 0
        if false:
            self._false[request.method] -= 1
        body = await request.read() and await request.json()
        if not false:
            return self._do(request, body)
        return await self._fault(request, self._do(request, body) if self._does else web.json_response({}))

    def _do(self, request: web.Request, body: Any) -> web.Response:
        if request.method == "GET":
            return web.json_response({"items": list(self.pods.values())})
        name = request.match_info["name"]
        if name not in self.pods:
            return web.json_response({"message": "not found"}, status=404)
        found = self.pods[name]
        if request.method == "POST":
            if "nodeName" in found["spec"]:
                return web.json_response({"message": "it has a node"}, status=409)
            found["spec"]["nodeName"] = body["target"]["name"]
        elif request.method == "PATCH":
            found["status"] = body["status"]
        else:
            del self.pods[name]
        return web.json_response(found)


@pytest.fixture(params=[False, True], ids=["undone", "done"])
def does(request: pytest.FixtureRequest) -> bool:
    """Whether the API server does what it does not answer."""
    return bool(request.param)


@pytest.fixture(
    params=[cut_connection, cut_payload, cut_json, empty, starting, storage_initializes], ids=lambda each: each.__name__
)
def server(request: pytest.FixtureRequest, does: bool) -> ApiServer:
    return ApiServer(request.param, does=does)


@pytest.fixture
async def api(server: ApiServer, tmp_path: Path) -> AsyncIterator[KubeApi]:
    write_certificate(tmp_path, "ca", "apiserver")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "apiserver.crt", tmp_path / "apiserver.key")
    app = web.Application()
    app.router.add_get(PODS, server.answer)
    app.router.add_route("*", PODS + "/{name}{rest:(/.*)?}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    client = KubeApi(f"https://127.0.0.1:{port}", tmp_path / "ca.crt", "admin")
    yield client
    await client.close()
    await runner.cleanup()


async def test_pod_starts_once_and_ends_once_whatever_was_cut(server: ApiServer, api: KubeApi) -> None:
    served: list[str] = []
    stopped: list[str] = []

    async def serve(name: str, address: str) -> Stop:
        served.append(address)

        async def stop() -> None:
            stopped.append(name)

        return stop

    async with Kubelet(api, "shop", ("node-1",), 7, drain=0, serve=serve):
        await until(lambda: server.pods["one"]["status"].get("podIP"), "the pod runs", timeout=10)
        assert server.pods["one"]["spec"]["nodeName"] == "node-1"
        server.pods["one"]["metadata"]["deletionTimestamp"] = "now"
        await until(lambda: not server.pods, "the pod is gone", timeout=10)
    assert served == ["198.18.7.1"]
    assert stopped == ["one"]


async def test_wait_asks_again_and_says_what_it_saw_last(server: ApiServer, api: KubeApi) -> None:
    with pytest.raises(AwayError):
        await api.items(PODS)
    assert await until(lambda: api.items(PODS), "the pods") == list(server.pods.values())
    with pytest.raises(AssertionError, match=r"still not: two pods \(last seen: False\)"):
        await until(lambda: len(server.pods) == 2, "two pods", timeout=0)
