"""What strangers do to the HTTP port."""

from __future__ import annotations

import asyncio
import time

from support.attackers import Report, Where, connected, for_a_while, strangers

LIST = b"GET /api/v1/services HTTP/1.1\r\nHost: it\r\n\r\n"
HALF = b"GET /healthz HTTP/1.1\r\nHost: it\r\n"


async def whole_list(where: Where, times: int = 5, seconds: float = 20) -> Report:
    """All services, one time after the other, each read to its end."""
    deadline = time.monotonic() + seconds
    read = done = 0
    while done < times and time.monotonic() < deadline:
        one = await connected(where.http, where.source)
        await one.send(LIST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        one.start_reading()
        await asyncio.wait_for(one.over.wait(), 60)
        read += one.read
        done += 1
        one.close()
    return {"lists": done, "read": read}


async def slow_readers(where: Where, readers: int = 30, seconds: float = 20) -> Report:
    """All services, again and again, read at a KiB a second."""
    async with strangers(where.http, where.source, readers, LIST * 3, buffer=4096) as found:
        for each in found:
            each.start_reading(bytes_per_second=1024)
        return await for_a_while(seconds, *found)


async def silent_connections(where: Where, connections: int = 3000, seconds: float = 200, half: bool = True) -> Report:
    """Connections that say nothing, or half a request, and stay."""
    async with strangers(where.http, where.source, connections, HALF if half else b"") as found:
        return await for_a_while(seconds, *found)


async def silent_after_answer(where: Where, connections: int = 3000, seconds: float = 100) -> Report:
    """Connections that had their answer and stay."""
    async with strangers(where.http, where.source, connections, HALF + b"\r\n") as found:
        return await for_a_while(seconds, *found)


async def pipelined(where: Where, connections: int = 10, requests: int = 2000, seconds: float = 10) -> Report:
    """Requests for all services that do not wait for an answer, and whose answers nobody reads."""
    async with strangers(where.http, where.source, connections, LIST * requests, buffer=4096) as found:
        return await for_a_while(seconds, *found)


ATTACKS = {
    each.__name__: each for each in (whole_list, slow_readers, silent_connections, silent_after_answer, pipelined)
}
