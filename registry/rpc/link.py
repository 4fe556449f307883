"""One client's connection on an asyncio transport: its bytes, its times and its end."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol, cast

from registry.rpc.open_calls import Carrier, Offer, OpenCalls
from registry.rpc.vigil import Verdict, Vigil

log = logging.getLogger(__name__)

KEEPALIVE_PING = b"alive?  "
GOAWAY_PING = b"goaway  "
UNREAD_BYTES: Final = 64 << 10
"""How much input may wait for its turn before the socket is read no more."""

GOAWAY_SECONDS = 1.0
"""How long a client may take to answer that it heard the first GOAWAY."""


class Site(Offer, Protocol):
    """What a link needs of its server."""

    @property
    def buffer(self) -> memoryview:
        """What TLS is read into. It is taken out before anything else is read."""

    def watch(self, link: Link, at: float) -> None:
        """Call ``link.look`` at that time of the loop, or a little later."""

    def connected(self, link: Link) -> None:
        """The link has its transport."""

    def lost(self, link: Link) -> None:
        """The link is over."""


class Link(Carrier):
    """Carries the calls of one connection on an asyncio transport, watches over it, and ends it in good order.

    It does not inherit ``asyncio.Protocol``: compiled, its attributes would be entries of a dictionary then.
    """

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._site = site
        self._turns = site.turns
        self._loop = loop
        self._clock = site.clock
        self._transport: asyncio.Transport | None = None
        self._over = False
        self._reading = True
        self._unread = 0
        """Bytes of input that wait for their turn, as far as the account has them."""
        self._progress = -1
        """That of the connection when the frame began to come of which it has a part, having had its turn."""
        self._unwritten = 0
        """Bytes in the socket's buffer, as far as the account has them."""
        self._leaving = False
        self._saying_farewell = False
        """The calls are to be ended, when it has its turn."""
        self._goaway_timer: asyncio.TimerHandle | None = None
        self._vigil = Vigil(site.limits, site.clock())
        self._calls = OpenCalls(self, site, self._vigil)
        self._connection = self._calls.connection

    def __str__(self) -> str:
        return f"{self.peer}, {self._calls}"

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        high = self._site.limits.waiting_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self.peer = _peer(self._transport)
        self.share = self._turns.share(self.peer.rpartition(":")[0])
        self._site.connected(self)
        self.write()
        self._site.watch(self, self._vigil.next_check())

    def data_received(self, data: bytes) -> None:
        now = self._clock()
        self._vigil.heard(now)
        self._connection.receive(data)
        self._turns.at_once(self, now)
        if self.queued or self._connection.unread:
            self._mind_input()

    def pause_writing(self) -> None:
        """The client reads slowly: nothing more is made for it, and nothing more is read from it, until it has."""
        self._calls.paused = True
        self._vigil.paused(self._clock())
        self._site.watch(self, self._vigil.next_check())
        if self._transport is not None:
            self._unwritten = self._transport.get_write_buffer_size()
            self._calls.account.buffer(self._unwritten)
        self._mind_input()

    def resume_writing(self) -> None:
        self._calls.paused = False
        self._vigil.resumed()
        self._calls.account.buffer(-self._unwritten)
        self._unwritten = 0
        self._mind_input()
        self._turns.ready(self)

    def eof_received(self) -> bool:
        """The client will send no more: with HTTP/2 that is the end."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._transport = None
        if self._goaway_timer is not None:
            self._goaway_timer.cancel()
            self._goaway_timer = None
        self._calls.account.buffer(-self._unwritten - self._unread)
        self._unwritten = self._unread = 0
        self._calls.lost()
        self._site.lost(self)
        self.share.connections -= 1
        self._turns.at_once(self, self._clock())

    # Carrier

    def ready(self) -> None:
        self._turns.ready(self)

    def watch(self, at: float) -> None:
        self._site.watch(self, at)

    def write(self) -> None:
        transport = self._transport
        if transport is None:
            return
        out = self._calls.take()
        if out:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._connection.failed or (self._left() and not self._connection.streams):
            transport.close()

    def ponged(self, payload: bytes) -> None:
        if payload == GOAWAY_PING:
            self._leave_now()

    # Worker

    def work(self) -> bool:
        """Work off what came, pull the calls that are awake, and write what came of it."""
        calls = self._calls
        if self._over:
            return calls.close()
        if self._saying_farewell:
            self._saying_farewell = False
            calls.leave()
        more = calls.work()
        self.write()
        if self._connection.failed:
            more = calls.close()
        if self._unread:
            self._mind_input()
        return more

    def broke(self) -> None:
        log.exception("%s: closed: working for it failed by a bug", self.peer)
        self.abort()

    def _mind_input(self) -> None:
        """Read on unless the client does not, or enough waits for its turn."""
        transport = self._transport
        if transport is None:
            return
        unread = self._connection.unread
        self._calls.account.buffer(unread - self._unread)
        self._unread = unread
        if not unread:
            self._vigil.whole()
        elif not self.queued and self._connection.progress != self._progress:
            self._progress = self._connection.progress
            self._vigil.begun(self._vigil.heard_at)
            self._site.watch(self, self._vigil.next_check())
        reading = not self._calls.paused and unread <= UNREAD_BYTES
        if reading != self._reading and not transport.is_closing():
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    # The server

    @property
    def held(self) -> int:
        """Bytes that the process keeps for it."""
        return self._calls.account.held

    def leave(self) -> None:
        """The server is going: say so (RFC 9113 section 6.8), end the calls, and close when they have ended."""
        if self._transport is None or self._leaving:
            return
        self._leaving = True
        self._connection.out.go_away(last=False)
        self._connection.out.ping(GOAWAY_PING)
        self._goaway_timer = self._loop.call_later(GOAWAY_SECONDS, self._leave_now)
        self.write()

    @property
    def idle_since(self) -> float | None:
        """Since when the client has no stream; None: it has one."""
        return self._vigil.idle_since

    def evict(self) -> None:
        """Close at once: another client needs the place more."""
        self.abort()

    def abort(self) -> None:
        """Close at once, and keep nothing."""
        transport = self._transport
        if transport is not None:
            transport.abort()
            self.connection_lost(None)

    def _leave_now(self) -> None:
        """The client knows; what it began before is answered still."""
        if self._goaway_timer is None:
            return
        self._goaway_timer.cancel()
        self._goaway_timer = None
        self._saying_farewell = True
        self._turns.ready(self)

    def _left(self) -> bool:
        """Whether the client knows which calls are served still."""
        return self._leaving and self._goaway_timer is None and not self._saying_farewell

    def look(self, now: float) -> None:
        """Ask the vigil what is to be done, and when it wants to be asked again."""
        if self._transport is None:
            return
        if self._connection.greeted:
            self._vigil.greeted()
        self._calls.check(now)
        verdict = self._vigil.check(now)
        if verdict is Verdict.PING:
            self._connection.out.ping(KEEPALIVE_PING)
            self.write()
        elif verdict is Verdict.IDLE and not self._left():
            self.leave()
        elif verdict is not None:
            # Also an idle connection that was told twice: it has streams without a call, requests that were refused and
            # never end, or answers that are never taken.
            log.debug("%s: closed: %s", self.peer, verdict.value)
            self.abort()
            return
        self._site.watch(self, min(self._vigil.next_check(), self._calls.next_check()))


class TlsLink(Link):
    """A link over TLS, which is read into one buffer for all: on uvloop it does for an ``asyncio.BufferedProtocol``.

    Else uvloop would allocate 256 KiB for each read, twice. Where that much memory goes back to the system at once
    (``registry.runtime``) it costs more than all that is done with what was read.
    """

    def get_buffer(self, _size: int) -> memoryview:
        return self._site.buffer

    def buffer_updated(self, size: int) -> None:
        self.data_received(bytes(self._site.buffer[:size]))


def _peer(transport: asyncio.Transport) -> str:
    """The client's address as gRPC writes it."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) == 2:
        return f"ipv4:{name[0]}:{name[1]}"
    if isinstance(name, tuple):
        return f"ipv6:[{name[0]}]:{name[1]}"
    return "unix:"
