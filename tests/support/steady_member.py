"""A member cluster whose API server works, in a process of its own. Run as a program: SERVICES.

It prints ``{"server": URL, "control": HOST:PORT}`` once both listen, and runs until its standard input ends. The server
lists so many services of three endpoints, and changes the only endpoint of ``shop/beat`` at a steady pace: the address
is the time of the change (``stamped``). ``control`` answers each line with the same line: what that takes, the machine
takes, for nobody attacks it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

from support.fake_apiserver import FakeApiServer

from registry.model.names import Kind

BEAT = "beat"
BEAT_SECONDS = 0.1
NAMESPACES = 10
"""``shop`` among them: the others are ``ns-1`` and so on."""
_STAMP = re.compile(rb"\b10\.(\d+)\.(\d+)\.(\d+)\b")
_ROUND_MS = 1 << 24


def stamped(at: float) -> str:
    """``time.monotonic()`` in milliseconds, modulo 2^24 (4.6 hours), as an address of 10.0.0.0/8."""
    stamp = int(at * 1000) % _ROUND_MS
    return f"10.{stamp >> 16}.{stamp >> 8 & 255}.{stamp & 255}"


def written_at(text: bytes) -> float | None:
    """The latest time at which the first address in ``text`` can have been stamped; None without one."""
    found = _STAMP.search(text)
    if found is None:
        return None
    first, second, third = map(int, found.groups())
    now = time.monotonic()
    age = (int(now * 1000) - (first << 16 | second << 8 | third)) % _ROUND_MS
    return now - age / 1000


def namespace_of(number: int) -> str:
    """Where the service ``service_name(number)`` is."""
    return f"ns-{number % NAMESPACES}" if number % NAMESPACES else "shop"


def service_name(number: int) -> str:
    return f"service-{number}"


async def serve(services: int) -> None:
    control = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with FakeApiServer() as api, control:
        for number in range(services):
            _add(api, service_name(number), namespace_of(number), _addresses(number))
        _add(api, BEAT, "shop", [stamped(time.monotonic())])
        for number in range(NAMESPACES):
            api.betray(Kind.NAMESPACE, {"metadata": {"name": namespace_of(number)}})
        where = "{}:{}".format(*control.sockets[0].getsockname())
        print(json.dumps({"server": api.url, "control": where}), flush=True)
        beating = asyncio.create_task(_beat(api))
        await asyncio.to_thread(sys.stdin.read)
        beating.cancel()


def _add(api: FakeApiServer, name: str, namespace: str, addresses: list[str]) -> None:
    metadata = {"name": name, "namespace": namespace}
    api.betray(Kind.SERVICE, {"metadata": metadata, "spec": {"ports": [{"name": "http", "port": 80}]}})
    api.betray(Kind.ENDPOINT_SLICE, _slice(name, namespace, addresses))


def _slice(service: str, namespace: str, addresses: list[str]) -> dict[str, Any]:
    endpoints = [
        {"addresses": [each], "conditions": {"ready": True}, "nodeName": f"node-{at}", "zone": f"zone-{at}"}
        for at, each in enumerate(addresses)
    ]
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": {"name": f"{service}-1", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080}],
    }


def _addresses(number: int) -> list[str]:
    return [f"172.{16 + at}.{number >> 8}.{number & 255}" for at in range(3)]


async def _beat(api: FakeApiServer) -> None:
    due = time.monotonic()
    while True:
        due += BEAT_SECONDS
        await asyncio.sleep(due - time.monotonic())
        await api.put(Kind.ENDPOINT_SLICE, _slice(BEAT, "shop", [stamped(time.monotonic())]))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
