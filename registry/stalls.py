"""Work that held up everybody else: slices of the event loop's time that took more than 50 ms, and who caused them.

``registry.stall_watch`` times every step of a task, and finds what nothing names. A callback is timed where it begins::

    began = stalls.begin()
    ...
    stalls.end(began, "connection", self)

That costs two readings of a clock. A slice that took long has two times: how long the others waited (``wall``), and how
long the thread used a CPU (``cpu``). A machine that is busy with other things makes the first one long, and only what
the registry does makes the second one long.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LONGEST_SECONDS = 0.05
FRESH_SECONDS = 0.005
"""How old the last reading of the CPU clock may be when a slice begins: it costs more than that of the time."""

LOG_SECONDS = 1.0
"""At most one line is logged in this time, so that a client which stalls the loop does not fill the log too."""

WORKS = ("connection", "commit", "task", "other")
"""Where a slice began; ``other`` is what nothing names, and many slices of one turn."""

Count = Callable[[str, float, float], None]


def _uncounted(_work: str, _wall: float, _cpu: float) -> None:
    """For a registry without metrics."""


class Stalls:
    """Times slices of work on one thread. ``count`` gets the work, the seconds and the CPU seconds of each long one.

    ``clock`` and ``cpu_clock`` are those of that thread, in seconds. A long slice inside another counts once, as the
    inner one.
    """

    def __init__(
        self,
        count: Count = _uncounted,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._count = count
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._read_at = clock()
        self._read = cpu_clock()
        self._counted_until = 0.0
        self._log_again = 0.0
        self._unlogged = 0
        self.used = 0.0
        """Seconds for which the last slice used a CPU. For a short one it is all its time: no clock is read for it."""

    def begin(self) -> float:
        """The time, for ``end``."""
        now = self._clock()
        if now - self._read_at > FRESH_SECONDS:
            self._read_at = now
            self._read = self._cpu_clock()
        return now

    def end(self, began: float, work: str, who: object) -> float:
        """The slice that began then is over; ``str(who)`` says who caused it. Returns the time: the next may begin."""
        now = self._clock()
        self.used = now - began
        if self.used > FRESH_SECONDS:
            self._slow(began, now, work, who)
        return now

    def _slow(self, began: float, now: float, work: str, who: object) -> None:
        """CPU before the slice, since the clock was read, is taken off as if the thread had never waited for a CPU."""
        cpu_now = self._cpu_clock()
        cpu = cpu_now - self._read - max(began - self._read_at, 0.0)
        self.used = min(max(cpu, FRESH_SECONDS), self.used)
        if now - began <= LONGEST_SECONDS:
            return
        self._read_at, self._read = now, cpu_now
        began = max(began, self._counted_until)
        wall = now - began
        if wall <= LONGEST_SECONDS:
            return
        self._counted_until = now
        cpu = min(max(cpu, 0.0), wall)
        self._count(work, wall, cpu)
        if now < self._log_again:
            self._unlogged += 1
            return
        more = f"; {self._unlogged} more were not logged" if self._unlogged else ""
        self._log_again = now + LOG_SECONDS
        self._unlogged = 0
        text = "stall: everybody waited %.0f ms (%.0f ms of CPU) for %s: %s%s"
        log.warning(text, wall * 1000, cpu * 1000, work, who, more)
