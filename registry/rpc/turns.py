"""Shares the event loop between connections: each works for a slice of time, then another one does.

Time is shared between the addresses that clients come from, not between connections. An address that took little
lately is served first; one that took much waits for the others, and for nobody when there are none.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from registry.stalls import Stalls

SLICE_SECONDS: Final = 0.001
"""How long one connection works before another one does. A step of a handler that takes longer is not cut short."""

DIRECT_SECONDS: Final = 0.003
"""How long input is worked off as it is read in one iteration of the loop. Later input waits for a turn."""

LIGHT_SECONDS: Final = 0.003
"""How long a turn serves addresses that took little, before it serves those that took much, one connection at least."""

TURN_SECONDS: Final = 0.005
"""How long a turn takes before the loop does something else, or as long as that took since the last turn."""

MOST_TURN_SECONDS: Final = 0.03

DEBT: Final = 4.0
"""How many seconds it takes until a second of work is forgotten. So an address may take a quarter of the time."""

MUCH_SECONDS: Final = 0.02
"""An address that would be forgiven later than in this time took much: 5 ms of work at once, or a quarter for long."""

MOST_DEBT_SECONDS: Final = 1.0

UNITS: Final = 32
"""Steps of some microseconds that are taken without a look at the clock."""

COSTLY: Final = 16
"""Units of a step that may be a costly one: a message to a handler, a message of one."""


class Slice:
    """The time that one connection has. Steps are subtracted from ``left``; at 0 the clock is asked."""

    __slots__ = ("_until", "left")

    def __init__(self) -> None:
        self.left = UNITS
        self._until = math.inf

    def begin(self, now: float) -> None:
        """A new slice, from ``now`` on."""
        self.left = UNITS
        self._until = now + SLICE_SECONDS

    def over(self) -> bool:
        """Whether to stop. To be asked when ``left`` is 0 or less, between two steps."""
        if monotonic() >= self._until:
            return True
        self.left = UNITS
        return False


class Share:
    """What the connections of one address take of the time."""

    __slots__ = ("connections", "free_at", "queue")

    def __init__(self) -> None:
        self.connections = 0
        self.free_at = 0.0
        """When what they took is forgotten."""
        self.queue: deque[Worker] = deque()

    def took(self, seconds: float, now: float) -> None:
        """One of them used a CPU so long. How long it waited for one is the machine's doing."""
        free_at = max(now - seconds, self.free_at) + seconds * DEBT
        self.free_at = min(now + MOST_DEBT_SECONDS, free_at)


class Worker(ABC):
    """What has a turn. A class and not a protocol: compiled, its attributes are not looked up."""

    def __init__(self) -> None:
        self.queued = False
        """A turn is to come."""
        self.share = Share()

    @abstractmethod
    def work(self) -> bool:
        """Work for a slice; whether something is left over."""

    @abstractmethod
    def broke(self) -> None:
        """``work`` raised the error that is being handled."""


class Turns:
    """The workers that have something to do, each once.

    ``soon`` calls a function in the next iteration of the loop. ``stalls`` times each worker.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object], stalls: Stalls | None = None) -> None:
        self._stalls = stalls or Stalls()
        self.slice = Slice()
        self._soon = soon
        self._shares: dict[str, Share] = {}
        self._sweep_at = 64
        self._light: deque[Worker] = deque()
        self._heavy: dict[Share, None] = {}
        """Those with workers in their queues."""
        self._coming = False
        self._ended = 0.0
        """When the last turn did, if it left something over."""
        self._iteration = -1.0
        self._now = 0.0
        """When the last worker was done. Good enough to tell who took much."""
        self._direct_until = 0.0

    def share(self, address: str) -> Share:
        """The share of an address, for one more connection: count it out of ``connections`` when it is gone."""
        found = self._shares.get(address)
        if found is None:
            if len(self._shares) >= self._sweep_at:
                now = monotonic()
                self._shares = {at: each for at, each in self._shares.items() if each.connections or each.free_at > now}
                self._sweep_at = 64 + 2 * len(self._shares)
            found = self._shares[address] = Share()
        found.connections += 1
        return found

    def ready(self, worker: Worker) -> None:
        """Let ``worker`` work soon."""
        if worker.queued:
            return
        worker.queued = True
        if worker.share.free_at > self._now + MUCH_SECONDS:
            self._put_off(worker)
        else:
            self._light.append(worker)
        if not self._coming:
            self._coming = True
            self._soon(self._turn)

    def at_once(self, worker: Worker, now: float) -> None:
        """Let ``worker`` work now, if this iteration of the loop has time for it, else soon.

        Those whose address took much have one slice of it, while nobody waits for a turn.

        ``now`` is the time of the loop; uvloop's is the same for a whole iteration.
        """
        began = self._now = self._stalls.begin()
        if now != self._iteration:
            self._iteration = now
            self._direct_until = began + DIRECT_SECONDS
        share = worker.share
        until = self._direct_until
        if share.free_at > began + MUCH_SECONDS:
            until = 0.0 if self._coming else until - (DIRECT_SECONDS - SLICE_SECONDS)
        if worker.queued or began >= until:
            self.ready(worker)
            return
        self.slice.begin(began)
        more = worker.work()
        self._now = self._stalls.end(began, "connection", worker)
        share.took(self._stalls.used, self._now)
        if more:
            self.ready(worker)

    def _put_off(self, worker: Worker) -> None:
        worker.share.queue.append(worker)
        self._heavy[worker.share] = None

    def _turn(self) -> None:
        now = self._now = self._stalls.begin()
        self._serve(self._light, now + LIGHT_SECONDS)
        others = now - self._ended if self._ended else 0.0
        until = now + min(max(TURN_SECONDS, others), MOST_TURN_SECONDS)
        while self._heavy:
            share = min(self._heavy, key=_free_at)
            end = self._now + SLICE_SECONDS
            self._serve(share.queue, min(until, end))
            if not share.queue:
                del self._heavy[share]
            if self._now >= until:
                break
        if self._light and self._now < until:
            self._serve(self._light, until)
        self._coming = bool(self._light or self._heavy)
        self._ended = self._now if self._coming else 0.0
        if self._coming:
            self._soon(self._turn)

    def _serve(self, queue: deque[Worker], until: float) -> None:
        """Serve each that is in the queue now, one at least, until the time is over."""
        for _ in range(len(queue)):
            worker = queue.popleft()
            began = self._now
            if queue is self._light and worker.share.free_at > began + MUCH_SECONDS:
                self._put_off(worker)
                continue
            worker.queued = False
            self.slice.begin(began)
            try:
                more = worker.work()
            except Exception:  # noqa: BLE001 - the worker tells of it
                more = False
                worker.broke()
            now = self._now = self._stalls.end(began, "connection", worker)
            worker.share.took(self._stalls.used, now)
            if more and not worker.queued:
                worker.queued = True
                self._put_off(worker)
            if now >= until:
                return


def _free_at(share: Share) -> float:
    return share.free_at
