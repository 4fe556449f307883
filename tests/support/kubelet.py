"""What a scheduler and kubelets do, as far as a service registry can tell: pods get a node, an address and a server.

The API server, its controllers and the pods' sockets are real; only the container is a little server in the test's own
process, which answers every request with the pod's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from support.away import AwayError
from support.kube_api import CORE, ApiError, KubeApi, pod_status

Stop = Callable[[], Awaitable[object]]
Serve = Callable[[str, str], Awaitable[Stop]]
"""Starts a server for a pod of this name on this address; returns how to stop it."""

POLL_SECONDS = 0.05
POD_PORT = 8080


@dataclass(slots=True)
class _Running:
    """A pod's server. ``reported``: the API server has taken its node and status."""

    address: str
    stop: Stop
    reported: bool = False


class Kubelet:
    """Runs the pods of one namespace of one cluster until closed.

    Pods run on while the API server is away; what it did not answer whole is done again when it is back.
    A pod that is deleted goes on answering for ``drain`` seconds, as a well-behaved container does.
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        nodes: tuple[str, ...],
        subnet: int,
        *,
        drain: float = 1.0,
        serve: Serve | None = None,
    ) -> None:
        """``subnet`` is the third number of the pods' addresses ``198.18.<subnet>.<n>``."""
        self._api = api
        self._path = f"{CORE}/namespaces/{namespace}/pods"
        self._nodes = itertools.cycle(nodes)
        self._addresses: Iterator[str] = (f"198.18.{subnet}.{number}" for number in range(1, 255))
        self._drain = drain
        self._serve = serve or serve_http
        self._pods: dict[str, _Running] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Kubelet:
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Raises what went wrong meanwhile, if anything: the test's own failure may only follow from it."""
        assert self._loop is not None
        tasks = (self._loop, *self._ending.values())
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for running in self._pods.values():
            await running.stop()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def set_ready(self, name: str, *, ready: bool) -> None:
        """The pod's readiness probe changes its mind."""
        pod = await self._api.get(f"{self._path}/{name}")
        await self._api.patch(f"{self._path}/{name}/status", pod_status(pod["status"]["podIP"], ready=ready))

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(AwayError):
                await self._look()
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> None:
        for pod in await self._api.items(self._path):
            name = pod["metadata"]["name"]
            if "deletionTimestamp" in pod["metadata"]:
                if name not in self._ending:
                    self._ending[name] = asyncio.create_task(self._end(name))
            elif name not in self._pods or not self._pods[name].reported:
                await self._start(name, pod)

    async def _start(self, name: str, pod: dict[str, Any]) -> None:
        """Also of a pod whose server runs, and whose report the API server has not taken."""
        if name not in self._pods:
            address = next(self._addresses)
            self._pods[name] = _Running(address, await self._serve(name, address))
        running = self._pods[name]
        try:
            if not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Node", "name": next(self._nodes)}
                await self._api.create(f"{self._path}/{name}/binding", {"metadata": {"name": name}, "target": target})
            await self._api.patch(f"{self._path}/{name}/status", pod_status(running.address, ready=True))
        except ApiError as error:
            if error.status != 404:
                raise
        running.reported = True

    async def _end(self, name: str) -> None:
        await asyncio.sleep(self._drain)
        running = self._pods.pop(name, None)
        if running is not None:
            await running.stop()
        while not await self._is_deleted(name):
            await asyncio.sleep(POLL_SECONDS)

    async def _is_deleted(self, name: str) -> bool:
        try:
            await self._api.delete(f"{self._path}/{name}", grace_seconds=0)
        except AwayError:
            return False
        except ApiError as error:
            if error.status != 404:
                raise
        return True


async def serve_http(name: str, address: str) -> Stop:
    """An HTTP server on ``address`` that says ``name``."""

    async def say(_request: web.Request) -> web.Response:
        return web.Response(text=name)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, address, POD_PORT).start()
    return runner.cleanup


async def serve_grpc(name: str, address: str) -> Stop:
    """A gRPC server on ``address`` whose method ``/echo.Echo/Say`` says ``name``."""

    async def say(_request: bytes, _context: object) -> bytes:
        return name.encode()

    handler = grpc.method_handlers_generic_handler("echo.Echo", {"Say": grpc.unary_unary_rpc_method_handler(say)})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"{address}:{POD_PORT}")
    await server.start()

    async def stop() -> None:
        await server.stop(1)

    return stop
