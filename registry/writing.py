"""What the registry writes into its member clusters: ServiceEntries, and conditions of ServiceExports."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from registry.index import Index
from registry.index.export import ExportPolicy
from registry.model.facts import Service
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import ChangeSet
from registry.servers.publisher import Publisher
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.writers.export_conditions import ExportConditionWriter
from registry.writers.fleet import WriterFleet
from registry.writers.service_entries import ServiceEntryWriter

Recognize = Callable[[ClusterId, str], str | None]


class Writing:
    """The writers of both sorts, of which each has one for each member: ``entries`` and ``conditions``, companions.

    Nothing is written before ``ready``, nor where ``recognize`` does not know the cluster for the member's. ``tcp`` is
    as in ``registry.views.service_entry.service_entries``.
    """

    def __init__(
        self,
        index: Index,
        publisher: Publisher,
        names: Names,
        export: ExportPolicy,
        *,
        tcp: bool,
        ready: Callable[[], bool],
        recognize: Recognize,
    ) -> None:
        self._index = index
        self._publisher = publisher
        self._names = names
        self._export = export
        self._tcp = tcp
        self._ready = ready
        self._recognize = recognize
        self.entries = WriterFleet(self._make_writer)
        self._export_writers: dict[ClusterId, ExportConditionWriter] = {}
        self.conditions = WriterFleet(self._make_export_writer)

    def set_export(self, export: ExportPolicy) -> None:
        """These services are exported from now on."""
        self._export = export
        self.conditions.look_again()

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        self.entries.publish(changes)
        self.conditions.publish(changes)

    def look_again(self) -> None:
        """Something else that matters changed: namespaces, or whether it is time to write."""
        self.entries.look_again()
        self.conditions.look_again()

    async def stop(self) -> None:
        """End what is being written."""
        await self.conditions.stop()
        await self.entries.stop()

    def told(self, cluster: ClusterId, ref: ObjectRef) -> None:
        """A Service or a ServiceExport of the cluster was said to be other, or gone."""
        writer = self._export_writers.get(cluster)
        if writer is not None and self.conditions.status(cluster) is not None:
            writer.told(ServiceKey(ref.namespace, ref.name))

    def _make_writer(self, cluster: ClusterId, connect: Connect) -> ServiceEntryWriter:
        return ServiceEntryWriter(
            cluster,
            connect,
            services=self._index.services,
            get=self._index.get,
            namespaces=lambda: self._index.namespaces(cluster),
            ready=self._ready,
            names=self._names,
            policy=lambda service: self._publisher.policy(service).policy,
            family=lambda: self._index.family(cluster),
            tcp=self._tcp,
            random=random.random,
            admit=partial(self._recognize, cluster),
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
            ready=self._ready,
            now=time.time,
            random=random.random,
            admit=partial(self._recognize, cluster),
        )
        return writer
