"""A gRPC client that knows the registry alone, in a process of its own; who answers its calls is tallied."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from support import grpc_xds_tally
from support.registry import RunningRegistry


class Call(Protocol):
    """Makes ``count`` calls over a channel, which it opens for the first; answer -> how often."""

    async def __call__(self, count: int, channel: int = 0) -> Counter[str]: ...


async def started(
    folder: Path, registry: RunningRegistry, node: Sequence[str], program: str, target: str
) -> tuple[Process, asyncio.StreamWriter, asyncio.StreamReader]:
    """``program``, which dials ``target``, with its input and its output; ``node`` as below."""
    return await started_command(folder, registry, node, [sys.executable, program, target])


async def started_command(
    folder: Path, registry: RunningRegistry, node: Sequence[str], command: Sequence[str]
) -> tuple[Process, asyncio.StreamWriter, asyncio.StreamReader]:
    """A client of any language, with the registry's bootstrap."""
    made = registry.command("bootstrap", "grpc", *node, "--server", registry.grpc)
    assert made.returncode == 0, made.stderr
    bootstrap = folder / "bootstrap.json"
    bootstrap.write_text(made.stdout)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return process, process.stdin, process.stdout


@asynccontextmanager
async def grpc_client(
    folder: Path, registry: RunningRegistry, host: str, node: Sequence[str], port: int = 90
) -> AsyncIterator[Call]:
    """One that dials ``port`` of the service ``host``. ``node`` is what ``bootstrap grpc`` is told of where it is."""
    target = f"xds:///{host}:{port}"
    process, requests, replies = await started(folder, registry, node, grpc_xds_tally.__file__, target)

    async def call(count: int, channel: int = 0) -> Counter[str]:
        requests.write(f"{count} {channel}\n".encode())
        return Counter(json.loads(await replies.readline()))

    try:
        await call(1)
        yield call
    finally:
        requests.close()
        await process.wait()
