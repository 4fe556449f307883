"""Turns of the event loop for requests that come in large numbers, or take long."""

from __future__ import annotations

import asyncio

from registry.fairness import FairQueue


class PeerTurns:
    """On each turn of the event loop ``per_turn`` of those who wait go on, each peer in its turn."""

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        self._loop = asyncio.get_running_loop()
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()
        self._coming = False
        self._left = per_turn
        """Of this turn."""

    async def mine(self, peer: str) -> None:
        """Wait for a turn; this one, if it has room."""
        if self._left and not self._waiting:
            self._left -= 1
            self._come()
            return
        future = self._loop.create_future()
        self._waiting.put(peer, future)
        self._come()
        await future

    def _come(self) -> None:
        if not self._coming:
            self._coming = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._coming = False
        self._left = self._per_turn
        while self._left and (future := self._waiting.take()) is not None:
            if not future.done():
                future.set_result(None)
                self._left -= 1
        if self._left < self._per_turn:
            self._come()
