"""When to write the snapshot anew. Pure; the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaceRules:
    """``min_seconds`` after a change it is written; writing takes at most ``share`` of the time.

    Nor are more than ``bytes_per_second`` written where changes do not end: a snapshot is written whole, whatever
    changed, so a large one is written less often. That bounds the wear of the disk, and with it the CPU, which encodes
    100 MB in a second. ``retry_seconds`` after a failure it is tried again.
    """

    min_seconds: float = 1.0
    share: float = 0.1
    bytes_per_second: float = 1e6
    retry_seconds: float = 10.0


class Pace:
    """Knows whether something is unwritten, and from when on it may be written."""

    def __init__(self, rules: PaceRules) -> None:
        self._rules = rules
        self._changed_at: float | None = None
        self._began_at = 0.0
        self._free_at = float("-inf")

    @property
    def dirty(self) -> bool:
        """Something changed since the last write that succeeded was begun."""
        return self._changed_at is not None

    def changed(self, now: float) -> None:
        """What was written is not what is."""
        if self._changed_at is None:
            self._changed_at = now

    def due(self) -> float | None:
        """When to write; None: there is nothing to write."""
        if self._changed_at is None:
            return None
        return max(self._changed_at + self._rules.min_seconds, self._free_at)

    def began(self, now: float) -> None:
        """A write begins; what changes from now on is not sure to be in it."""
        self._began_at = now
        self._changed_at = None

    def ended(self, now: float, succeeded: bool, size: int = 0) -> None:
        """The write is over, of ``size`` bytes."""
        took = now - self._began_at
        self._free_at = self._began_at + max(took / self._rules.share, size / self._rules.bytes_per_second)
        if not succeeded:
            self._free_at = max(self._free_at, now + self._rules.retry_seconds)
            self._changed_at = self._began_at if self._changed_at is None else self._changed_at
