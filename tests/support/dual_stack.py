"""Pods of both families in a dual-stack control plane: each with an HTTP and a gRPC server at those of its addresses
that are open, which answer with the address that they were reached at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import grpc
import grpc.aio
from support.controlplane import ControlPlane
from support.kube_api import CORE, pod, pod_status

HTTP_PORT, GRPC_PORT = 8080, 9090
NAME = "echo"
LABELS = {"app": NAME}
PORTS = [{"name": "http", "port": 80, "targetPort": HTTP_PORT}, {"name": "grpc", "port": 90, "targetPort": GRPC_PORT}]


class DualPod(NamedTuple):
    """A Pod with an address of each family."""

    name: str
    four: str
    six: str

    @property
    def both(self) -> tuple[str, str]:
        return self.four, self.six


def dual_pod(number: int) -> DualPod:
    return DualPod(f"p{number}", f"198.18.3.{number}", f"2001:db8::{number}")


class DualStackPods:
    """The Service ``echo`` in a namespace of its own, and its Pods' servers. Use as an async context."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        self._stack = AsyncExitStack()
        self._open: dict[str, AsyncExitStack] = {}

    @property
    def service(self) -> str:
        return f"{self.namespace}/{NAME}"

    @property
    def host(self) -> str:
        return f"{NAME}.{self.namespace}.svc.clusterset.local"

    async def __aenter__(self) -> DualStackPods:
        await self.plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": self.namespace}})
        return self

    async def __aexit__(self, *_exception: object) -> None:
        for address in tuple(self._open):
            await self.close(address)

    async def create(self, pods: Sequence[DualPod], **spec: Any) -> None:
        """``spec`` is what the Service says beside its selector and ports."""
        api, inside = self.plane.api, f"{CORE}/namespaces/{self.namespace}"
        spec = {"selector": LABELS, "ports": PORTS, **spec}
        await api.create(f"{inside}/services", {"metadata": {"name": NAME}, "spec": spec})
        for each in pods:
            await api.create(f"{inside}/pods", pod(each.name, LABELS, f"{self.plane.name}-1"))
            await api.patch(f"{inside}/pods/{each.name}/status", pod_status(*each.both, ready=True))

    async def open(self, *addresses: str) -> None:
        """From now on there are servers at these addresses."""
        for address in addresses:
            stack = self._open[address] = AsyncExitStack()
            server = await asyncio.start_server(http_answering(address), address, HTTP_PORT)
            stack.push_async_callback(_stopped, server)
            calls = grpc.aio.server()
            calls.add_generic_rpc_handlers((_say(address),))
            calls.add_insecure_port(f"[{address}]:{GRPC_PORT}" if ":" in address else f"{address}:{GRPC_PORT}")
            await calls.start()
            stack.push_async_callback(calls.stop, 0)

    async def close(self, *addresses: str) -> None:
        """From now on connections to these addresses are refused."""
        for address in addresses:
            await self._open.pop(address).aclose()


async def _stopped(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


def http_answering(address: str) -> Any:
    """Answers one request of each connection, so that the next one has to connect."""
    body = address.encode()
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return serve


def _say(address: str) -> grpc.GenericRpcHandler:
    async def say(_request: bytes, _context: object) -> bytes:
        return address.encode()

    return grpc.method_handlers_generic_handler("echo.Echo", {"Say": grpc.unary_unary_rpc_method_handler(say)})
