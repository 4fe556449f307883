"""The fault proxy itself: each fault is one, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from support.fault_proxy import Direction, FaultProxy, Pair
from support.processes import until

PATIENCE = 0.2
"""Seconds after which silence counts as silence."""


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of a server that says back what it hears, and ends when its client does."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1024):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as it:
        yield it


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Pair]:
    pair = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield pair
    finally:
        pair[1].transport.abort()


async def says(pair: Pair, text: bytes = b"hello") -> bytes:
    """What comes back for ``text``."""
    pair[1].write(text)
    async with asyncio.timeout(5):
        return await pair[0].readexactly(len(text))


async def silent(pair: Pair) -> bool:
    """Nothing comes back, and the connection stays."""
    pair[1].write(b"?")
    try:
        async with asyncio.timeout(PATIENCE):
            await pair[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_without_a_fault_bytes_and_ends_go_through(proxy: FaultProxy) -> None:
    async with connected(proxy) as pair:
        assert await says(pair, bytes(200_000)) == bytes(200_000)
        pair[1].write_eof()
        assert await pair[0].read() == b""
    await until(lambda: proxy.connections == 0, "nothing is left of it")


async def test_delay_holds_up_each_way(proxy: FaultProxy) -> None:
    async with connected(proxy) as pair:
        proxy.delay(0.1)
        began = time.monotonic()
        await says(pair)
        assert time.monotonic() - began >= 0.2
        proxy.delay(0.0, Direction.TO_CLIENT)
        began = time.monotonic()
        await says(pair)
        assert time.monotonic() - began >= 0.1


async def test_what_was_stalled_comes_when_it_is_healed(proxy: FaultProxy) -> None:
    async with connected(proxy) as pair:
        proxy.stall(Direction.TO_CLIENT)
        assert await silent(pair)
        await proxy.heal()
        assert await pair[0].readexactly(1) == b"?"


async def test_a_body_stalls_after_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.stall_after(3)
    async with connected(proxy) as pair:
        pair[1].write(b"hello")
        assert await pair[0].readexactly(3) == b"hel"
        assert await silent(pair)
        await proxy.heal()
        assert await silent(pair), "a hole in a body is not mended"


async def test_cut_is_a_reset(proxy: FaultProxy) -> None:
    async with connected(proxy) as pair:
        await says(pair)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await pair[0].read()


async def test_half_closed_is_an_end_in_one_direction_only(proxy: FaultProxy) -> None:
    async with connected(proxy) as pair:
        await says(pair)
        proxy.half_close()
        assert await pair[0].read() == b""
        await until(lambda: proxy.connections == 1, "the other half is still there")


async def test_an_abandoned_connection_is_silent_and_a_new_one_works(proxy: FaultProxy) -> None:
    async with connected(proxy) as pair:
        await says(pair)
        proxy.abandon()
        assert await silent(pair)
        async with connected(proxy) as other:
            assert await says(other) == b"hello"


async def test_no_connection_outlives_its_time(proxy: FaultProxy) -> None:
    async with connected(proxy) as before:
        await says(before)
        proxy.close_every(0.1)
        async with connected(proxy) as after:
            assert await says(after) == b"hello"
            async with asyncio.timeout(5):
                assert await before[0].read() == b""
                assert await after[0].read() == b""


async def test_refused_swallowed_and_accepted_again_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    proxy.swallow()
    await proxy.accept()
    async with connected(proxy) as pair:
        assert await silent(pair)
    await proxy.heal()
    async with connected(proxy) as pair:
        assert await says(pair) == b"hello"
    assert proxy.port == port
