"""A registry that is killed and started again: its clients are told nothing they knew, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fake_apiserver import FakeApiServer, kubeconfig, refuse, silence
from support.kube_wire import a_service
from support.processes import Process, free_port, until
from support.registry import PROGRAM, RunningRegistry
from support.removal_counter import RemovalCounter

from registry.model.names import Kind

NAME = "outbound|80||echo.shop.svc.clusterset.local"


def a_slice(cluster: int, count: int, name: str = "echo-1") -> dict[str, Any]:
    """An EndpointSlice of ``echo`` with the endpoints 1 to ``count`` of the cluster."""
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [f"198.18.{cluster}.{each}"]} for each in range(1, count + 1)],
    }


def addresses(cluster: int, count: int) -> set[str]:
    return {f"198.18.{cluster}.{each}" for each in range(1, count + 1)}


class World:
    """Two clusters behind fake API servers, and a registry with a snapshot that may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, FakeApiServer] = {}
        self.snapshot = folder / "state" / "snapshot"
        self.registry: RunningRegistry | None = None
        self.grpc, self.http = free_port(), free_port()

    async def start(self) -> RunningRegistry:
        """Start the registry; wait until it is ready."""
        config = {
            "clusters": [{"name": name, "kubeconfig": f"{name}.kubeconfig"} for name in sorted(self.servers)],
            "listen": {"grpc": f"127.0.0.1:{self.grpc}", "http": f"127.0.0.1:{self.http}"},
            "snapshot": {"file": "state/snapshot", "minSeconds": 0.05},
        }
        for name, server in self.servers.items():
            (self.folder / f"{name}.kubeconfig").write_text(kubeconfig(server.url))
        path = self.folder / "registry.yaml"
        path.write_text(yaml.safe_dump(config))
        self.registry = RunningRegistry(self.folder)
        self.registry.grpc, self.registry.http = f"127.0.0.1:{self.grpc}", f"127.0.0.1:{self.http}"
        self.registry.process = Process(
            "registry", [*PROGRAM, "serve", "--config", str(path)], self.folder / "registry.log"
        )
        await self.registry.__aenter__()
        return self.registry

    async def kill(self) -> None:
        registry, self.registry = self.registry, None
        assert registry is not None
        registry.process.kill()
        await registry.close()


@asynccontextmanager
async def world(folder: Path, *clusters: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        it = World(folder)
        it.snapshot.parent.mkdir()
        for number, name in enumerate(clusters, 1):
            server = it.servers[name] = await stack.enter_async_context(FakeApiServer())
            server.uid = f"uid-{name}"
            await server.put(Kind.NAMESPACE, {"metadata": {"name": "kube-system", "uid": f"uid-{name}"}})
            await server.put(Kind.SERVICE, a_service("echo"))
            await server.put(Kind.ENDPOINT_SLICE, a_slice(number, 5))
        try:
            yield it
        finally:
            if it.registry is not None:
                await it.registry.__aexit__(None)
