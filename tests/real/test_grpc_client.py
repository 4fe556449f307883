"""gRPC's own xDS client, without a proxy: it dials ``xds:///`` and reaches the pods of both clusters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support import grpc_xds_caller
from support.grpc_client import started
from support.kubelet import serve_grpc
from support.load import Load
from support.processes import until
from support.scene import NAME, Planes, Scene, scene


@asynccontextmanager
async def caller(on: Scene, folder: Path, target: str) -> AsyncIterator[Load]:
    """Calls ``target`` all the time while the context lasts."""
    program = grpc_xds_caller.__file__
    process, requests, replies = await started(folder, on.registry, ("--cluster", "a"), program, target)
    load = Load()

    async def read(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            answer = json.loads(line)
            if "name" in answer:
                load.answers[answer["name"]] += 1
            else:
                load.failures.append(answer["error"])

    reader = asyncio.create_task(read(replies))
    try:
        yield load
    finally:
        requests.close()
        await process.wait()
        await reader


@pytest.mark.parametrize("form", ["{host}:80", "{host}", "{short}:80", "{short}"])
async def test_every_form_of_the_target_reaches_the_pods(planes: Planes, tmp_path: Path, form: str) -> None:
    async with scene(planes, tmp_path, serve=serve_grpc) as on:
        target = form.format(host=on.host, short=f"{NAME}.{planes.namespace}")
        pods = set(await on.pods())
        async with caller(on, tmp_path, f"xds:///{target}") as load:
            await until(lambda: load.failures or set(load.answers) == pods, "every pod has answered")
        assert load.failures == []


async def test_rolling_restart_of_every_pod_loses_no_call(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path, replicas=3, serve=serve_grpc) as on:
        before = set(await on.pods())
        async with caller(on, tmp_path, f"xds:///{on.host}:80") as load:
            await until(lambda: set(load.answers) == before, "every pod has answered")
            await on.a.restart()
            await on.b.restart()
            await until(lambda: replaced(on, before), "every pod is a new one", timeout=60)
            after = set(await on.pods())
            await until(lambda: after <= set(load.answers), "every new pod has answered")
        assert load.failures == []
        assert set(load.answers) == before | after


async def replaced(on: Scene, before: set[str]) -> bool:
    pods = set(await on.pods())
    return len(pods) == len(before) and not pods & before
