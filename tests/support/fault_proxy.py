"""A TCP proxy of the tests' own, between the registry and an API server, whose faults are switched on and off.

It knows nothing of what it carries: TLS goes through it. A fault that changes what an answer says is ``lying_proxy``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

CHUNK_BYTES = 64 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time to linger: close sends RST (socket(7))."""

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Direction(Enum):
    """Which way bytes go."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


@dataclass(slots=True)
class _Flow:
    """What happens to the bytes of one direction, on every connection."""

    delay: float = 0.0
    budget: int | None = None
    """How many bytes of a new connection go through; None for all."""
    open: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class _Link:
    """One client's connection, and ours to the server; a swallowed one has none."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    abandoned: bool = False

    def writers(self) -> list[asyncio.StreamWriter]:
        return [self.client] if self.server is None else [self.client, self.server]


class FaultProxy:
    """Forwards from a port of its own to ``port`` on loopback. Use as an async context; the port stays the same.

    Faults hold for connections that exist and for those to come, where nothing else is said; ``heal`` ends them all.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._flows = {direction: _Flow() for direction in Direction}
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowing = False
        self._lifetime: float | None = None
        self._listener: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self.port = 0
        self.accepted = 0
        """Connections accepted since the start."""

    async def __aenter__(self) -> Self:
        self.heal_flows()
        await self.accept()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.refuse()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._links)

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Each piece of up to 64 KiB waits so long before it goes on; both ways, when no direction is named."""
        for direction in directions or Direction:
            self._flows[direction].delay = seconds

    def stall(self, *directions: Direction) -> None:
        """Forward nothing more and keep the sockets: what comes waits, in the end in the sender."""
        for direction in directions or Direction:
            self._flows[direction].open.clear()

    def stall_after(self, size: int) -> None:
        """Each new connection gets so many bytes from the server, then no more, ever."""
        self._flows[Direction.TO_CLIENT].budget = size

    def cut(self) -> None:
        """Break every connection that exists, with RST to both ends."""
        for link in tuple(self._links):
            for writer in link.writers():
                _reset(writer)

    def half_close(self) -> None:
        """Tell every client that nothing more comes (FIN), and go on listening to it."""
        for link in self._links:
            with contextlib.suppress(OSError, RuntimeError):
                link.client.write_eof()

    def abandon(self) -> None:
        """Half-open: the server's end of what is connected now is gone, and no client hears of it. New ones work."""
        for link in self._links:
            link.abandoned = True
            if link.server is not None:
                _reset(link.server)

    def close_every(self, seconds: float) -> None:
        """No connection lives longer than that; those that exist begin to count now."""
        self._lifetime = seconds
        for link in self._links:
            self._start(self._end(link, seconds))

    async def refuse(self) -> None:
        """Nobody listens any more: connections are refused. Those that exist go on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def swallow(self) -> None:
        """A black hole: new connections are accepted, and nothing is ever said on them."""
        self._swallowing = True

    def lead_to(self, port: int) -> None:
        """New connections are forwarded there: another server has the address now."""
        self._server_port = port

    async def accept(self) -> None:
        """Listen, as in the beginning."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    def heal_flows(self) -> None:
        """Bytes go through again; what was held back goes first."""
        for flow in self._flows.values():
            flow.delay, flow.budget = 0.0, None
            flow.open.set()

    async def heal(self) -> None:
        """No fault any more. What was swallowed or abandoned stays so: nobody brings such a connection back."""
        self.heal_flows()
        self._swallowing = False
        self._lifetime = None
        await self.accept()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(writer)
        self._links.add(link)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        if self._lifetime is not None:
            self._start(self._end(link, self._lifetime))
        try:
            if self._swallowing:
                await asyncio.Event().wait()
            await self._carry(link, (reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either end went away, or the test is over
        finally:
            for each in link.writers():
                each.transport.abort()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _carry(self, link: _Link, client: Pair) -> None:
        server = await asyncio.open_connection("127.0.0.1", self._server_port)
        link.server = server[1]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(link, client, server, Direction.TO_SERVER))
            tasks.create_task(self._pump(link, server, client, Direction.TO_CLIENT))

    async def _pump(self, link: _Link, source: Pair, target: Pair, direction: Direction) -> None:
        """Copy until the source ends or either breaks; a half-close goes through as one."""
        flow, budget = self._flows[direction], self._flows[direction].budget
        with contextlib.suppress(OSError, RuntimeError):
            while chunk := await source[0].read(CHUNK_BYTES):
                if flow.delay:
                    await asyncio.sleep(flow.delay)
                await flow.open.wait()
                target[1].write(chunk if budget is None else chunk[:budget])
                await target[1].drain()
                if budget is not None:
                    budget -= len(chunk)
                    if budget <= 0:
                        await asyncio.Event().wait()
            if not link.abandoned:
                target[1].write_eof()
                return
        if link.abandoned:
            await asyncio.Event().wait()
        for writer in link.writers():
            writer.close()

    async def _end(self, link: _Link, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for writer in link.writers():
            writer.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _reset(writer: asyncio.StreamWriter) -> None:
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None and not writer.transport.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
