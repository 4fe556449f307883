"""What strangers do to the HTTP port, and that it is nobody else's trouble. Its time-outs: test_http_port.py."""

from __future__ import annotations

import asyncio

import aiohttp
from support.strangers import Stronghold, besieged

SHARE = 512 // 2
"""How many connections one peer has at most (``limits.httpConnections``, ``limits.peerShare``)."""


async def test_whole_lists(stronghold: Stronghold) -> None:
    async with besieged(stronghold) as siege:
        done = await siege.attack("whole_list", times=3, seconds=3)
    siege.assert_unharmed()
    assert done["lists"] >= 1


async def test_slow_readers_of_lists(stronghold: Stronghold) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack("slow_readers", readers=30, seconds=3)
    siege.assert_unharmed()
    assert siege.peak - siege.before < 60 << 20


async def test_silent_connections(stronghold: Stronghold) -> None:
    """They are closed after 10 s; before that they have a share, and newcomers of theirs find room."""
    async with besieged(stronghold) as siege:
        done = await siege.attack("silent_connections", connections=1500, seconds=2, half=False)
    siege.assert_unharmed()
    assert done["left"] <= SHARE


async def test_half_requests(stronghold: Stronghold) -> None:
    async with besieged(stronghold) as siege:
        done = await siege.attack("silent_connections", connections=1500, seconds=2, half=True)
    siege.assert_unharmed()
    assert done["left"] <= SHARE


async def test_connections_that_had_their_answer_and_stay(stronghold: Stronghold) -> None:
    async with besieged(stronghold) as siege:
        done = await siege.attack("silent_after_answer", connections=1500, seconds=2)
    siege.assert_unharmed()
    assert done["left"] <= SHARE


async def test_pipelined_requests_whose_answers_nobody_reads(stronghold: Stronghold) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack("pipelined", connections=20, requests=1000, seconds=3)
    siege.assert_unharmed()
    assert siege.peak - siege.before < 60 << 20


async def test_scrapes_and_lists_of_many_at_once(stronghold: Stronghold) -> None:
    paths = ("/metrics", "/api/v1/clients", "/api/v1/clusters", "/api/v1/serviceentries", "/api/v1/guard", "/readyz")

    async def ask(session: aiohttp.ClientSession, path: str) -> int:
        async with session.get(f"http://{siege.registry.http}{path}") as response:
            await response.read()
            return response.status

    async with besieged(stronghold) as siege:
        connector = aiohttp.TCPConnector(limit=60, local_addr=("127.6.6.6", 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            statuses = await asyncio.gather(*(ask(session, path) for path in paths for _ in range(8)))
    siege.assert_unharmed()
    assert set(statuses) == {200}
