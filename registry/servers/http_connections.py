"""The connections of the HTTP port: what each may take in time, and how much may wait for it.

aiohttp carries HTTP. It closes a connection on which nothing is asked, but knows no time-out for a client that does not
read, and answers pipelined requests into memory without a bound. So each connection has a protocol of ours before its
own, which sees every byte that comes and each pause of the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import cast

from aiohttp import web

from registry.admission import Admission, Refusal, Seat
from registry.http_limits import HttpLimits

LOOK_SECONDS = 0.25
"""How often the times of all connections are looked at."""
CLOSED_PER_TURN, SOON_SECONDS = 8, 0.002
"""So many that are late are closed in one piece, which costs 0.2 ms each; more of them soon."""


class HttpConnection(asyncio.Protocol):
    """One connection, the guest of its ``seat``. aiohttp's ``handler``, which costs ten times as much, is made when the
    client says something."""

    def __init__(self, owner: HttpConnections, make: Callable[[], web.RequestHandler], seat: Seat) -> None:
        self._owner = owner
        self._make = make
        self._handler: web.RequestHandler | None = None
        self._seat = seat
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answering = False
        self._headers_since: float | None = self._loop.time()
        self._idle_since = self._loop.time()
        self._paused_since: float | None = None
        self._writable: asyncio.Future[None] | None = None
        self.closed = False

    @property
    def peer(self) -> str:
        return self._seat.peer

    # Guest

    @property
    def idle_since(self) -> float | None:
        return None if self._answering else self._idle_since

    def evict(self) -> None:
        self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        high = self._owner.limits.waiting_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        if not self._answering and self._headers_since is None:
            self._headers_since = self._loop.time()
        if self._handler is None:
            assert self._transport is not None
            self._handler = self._make()
            self._owner.speaks(self, self._handler)
            self._handler.connection_made(self._transport)
        self._handler.data_received(data)

    def eof_received(self) -> None:
        if self._handler is not None:
            self._handler.eof_received()

    def pause_writing(self) -> None:
        self._paused_since = self._loop.time()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._paused_since = None
        self._wake()
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._wake()
        self._owner.lost(self, self._handler)
        self._seat.free()
        if self._handler is not None:
            self._handler.connection_lost(exc)

    # What answers requests

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """A request's headers are complete; afterwards the connection is idle."""
        self._answering, self._headers_since = True, None
        try:
            yield
        finally:
            self._answering, self._idle_since = False, self._loop.time()

    async def writable(self) -> None:
        """Wait until there is room for more.

        Raises:
            ConnectionResetError: the client is gone, or was too slow.
        """
        if self._paused_since is not None and self._transport is not None:
            self._writable = self._loop.create_future()
            await self._writable
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")

    def abort(self) -> None:
        """Close at once, whatever waits to be sent."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now: float) -> Refusal | None:
        """What the client took too long for. ``IDLE`` is no fault of its."""
        limits = self._owner.limits
        if self.closed:
            return None
        if self._paused_since is not None and now - self._paused_since >= limits.write_seconds:
            return Refusal.WRITE
        if self._answering:
            return None
        if self._headers_since is not None:
            return Refusal.HEADERS if now - self._headers_since >= limits.headers_seconds else None
        return Refusal.IDLE if now - self._idle_since >= limits.idle_seconds else None

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None


class HttpConnections:
    """All of them. ``handler`` makes aiohttp's protocol for a new one."""

    def __init__(self, limits: HttpLimits, admission: Admission) -> None:
        self.limits = limits
        self._admission = admission
        self._connections: dict[HttpConnection, None] = {}
        self._speaking: dict[web.RequestHandler, HttpConnection] = {}
        self._loop = asyncio.get_running_loop()
        self._look_again: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def of(self, request: web.Request) -> HttpConnection:
        """The connection that a request came on.

        Raises:
            ConnectionResetError: it is gone already.
        """
        found = self._speaking.get(request.protocol)
        if found is None:
            raise ConnectionResetError("the client is gone")
        return found

    def take(self, client: socket.socket, seat: Seat, handler: Callable[[], web.RequestHandler]) -> None:
        """Carry an accepted connection."""
        task = self._loop.create_task(self._connect(client, seat, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        for task in self._tasks:
            task.cancel()

    def speaks(self, connection: HttpConnection, handler: web.RequestHandler) -> None:
        self._speaking[handler] = connection

    def made(self, connection: HttpConnection) -> None:
        self._connections[connection] = None
        if self._look_again is None:
            self._look_again = self._loop.call_later(LOOK_SECONDS, self._look)

    def lost(self, connection: HttpConnection, handler: web.RequestHandler | None) -> None:
        self._connections.pop(connection, None)
        if handler is not None:
            self._speaking.pop(handler, None)

    async def _connect(self, client: socket.socket, seat: Seat, handler: Callable[[], web.RequestHandler]) -> None:
        connection = HttpConnection(self, handler, seat)
        seat.guest = connection
        try:
            await self._loop.connect_accepted_socket(lambda: connection, client)
        except OSError:
            client.close()
            seat.free()

    def _look(self) -> None:
        self._look_again = None
        now = self._loop.time()
        late = 0
        for connection in self._connections:
            refusal = connection.overdue(now)
            if refusal is not None:
                if refusal is not Refusal.IDLE:
                    self._admission.refused(refusal, connection.peer)
                connection.abort()
                late += 1
                if late == CLOSED_PER_TURN:
                    break
        if self._connections:
            self._look_again = self._loop.call_later(
                LOOK_SECONDS if late < CLOSED_PER_TURN else SOON_SECONDS, self._look
            )
