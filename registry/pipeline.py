"""From a source's words to everybody who listens: apply to the index, commit when due, hand on the change set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import Counter

from registry.coalesce import Coalescer
from registry.index import ExportPolicy, GuardPolicy, Held, HeldObjects, HeldService, Index
from registry.index.gateways import NetworkRule
from registry.index.refusals import Refusal, refusing_condition
from registry.model.conditions import Condition, ConditionBoard, ConditionType
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact
from registry.model.gateways import Gateways
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import ChangeSet
from registry.model.standing import Standing
from registry.model.status import SourceState, SourceStatus
from registry.stalls import Stalls
from registry.supervision import Supervisor
from registry.telemetry import Metrics

log = logging.getLogger(__name__)

REFUSALS_SECONDS = 60.0
"""So long after a log line of what is left out for good of a cluster there is no other."""

Relist = Callable[[Iterable[Kind]], None]

RETRY_SECONDS = 1.0
"""How long after a timer's work failed, by a bug, it is tried again."""


def _never(_kinds: Iterable[Kind]) -> None:
    """Of a cluster that cannot be asked to list again."""


def _nobody() -> None:
    """Where nobody waits for clusters."""


Audience = Callable[[ChangeSet], None]
"""Is told every change set, in order. Never blocks."""


Observer = Callable[[ClusterId, ObjectRef], None]
NO_OBSERVERS: Mapping[Kind, Observer] = {}

GatewayAudience = Callable[[Gateways], None]
"""Is told the gateways of all networks when they, or what cannot be used of them, changed; before the change set."""


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The part of an event loop the pipeline needs: its monotonic time in seconds, and a call at a time."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


class _Changed:
    """What a commit changed, in a few words."""

    def __init__(self, changes: ChangeSet) -> None:
        self._changes = changes

    def __str__(self) -> str:
        first = next((f", {each.key} first" for each in self._changes), "")
        return f"{len(self._changes)} services changed{first}"


