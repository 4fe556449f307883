"""What exists once for each member apart from its source: how much it is believed, and what is remembered of it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol, cast

from registry.index import Index
from registry.liveness.damping import Damping
from registry.liveness.plan import ProbePlan
from registry.liveness.probes import Ask, Prober
from registry.liveness.sample import Target, sample
from registry.liveness.table import UNKNOWN_BEFORE, Before
from registry.liveness.watch import LivenessWatch
from registry.membership.spec import MemberSpec, Remembered
from registry.model.facts import EndpointSlice
from registry.model.names import ClusterId, Kind
from registry.model.services import ChangeSet
from registry.model.status import Source
from registry.pipeline import Pipeline
from registry.servers.reports import SnapshotReport
from registry.snapshot.format import ClusterFacts
from registry.snapshot.loader import load
from registry.snapshot.pace import PaceRules
from registry.snapshot.writer import SnapshotWriter
from registry.sources.kubernetes.reflector import Connect

log = logging.getLogger(__name__)


class Roll(Protocol):
    """The members, as far as they are asked about here."""

    def clusters(self) -> Iterable[ClusterId]: ...

    def spec(self, cluster: ClusterId) -> MemberSpec: ...

    def source(self, cluster: ClusterId) -> Source | None: ...

    def expect(self, cluster: ClusterId, uid: str) -> bool: ...

    def uid(self, cluster: ClusterId) -> str: ...


class Standings:
    """Has each member watched, and probed as its spec says, or else as ``probe`` says."""

    def __init__(
        self,
        watch: LivenessWatch,
        index: Index,
        roll: Callable[[], Roll],
        probe: ProbePlan | None = None,
        ask: Ask | None = None,
    ) -> None:
        """``ask`` takes the place of real probes."""
        self._watch = watch
        self._index = index
        self._roll = roll
        self._probe = probe
        self._ask = ask
        self._plans: dict[ClusterId, ProbePlan | None] = {}
        self.remembered: Mapping[ClusterId, Before] = {}
        """How they stood before a restart."""

    def joined(self, cluster: ClusterId) -> None:
        plan = self._plans[cluster] = self._plan(cluster)
        before = self.remembered.get(cluster, UNKNOWN_BEFORE)
        self._watch.add(cluster, partial(self._heard_at, cluster), self._prober(cluster, plan), before=before)

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """The source is asked for each time."""

    def changed(self, cluster: ClusterId) -> None:
        plan = self._plan(cluster)
        if plan != self._plans[cluster]:
            self._plans[cluster] = plan
            self._watch.probe(cluster, self._prober(cluster, plan))

    def left(self, cluster: ClusterId) -> None:
        del self._plans[cluster]
        self._watch.remove(cluster)

    def set_probe(self, probe: ProbePlan | None) -> None:
        """Members whose spec says nothing are probed so from now on."""
        self._probe = probe
        for cluster in tuple(self._plans):
            self.changed(cluster)

    def _plan(self, cluster: ClusterId) -> ProbePlan | None:
        return self._roll().spec(cluster).probe or self._probe

    def _heard_at(self, cluster: ClusterId) -> float | None:
        source = self._roll().source(cluster)
        return source.heard_at if source is not None else None

    def _prober(self, cluster: ClusterId, plan: ProbePlan | None) -> Prober | None:
        if plan is None:
            return None
        return Prober(plan, partial(self._sample, cluster, plan.endpoints), random.random, self._ask)

    def _sample(self, cluster: ClusterId, count: int, turn: int) -> tuple[Target, ...]:
        slices = self._index.held_facts(cluster, Kind.ENDPOINT_SLICE).values()
        return sample(cast("Collection[EndpointSlice]", slices), count, turn)


class Memory:
    """Gives members what an earlier run knew of them, and has what is known now written down.

    What is remembered of a cluster is forgotten once every place that names members has been heard, and none named it
    though that is believed by now (``forget``).
    """

    def __init__(
        self,
        path: Path,
        domain: str,
        rules: PaceRules,
        index: Index,
        roll: Callable[[], Roll],
        pipeline: Callable[[], Pipeline],
        damping: Callable[[ClusterId], Damping] = lambda _cluster: Damping(),
    ) -> None:
        self._damping = damping
        self._path = path
        self._domain = domain
        self._rules = rules
        self._index = index
        self._roll = roll
        self._pipeline = pipeline
        self._remembered: dict[ClusterId, ClusterFacts] = {}
        self.writer: SnapshotWriter | None = None
        """None before ``start``, and where a file that cannot be used is in the way."""

    async def start(self) -> Mapping[ClusterId, Before]:
        """Read what an earlier run wrote, before there are members, and begin to write; returns how they stood."""
        loaded = await asyncio.to_thread(load, self._path, self._domain)
        if loaded.writable:
            self.writer = SnapshotWriter(
                self._path,
                self._domain,
                self.clusters,
                clock=time.monotonic,
                wall_clock=time.time,
                rules=self._rules,
            )
            self.writer.start()
        return self.begin(loaded.clusters, 0.0 if loaded.created is None else time.time() - loaded.created)

    def begin(self, remembered: Iterable[ClusterFacts], seconds: float = 0.0) -> Mapping[ClusterId, Before]:
        """Give members what these say, before there are any; returns how they stood, ``seconds`` ago."""
        self._remembered = {each.cluster: each for each in remembered}
        return {
            name: Before(each.standing, Damping(each.penalty, each.suppressed), seconds)
            for name, each in self._remembered.items()
        }

    def specs(self) -> Sequence[MemberSpec]:
        """The members that an earlier run knew and nobody has named yet."""
        text = "an earlier run knew it, and it is not named yet: one of the places that name members is in trouble"
        away = Remembered("no place has named it since the start; what is shown of it is what an earlier run knew")
        origin = f"snapshot {self._path}"
        known = sorted(self._remembered.items())
        return [MemberSpec(name, origin, away, each.network, doubt=text) for name, each in known]

    def forget(self) -> None:
        """Whoever is to be a member has been named."""
        self._remembered.clear()

    async def stop(self) -> None:
        """Write once more, if something changed."""
        if self.writer is not None:
            await self.writer.stop()

    def report(self) -> SnapshotReport:
        """How it goes."""
        path, writer = str(self._path), self.writer
        if writer is None:
            return SnapshotReport(path, 0, 0, 0, 0.0, "a file that cannot be used is in its place: see the log")
        return SnapshotReport(path, writer.written, writer.failed, writer.bytes, writer.seconds, writer.problem)

    def publish(self, _changes: ChangeSet) -> None:
        """The merged list changed."""
        self.changed_somewhere()

    def changed_somewhere(self) -> None:
        """Something changed that is to be remembered."""
        if self.writer is not None:
            self.writer.changed()

    def joined(self, cluster: ClusterId) -> None:
        found = self._remembered.pop(cluster, None)
        if found is None:
            return
        if found.uid and not self._roll().expect(cluster, found.uid):
            log.warning("cluster %s: another member is the cluster that is remembered", cluster)
            return
        self._pipeline().restore(cluster, chain.from_iterable(found.facts.values()))

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """What is remembered does not depend on it."""

    def changed(self, cluster: ClusterId) -> None:
        """What of it shows in the list is told to ``publish``."""

    def left(self, cluster: ClusterId) -> None:
        self._remembered.pop(cluster, None)
        self.changed_somewhere()

    def clusters(self) -> Iterator[ClusterFacts]:
        """What there is to remember. A cluster that has shown nothing yet is not taken for an empty one."""
        for cluster in tuple(self._roll().clusters()):
            if cluster in self._index and (self._index.synced(cluster) or self._index.restored(cluster)):
                facts, uid = self._index.facts(cluster), self._roll().uid(cluster)
                network = self._roll().spec(cluster).network
                standing, damping = self._index.standing(cluster), self._damping(cluster)
                yield ClusterFacts(cluster, facts, uid, network, standing, damping.penalty, damping.suppressed)
        yield from tuple(self._remembered.values())
