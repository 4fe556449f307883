"""Members that a place named and names no more: gone at once, or kept for a while because that is doubted. Pure.

A folder that is not mounted yet, a file that was cut off, and a home cluster whose store was lost all say what an
operator would say who takes most of the members out. So what a place says is judged like a list of endpoints
(``registry.index.guard``):

============================================================  =====================================================
the place names ...                                           those it names no more are gone
============================================================  =====================================================
fewer by one, or by no more than ``share``                    at once, or when it says so again ``few_seconds`` later
fewer by more than that, or nobody (see ``last_is_much``)     when it said so for ``doubt_seconds``
as many as before or more                                     as where a few are gone
============================================================  =====================================================

In doubt they stay members: as they were named last, after anybody else who names them (``MemberSpec.doubt``). The doubt
ends when they are named again, when somebody whose word counts says that they are gone, or by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from registry.membership.spec import MemberSpec, Trouble

MEMBERS_MISSING = "MembersMissing"
NOBODY_NAMED = "NobodyNamed"
SHOWN = 5
"""So many names are told."""


@dataclass(slots=True)
class AbsencePolicy:
    """When it is doubted that members are gone, and for how long. ``share`` is a part of one.

    A place that names nobody from the start is believed after ``confirm_seconds``.
    """

    share: float
    confirm_seconds: float
    doubt_seconds: float

    def become(self, other: AbsencePolicy) -> None:
        """The configuration is another: the places share this object."""
        self.share, self.confirm_seconds, self.doubt_seconds = other.share, other.confirm_seconds, other.doubt_seconds

    def doubts(self, before: int, after: int) -> bool:
        """Whether so many would be too many to lose at once. One never is."""
        return before - after > max(1.0, self.share * before)


@dataclass(frozen=True, slots=True)
class _Absent:
    """A member as it was named last, since when it is not, and for how long that has to stay so.

    It does not get shorter when others come back: they may come one after another.
    """

    spec: MemberSpec
    since: float
    seconds: float


class Absences:
    """What one place names, and what it lacks. Times are in seconds of one clock."""

    def __init__(
        self, policy: AbsencePolicy, place: str, *, few_seconds: float = 0.0, last_is_much: bool = True
    ) -> None:
        """``place`` is it for people. ``last_is_much``: it is doubted as well that the only member is gone."""
        self._policy = policy
        self._place = place
        self._few_seconds = few_seconds
        self._last_is_much = last_is_much
        self._named: tuple[MemberSpec, ...] = ()
        self._absent: dict[str, _Absent] = {}
        self._began: float | None = None
        self._unsure = True

    def listed(self, specs: Sequence[MemberSpec], now: float, count: int | None = None) -> None:
        """The place says that these are all its members. ``count``: how many it is to be taken to name."""
        self._began = now if self._began is None else self._began
        names = {spec.name for spec in specs}
        before = {spec.name: _Absent(spec, now, self._few_seconds) for spec in self._named} | self._absent
        lacking = {name: absent for name, absent in before.items() if name not in names}
        after = len(names) if count is None else count
        if self._policy.doubts(len(before), after) or (after == 0 and (self._last_is_much or len(before) > 1)):
            lacking = {name: replace(each, seconds=self._policy.doubt_seconds) for name, each in lacking.items()}
        self._absent = {name: each for name, each in lacking.items() if now - each.since < each.seconds}
        self._named = tuple(specs)
        self._unsure = self._unsure and not names and now - self._began < self._policy.confirm_seconds

    def told(self, specs: Sequence[MemberSpec], gone: Collection[str] = ()) -> None:
        """These are named now, on a word that counts: who is named no more is gone, as are the absent ``gone``."""
        names = {spec.name for spec in specs}.union(gone)
        self._absent = {name: absent for name, absent in self._absent.items() if name not in names}
        self._named = tuple(specs)
        self._unsure = self._unsure and not specs

    def release(self, name: str, *, named: bool = False) -> bool:
        """Somebody decides that the member is gone; whether it was in doubt, or, with ``named``, named last."""
        found = self._absent.pop(name, None) is not None
        if named and any(spec.name == name for spec in self._named):
            self._named = tuple(spec for spec in self._named if spec.name != name)
            return True
        return found

    @property
    def doubtful(self) -> bool:
        """What was said last is to be heard once more."""
        return bool(self._absent) or self._unsure

    @property
    def specs(self) -> list[MemberSpec]:
        """The members of the place; those in doubt come last."""
        text = f"{self._place} names it no more; {self._until}"
        return [*self._named, *(replace(each.spec, doubt=text) for each in self._absent.values())]

    def absent(self, origin: str) -> set[str]:
        """Those that were named at ``origin``, or at a place of which it is the beginning, and are in doubt."""
        return {name for name, each in self._absent.items() if each.spec.origin.startswith(origin)}

    @property
    def trouble(self) -> Trouble | None:
        """What is to be said of the place itself."""
        if self._absent:
            names = sorted(self._absent)
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            total = len(names) + len(self._named)
            text = f"{len(names)} of its {total} members are named no more ({shown}); {self._until}"
            return Trouble(MEMBERS_MISSING, text)
        if self._unsure:
            text = "it names nobody; if there is nobody to name, that is believed"
            return Trouble(NOBODY_NAMED, f"{text} after {self._policy.confirm_seconds:g} s", unsure=True)
        return None

    @property
    def _until(self) -> str:
        seconds = max((each.seconds for each in self._absent.values()), default=0.0)
        hand = "`mesh-registry guard release --cluster NAME` lets one go now"
        return f"kept until that was so for {seconds:g} s; {hand}"
