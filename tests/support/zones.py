"""Pods of one service in several zones: clusters as folders of manifests, and a real little server behind each address.

Over HTTP (port 80 of the service) a pod answers every request with its own address, over gRPC (port 90) with its zone.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

SERVICE = "shop/echo"
HOST = "echo.shop.svc.clusterset.local"
HTTP_PORT, GRPC_PORT = 8080, 9090
READY = {"ready": True, "serving": True, "terminating": False}
DRAINING = {"ready": False, "serving": True, "terminating": True}
UNREADY = {"ready": False, "serving": False, "terminating": False}


@dataclass(frozen=True, slots=True)
class Zone:
    """``count`` pods in a zone of a region, all in one cluster.

    Their addresses are ``198.18.<number>.1`` and so on; or, where somebody else answers for them, ``<subnet>.<number>``
    and so on.
    """

    name: str
    region: str
    cluster: str
    count: int
    number: int
    subnet: str = ""

    @property
    def addresses(self) -> list[str]:
        if self.subnet:
            return [f"{self.subnet}.{self.number + pod}" for pod in range(self.count)]
        return [f"198.18.{self.number}.{pod}" for pod in range(1, self.count + 1)]


class ZonedFleet:
    """The manifests of ``zones``, in ``folder``, and the servers. Use as an async context."""

    def __init__(self, folder: Path, zones: Sequence[Zone], service: Mapping[str, Any], *, grpc: bool = False) -> None:
        """``service`` has what its Service says beside the ports: ``annotations``, and ``spec`` for the rest."""
        self.zones = {zone.name: zone for zone in zones}
        self.folder = folder
        self._grpc = grpc
        self._servers: dict[str, tuple[asyncio.Server, set[asyncio.Transport]]] = {}
        """By address, with their open connections."""
        self._stack = AsyncExitStack()
        for cluster in self.clusters:
            (folder / cluster).mkdir(parents=True)
            self._write(cluster, "service", _service(service))
        for zone in zones:
            self._write(zone.cluster, f"node-{zone.name}", _node(zone))
            self.set(zone.name, zone.count)

    @property
    def clusters(self) -> list[str]:
        return sorted({zone.cluster for zone in self.zones.values()})

    @property
    def flags(self) -> list[str]:
        """What ``serve`` is told."""
        return [f"--manifests={cluster}={self.folder / cluster}" for cluster in self.clusters]

    @property
    def running(self) -> frozenset[str]:
        """The addresses where something answers."""
        return frozenset(self._servers)

    def zone_of(self, address: str) -> str:
        return next(zone.name for zone in self.zones.values() if address in zone.addresses)

    def set(self, zone: str, ready: int, draining: int = 0) -> None:
        """The first ``ready`` pods of the zone are ready, the next ``draining`` drain, the rest are not ready."""
        at = self.zones[zone]
        states = [READY] * ready + [DRAINING] * draining + [UNREADY] * (at.count - ready - draining)
        pairs = zip(at.addresses, states, strict=True)
        endpoints = [{"addresses": [each], "conditions": state, "nodeName": f"node-{zone}"} for each, state in pairs]
        self._write(at.cluster, f"slice-{zone}", _slice(zone, endpoints))

    def add(self, cluster: str, name: str, document: Mapping[str, Any]) -> None:
        """One more object of the cluster."""
        self._write(cluster, name, document)

    async def stop(self, address: str) -> None:
        """The pod's HTTP server is gone, with its connections."""
        server, open_ = self._servers.pop(address)
        server.close()
        for transport in tuple(open_):
            transport.abort()
        await server.wait_closed()

    async def __aenter__(self) -> ZonedFleet:
        loop = asyncio.get_running_loop()
        for zone in (each for each in self.zones.values() if not each.subnet):
            for address in zone.addresses:
                open_: set[asyncio.Transport] = set()
                server = await loop.create_server(partial(_Answering, open_), address, HTTP_PORT)
                self._servers[address] = server, open_
            if self._grpc:
                await self._stack.enter_async_context(_grpc_server(zone))
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._stack.aclose()
        for address in tuple(self._servers):
            await self.stop(address)

    def _write(self, cluster: str, name: str, document: Mapping[str, Any]) -> None:
        path = self.folder / cluster / f"{name}.json"
        fresh = path.with_name(f".{name}.new")
        fresh.write_text(json.dumps(document))
        os.replace(fresh, path)


async def answers(outbound: str, host: str, count: int, connections: int = 8, source: str = "") -> Counter[str]:
    """Send ``count`` requests for ``host`` through the proxy at ``outbound``; who answered how often.

    They come from the address ``source``, where one is given.
    """
    address, _, port = outbound.rpartition(":")
    tally: Counter[str] = Counter()
    request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()

    async def ask(times: int) -> None:
        reader, writer = await asyncio.open_connection(address, int(port), local_addr=(source, 0) if source else None)
        try:
            for _ in range(times):
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
                status = head.split()[1]
                tally[body.decode() if status == "200" else f"{status} {body.decode()}"] += 1
        finally:
            writer.close()

    shares = [count // connections + (position < count % connections) for position in range(connections)]
    async with asyncio.TaskGroup() as group:
        for share in shares:
            group.create_task(ask(share))
    return tally


class _Answering(asyncio.Protocol):
    """Answers each GET with the address it came to. ``open_`` has the connections that are open."""

    def __init__(self, open_: set[asyncio.Transport]) -> None:
        self._open = open_
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)
        name = transport.get_extra_info("sockname")[0].encode()
        self._answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name)

    def connection_lost(self, _exception: Exception | None) -> None:
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._begun = (self._begun + data).split(b"\r\n\r\n")
        self._transport.write(self._answer * len(requests))


@asynccontextmanager
async def _grpc_server(zone: Zone) -> AsyncIterator[None]:
    async def say(_request: bytes, _context: object) -> bytes:
        return zone.name.encode()

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("echo.Echo", {"Say": grpc.unary_unary_rpc_method_handler(say)})
    server.add_generic_rpc_handlers((handler,))
    for address in zone.addresses:
        server.add_insecure_port(f"{address}:{GRPC_PORT}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


def _metadata(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "shop", **more}


def _service(service: Mapping[str, Any]) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80}, {"name": "grpc", "port": 90}]
    metadata = _metadata("echo", annotations=dict(service.get("annotations", {})))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": ports, **service.get("spec", {})},
    }


def _node(zone: Zone) -> dict[str, Any]:
    labels = {"topology.kubernetes.io/region": zone.region, "topology.kubernetes.io/zone": zone.name}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{zone.name}", "labels": labels}}


def _slice(zone: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(f"echo-{zone}", labels={"kubernetes.io/service-name": "echo"}),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": HTTP_PORT}, {"name": "grpc", "port": GRPC_PORT}],
        "endpoints": endpoints,
    }
