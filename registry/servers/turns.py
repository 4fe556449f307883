"""Long work on the event loop, a short slice at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger(__name__)

SLICE_SECONDS = 0.002

Steps = Iterable[object]
"""Work as an iterator: each step is short, and leaves everything in a state that others may find it in."""

Work = Callable[[Steps], None]
"""Takes work to be done, now or in slices."""


def at_once(steps: Steps) -> None:
    """All of it now: where nobody waits."""
    for _ in steps:
        pass


class Turns:
    """Does work in the order in which it comes: the first slice at once, the others each on a turn of the loop.

    ``later`` calls a function on the next turn, ``clock`` gives seconds. A step that raises ends its own work.
    """

    def __init__(self, later: Callable[[Callable[[], None]], object], clock: Callable[[], float]) -> None:
        self._later = later
        self._clock = clock
        self._waiting: deque[Iterator[object]] = deque()

    def __call__(self, steps: Steps) -> None:
        self._waiting.append(iter(steps))
        if len(self._waiting) == 1:
            self._turn()

    def _turn(self) -> None:
        until = self._clock() + SLICE_SECONDS
        while self._waiting:
            if not self._advanced(self._waiting[0]):
                self._waiting.popleft()
            if self._clock() >= until:
                break
        if self._waiting:
            self._later(self._turn)

    def _advanced(self, steps: Iterator[object]) -> bool:
        try:
            next(steps)
        except StopIteration:
            return False
        except Exception:
            log.exception("work in slices failed by a bug")
            return False
        return True
