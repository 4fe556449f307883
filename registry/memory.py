"""What is known of members before they have listed, and what is remembered of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from registry.companions import Roll
from registry.index import Index
from registry.liveness.damping import Damping
from registry.liveness.table import Before
from registry.membership.spec import MemberSpec, Remembered
from registry.model.names import ClusterId
from registry.model.services import ChangeSet
from registry.pipeline import Pipeline
from registry.servers.reports import SnapshotReport
from registry.snapshot.format import ClusterFacts
from registry.snapshot.knowledge import Known
from registry.snapshot.loader import load
from registry.snapshot.pace import PaceRules
from registry.snapshot.writer import SnapshotWriter
from registry.sources.kubernetes.reflector import Connect
from registry.supervision import Supervisor

log = logging.getLogger(__name__)


class Memory:
    """Gives members what is known of them before they have listed, and has what is known now written down.

    Known is what an earlier run left in the file, and what other replicas gave: of each cluster the newest. It is
    forgotten once every place that names members has been heard, and none named it though that is believed by now
    (``forget``). Without a ``path`` there is no file.
    """

    def __init__(
        self,
        path: Path | None,
        domain: str,
        rules: PaceRules,
        index: Index,
        roll: Callable[[], Roll],
        pipeline: Callable[[], Pipeline],
        damping: Callable[[ClusterId], Damping] = lambda _cluster: Damping(),
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        tasks: Supervisor | None = None,
    ) -> None:
        """``clock`` is the one of ``Source.heard_at``."""
        self._damping = damping
        self._path = path
        self._domain = domain
        self._rules = rules
        self._index = index
        self._roll = roll
        self._pipeline = pipeline
        self._clock = clock
        self._wall_clock = wall_clock
        self._tasks = tasks
        self._known: dict[ClusterId, Known] = {}
        """Of clusters that are no members yet."""
        self._forgotten = False
        self._at: dict[ClusterId, float] = {}
        """When what was given to a member had last proven to be so."""
        self.writer: SnapshotWriter | None = None
        """None before ``start``, without a path, and where a file that cannot be used is in the way."""

    async def start(self) -> None:
        """Read what an earlier run wrote, before there are members, and begin to write."""
        if self._path is None:
            return
        loaded = await asyncio.to_thread(load, self._path, self._domain)
        if loaded.writable:
            self.writer = SnapshotWriter(
                self._path,
                self._domain,
                self.clusters,
                clock=time.monotonic,
                wall_clock=time.time,
                rules=self._rules,
                tasks=self._tasks,
            )
            self.writer.start()
        self.learn(loaded.clusters, loaded.created or 0.0, f"snapshot {self._path}")

    def begin(self, remembered: Iterable[ClusterFacts], seconds: float = 0.0) -> Mapping[ClusterId, Before]:
        """Know what an earlier run knew ``seconds`` ago, before there are members; returns how they stood."""
        self.learn(remembered, self._wall_clock() - seconds, f"snapshot {self._path}")
        return self.stood()

    def learn(self, clusters: Iterable[ClusterFacts], created: float, origin: str) -> None:
        """Take what ``origin`` knew at ``created``, in seconds since the epoch.

        Members of which something is known are left as they are; so are clusters of which what is known is as new, or
        is of another cluster under the name.
        """
        members = set(self._roll().clusters())
        for each in clusters:
            known = Known(each, created, origin)
            if each.cluster in members:
                if not (self._index.synced(each.cluster) or self._index.restored(each.cluster)):
                    self._give(known)
            elif not self._forgotten and self._is_better(known):
                self._known[each.cluster] = known

    def stood(self) -> Mapping[ClusterId, Before]:
        """How the clusters that are no members yet stood."""
        now = self._wall_clock()
        return {
            name: Before(each.facts.standing, Damping(each.facts.penalty, each.facts.suppressed), now - each.created)
            for name, each in self._known.items()
        }

    def known(self) -> Mapping[ClusterId, float]:
        """When what is known of each cluster had last proven to be so, in seconds since the epoch."""
        found = {name: each.at for name, each in self._known.items()}
        return found | {name: self._proven_at(name) for name in self._members()}

    def specs(self) -> Sequence[MemberSpec]:
        """The members that an earlier run or another replica knew and nobody has named yet."""
        text = "{} knew it, and it is not named yet: one of the places that name members is in trouble"
        away = "no place has named it since the start; what is shown of it is what {} knew"
        known = [(name, each.origin, each.facts.network) for name, each in sorted(self._known.items())]
        return [
            MemberSpec(name, origin, Remembered(away.format(origin)), network, doubt=text.format(origin))
            for name, origin, network in known
        ]

    def forget(self) -> None:
        """Whoever is to be a member has been named."""
        self._forgotten = True
        self._known.clear()

    async def stop(self) -> None:
        """Write once more, if something changed."""
        if self.writer is not None:
            await self.writer.stop()

    def report(self) -> SnapshotReport | None:
        """How it goes with the file; None where there is none."""
        if self._path is None:
            return None
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
        found = self._known.pop(cluster, None)
        if found is not None:
            self._give(found)

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """What is remembered does not depend on it."""

    def changed(self, cluster: ClusterId) -> None:
        """What of it shows in the list is told to ``publish``."""

    def left(self, cluster: ClusterId) -> None:
        self._known.pop(cluster, None)
        self._at.pop(cluster, None)
        self.changed_somewhere()

    def clusters(self) -> Iterator[ClusterFacts]:
        """What there is to remember. A cluster that has shown nothing yet is not taken for an empty one."""
        for cluster in self._members():
            if cluster in self._index:
                yield replace(self._described(cluster), facts=self._index.facts(cluster))
        yield from self._untaken()

    def described(self) -> Iterator[ClusterFacts]:
        """The same without the facts, which costs next to nothing."""
        yield from map(self._described, self._members())
        yield from (replace(each, facts={}) for each in self._untaken())

    def _members(self) -> list[ClusterId]:
        """Those of which something is known."""
        index = self._index
        members = (each for each in self._roll().clusters() if each in index)
        return [each for each in members if index.synced(each) or index.restored(each)]

    def _described(self, cluster: ClusterId) -> ClusterFacts:
        uid, network = self._roll().uid(cluster), self._roll().spec(cluster).network
        standing, damping = self._index.standing(cluster), self._damping(cluster)
        age = max(0.0, self._wall_clock() - self._proven_at(cluster))
        return ClusterFacts(cluster, {}, uid, network, standing, damping.penalty, damping.suppressed, age)

    def _untaken(self) -> Iterator[ClusterFacts]:
        now = self._wall_clock()
        for each in tuple(self._known.values()):
            yield replace(each.facts, age=max(0.0, now - each.at))

    def _proven_at(self, cluster: ClusterId) -> float:
        """When the member had last proven to be as it is shown."""
        source, now = self._roll().source(cluster), self._wall_clock()
        heard_at = source.heard_at if source is not None and self._index.synced(cluster) else None
        return self._at.get(cluster, now) if heard_at is None else now - max(0.0, self._clock() - heard_at)

    def _is_better(self, known: Known) -> bool:
        """Whether it is to take the place of what is known of the cluster, which is no member yet."""
        before = self._known.get(known.facts.cluster)
        if before is None:
            return True
        if before.facts.uid and known.facts.uid and before.facts.uid != known.facts.uid:
            text = "cluster %s: %s has it as another cluster than %s: the latter is used"
            log.warning(text, known.facts.cluster, known.origin, before.origin)
            return False
        return known.at > before.at

    def _give(self, known: Known) -> None:
        """Let the member be shown so, unless it is known to be another cluster."""
        cluster, facts = known.facts.cluster, known.facts.facts
        if known.facts.uid and not self._roll().expect(cluster, known.facts.uid):
            log.warning("cluster %s: %s has another cluster under the name: it is not used", cluster, known.origin)
            return
        self._at[cluster] = known.at
        self._pipeline().restore(cluster, chain.from_iterable(facts.values()), known.origin)
