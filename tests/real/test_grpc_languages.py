"""gRPC's own xDS clients of several languages, when a Service goes and comes back, and its endpoints change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from support.grpc_languages import LANGUAGES, Service, calling, command
from support.kubelet import serve_grpc
from support.missing import pod_network
from support.registry import RunningRegistry

HOST = "echo.shop.svc.clusterset.local"
PODS = {"one": "198.18.40.1", "two": "198.18.40.2", "three": "198.18.40.3"}


@pytest_asyncio.fixture
async def pods(pytestconfig: pytest.Config) -> AsyncIterator[None]:
    pod_network(pytestconfig)
    async with AsyncExitStack() as stack:
        for name, address in PODS.items():
            stack.push_async_callback(await serve_grpc(name, address))
        yield


@pytest.mark.usefixtures("pods")
@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_client_follows_a_service_that_is_deleted_and_made_anew(language: str, tmp_path: Path) -> None:
    command(language)  # or skips
    service = Service(tmp_path / "a")
    service.put(PODS["one"], PODS["two"])
    async with (
        RunningRegistry(tmp_path, f"--manifests=a={tmp_path / 'a'}") as registry,
        calling(language, tmp_path, registry, f"xds:///{HOST}:80") as calls,
    ):
        async with calling(language, tmp_path, registry, f"xds:///{HOST}.:80") as absolute:
            await calls.only("one", "two", seconds=30)
            await absolute.only("one", "two", seconds=30)
        service.put(PODS["two"], PODS["three"])
        await calls.only("two", "three")
        service.delete()
        await calls.none()
        service.put(PODS["one"])
        await calls.only("one")
        for _ in range(4):
            service.delete()
            await asyncio.sleep(0.15)  # shorter than any client needs to have noticed
            service.put(PODS["three"])
            await asyncio.sleep(0.15)
        await calls.only("three")
