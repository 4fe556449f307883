"""When to send: the first change at once, a burst together (design invariant 6). Pure; the clock is the caller's."""

from __future__ import annotations


class Coalescer:
    """Says when pending changes are due. All times are seconds of one monotonic clock.

    After ``quiet`` seconds without a change, a change is due at once. One that follows closer opens a burst, due when
    ``quiet`` seconds have passed without another, and at the latest ``longest`` seconds after the burst's first.
    """

    def __init__(self, quiet: float, longest: float) -> None:
        self._last_change = float("-inf")
        self._latest: float | None = None
        """The time before which everything pending must be sent; None when nothing is pending."""
        self.set_times(quiet, longest)

    def set_times(self, quiet: float, longest: float) -> None:
        """Changes from now on are gathered so."""
        if not 0 <= quiet <= longest:
            raise ValueError(f"0 <= quiet <= longest does not hold: quiet {quiet} s, longest {longest} s")
        self._quiet = quiet
        self._longest = longest

    def changed(self, now: float) -> float:
        """Something changed at ``now``; returns the time at which everything pending is due."""
        if self._latest is None:
            calm = now - self._last_change >= self._quiet
            self._latest = now if calm else now + self._longest
        self._last_change = now
        return min(now + self._quiet, self._latest)

    def sent(self) -> None:
        """Everything pending went out."""
        self._latest = None
