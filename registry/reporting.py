"""What the running registry tells its operators, and what they may ask of it: gathered from the parts that know it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, KeysView, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from registry.index import HeldObjects, HeldService, Index, Refused
from registry.membership.members import Members
from registry.memory import Memory
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import MergedService
from registry.model.status import SourceStatus
from registry.networks import Networks
from registry.pipeline import Pipeline
from registry.ports import Ports
from registry.servers.ads import ClientStatus, XdsServer
from registry.servers.explanation import Explanation, MemberHealth
from registry.servers.publisher import Publisher
from registry.servers.reports import (
    ClusterReport,
    HeldObjectsReport,
    HeldReport,
    MembershipReport,
    NetworkReport,
    SnapshotReport,
    StartReport,
)
from registry.startup import Startup
from registry.supervision import Supervisor
from registry.views.names import Names
from registry.views.place import Place, who_of
from registry.views.policy import ResolvedPolicy
from registry.views.service_entry import ServiceEntries, service_entries
from registry.whereabouts import Whereabouts
from registry.writing import Writing


class KeyOrder:
    """Keys in order, which is kept from one time to the next: to sort 100,000 anew takes 0.2 s."""

    def __init__(self) -> None:
        self._ordered: tuple[ServiceKey, ...] = ()
        self._known: frozenset[ServiceKey] = frozenset()

    def of(self, keys: KeysView[ServiceKey]) -> Sequence[ServiceKey]:
        """These, in order."""
        if keys != self._known:
            kept = [key for key in self._ordered if key in keys]
            self._ordered = tuple(sorted([*kept, *sorted(keys - self._known)]))
            self._known = frozenset(keys)
        return self._ordered


@dataclass(frozen=True, slots=True)
class Reporting:
    """``servers.reports.Reports`` over the parts of a registry.

    ``entries_with_tcp``: ServiceEntries have ports for which sidecars take all TCP traffic.
    """

    index: Index
    pipeline: Pipeline
    members: Members
    publisher: Publisher
    xds: XdsServer
    whereabouts: Whereabouts
    reach: Networks
    memory: Memory
    startup: Startup
    writing: Writing
    names: Names
    tasks: Supervisor
    entries_with_tcp: bool
    ports: Ports
    order: KeyOrder = field(default_factory=KeyOrder)

    def start(self) -> StartReport:
        return self.startup.report()

    def clusters(self) -> Sequence[ClusterReport]:
        """All of them at once."""
        return [self._cluster_report(cluster) for cluster in self.members.clusters()]

    def cluster_names(self) -> Sequence[ClusterId]:
        return self.members.clusters()

    def cluster(self, cluster: ClusterId) -> ClusterReport | None:
        return self._cluster_report(cluster) if cluster in self.pipeline.statuses else None

    def cluster_status(self, cluster: ClusterId) -> SourceStatus | None:
        return self.pipeline.statuses.get(cluster)

    def membership(self) -> MembershipReport:
        refused = [(each.name, each.origin, each.reason, each.message) for each in self.members.hearing.refused]
        troubles = [(origin, each.reason, each.message) for origin, each in self.members.hearing.troubles.items()]
        snapshot = self.snapshot()
        if snapshot is not None and snapshot.problem:
            troubles.append((f"snapshot {snapshot.path}", "SnapshotNotWritten", snapshot.problem))
        remains = sorted(self.writing.entries.remains.items())
        troubles += [(f"cluster {cluster}", left.reason, left.message) for cluster, left in remains]
        troubles += self.tasks.troubles()
        return MembershipReport(refused, troubles)

    def doubted(self) -> Sequence[ClusterId]:
        return sorted(self.index.doubted.intersection(self.members.clusters()))

    def held_of(self, cluster: ClusterId) -> Mapping[ServiceKey, Callable[[], HeldReport]]:
        held = self.index.held_services(cluster)
        return {key: partial(_held_now, make) for key, make in held.items()}

    def held_objects(self) -> Sequence[HeldObjectsReport]:
        return [_held_objects_report(each) for each in self.index.held_objects()]

    def release(
        self, cluster: ClusterId | None, service: ServiceKey | None
    ) -> Sequence[HeldReport | HeldObjectsReport]:
        return [
            _held_report(each) if isinstance(each, HeldService) else _held_objects_report(each)
            for each in self.pipeline.release(cluster, service)
        ]

    def release_member(self, cluster: ClusterId) -> bool:
        return self.members.release(cluster)

    def snapshot(self) -> SnapshotReport | None:
        return self.memory.report()

    def service_keys(self) -> Sequence[ServiceKey]:
        return self.order.of(self.index.keys())

    def services(self) -> Sequence[MergedService]:
        """All of them at once."""
        return self.index.services()

    def service(self, key: ServiceKey) -> MergedService | None:
        return self.index.get(key)

    def refused_of(self, cluster: ClusterId) -> Sequence[Refused]:
        return self.index.refused_of(cluster)

    def refusals(self, key: ServiceKey) -> Sequence[Refused]:
        return self.index.refusals(key)

    def networks(self) -> Sequence[NetworkReport]:
        return self.reach.report()

    def policy(self, service: MergedService) -> ResolvedPolicy:
        return self.publisher.policy(service)

    def service_entries(self, service: MergedService, cluster: ClusterId | None) -> ServiceEntries:
        family = "" if cluster is None else self.index.family(cluster)
        return service_entries(service, self.names, self.policy(service).policy, family, tcp=self.entries_with_tcp)

    def policy_problems(self) -> Mapping[ServiceKey, Sequence[str]]:
        return self.publisher.problems()

    def explain(self, key: ServiceKey, client: str | None) -> Explanation:
        found = self.xds.find(client) if client is not None else None
        if client is not None and found is None:
            raise LookupError(f"no client {client!r} is connected: `mesh-registry get clients` lists those that are")
        explained = self.index.explain(key)
        service = explained.service
        now = asyncio.get_running_loop().time()
        members: dict[ClusterId, MemberHealth] = {}
        for cluster in self.members.clusters():
            source = self.members.source(cluster)
            at = source.heard_at if source is not None else None
            heard = None if at is None else max(0.0, now - at)
            conditions = self.pipeline.conditions.of(cluster)
            members[cluster] = MemberHealth(heard, self.pipeline.statuses[cluster], conditions)
        return Explanation(
            explained,
            self.publisher.policy(service) if service is not None else ResolvedPolicy(),
            self.publisher.gateways,
            members,
            [(name, reason, message) for name, _, reason, message in self.membership().refused],
            found,
            self._node_from(found[0]) if found is not None else "",
            self.service_entries(service, None).omissions if service is not None else (),
        )

    def _node_from(self, client: ClientStatus) -> str:
        node, place = client.node, client.group
        if node.metadata.get("NODE_NAME"):
            return "NODE_NAME"
        return self.whereabouts.origin(place, who_of(node.metadata, node.id)) if isinstance(place, Place) else ""

    def client_numbers(self) -> Sequence[int]:
        return self.xds.numbers()

    def client(self, number: int) -> ClientStatus | None:
        return self.xds.client(number)

    def connections(self) -> Mapping[str, int]:
        return self.ports.connections()

    def short_of_files(self) -> bool:
        return self.ports.short_of_files()

    def _cluster_report(self, cluster: ClusterId) -> ClusterReport:
        source, spec = self.members.source(cluster), self.members.spec(cluster)
        return ClusterReport(
            cluster=cluster,
            origin=source.origin if source is not None else spec.origin,
            network=spec.network,
            status=self.pipeline.statuses[cluster],
            standing=self.index.standing(cluster),
            conditions=self.pipeline.conditions.of(cluster),
            named_by=spec.origin,
            objects=self.index.objects(cluster),
            writer=self.writing.entries.status(cluster),
            export_writer=self.writing.conditions.status(cluster),
            drifted=source.drifted if source is not None else 0,
        )


def _held_now(make: Callable[[], HeldService]) -> HeldReport:
    return _held_report(make())


def _held_report(held: HeldService) -> HeldReport:
    since, until = _on_peoples_clocks(held)
    return HeldReport(held.cluster, held.key, held.reason, since, until, held.endpoints)


def _held_objects_report(held: HeldObjects) -> HeldObjectsReport:
    since, until = _on_peoples_clocks(held)
    names = tuple(sorted("/".join(filter(None, (ref.namespace, ref.name))) for ref in held.refs))
    return HeldObjectsReport(held.cluster, held.kind, held.reason, since, until, names)


def _on_peoples_clocks(held: HeldService | HeldObjects) -> tuple[float, float | None]:
    """Since when and until when it is held, which the index tells on the monotonic clock."""
    offset = time.time() - asyncio.get_running_loop().time()
    return held.since + offset, None if held.until is None else held.until + offset
