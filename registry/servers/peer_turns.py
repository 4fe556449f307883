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

    async def mine(self, peer: str) -> None:
        """Wait for a turn."""
        future = self._loop.create_future()
        self._waiting.put(peer, future)
        if not self._coming:
            self._coming = True
            self._loop.call_soon(self._turn)
        await future

    def _turn(self) -> None:
        left = self._per_turn
        while left and (future := self._waiting.take()) is not None:
            if not future.done():
                future.set_result(None)
                left -= 1
        self._coming = bool(self._waiting)
        if self._coming:
            self._loop.call_soon(self._turn)
