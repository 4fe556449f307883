"""TLS handshakes: how many are under way at once, and whose is next.

A handshake costs a millisecond of CPU and 60 KB, and a client that says nothing keeps them for
``Limits.handshake_seconds``. So only some are under way; the other connections wait as bare sockets, and each peer has
its turn.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial

from registry.admission import Refusal, Seat
from registry.fairness import FairQueue

UNDER_WAY = 256
OF_ONE_PEER = UNDER_WAY // 2
PATIENCE_SECONDS = 1.0
"""How long a handshake may take while another connection waits for its place."""

Handshake = Callable[[socket.socket, Seat], Coroutine[None, None, None]]


@dataclass(slots=True, eq=False)
class _Newcomer:
    """A connection whose handshake is to come, or under way. It is the seat's guest until then."""

    client: socket.socket
    seat: Seat
    idle_since: float
    task: asyncio.Task[None] | None = None
    gone: bool = False

    def evict(self) -> None:
        self.gone = True
        if self.task is not None:
            self.task.cancel()
        else:
            self.client.close()


class Handshakes:
    """Runs ``handshake`` for each connection. When that ends, also cancelled, the socket is closed or in use."""

    def __init__(self, handshake: Handshake, refused: Callable[[Refusal, str], None]) -> None:
        self._handshake = handshake
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._waiting: FairQueue[_Newcomer] = FairQueue()
        self._under_way: dict[_Newcomer, None] = {}
        self._of_peer: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def add(self, client: socket.socket, seat: Seat) -> None:
        """Shake hands with this client when it is its turn."""
        newcomer = _Newcomer(client, seat, self._loop.time())
        seat.guest = newcomer
        self._waiting.put(seat.peer, newcomer)
        self._begin()

    async def stop(self) -> None:
        """End those under way, and close those that wait."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        while (newcomer := self._waiting.take()) is not None:
            if not newcomer.gone:
                newcomer.client.close()
                newcomer.seat.free()
        tasks = [each.task for each in self._under_way if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> None:
        while len(self._under_way) < UNDER_WAY and (newcomer := self._waiting.take(self._has_its_share)) is not None:
            if newcomer.gone:
                continue
            newcomer.idle_since = self._loop.time()
            self._under_way[newcomer] = None
            peer = newcomer.seat.peer
            self._of_peer[peer] = self._of_peer.get(peer, 0) + 1
            newcomer.task = self._loop.create_task(self._handshake(newcomer.client, newcomer.seat))
            newcomer.task.add_done_callback(partial(self._ended, newcomer))
        if self._waiting and self._under_way and self._timer is None:
            oldest = next(iter(self._under_way))
            self._timer = self._loop.call_at(oldest.idle_since + PATIENCE_SECONDS, self._lose_patience)

    def _has_its_share(self, peer: str) -> bool:
        return self._of_peer.get(peer, 0) >= OF_ONE_PEER

    def _ended(self, newcomer: _Newcomer, _task: asyncio.Task[None]) -> None:
        del self._under_way[newcomer]
        newcomer.task = None
        peer = newcomer.seat.peer
        left = self._of_peer.pop(peer) - 1
        if left:
            self._of_peer[peer] = left
        if not self._stopped:
            self._begin()

    def _lose_patience(self) -> None:
        self._timer = None
        now = self._loop.time()
        for newcomer in self._under_way:
            if now - newcomer.idle_since < PATIENCE_SECONDS:
                break
            if newcomer.task is not None:
                self._refused(Refusal.HANDSHAKE, newcomer.seat.peer)
                newcomer.task.cancel()
        self._loop.call_soon(self._begin)
