"""When a replica that starts answers clients, and how far it is believed by those that come from another one.

A member is *known* when it has listed everything once, or when a snapshot or a peer knows it. Clients are answered when
every member is known, or after ``max_wait`` seconds, with a warning. A replica that answers without knowing a member is
*partial* for ``hold`` seconds: clients keep what they bring along (``xds.store.Coverage``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.index import Index
from registry.membership.members import NOT_NAMED
from registry.membership.spec import Trouble
from registry.model.conditions import Condition, ConditionType
from registry.model.names import BASE_KINDS, ClusterId
from registry.model.status import SourceState
from registry.pipeline import Clock, Pipeline, Timer
from registry.servers.reports import StartReport, Unknown
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

SAY_AFTER, SAY_EVERY = 5.0, 30.0
"""When it is logged that, and for whom, a start waits."""
MARGIN = 0.01
"""A loop's timer may be early by the resolution of its clock; what is done then must be due."""


class Places(Protocol):
    """The places that name members."""

    @property
    def unheard(self) -> Sequence[tuple[str, Trouble | None]]:
        """Those that have not said who their members are, or are not sure of it."""


class Roll(Protocol):
    """The members."""

    @property
    def hearing(self) -> Places: ...

    @property
    def known(self) -> bool: ...

    def clusters(self) -> Sequence[ClusterId]: ...

    def duplicate(self, cluster: ClusterId) -> bool: ...


