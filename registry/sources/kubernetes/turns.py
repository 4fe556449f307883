"""Turns at the event loop for what members say, so that no member keeps the others, or clients, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

TURN_SECONDS = 0.002
"""How long one follower works before the loop has a turn, and then the next follower that waits."""


class Turns:
    """Shared by the sources of a process. One follower at a time has the turn, in the order in which they asked.

    So in one turn of the loop one ``TURN_SECONDS`` is worked off, however many members flood us.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self.given = 0
        """How many turns there were."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for the turn, and have it until the context ends. After it the loop has one, whoever waits."""
        async with self._lock:
            self.given += 1
            yield Turn(self._clock)
        await asyncio.sleep(0)


class Turn:
    """The time of one turn."""

    __slots__ = ("_clock", "_until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + TURN_SECONDS

    @property
    def over(self) -> bool:
        return self._clock() >= self._until
