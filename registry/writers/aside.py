"""Objects that could not be written, or are to be looked at later: each with its own time. No other waits for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry.model.names import ClusterId, ServiceKey
from registry.model.status import WriteFailure
from registry.writers.answers import WriteError

log = logging.getLogger(__name__)

RETRY_SECONDS = (1.0, 60.0)
REFUSED_SECONDS = (10.0, 120.0)
"""The first wait and the longest, each twice the one before: of any failure, and where the object itself is refused."""

HURRIED_SECONDS = 1.0
"""How long after it failed an object is tried again when it changed meanwhile."""


@dataclass(slots=True)
class _Aside:
    failure: WriteFailure
    times: int
    failed_at: float
    due: float


class Asides:
    """Times are in seconds of the loop's clock. ``random`` gives numbers in [0, 1)."""

    def __init__(self, what: str, cluster: ClusterId, random: Callable[[], float]) -> None:
        self._what = what
        self._cluster = cluster
        self._random = random
        self._failed: dict[ServiceKey, _Aside] = {}
        self._later: dict[ServiceKey, float] = {}

    @property
    def failures(self) -> tuple[WriteFailure, ...]:
        """What could not be written, ordered by service."""
        return tuple(self._failed[key].failure for key in sorted(self._failed))

    def put(self, key: ServiceKey, error: WriteError, now: float) -> None:
        """Writing failed."""
        failure = WriteFailure(key, error.reason, str(error), refused=error.refusal is not None)
        before = self._failed.get(key)
        if before is None or before.failure != failure:
            log.warning("cluster %s: writing %s: %s: %s: %s", self._cluster, self._what, key, error.reason, error)
        times = 0 if before is None else before.times + 1
        first, longest = REFUSED_SECONDS if failure.refused else RETRY_SECONDS
        wait = min(longest, first * 2.0 ** min(times, 16)) * (1 - self._random() / 2)
        self._later.pop(key, None)
        self._failed[key] = _Aside(failure, times, now, now + max(wait, error.retry_after or 0.0))

    def later(self, key: ServiceKey, due: float) -> None:
        """Nothing failed, and it is to be looked at again."""
        self._later[key] = due

    def done(self, key: ServiceKey) -> None:
        """It was written, or there is nothing to be written."""
        self._later.pop(key, None)
        if self._failed.pop(key, None) is not None:
            log.info("cluster %s: writing %s: %s: as it should be now", self._cluster, self._what, key)

    def hurry(self, key: ServiceKey) -> None:
        """What failed changed: try it soon."""
        aside = self._failed[key]
        aside.due = min(aside.due, aside.failed_at + HURRIED_SECONDS)

    def __contains__(self, key: ServiceKey) -> bool:
        """Writing it failed, and it waits to be tried again."""
        return key in self._failed

    def due(self, now: float) -> Iterator[ServiceKey]:
        """What to look at now."""
        yield from sorted(key for key, aside in self._failed.items() if aside.due <= now)
        yield from sorted(key for key, due in self._later.items() if due <= now)

    def next_at(self) -> float | None:
        """When something is due; None: nothing is."""
        times = [aside.due for aside in self._failed.values()]
        return min([*times, *self._later.values()], default=None)
