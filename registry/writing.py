"""What the registry writes into its member clusters: ServiceEntries, and conditions of ServiceExports."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from functools import partial

from registry.index import Index
from registry.index.export import ExportPolicy
from registry.membership.members import Members
from registry.membership.spec import Manifests
from registry.model.conditions import Condition
from registry.model.facts import Service
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import ChangeSet
from registry.model.standing import Standing
from registry.model.status import SourceState
from registry.pipeline import Pipeline
from registry.servers.publisher import Publisher
from registry.sources.kubernetes.reflector import Connect
from registry.supervision import Supervisor
from registry.views.names import Names
from registry.writers.departure import Departure, Left, remain
from registry.writers.export_conditions import ExportConditionWriter
from registry.writers.fleet import WriterFleet
from registry.writers.service_entries import ServiceEntryWriter
from registry.writers.unknown import NOBODY, Unknown

log = logging.getLogger(__name__)

BEGIN_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""How often it is looked who is not known yet, besides when a list was completed."""

IDENTITY_SECONDS = 10.0
"""How long what is ours stays in a cluster that left, while a member that is not reached yet may be that cluster."""


class Writing:
    """The writers of both sorts, of which each has one for each member: ``entries`` and ``conditions``, companions.

    A member is written into once it is known itself: it was listed, or a snapshot has it. At a start this waits until
    each member is known or failing, ``BEGIN_SECONDS`` at most, so that most entries are written once. ``tcp`` is as in
    ``registry.views.service_entry.service_entries``.
    """

    def __init__(
        self,
        index: Index,
        publisher: Publisher,
        names: Names,
        export: ExportPolicy,
        *,
        tcp: bool,
        members: Callable[[], Members],
        pipeline: Callable[[], Pipeline],
        tasks: Supervisor | None = None,
    ) -> None:
        self._index = index
        self._publisher = publisher
        self._names = names
        self._export = export
        self._tcp = tcp
        self._members = members
        self._pipeline = pipeline
        self._tasks = tasks or Supervisor()
        self._begun = False
        self._begin_at = 0.0
        self._looking: asyncio.TimerHandle | None = None
        self.unknown: Unknown = NOBODY
        """Who is not known yet, as of the last look."""
        self._said: tuple[str, ...] = ()
        self.entries = WriterFleet(self._make_writer, self._depart, self._look_soon, self._tasks)
        self._export_writers: dict[ClusterId, ExportConditionWriter] = {}
        self.conditions = WriterFleet(self._make_export_writer, joined=self._look_soon, tasks=self._tasks)

    def begin(self) -> None:
        """Members are followed from now on."""
        self._begin_at = asyncio.get_running_loop().time() + BEGIN_SECONDS
        self._look_on()

    def set_export(self, export: ExportPolicy) -> None:
        """These services are exported from now on."""
        self._export = export
        self.conditions.look_again()

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        self.entries.publish(changes)
        self.conditions.publish(changes)

    def look_again(self) -> None:
        """Something else that matters changed: namespaces, who is known, or whether it is time to write."""
        self._look()
        self.entries.look_again()
        self.conditions.look_again()

    async def stop(self) -> None:
        """End what is being written. What was written stays."""
        if self._looking is not None:
            self._looking.cancel()
        await self.conditions.stop()
        await self.entries.stop()

    def told(self, cluster: ClusterId, ref: ObjectRef) -> None:
        """A Service or a ServiceExport of the cluster was said to be other, or gone."""
        writer = self._export_writers.get(cluster)
        if writer is not None and self.conditions.status(cluster) is not None:
            writer.told(ServiceKey(ref.namespace, ref.name))

    def _look_on(self) -> None:
        """Look from time to time: not everything that makes a member known is told."""
        self._tasks.attempt("writers", self._look_soon)
        self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_on)

    def _look_soon(self) -> None:
        """Look, and where something changed have the writers do so."""
        before, begun = self.unknown, self._begun
        self._look()
        if not before.same_as(self.unknown) or begun is not self._begun:
            self.look_again()
        elif str(before) != str(self.unknown):
            self.entries.report()

    def _look(self) -> None:
        """Find who is not known yet. A log line where that is somebody else than before."""
        self.unknown = self._find_unknown()
        self._begun = self._begun or (bool(self._begin_at) and self._is_time())
        if self._begun and self._said != self.unknown.names and (self.entries or self.conditions):
            self._said = self.unknown.names
            if self.unknown:
                log.warning("writing into members goes on without what is not known, which stays: %s", self.unknown)
            else:
                log.info("every member is known: what is written into members is complete")

    def _is_time(self) -> bool:
        """Whether to begin: each unknown member is failing, so that it lists nothing soon, or they were waited for."""
        statuses = self._pipeline().statuses
        starting = any(
            each not in statuses or statuses[each].state is not SourceState.FAILING for each in self.unknown.clusters
        )
        late = asyncio.get_running_loop().time() >= self._begin_at
        return late or (self._members().known and not starting)

    def _find_unknown(self) -> Unknown:
        members, statuses = self._members(), self._pipeline().statuses
        unknown, known, duplicates = [], [], []
        for cluster in members.clusters():
            if cluster in self._index and self._index.seen(cluster):
                known.append(cluster)
            elif members.duplicate(cluster):
                duplicates.append(cluster)
            else:
                status = statuses.get(cluster)
                unknown.append((cluster, (status.reason or status.state) if status is not None else "new"))
        unheard = tuple(origin for origin, _ in members.hearing.unheard)
        return Unknown(unknown, unheard, known, duplicates, filter(self._unverified, known))

    def _unverified(self, cluster: ClusterId) -> bool:
        """Whether the cluster is shown by what a snapshot or a peer knew. Of one that is evicted nothing is to stay."""
        return self._index.restored(cluster) and self._index.standing(cluster) is not Standing.EVICTED

    def _may_write(self, cluster: ClusterId) -> bool:
        return self._begun and cluster in self._index and self._index.seen(cluster)

    def _recognize(self, cluster: ClusterId, uid: str) -> str | None:
        return self._members().recognize(cluster, uid)

    def _say(self, cluster: ClusterId, condition: Condition) -> None:
        if self._begun and cluster in self._pipeline().statuses:
            self._pipeline().condition(cluster, condition)

    async def _depart(self, cluster: ClusterId, connect: Connect, uid: str) -> Left | None:
        """Remove our entries from a cluster that left, unless another member is that cluster, or turns out to be."""
        if not uid:
            left = remain("it was not reached since the start")
            log.warning("cluster %s: left: %s", cluster, left.message)
            return left
        loop = asyncio.get_running_loop()
        until = loop.time() + IDENTITY_SECONDS
        while self._someone_unidentified() and not self._claimed(uid) and loop.time() < until:
            await asyncio.sleep(LOOK_SECONDS / 4)
        claimed, undecided = partial(self._claimed, uid), partial(self._unidentified, cluster)
        return await Departure(cluster, connect, uid, claimed, random.random, undecided).run()

    def _claimed(self, uid: str) -> bool:
        members = self._members()
        return any(members.uid(each) == uid for each in members.clusters())

    def _someone_unidentified(self) -> bool:
        return any(map(self._unidentified, self._members().clusters()))

    def _unidentified(self, cluster: ClusterId) -> bool:
        """Whether there is a member of that name, and which cluster it is was never proven."""
        members = self._members()
        if cluster not in members.clusters() or members.uid(cluster):
            return False
        return not isinstance(members.spec(cluster).connection, Manifests)

    def _make_writer(self, cluster: ClusterId, connect: Connect) -> ServiceEntryWriter:
        return ServiceEntryWriter(
            cluster,
            connect,
            services=self._index.services,
            get=self._index.get,
            namespaces=lambda: self._index.namespaces(cluster),
            ready=partial(self._may_write, cluster),
            names=self._names,
            unknown=lambda: self.unknown,
            policy=lambda service: self._publisher.policy(service).policy,
            family=lambda: self._index.family(cluster),
            tcp=self._tcp,
            random=random.random,
            admit=partial(self._recognize, cluster),
            say=partial(self._say, cluster),
        )

    def _excludes(self, key: ServiceKey) -> bool:
        return self._export.excludes(key)

    def _make_export_writer(self, cluster: ClusterId, connect: Connect) -> ExportConditionWriter:
        def service(key: ServiceKey) -> Service | None:
            found = self._index.held_facts(cluster, Kind.SERVICE).get(ObjectRef(Kind.SERVICE, *key))
            return found if isinstance(found, Service) else None

        writer = self._export_writers[cluster] = ExportConditionWriter(
            cluster,
            connect,
            exports=lambda: self._index.held_facts(cluster, Kind.SERVICE_EXPORT),
            service=service,
            get=self._index.get,
            excluded=self._excludes,
            ready=partial(self._may_write, cluster),
            unknown=lambda: self.unknown,
            now=time.time,
            random=random.random,
            admit=partial(self._recognize, cluster),
            say=partial(self._say, cluster),
        )
        return writer