class Pipeline:
    """The sink of every source. One commit per burst of events, at the times ``coalescer`` says."""

    def __init__(
        self,
        index: Index,
        coalescer: Coalescer,
        clock: Clock,
        *,
        audiences: Sequence[Audience],
        gateway_audiences: Sequence[GatewayAudience] = (),
        metrics: Metrics,
        bystanders: Sequence[Callable[[], None]] = (),
        observers: Mapping[Kind, Observer] = NO_OBSERVERS,
        wall_clock: Callable[[], float] = time.time,
        tasks: Supervisor | None = None,
        stalls: Stalls | None = None,
    ) -> None:
        """``bystanders`` are called when something else changed: a namespace, or a list was completed.

        ``observers`` are told of each object of a kind that was said to be other or gone, after the commit.
        One of all these that raises is logged and counted by ``tasks``; the others have their commit.
        """
        self._index = index
        self._coalescer = coalescer
        self._clock = clock
        self._audiences = audiences
        self._gateway_audiences = gateway_audiences
        self._gateways: Gateways | None = None
        """Told last."""
        self._metrics = metrics
        self._stalls = stalls or Stalls()
        self._bystanders = bystanders
        self._observers = observers
        self._tasks = tasks or Supervisor()
        self._observed: dict[tuple[ClusterId, ObjectRef], None] = {}
        self._timer: Timer | None = None
        self._due = 0.0
        self.conditions: ConditionBoard[ClusterId] = ConditionBoard(wall_clock)
        self._statuses: dict[ClusterId, SourceStatus] = {}
        self.on_known: Callable[[], None] = _nobody
        """Called when more, or less, may be known of a cluster than before: see ``registry.startup``."""
        self._relist: dict[ClusterId, Relist] = {}
        self._counted: dict[ClusterId, Counter] = {}
        self._refusals_logged: dict[ClusterId, float] = {}
        """When something of a cluster was last said in the log that is left out for good."""
        self._doubts_timer: Timer | None = None
        self._doubts_told: dict[ClusterId, int] = {}
        """After how many changes of what is held of a cluster it was told last."""

    def add_cluster(self, cluster: ClusterId, network: str, relist: Relist = _never) -> None:
        """Expect events of ``cluster``, whose endpoints are on ``network``. ``relist`` asks for new lists of it."""
        self._index.add_cluster(cluster, network)
        self._statuses[cluster] = SourceStatus(SourceState.CONNECTING)
        self._relist[cluster] = relist
        self._counted[cluster] = self._metrics.events.labels(cluster)

    def remove_cluster(self, cluster: ClusterId) -> None:
        """The operator took the cluster out: what it said is gone at once."""
        self._index.remove_cluster(cluster)
        del self._statuses[cluster], self._relist[cluster], self._counted[cluster]
        self._doubts_told.pop(cluster, None)
        self._refusals_logged.pop(cluster, None)
        self.conditions.forget(cluster)
        self._metrics.forget(cluster)
        self.flush()
        self._tell_bystanders()
        self._tell_known()

    def start_over(self, cluster: ClusterId) -> None:
        """Forget what was said of ``cluster``, unless it is shown: it was perhaps said of another."""
        self._index.start_over(cluster)

    def told(self, cluster: ClusterId, kind: Kind) -> Mapping[ObjectRef, Fact]:
        """The cluster's objects of ``kind`` as it told them last."""
        return self._index.held_facts(cluster, kind)

    def restore(self, cluster: ClusterId, facts: Iterable[Fact], origin: str = "the snapshot") -> None:
        """Show what ``origin`` knows of ``cluster`` until its first list is complete."""
        self._index.restore(cluster, facts)
        text = f"what is shown is from {origin}, until the cluster's first list is complete"
        reason = "FromPeer" if origin.startswith("peer ") else "FromSnapshot"
        self.condition(cluster, Condition(ConditionType.VERIFIED, False, reason, text))
        self._schedule()
        self._tell_known()

    def set_standing(self, cluster: ClusterId, standing: Standing) -> None:
        """How much is believed of the whole cluster."""
        before = self._index.standing(cluster)
        if self._index.set_standing(cluster, standing):
            log.warning("cluster %s: its endpoints are %s, before %s", cluster, standing, before)
            self._schedule()

    def release(self, cluster: ClusterId | None, key: ServiceKey | None) -> tuple[Held, ...]:
        """Let go what is held in doubt, of one cluster or one service or all; returns what it was."""
        released = self._index.release(cluster, key)
        for each in released:
            if isinstance(each, HeldService):
                log.warning("cluster %s: %s: %d endpoints let go by hand", each.cluster, each.key, len(each.endpoints))
            else:
                log.warning("cluster %s: %d of kind %s let go by hand", each.cluster, len(each.refs), each.kind)
        self.flush()
        return released

    def set_network(self, cluster: ClusterId, network: str) -> None:
        """Endpoints of ``cluster`` are on ``network`` from now on."""
        self._index.set_network(cluster, network)
        self._schedule()

    def set_local(self, cluster: ClusterId, *, local: bool) -> None:
        """Whether ``cluster`` is a folder of manifests, where loopback addresses may be meant."""
        self._index.set_local(cluster, local=local)
        self._schedule()

    def set_networks(self, rules: Mapping[str, NetworkRule]) -> None:
        """The configuration says this of networks and their gateways from now on."""
        self._index.set_networks(rules)
        self.flush()

    def set_guard(self, policy: GuardPolicy) -> None:
        """What is held is judged so from now on, and so are lists that come."""
        self._index.set_guard(policy)
        self.flush()

    def set_export(self, policy: ExportPolicy) -> Iterator[None]:
        """These services are exported from now on. Each step commits what some of them change."""
        for _ in self._index.set_export(policy):
            self.flush()
            yield

    def set_coalescing(self, quiet: float, longest: float) -> None:
        """Changes are gathered for so many seconds from now on."""
        self._coalescer.set_times(quiet, longest)

    @property
    def statuses(self) -> Mapping[ClusterId, SourceStatus]:
        """The last status of every cluster that was added."""
        return self._statuses

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        self._index.apply(cluster, event)
        self._counted[cluster].inc()
        match event:
            case Init() | InitApply() | InitKeep():
                return
            case Apply(fact):
                self._note(cluster, fact.ref)
            case Delete(ref):
                self._note(cluster, ref)
            case InitDone():
                self._tell_bystanders()
                self._check_verified(cluster)
        self._schedule()

    def _note(self, cluster: ClusterId, ref: ObjectRef) -> None:
        if ref.kind is Kind.NAMESPACE:
            self._tell_bystanders()
        if ref.kind in self._observers:
            self._observed[cluster, ref] = None

    def status(self, cluster: ClusterId, status: SourceStatus) -> None:
        before = self._statuses[cluster]
        if status == before:
            return
        self._statuses[cluster] = status
        self._tell(cluster, before, status)
        self._tell_known()

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        """Note what is true of the cluster; a log line when the status or the reason is another."""
        before = self.conditions.get(cluster, condition.type)
        self.conditions.set(cluster, condition)
        said = before and (before.condition.status, before.condition.reason)
        if said != (condition.status, condition.reason):
            text = f"cluster {cluster}: {condition.type} is {condition.status}: {condition.reason}: {condition.message}"
            log.log(logging.INFO if condition.status else logging.WARNING, "%s", text)

    def withdraw(self, cluster: ClusterId, kind: ConditionType) -> None:
        """The condition does not apply any more."""
        self.conditions.withdraw(cluster, kind)

    def flush(self) -> None:
        """Commit what is pending and tell the audiences, now."""
        began = self._stalls.begin()
        changes = self._commit()
        self._stalls.end(began, "commit", _Changed(changes))

    def _commit(self) -> ChangeSet:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._coalescer.sent()
        began = self._clock.time()
        doubted = set(self._index.doubted)
        waiting = self._index.waiting
        changes = self._index.commit()
        for cluster, key, error in self._index.failures:
            self._tasks.failed("commit", error, f"{key or ''} of cluster {cluster or 'all'}".strip())
        if self._index.waiting != waiting:
            self._tell_bystanders()
        self._tell_observers()
        if doubted:
            self._tell_doubts(doubted)
        for cluster, refusals in self._index.take_refusing().items():
            self._tell_refusals(cluster, refusals)
        self._tell_gateways()
        if not changes:
            return changes
        for audience in self._audiences:
            self._tasks.attempt("audience", audience, changes)
        self._metrics.changes.inc(len(changes))
        self._metrics.publish_seconds.observe(self._clock.time() - began)
        return changes

    def _schedule(self) -> None:
        self._due = self._coalescer.changed(self._clock.time())
        if self._timer is None:
            self._timer = self._clock.call_at(self._due, self._on_time)

    def _on_time(self) -> None:
        """The timer is set once per burst: where events came after it was set, it may have to wait on."""
        if self._clock.time() < self._due:
            self._timer = self._clock.call_at(self._due, self._on_time)
        elif not self._tasks.attempt("commit", self.flush):
            self._timer = self._clock.call_at(self._clock.time() + RETRY_SECONDS, self._on_time)

    def _tell_gateways(self) -> None:
        gateways = self._index.gateways()
        if gateways is not self._gateways:
            self._gateways = gateways
            for audience in self._gateway_audiences:
                self._tasks.attempt("audience", audience, gateways)

    def _check_verified(self, cluster: ClusterId) -> None:
        """A cluster that was shown from the snapshot has listed everything."""
        if self.conditions.get(cluster, ConditionType.VERIFIED) and not self._index.restored(cluster):
            self.condition(cluster, Condition(ConditionType.VERIFIED, True, "Listed"))

    def _tell_refusals(self, cluster: ClusterId, refusals: Mapping[ServiceKey, Sequence[Refusal]]) -> None:
        """Say what is left out for good, in the log once in a while: a member can change it with each object."""
        now = self._clock.time()
        if now - self._refusals_logged.get(cluster, -REFUSALS_SECONDS) >= REFUSALS_SECONDS:
            self._refusals_logged[cluster] = now
            self.condition(cluster, refusing_condition(refusals))
        else:
            self.conditions.set(cluster, refusing_condition(refusals))

    def _tell_doubts(self, clusters: Iterable[ClusterId]) -> None:
        """Say what is held in doubt, where that changed, and come back when something of it is due."""
        for cluster in clusters:
            self._tasks.attempt("doubts", self._tell_doubt, cluster)
        if self._doubts_timer is not None:
            self._doubts_timer.cancel()
            self._doubts_timer = None
        at = self._index.next_at()
        if at is not None:
            self._doubts_timer = self._clock.call_at(at, self._on_doubts)

    def _tell_doubt(self, cluster: ClusterId) -> None:
        changes = self._index.doubts(cluster)
        if changes is None:
            self._doubts_told.pop(cluster, None)
            if cluster in self._statuses:
                self.condition(cluster, Condition(ConditionType.LISTS_BELIEVED, True, "NothingHeld"))
        elif self._doubts_told.get(cluster) != changes:
            self._doubts_told[cluster] = changes
            self.condition(cluster, _held_condition(self._index.held_of(cluster)))

    def _on_doubts(self) -> None:
        self._doubts_timer = None
        if not self._tasks.attempt("doubts", self._look_at_doubts):
            self._doubts_timer = self._clock.call_at(self._clock.time() + RETRY_SECONDS, self._on_doubts)

    def _look_at_doubts(self) -> None:
        for cluster, kinds in self._index.on_time().items():
            log.info("cluster %s: %s are listed once more, to be sure", cluster, ", ".join(sorted(kinds)))
            self._tasks.attempt("doubts", self._relist[cluster], kinds)
        self.flush()

    def _tell_observers(self) -> None:
        observed, self._observed = self._observed, {}
        for cluster, ref in observed:
            self._tasks.attempt("observer", self._observers[ref.kind], cluster, ref)

    def _tell_bystanders(self) -> None:
        for bystander in self._bystanders:
            self._tasks.attempt("observer", bystander)

    def _tell_known(self) -> None:
        self._tasks.attempt("startup", self.on_known)

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


def _held_condition(held: Sequence[Held]) -> Condition:
    """The worst is what most endpoints are lacking of; objects bear none themselves."""
    services = [each for each in held if isinstance(each, HeldService)]
    parts = [f"{len(each.refs)} of kind {each.kind}" for each in held if isinstance(each, HeldObjects)]
    reason = held[0].reason
    if services:
        worst = max(services, key=lambda each: len(each.endpoints))
        reason = worst.reason
        endpoints = sum(len(each.endpoints) for each in services)
        parts.insert(0, f"{endpoints} endpoints of {len(services)} services, {worst.key} among them")
    text = (
        f"a list lacks {', '.join(parts)}, and they are kept; "
        "`mesh-registry guard list` shows them, `mesh-registry guard release` lets them go"
    )
    return Condition(ConditionType.LISTS_BELIEVED, False, reason, text)
