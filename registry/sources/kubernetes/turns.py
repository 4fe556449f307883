"""Turns at the event loop for what members say, so that no member keeps the others, or clients, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

TURN_SECONDS = 0.002
"""How long one follower works before the loop has a turn, and then the next follower that waits."""


class Turns:
    """Shared by the sources of a process. One follower at a time has the turn, in the order in which they asked.

    So in one turn of the loop not much more than ``TURN_SECONDS`` is worked off, however many members flood us.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self.clock = clock
        self.lock = asyncio.Lock()
        self.given = 0
        """How many turns there were."""
        self._used = 0.0

    def turn(self) -> Turn:
        """Wait for the turn, and have it until the context ends."""
        return Turn(self)

    async def used(self, seconds: float) -> None:
        """Let the loop have a turn after so many seconds of ours: a line now and then need not wait for that."""
        self._used += seconds
        if self._used >= TURN_SECONDS:
            self._used = 0.0
            await asyncio.sleep(0)


class Turn:
    """The time of one turn. A context of its own: a generator would cost more than all that a line does in it."""

    __slots__ = ("_began", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._began = 0.0

    async def __aenter__(self) -> Turn:
        await self._turns.lock.acquire()
        self._turns.given += 1
        self._began = self._turns.clock()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._turns.lock.release()
        await self._turns.used(self._turns.clock() - self._began)

    @property
    def over(self) -> bool:
        return self._turns.clock() >= self._began + TURN_SECONDS
