"""Shares the event loop between connections: each works for a slice of time, then the next one does.

A connection that has little to do is served before those that used up their slice the last time. So a client that asks
for much waits for itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from registry.stalls import Stalls

SLICE_SECONDS: Final = 0.001
"""How long one connection works before another one does. A step of a handler that takes longer is not cut short."""

FRESH_SECONDS: Final = 0.005
"""How long a turn serves connections that left nothing over, before it serves one at least that did."""

TURN_SECONDS: Final = 0.008
"""How long a turn takes before the loop does something else."""

DIRECT_SECONDS: Final = 0.005
"""How long input is worked off as it is read in one iteration of the loop. Later input waits for a turn."""

UNITS: Final = 32
"""Steps of some microseconds that are taken without a look at the clock."""

COSTLY: Final = 16
"""Units of a step that may be a costly one: a message to a handler, a message of one."""


class Slice:
    """The time that one connection has. Steps are subtracted from ``left``; at 0 the clock is asked."""

    __slots__ = ("_until", "left")

    def __init__(self) -> None:
        self.left = UNITS
        self._until = 0.0

    def begin(self) -> None:
        """A new slice. Its time counts from the first look at the clock: most have an end before."""
        self.left = UNITS
        self._until = 0.0

    def over(self) -> bool:
        """Whether to stop. To be asked when ``left`` is 0 or less, between two steps."""
        now = perf_counter()
        if self._until == 0.0:
            self._until = now + SLICE_SECONDS
        elif now >= self._until:
            return True
        self.left = UNITS
        return False


class Worker(ABC):
    """What has a turn. A class and not a protocol: compiled, its attributes are not looked up."""

    def __init__(self) -> None:
        self.queued = False
        """A turn is to come."""
        self.behind = False
        """It left something over the last time."""

    @abstractmethod
    def work(self) -> bool:
        """Work for a slice; whether something is left over."""

    @abstractmethod
    def broke(self) -> None:
        """``work`` raised the error that is being handled."""


class Turns:
    """The workers that have something to do, each once, in the order they came to have it.

    ``soon`` calls a function in the next iteration of the loop. ``stalls`` times each worker.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object], stalls: Stalls | None = None) -> None:
        self.slice = Slice()
        self._stalls = stalls or Stalls()
        self._soon = soon
        self._fresh: deque[Worker] = deque()
        self._behind: deque[Worker] = deque()
        self._coming = False
        self._iteration = -1.0
        self._direct_until = 0.0

    def ready(self, worker: Worker) -> None:
        """Let ``worker`` work soon."""
        if worker.queued:
            return
        worker.queued = True
        (self._behind if worker.behind else self._fresh).append(worker)
        if not self._coming:
            self._coming = True
            self._soon(self._turn)

    def at_once(self, worker: Worker, now: float) -> None:
        """Let ``worker`` work now, if this iteration of the loop has time for it, else soon.

        ``now`` is the time of the loop; uvloop's is the same for a whole iteration.
        """
        began = self._stalls.begin()
        if worker.queued or not self._direct(now, began):
            self.ready(worker)
            return
        self.slice.begin()
        worker.behind = worker.work()
        self._stalls.end(began, "connection", worker)
        if worker.behind:
            self.ready(worker)

    def _direct(self, now: float, began: float) -> bool:
        if now == self._iteration:
            return began < self._direct_until
        self._iteration = now
        self._direct_until = began + DIRECT_SECONDS
        return True

    def _turn(self) -> None:
        began = self._stalls.begin()
        self._serve(self._fresh, began + FRESH_SECONDS)
        self._serve(self._behind, began + TURN_SECONDS)
        self._coming = bool(self._fresh or self._behind)
        if self._coming:
            self._soon(self._turn)

    def _serve(self, queue: deque[Worker], until: float) -> None:
        """Serve each that is in the queue now, one at least, until the time is over."""
        began = self._stalls.begin()
        for _ in range(len(queue)):
            worker = queue.popleft()
            worker.queued = False
            self.slice.begin()
            try:
                worker.behind = worker.work()
            except Exception:  # noqa: BLE001 - the worker tells of it
                worker.behind = False
                worker.broke()
            began = self._stalls.end(began, "connection", worker)
            if worker.behind:
                worker.queued = True
                self._behind.append(worker)
            if began >= until:
                return
