"""Listens for gRPC clients: TCP or a unix socket, plaintext (with prior knowledge) or TLS with ALPN ``h2``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import cast

from registry.accepting import Acceptor
from registry.admission import Admission, Refusal, Room, Seat
from registry.rpc.handshakes import Handshakes
from registry.rpc.ledger import Ledger
from registry.rpc.limits import Limits
from registry.rpc.link import Link, TlsLink
from registry.rpc.seam import Service
from registry.rpc.shared import SharedFrames
from registry.rpc.turns import Turns
from registry.rpc.unary import routes
from registry.rpc.vigil import Rounds
from registry.stalls import Stalls
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

READ_BYTES = 64 << 10
DEFAULT_LIMITS = Limits()
LINKS_AT_ONCE = 256
"""How many links are looked after before the loop does something else."""

SHUTDOWN_SECONDS = 5.0
"""How long a client may take to answer that TLS is closed."""


def _uncounted(_refusal: Refusal, _peer: str) -> None:
    return


class ListenError(Exception):
    """The address cannot be had."""


class RpcServer:
    """Serves ``services`` on ``address``: HOST:PORT (port 0: any free one), or ``unix:PATH``.

    ``tls`` is asked for each connection, so that a renewed certificate counts from the next one on; None serves
    plaintext. It is the ``Site`` of its links.
    """

    def __init__(
        self,
        services: Iterable[Service],
        address: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        tls: Callable[[], ssl.SSLContext] | None = None,
        tasks: Supervisor | None = None,
        admission: Admission | None = None,
        stalls: Stalls | None = None,
    ) -> None:
        """``admission``: who may connect, by default ``limits.connections`` of anybody."""
        self.limits = limits
        self.routes = routes(tuple(services))
        self.shared = SharedFrames()
        self.ledger = Ledger(limits.process_bytes, self._crowded)
        self._address = address
        self._tls = tls
        self._admission = admission or Admission(Room(limits.connections, peer_share=1), _uncounted)
        self._acceptor = Acceptor("gRPC", self._admission, self._take, tasks=tasks)
        self._handshakes = Handshakes(self._connect, self._admission.refused)
        self._seats: dict[Link, Seat] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self.turns = Turns(self._loop.call_soon, stalls)
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._rounds: Rounds[Link] = Rounds()
        self._round: asyncio.Handle | None = None
        self._round_at = 0.0
        self._due: deque[Link] = deque()
        """Links to look after in this round."""
        self._evicting = False
        self._stopped = False
        self._empty = asyncio.Event()
        self.address = address

    async def start(self) -> str:
        """Listen; returns the bound address, in the form it was given in.

        Raises:
            ListenError: the address cannot be had.
        """
        try:
            self.address = await self._acceptor.start(self._address)
        except OSError as error:
            raise ListenError(f"{self._address}: {error.strerror or error}") from error
        return self.address

    async def stop(self, grace: float) -> None:
        """Accept nothing more, ask every client to leave, end the open streams with UNAVAILABLE, and leave ``grace``
        seconds to what is being answered."""
        self._acceptor.stop()
        await self._handshakes.stop()
        for task in self._tasks:
            task.cancel()
        for count, link in enumerate(tuple(self._links), 1):
            link.leave()
            if count % LINKS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if self._links:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace)
        for link in tuple(self._links):
            link.abort()
        self._stopped = True
        self._set_round()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Site

    def watch(self, link: Link, at: float) -> None:
        self._rounds.put(link, max(at, self._loop.time()))
        if self._round is None or self._round_at > at:
            self._set_round()

    def connected(self, link: Link) -> None:
        self._links.add(link)

    def lost(self, link: Link) -> None:
        self._links.discard(link)
        self._rounds.drop(link)
        self._leave_seat(link)
        if not self._links:
            self._empty.set()

    def _crowded(self) -> None:
        if not self._evicting:
            self._evicting = True
            self._loop.call_soon(self._evict)

    def _evict(self) -> None:
        """All connections together are beyond their bound: close those for which the most is kept."""
        self._evicting = False
        while self.ledger.held > self.ledger.limit and self._links:
            largest = max(self._links, key=_held)
            log.debug("%s: closed: %d of %d bytes are kept for it", largest.peer, largest.held, self.ledger.held)
            self._admission.refused(Refusal.MEMORY, largest.peer)
            largest.abort()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

    @property
    def short_of_files(self) -> bool:
        """Whether nobody can connect just now, since the process may not open another file."""
        return self._acceptor.short

    def _look(self) -> None:
        self._round = None
        now = self._loop.time()
        self._due += self._rounds.due(now)
        for _ in range(min(LINKS_AT_ONCE, len(self._due))):
            link = self._due.popleft()
            try:
                link.look(now)
            except Exception:
                log.exception("%s: closed: looking after it failed by a bug", link.peer)
                link.abort()
        if self._due:
            self._loop.call_soon(self._look)
        else:
            self._set_round()

    def _set_round(self) -> None:
        if self._round is not None:
            self._round.cancel()
            self._round = None
        at = self._rounds.next()
        if at is not None and not self._stopped:
            self._round_at = at
            self._round = self._loop.call_at(at, self._look)

    def _take(self, client: socket.socket, seat: Seat) -> None:
        if client.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            self._run(self._connect(client, seat))
        else:
            self._handshakes.add(client, seat)

    async def _connect(self, client: socket.socket, seat: Seat) -> None:
        """Make a link of an accepted connection, or close it. A handshake that fails is the client's affair."""
        link = (TlsLink if self._tls else Link)(self, self._loop)
        self._seats[link] = seat
        protocol = cast(asyncio.Protocol, link)
        try:
            if self._tls is None:
                seat.guest = link
                await self._loop.connect_accepted_socket(lambda: protocol, client)
                return
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                client,
                ssl=self._tls(),
                ssl_handshake_timeout=self.limits.handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
            seat.guest = link
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.debug("a connection came to nothing: %s", error)
            client.close()
            link.connection_lost(None)
        finally:
            if link not in self._links:
                self._leave_seat(link)

    def _leave_seat(self, link: Link) -> None:
        seat = self._seats.pop(link, None)
        if seat is not None:
            seat.free()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _held(link: Link) -> int:
    return link.held
