"""A network that is reached through its gateway alone: pods in a network namespace of their own, joined by a cable."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from support import far_network_program

NEAR_END, GATEWAY, LENGTH = "203.0.113.1", "203.0.113.2", 30
"""The two ends of the cable (TEST-NET-3, RFC 5737)."""

GATEWAY_PORT = 15443
SUBNET = "192.0.2"
"""Of the pods there: TEST-NET-1, to which nothing leads from here."""

_LINKS = ("near0", "far0")
_ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


@asynccontextmanager
async def far_network(pods: Sequence[str]) -> AsyncIterator[None]:
    """While the context lasts ``GATEWAY`` leads to ``pods``, addresses of ``SUBNET``, which answer HTTP with their own.

    The session is in a network namespace of its own.
    """
    near, far = _LINKS
    arguments = [far, f"{GATEWAY}/{LENGTH}", str(GATEWAY_PORT), f"{SUBNET}.0/24", *pods]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, far_network_program.__file__, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_ENVIRONMENT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"apart\n"
        for command in (
            ["link", "add", near, "type", "veth", "peer", "name", far, "netns", str(process.pid)],
            ["address", "add", f"{NEAR_END}/{LENGTH}", "dev", near],
            ["link", "set", near, "up"],
        ):
            assert await _ip(*command) == 0
        process.stdin.write(b"go\n")
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()
        await _ip("link", "delete", near)  # it goes with the other end's namespace, sooner or later


async def _ip(*command: str) -> int:
    process = await asyncio.create_subprocess_exec("ip", *command, env=_ENVIRONMENT, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()
