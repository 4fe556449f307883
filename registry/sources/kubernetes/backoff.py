"""How long to wait after a failure: doubling, with a random part, so that many do not come back together."""

from __future__ import annotations

from collections.abc import Callable

BACKOFF_SECONDS = (0.5, 30.0)
"""The first wait after a failure, and the longest; each is twice the one before, less a random part of up to half."""

MAX_RETRY_AFTER_SECONDS = 300.0


class Backoff:
    """``random`` gives numbers in [0, 1). ``failures`` is how many there were since the last success."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.failures = 0

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self, retry_after: float | None = None) -> float:
        """Count a failure; how many seconds to wait, at least ``retry_after`` of them as far as that is sensible."""
        first, longest = BACKOFF_SECONDS
        seconds = min(longest, first * 2.0 ** min(self.failures, 16)) * (1 - self._random() / 2)
        self.failures += 1
        return seconds if retry_after is None else max(seconds, min(retry_after, MAX_RETRY_AFTER_SECONDS))