class Store(Protocol):
    """The part of the xDS store that is told how much it has."""

    @property
    def partial(self) -> bool: ...

    def cover(self, *, complete: bool, partial: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class StartRules:
    """In seconds. ``max_wait`` 0: a member is not waited for once it is known that it cannot list now."""

    max_wait: float
    hold: float


class Startup:
    """Looks at the members each time that more may be known of one (``look``). Times are the ``clock``'s."""

    def __init__(
        self,
        rules: StartRules,
        clock: Clock,
        *,
        pipeline: Pipeline,
        index: Index,
        store: Store,
        roll: Callable[[], Roll],
        opened: Callable[[], None],
        covered: Callable[[bool], None] = lambda _partial: None,
        tasks: Supervisor | None = None,
    ) -> None:
        """``opened`` is called when clients are to be answered, ``covered`` when the list becomes partial or whole."""
        self._rules = rules
        self._clock = clock
        self._pipeline = pipeline
        self._index = index
        self._store = store
        self._roll = roll
        self._opened = opened
        self._covered = covered
        self._tasks = tasks or Supervisor()
        self._began = clock.time()
        self._told = False
        self._remembers = False
        self._soon: Timer | None = None
        self._timers: dict[str, Timer] = {}
        self._unlisted: frozenset[ClusterId] = frozenset()
        """The members that had not listed when clients began to be answered, and have not since."""
        self._unheard = True
        """Not every place that names members had said who they are when that was looked at last."""
        self.is_open = False
        self._opened_at = 0.0
        self._served_without: frozenset[ClusterId] = frozenset()
        pipeline.on_known = self.look

    def begin(self, remembers: bool) -> None:
        """There will be members soon. ``remembers``: a snapshot or a peer says who they are."""
        self._remembers = remembers
        if self._rules.max_wait:
            self._call_at("open", self.until, self.look)
            self._call_at("say", self._began + SAY_AFTER, self._say)

    def told(self) -> None:
        """Every place that names members has said who they are, or what keeps it from that."""
        self._told = True
        self.look()

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @property
    def until(self) -> float:
        """When clients are answered at the latest."""
        return self._began + self._rules.max_wait

    def look_soon(self) -> None:
        """Look once what is under way now is done."""
        if self._soon is None:
            self._soon = self._clock.call_at(self._clock.time(), self._look_now)

    def look(self) -> None:
        """More may be known than before: answer clients, or send what was held back, where it is time."""
        unknown = self.unknown_members()
        if not self.is_open:
            waiting = self._waited_for()
            late = bool(self._rules.max_wait) and self._clock.time() >= self.until
            if late or (self._told and not waiting):
                self._open(unknown)
        self._note(unknown)
        if self.is_open:
            self._cover(unknown)

    def report(self) -> StartReport:
        """How the start goes, for people."""
        unknown = tuple(self._unknown())
        left = max(0.0, self.until - self._clock.time())
        return StartReport(self.is_open, unknown, None if self.is_open or not self._rules.max_wait else left)

    def unknown_members(self) -> list[ClusterId]:
        """The members of which nothing is known: no list, no snapshot, no peer."""
        index, roll = self._index, self._roll()
        return [
            each
            for each in roll.clusters()
            if each in index and not (index.synced(each) or index.restored(each) or roll.duplicate(each))
        ]

    def _look_now(self) -> None:
        self._soon = None
        self.look()

    def _unknown(self) -> Iterator[Unknown]:
        """What a start waits for: members, and places that may name some."""
        if not self._remembers:
            for origin, trouble in self._roll().hearing.unheard:
                said = (NOT_NAMED, "it has not said yet who its members are")
                yield Unknown(origin, *((trouble.reason, trouble.message) if trouble is not None else said))
        for cluster in self.unknown_members():
            status = self._pipeline.statuses[cluster]
            text = status.message or f"it has listed {len(status.listed & BASE_KINDS)} of {len(BASE_KINDS)} kinds"
            yield Unknown(cluster, status.reason or str(status.state), text)

    def _waited_for(self) -> list[Unknown]:
        """The same; with ``max_wait`` 0 those alone that have not said what is wrong with them."""
        if self._rules.max_wait:
            return list(self._unknown())
        statuses = self._pipeline.statuses
        failing = {each for each in statuses if statuses[each].state is SourceState.FAILING}
        return [each for each in self._unknown() if each.name in statuses and each.name not in failing]

    def _open(self, unknown: Sequence[ClusterId]) -> None:
        self._pipeline.flush()
        services, without = len(self._index.services()), tuple(self._unknown())
        if without:
            names = "; ".join(map(str, without))
            waited = self._clock.time() - self._began
            text = "after %.0f s serving %d services without knowing %s; clients keep what they bring along for %g s"
            log.warning(text, waited, services, names, self._rules.hold)
        else:
            log.info("every cluster is accounted for: serving %d services", services)
        self.is_open = True
        self._opened_at = self._clock.time()
        self._call_at("hold", self._opened_at + self._rules.hold, self.look)
        self._served_without = frozenset(unknown)
        self._cover(unknown)
        self._opened()

    def _cover(self, unknown: Sequence[ClusterId]) -> None:
        """Tell the store what it may lack, for a bounded time.

        A member that is named later is no reason: it would hold back changes of all others.
        """
        roll = self._roll()
        unlisted = frozenset(each for each in roll.clusters() if not (self._merged(each) or roll.duplicate(each)))
        self._unlisted = unlisted if self._unheard else unlisted & self._unlisted
        self._unheard = not roll.known
        held = self._clock.time() < self._opened_at + self._rules.hold
        partial = held and (not self._unlisted.isdisjoint(unknown) or (self._unheard and not self._remembers))
        if self._store.partial and not partial:
            self._pipeline.flush()
        self._store.cover(complete=not (held and (self._unlisted or self._unheard)), partial=partial)
        self._covered(partial)

    def _merged(self, cluster: ClusterId) -> bool:
        return cluster in self._index and self._index.merged(cluster)

    def _note(self, unknown: Sequence[ClusterId]) -> None:
        """Say as a condition of which members nothing is known."""
        statuses, conditions = self._pipeline.statuses, self._pipeline.conditions
        for cluster in statuses:
            before = conditions.get(cluster, ConditionType.KNOWN)
            if cluster not in unknown:
                if before is not None and not before.condition.status:
                    self._pipeline.condition(cluster, Condition(ConditionType.KNOWN, True, "Known"))
            elif statuses[cluster].state is SourceState.FAILING or cluster in self._served_without:
                self._pipeline.condition(cluster, self._condition())

    def _condition(self) -> Condition:
        if self.is_open:
            text = "nothing of it is in the list; clients that come from other replicas keep what they have of it"
            bound = f"for {self._rules.hold:g} s (guard.holdSeconds)"
            return Condition(ConditionType.KNOWN, False, "ServedWithout", f"{text} {bound}")
        text = "it has not listed, and no snapshot and no peer knows it; readiness waits for it"
        bound = f"{self._rules.max_wait:g} s at most (startup.maxWaitSeconds)"
        return Condition(ConditionType.KNOWN, False, "NothingKnown", f"{text}, {bound}")

    def _say(self) -> None:
        if self.is_open:
            return
        self._tasks.attempt("startup", self._say_now)
        self._call_at("say", self._clock.time() + SAY_EVERY, self._say)

    def _say_now(self) -> None:
        names = "; ".join(map(str, self._unknown()))
        left = max(0.0, self.until - self._clock.time())
        log.warning("not ready yet: waiting for %s; at most %.0f s more", names, left)

    def _call_at(self, name: str, when: float, callback: Callable[[], None]) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
        self._timers[name] = self._clock.call_at(when + MARGIN, callback)
