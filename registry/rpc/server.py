"""Listens for gRPC clients: TCP or a unix socket, plaintext (with prior knowledge) or TLS with ALPN ``h2``."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import cast

from registry.rpc.ledger import Ledger
from registry.rpc.limits import Limits
from registry.rpc.link import Link, TlsLink
from registry.rpc.seam import Service
from registry.rpc.shared import SharedFrames
from registry.rpc.turns import Turns
from registry.rpc.unary import routes
from registry.rpc.vigil import Rounds
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

BACKLOG = 4096
READ_BYTES = 64 << 10
UNIX = "unix:"
DEFAULT_LIMITS = Limits()
ACCEPT_PAUSE_SECONDS = 0.5
LINKS_AT_ONCE = 256
"""How many links are looked after before the loop does something else."""

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


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
    ) -> None:
        self.limits = limits
        self.routes = routes(tuple(services))
        self.shared = SharedFrames()
        self.ledger = Ledger(limits.process_bytes, self._crowded)
        self._address = address
        self._tls = tls
        self._supervisor = tasks or Supervisor()
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self._connecting = 0
        """Accepted sockets that are no link yet, as long as TLS takes: they count as connections too."""
        self._loop = asyncio.get_running_loop()
        self.clock = self._loop.time
        self.turns = Turns(self._loop.call_soon)
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._rounds: Rounds[Link] = Rounds()
        self._round: asyncio.TimerHandle | None = None
        self._due: deque[Link] = deque()
        """Links to look after in this round."""
        self._evicting = False
        self.evicted = 0
        """Connections that were closed because all together kept too much."""
        self._stopped = False
        self._empty = asyncio.Event()
        self.address = address

    async def start(self) -> str:
        """Listen; returns the bound address, in the form it was given in.

        Raises:
            ListenError: the address cannot be had.
        """
        try:
            self._sockets = await self._bind()
        except OSError as error:
            raise ListenError(f"{self._address}: {error.strerror or error}") from error
        for listener in self._sockets:
            listener.listen(BACKLOG)
            listener.setblocking(False)
            self._run(self._supervisor.supervise("accept", partial(self._accept, listener)))
        if not self._address.startswith(UNIX):
            host = self._address.rpartition(":")[0]
            self.address = f"{host}:{self._sockets[0].getsockname()[1]}"
        return self.address

    async def stop(self, grace: float) -> None:
        """Accept nothing more, ask every client to leave, end the open streams with UNAVAILABLE, and leave ``grace``
        seconds to what is being answered."""
        for task in self._tasks:
            task.cancel()
        for listener in self._sockets:
            listener.close()
        if self._sockets and self._address.startswith(UNIX):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._address.removeprefix(UNIX))
        self._sockets = []
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
        if self._round is None or self._round.when() > at:
            self._set_round()

    def connected(self, link: Link) -> None:
        self._links.add(link)

    def lost(self, link: Link) -> None:
        self._links.discard(link)
        self._rounds.drop(link)
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
            log.warning(
                "%s: closed: %d bytes are kept for it, and %d for all connections, more than limits.processBytes (%d)",
                *(largest.peer, largest.held, self.ledger.held, self.ledger.limit),
            )
            self.evicted += 1
            largest.abort()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._links)

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
            self._round = self._loop.call_at(at, self._look)

    async def _bind(self) -> list[socket.socket]:
        if self._address.startswith(UNIX):
            return [_bind_unix(Path(self._address.removeprefix(UNIX)))]
        host, _, port = self._address.rpartition(":")
        found = await self._loop.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        sockets: list[socket.socket] = []
        try:
            for family, kind, protocol, _, where in dict.fromkeys(found):
                bound = socket.socket(family, kind, protocol)
                sockets.append(bound)
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                # Every address of the name gets the same port.
                chosen = where[1] if sockets[0] is bound else sockets[0].getsockname()[1]
                bound.bind((where[0], chosen, *where[2:]))
        except OSError:
            for bound in sockets:
                bound.close()
            raise
        return sockets

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = await self._loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    continue
                log.warning("cannot accept a connection: %s; raise the limit of open files (ulimit -n)", error)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            if len(self._links) + self._connecting >= self.limits.connections:
                client.close()
                continue
            self._connecting += 1
            self._run(self._connect(client))

    async def _connect(self, client: socket.socket) -> None:
        """Make a link of an accepted connection. A handshake that fails is the client's affair."""
        link = cast(asyncio.Protocol, (TlsLink if self._tls else Link)(self, self._loop))
        try:
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: link, client)
                return
            await self._loop.connect_accepted_socket(
                lambda: link, client, ssl=self._tls(), ssl_handshake_timeout=self.limits.handshake_seconds
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.debug("a connection came to nothing: %s", error)
            client.close()
            link.connection_lost(None)
        finally:
            self._connecting -= 1

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _held(link: Link) -> int:
    return link.held


def _bind_unix(path: Path) -> socket.socket:
    """A socket at ``path``; what an earlier server left there is replaced, a live server's is not."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    return bound


def _answers(path: Path) -> bool:
    """Whether somebody listens on the unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
