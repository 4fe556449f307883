"""From a source's words to everybody who listens: apply to the index, commit when due, hand on the change set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from registry.coalesce import Coalescer
from registry.index import Index
from registry.model.conditions import Condition, ConditionBoard
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.names import BASE_KINDS, ClusterId, Kind
from registry.model.services import ChangeSet
from registry.model.status import SourceState, SourceStatus
from registry.telemetry import Metrics

log = logging.getLogger(__name__)

Audience = Callable[[ChangeSet], None]
"""Is told every change set, in order. Never blocks."""


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop the pipeline needs: its monotonic time in seconds, and a call at a time."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


class Pipeline:
    """The sink of every source. One commit per burst of events, at the times ``coalescer`` says."""

    def __init__(
        self,
        index: Index,
        coalescer: Coalescer,
        clock: Clock,
        *,
        audiences: Sequence[Audience],
        metrics: Metrics,
        bystanders: Sequence[Callable[[], None]] = (),
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``bystanders`` are called when something else changed: a namespace, or a list was completed."""
        self._index = index
        self._coalescer = coalescer
        self._clock = clock
        self._audiences = audiences
        self._metrics = metrics
        self._bystanders = bystanders
        self._timer: Timer | None = None
        self._due = 0.0
        self.conditions: ConditionBoard[ClusterId] = ConditionBoard(wall_clock)
        self._statuses: dict[ClusterId, SourceStatus] = {}
        self._on_accounted: Callable[[], None] | None = None

    def add_cluster(self, cluster: ClusterId, network: str) -> None:
        """Expect events of ``cluster``. Endpoints of it are on ``network``."""
        self._index.add_cluster(cluster, network)
        self._statuses[cluster] = SourceStatus(SourceState.CONNECTING)

    @property
    def statuses(self) -> Mapping[ClusterId, SourceStatus]:
        """The last status of every cluster that was added."""
        return self._statuses

    def when_accounted(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, as soon as every added cluster is listed or has said why it cannot be.

        What was learnt until then is committed before the call.
        """
        self._on_accounted = callback
        self._check_accounted()

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        self._index.apply(cluster, event)
        self._metrics.events.labels(cluster).inc()
        match event:
            case Init() | InitApply() | InitKeep():
                return
            case Apply(fact) if fact.ref.kind is Kind.NAMESPACE:
                self._tell_bystanders()
            case Delete(ref) if ref.kind is Kind.NAMESPACE:
                self._tell_bystanders()
            case InitDone():
                self._tell_bystanders()
        self._schedule()

    def status(self, cluster: ClusterId, status: SourceStatus) -> None:
        before = self._statuses[cluster]
        if status == before:
            return
        self._statuses[cluster] = status
        self._tell(cluster, before, status)
        self._check_accounted()

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        """Note what is true of the cluster; a log line when that is news."""
        if self.conditions.set(cluster, condition):
            text = f"cluster {cluster}: {condition.type} is {condition.status}: {condition.reason}: {condition.message}"
            log.log(logging.INFO if condition.status else logging.WARNING, "%s", text)

    def flush(self) -> None:
        """Commit what is pending and tell the audiences, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._coalescer.sent()
        began = self._clock.time()
        changes = self._index.commit()
        if not changes:
            return
        for audience in self._audiences:
            audience(changes)
        self._metrics.changes.inc(len(changes))
        self._metrics.publish_seconds.observe(self._clock.time() - began)

    def _schedule(self) -> None:
        self._due = self._coalescer.changed(self._clock.time())
        if self._timer is None:
            self._timer = self._clock.call_at(self._due, self._on_time)

    def _on_time(self) -> None:
        """The timer is set once per burst: where events came after it was set, it may have to wait on."""
        if self._clock.time() < self._due:
            self._timer = self._clock.call_at(self._due, self._on_time)
        else:
            self.flush()

    def _tell_bystanders(self) -> None:
        for bystander in self._bystanders:
            bystander()

    def _check_accounted(self) -> None:
        callback = self._on_accounted
        if callback is not None and all(accounted(status) for status in self._statuses.values()):
            self._on_accounted = None
            self.flush()
            callback()

    def _tell(self, cluster: ClusterId, before: SourceStatus, after: SourceStatus) -> None:
        """A log line when the state or its reason changed; the kinds of a first list are no news of their own."""
        if (before.state, before.reason, before.message) == (after.state, after.reason, after.message):
            return
        if after.state is SourceState.FAILING:
            log.warning("cluster %s: %s: %s", cluster, after.reason, after.message)
            if (before.state, before.reason) != (after.state, after.reason):
                self._metrics.faults.labels(cluster, after.reason).inc()
        elif after.message:
            log.warning("cluster %s: %s: %s", cluster, after.reason, after.message)
        else:
            log.info("cluster %s: %s", cluster, after.state)


def accounted(status: SourceStatus) -> bool:
    """The cluster has listed everything once, or has said why it cannot."""
    return status.listed >= BASE_KINDS or status.state is SourceState.FAILING
