"""When what others changed of our entries is put back: soon, but slower and slower where they change it again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MEND_SECONDS = 0.5
"""How long after a change by others it is put back. Another replica's deletion is known to us too by then."""

REPLICA_SECONDS = 5.0
"""The same where the change was made under our own field manager, so by another replica: what it knew will come."""

FREE_MENDS = 5
"""So many times in a row it is put back that soon. After that each wait is twice the one before."""

LONGEST_SECONDS = 300.0
CALM_SECONDS = 60.0
"""Who changes nothing for this long, and for twice the last wait, is done."""


class Place(NamedTuple):
    """Where an entry is in its cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(slots=True)
class _Contest:
    """``edited_at`` is None where nothing is to be put back."""

    edited_at: float | None = None
    by: str = ""
    replica: bool = False
    mends: int = 0
    mended_at: float = 0.0


class Contests:
    """The entries that others changed since they were right. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self._contests: dict[Place, _Contest] = {}

    def edited(self, place: Place, now: float, by: str, *, replica: bool) -> None:
        """Somebody, the manager ``by`` if that is known, changed or deleted the entry."""
        contest = self._contests.setdefault(place, _Contest())
        if now - contest.mended_at > _calm(contest):
            contest.mends = 0
        if contest.edited_at is None:
            contest.edited_at = now
        contest.by, contest.replica = by, replica

    def wait(self, place: Place, now: float) -> float:
        """In how many seconds it may be put back; 0: now."""
        contest = self._contests.get(place)
        if contest is None or contest.edited_at is None:
            return 0.0
        return max(0.0, contest.edited_at + _pause(contest) - now)

    def mended(self, place: Place, now: float) -> bool:
        """The entry was written or deleted; whether that put back what somebody had changed."""
        contest = self._contests.get(place)
        if contest is None or contest.edited_at is None:
            return False
        contest.edited_at = None
        contest.mends += 1
        contest.mended_at = now
        return True

    def right(self, place: Place) -> None:
        """The entry is as it should be: nothing is to be put back."""
        contest = self._contests.get(place)
        if contest is not None:
            contest.edited_at = None
            if not contest.mends:
                del self._contests[place]

    def lasting(self, now: float) -> Iterator[tuple[Place, str]]:
        """The entries that were put back too often, each with who changed it; ordered. Forgets what is over."""
        for place, contest in sorted(self._contests.items(), key=lambda pair: pair[0]):
            since = contest.mended_at if contest.edited_at is None else contest.edited_at + LONGEST_SECONDS
            if now - since > _calm(contest):
                del self._contests[place]
            elif contest.mends >= FREE_MENDS:
                yield place, contest.by

    def calm_in(self, place: Place, now: float) -> Iterator[float]:
        """In how many seconds the contest is over, if nothing happens; none where there is no contest."""
        contest = self._contests.get(place)
        if contest is not None and contest.mends >= FREE_MENDS:
            yield max(1.0, contest.mended_at + _calm(contest) - now + 1.0)


def _pause(contest: _Contest) -> float:
    first = REPLICA_SECONDS if contest.replica else MEND_SECONDS
    if contest.mends < FREE_MENDS:
        return first
    return max(first, min(LONGEST_SECONDS, 2.0 ** min(contest.mends - FREE_MENDS + 1, 16)))


def _calm(contest: _Contest) -> float:
    return max(CALM_SECONDS, 2 * _pause(contest))
