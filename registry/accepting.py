"""Accepts connections for a port, as fast as the others on the event loop can bear, and also when files are short.

A refused connection is closed before anything is sent. To a gRPC client that is a failed attempt to connect, since
HTTP/2's SETTINGS did not come: it tries the next address, and backs off.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from registry.admission import LOCAL, Admission, Refusal, Seat, peer_of
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

BACKLOG = 4096
UNIX = "unix:"
ACCEPT_SECONDS, ACCEPTED_PER_TURN = 0.001, 64
"""How long, and how many, connections are accepted before the loop does something else. One takes 0.03 ms. What is made
of it, 0.3 ms, follows in the next turn: about 10 ms then. Fewer would let newcomers wait behind those of a flood."""
PAUSE_SECONDS = 0.5
"""How long accepting pauses when files are short: those who wait are in the backlog meanwhile."""
LOG_SECONDS = 30.0
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Listens on an address and hands each admitted connection to ``take``, with its seat.

    ``spare`` files are kept open, to be closed when others have used up all there are: so many connections can be
    accepted all the same.
    """

    def __init__(
        self,
        port: str,
        admission: Admission,
        take: Callable[[socket.socket, Seat], None],
        *,
        spare: int = 0,
        tasks: Supervisor | None = None,
    ) -> None:
        self._port = port
        self._admission = admission
        self._take = take
        self._tasks = tasks or Supervisor()
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._unix: str | None = None
        self._again: asyncio.TimerHandle | None = None
        self._told_at: float | None = None
        self._spare_most = spare
        self._spare: list[int] = []

    @property
    def short(self) -> bool:
        """Whether files are short, so that nothing is accepted just now."""
        return self._again is not None

    async def start(self, address: str) -> str:
        """Listen; returns the bound address, in the form it was given in (``unix:PATH`` or HOST:PORT).

        Raises:
            OSError: it cannot be had.
        """
        self._listeners = await _bind(address, self._loop)
        for listener in self._listeners:
            listener.listen(BACKLOG)
            listener.setblocking(False)
        self._refill()
        self._listen()
        if address.startswith(UNIX):
            self._unix = address.removeprefix(UNIX)
            return address
        return f"{address.rpartition(':')[0]}:{self._listeners[0].getsockname()[1]}"

    def stop(self) -> None:
        """Accept nothing more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        if self._listeners and self._unix is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._unix)
        self._listeners = []
        for file in self._spare:
            os.close(file)
        self._spare = []

    def _listen(self) -> None:
        self._again = None
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        until = monotonic() + ACCEPT_SECONDS
        for accepted in range(ACCEPTED_PER_TURN):
            if accepted and monotonic() >= until:
                break
            try:
                client, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    continue  # the client has gone again (accept(2))
                if not self._spare:
                    self._pause(error)
                    return
                os.close(self._spare.pop())
                continue
            peer = peer_of(address[0]) if isinstance(address, tuple) else LOCAL
            seat = self._admission.admit(peer, self._loop.time())
            if seat is None:
                client.close()
                continue
            client.setblocking(False)
            if not self._tasks.attempt("accept", self._take, client, seat):
                client.close()
                seat.free()
        if len(self._spare) < self._spare_most:
            self._refill()

    def _pause(self, error: OSError) -> None:
        """The kernel would report the listener as readable again and again."""
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
        self._again = self._loop.call_later(PAUSE_SECONDS, self._listen)
        self._admission.refused(Refusal.OPEN_FILES, "none")
        now = self._loop.time()
        if self._told_at is None or now - self._told_at >= LOG_SECONDS:
            self._told_at = now
            log.warning(
                "%s: cannot accept connections: %s; what is open goes on. Raise the limit of open files: `ulimit -n`, "
                "LimitNOFILE= of systemd, or that of the container's runtime",
                self._port,
                error.strerror,
            )

    def _refill(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._spare) < self._spare_most:
                self._spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


async def _bind(address: str, loop: asyncio.AbstractEventLoop) -> list[socket.socket]:
    """A socket for each address of the host, all on one port."""
    if address.startswith(UNIX):
        return [_bind_unix(Path(address.removeprefix(UNIX)))]
    host, _, port = address.rpartition(":")
    found = await loop.getaddrinfo(
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
