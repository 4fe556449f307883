"""The composition root: the only module that knows every layer."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from registry.coalesce import Coalescer
from registry.companions import Memory, Standings
from registry.config import ClusterConfig, Config, parse_address
from registry.conflict_log import log_conflicts
from registry.errors import StartError
from registry.index import HeldObjects, HeldService, Index, Refused
from registry.liveness.damping import Damping
from registry.liveness.watch import LivenessWatch
from registry.membership.following import Admit, Companion, Held, Opened
from registry.membership.members import Members
from registry.membership.places import absence_policy, places
from registry.membership.remembered import RememberedMembers
from registry.membership.spec import Connection, Manifests
from registry.model.facts import Service
from registry.model.gateways import Gateways
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.networks import Networks
from registry.pipeline import Observer, Pipeline
from registry.protos import registry_pb2 as pb
from registry.rpc.server import ListenError, RpcServer
from registry.rpc.tls import ServerTls, TlsError
from registry.servers.ads import ClientStatus, XdsServer
from registry.servers.explanation import Explanation, MemberHealth
from registry.servers.health import HealthServer
from registry.servers.http import HttpServer
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.servers.reflection import ReflectionServer
from registry.servers.reports import (
    ClusterReport,
    HeldObjectsReport,
    HeldReport,
    MembershipReport,
    NetworkReport,
    SnapshotReport,
)
from registry.sources.kubernetes.client import connector
from registry.sources.kubernetes.kubeconfig import Kubeconfig
from registry.sources.kubernetes.reflector import Connect, KubernetesSource
from registry.sources.manifests import ManifestsSource
from registry.telemetry import Metrics
from registry.views.lookup import place_of_client, who_is_client
from registry.views.names import Names
from registry.views.place import Place, Who, place_of, who_of
from registry.views.policy import ResolvedPolicy
from registry.whereabouts import Whereabouts, is_lost
from registry.writers.export_conditions import ExportConditionWriter
from registry.writers.fleet import WriterFleet
from registry.writers.service_entries import ServiceEntryWriter
from registry.xds.session import SessionOptions
from registry.xds.status import Node
from registry.xds.store import ResourceStore
from registry.xds.types import EDS, ResourceType

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0


class Registry:
    """The whole program, wired: sources -> pipeline (index) -> publisher, lookup, writers -> servers.

    Clients may connect as soon as it is started; they are answered once every cluster has listed or has said why it
    cannot, so that a restart never shows a shorter list than there is.
    """

    def __init__(
        self,
        config: Config,
        flags: Sequence[ClusterConfig] | None = None,
        file: tuple[Path, Config] | None = None,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        """``flags`` are the clusters of ``config`` that flags named, by default all of them.

        ``file`` is where the others were named, and what it said: it is followed from now on. ``opened`` is called when
        clients begin to be answered.
        """
        self._opened = opened
        self._config = config
        self._export = config.exported.policy()
        self._metrics = Metrics()
        self._names = Names(config.domain)
        clock = asyncio.get_running_loop().time
        self._index = Index(self._export, config.guard.policy(), clock, config.network_rules())
        self._store = ResourceStore(complete=False)
        options = SessionOptions(
            identifier="mesh-registry", max_names=config.limits.subscriptions, group=self._group, clock=time.time
        )
        self._xds = XdsServer(self._store, time.time, options)
        self._publisher = Publisher(
            self._store, self._names, parse_address(config.envoy.listener), config.policy_rules(), self._go_by_nodes
        )
        again = partial(asyncio.get_running_loop().call_soon, self._find_again)
        self._whereabouts = Whereabouts(self._index, again)
        self._whereabouts.by_nodes = False
        self._lookup = LookupServer(self._index.get, self._names, self._publisher, self._place_of_client)
        services = (*self._xds.services(), self._lookup.service())
        self._health = HealthServer(services)
        services = (*services, self._health.service())
        self._services = (*services, *ReflectionServer(services).services())
        self._writers = WriterFleet(self._make_writer)
        self._export_writers: dict[ClusterId, ExportConditionWriter] = {}
        self._conditions = WriterFleet(self._make_export_writer)
        self._memory = self._make_memory()
        self._pipeline = self._make_pipeline()
        self._networks = Networks(self._pipeline)
        self._watch = LivenessWatch(config.liveness.rules(), time.monotonic, self._pipeline)
        probe = config.liveness.probe.plan() if config.liveness.probe is not None else None
        self._standings = Standings(self._watch, self._index, lambda: self._members, probe)
        companions: list[Companion] = [self._standings]
        companions += [self._memory] if self._memory is not None else []
        companions += [self._writers] if config.service_entries.write else []
        companions += [self._conditions] if config.exported.write_conditions else []
        providers = places(config, config.clusters if flags is None else flags, file)
        if self._memory is not None:
            origin = f"snapshot {config.snapshot.file}"
            believed = file is None and config.kubeconfig_folder is None and config.remote_secrets is None
            remembered = RememberedMembers(
                origin,
                self._memory.specs,
                lambda: self._members.hearing,
                policy=None if believed else absence_policy(config),
                forget=self._memory.forget,
            )
            providers.append(remembered)
        self._members = Members(
            providers, self._pipeline, self._open_member, companions, settle_seconds=config.guard.settle_seconds
        )
        self._serving = False
        self._stack = AsyncExitStack()
        self.grpc_address = ""
        self.http_address = ""

    async def start(self) -> None:
        """Listen, and begin to follow the clusters.

        Raises:
            StartError: a port cannot be had. Nothing is left running then.
        """
        async with AsyncExitStack() as stack:
            grpc = self._rpc_server()
            try:
                self.grpc_address = await grpc.start()
            except ListenError as error:
                raise StartError(f"gRPC cannot listen on {error}; choose another address with --grpc") from error
            stack.push_async_callback(grpc.stop, GRACE_SECONDS)
            address = parse_address(self._config.listen.http)
            http = HttpServer(self, self._names, self._metrics.exposition, address.host, address.port)
            self.http_address = await http.start()
            stack.push_async_callback(http.stop)
            self._metrics.observe(self)
            stack.push_async_callback(self._writers.stop)
            stack.push_async_callback(self._conditions.stop)
            if self._memory is not None:
                self._standings.remembered = await self._memory.start()
                stack.push_async_callback(self._memory.stop)
            self._watch.start()
            stack.push_async_callback(self._watch.stop)
            stack.push_async_callback(self._members.stop)
            self._members.start(lambda: self._pipeline.when_accounted(self._open))
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop following, finish what is being answered, close."""
        await self._stack.aclose()

    def ready(self) -> bool:
        return self._serving

    def clusters(self) -> Sequence[ClusterReport]:
        return [self._cluster_report(cluster) for cluster in self._members.clusters()]

    def membership(self) -> MembershipReport:
        refused = [(each.name, each.origin, each.reason, each.message) for each in self._members.hearing.refused]
        troubles = [(origin, each.reason, each.message) for origin, each in self._members.hearing.troubles.items()]
        snapshot = self.snapshot()
        if snapshot is not None and snapshot.problem:
            troubles.append((f"snapshot {snapshot.path}", "SnapshotNotWritten", snapshot.problem))
        return MembershipReport(refused, troubles)

    def held(self) -> Sequence[HeldReport]:
        return [_held_report(each) for each in self._index.held()]

    def held_objects(self) -> Sequence[HeldObjectsReport]:
        return [_held_objects_report(each) for each in self._index.held_objects()]

    def release(
        self, cluster: ClusterId | None, service: ServiceKey | None
    ) -> Sequence[HeldReport | HeldObjectsReport]:
        return [
            _held_report(each) if isinstance(each, HeldService) else _held_objects_report(each)
            for each in self._pipeline.release(cluster, service)
        ]

    def release_member(self, cluster: ClusterId) -> bool:
        return self._members.release(cluster)

    def snapshot(self) -> SnapshotReport | None:
        return self._memory.report() if self._memory is not None else None

    def services(self) -> Sequence[MergedService]:
        return self._index.services()

    def service(self, key: ServiceKey) -> MergedService | None:
        return self._index.get(key)

    def refused(self) -> Sequence[Refused]:
        return self._index.refused()

    def networks(self) -> Sequence[NetworkReport]:
        return self._networks.report()

    def policy(self, service: MergedService) -> ResolvedPolicy:
        return self._publisher.policy(service)

    def family(self, cluster: ClusterId) -> str:
        return self._index.family(cluster)

    def policy_problems(self) -> Mapping[ServiceKey, Sequence[str]]:
        return self._publisher.problems()

    def explain(self, key: ServiceKey, client: str | None) -> Explanation:
        found = self._xds.find(client) if client is not None else None
        if client is not None and found is None:
            raise LookupError(f"no client {client!r} is connected: `mesh-registry get clients` lists those that are")
        explained = self._index.explain(key)
        service = explained.service
        now = asyncio.get_running_loop().time()
        members: dict[ClusterId, MemberHealth] = {}
        for cluster in self._members.clusters():
            source = self._members.source(cluster)
            at = source.heard_at if source is not None else None
            heard = None if at is None else max(0.0, now - at)
            conditions = self._pipeline.conditions.of(cluster)
            members[cluster] = MemberHealth(heard, self._pipeline.statuses[cluster], conditions)
        return Explanation(
            explained,
            self._publisher.policy(service) if service is not None else ResolvedPolicy(),
            self._publisher.gateways,
            members,
            [(name, reason, message) for name, _, reason, message in self.membership().refused],
            found,
            self._node_from(found[0]) if found is not None else "",
        )

    def _node_from(self, client: ClientStatus) -> str:
        node, place = client.node, client.group
        if node.metadata.get("NODE_NAME"):
            return "NODE_NAME"
        return self._whereabouts.origin(place, who_of(node.metadata, node.id)) if isinstance(place, Place) else ""

    def clients(self) -> Sequence[ClientStatus]:
        return self._xds.clients()

    def _open(self) -> None:
        """Every cluster is accounted for: answer clients."""
        log.info("every cluster is accounted for: serving %d services", len(self._index.services()))
        self._serving = True
        self._xds.open()
        self._lookup.open()
        self._health.open()
        self._opened()
        self._look_for_completeness()
        if not self._store.complete:
            log.warning("some clusters were not listed yet: what clients have of them from before is left with them")
            asyncio.get_running_loop().call_later(self._config.guard.hold_seconds, self._store.completed)

    def _look_for_completeness(self) -> None:
        """Once every member was listed, what a client has and we do not know is gone."""
        if self._serving and not self._store.complete and self._may_write():
            self._store.completed()

    def _rpc_server(self) -> RpcServer:
        listen = self._config.listen
        tls = None
        if listen.tls is not None:
            client_ca = listen.tls.client_ca
            try:
                tls = ServerTls(
                    Path(listen.tls.certificate), Path(listen.tls.key), Path(client_ca) if client_ca else None
                )
            except TlsError as error:
                raise StartError(f"listen.tls: {error}") from error
        return RpcServer(self._services, listen.grpc, limits=self._config.limits.limits(), tls=tls)

    def _make_pipeline(self) -> Pipeline:
        coalesce = self._config.coalesce
        memory = self._memory
        kinds = (Kind.SERVICE, Kind.SERVICE_EXPORT) if self._config.exported.write_conditions else ()
        observers: dict[Kind, Observer] = dict.fromkeys(kinds, self._tell_export_writer)
        observers |= dict.fromkeys((Kind.POD, Kind.ENDPOINT_SLICE), self._whereabouts.told)
        return Pipeline(
            self._index,
            Coalescer(coalesce.quiet_ms / 1000, coalesce.max_ms / 1000),
            asyncio.get_running_loop(),
            audiences=[
                self._publisher.publish,
                self._look_at_networks,
                self._lookup.publish,
                self._writers.publish,
                self._conditions.publish,
                log_conflicts,
                *([memory.publish] if memory is not None else []),
            ],
            gateway_audiences=[self._publisher.set_gateways, self._lookup.set_gateways, self._look_at_gateways],
            bystanders=[self._look_again],
            observers=observers,
            metrics=self._metrics,
        )

    def _look_at_networks(self, changes: ChangeSet) -> None:
        self._networks.publish(changes)

    def _look_at_gateways(self, gateways: Gateways) -> None:
        self._networks.set_gateways(gateways, self._index.gateway_problems())

    def _look_again(self) -> None:
        """A list was completed, or there is another namespace."""
        self._writers.look_again()
        self._conditions.look_again()
        self._watch.look_soon()
        self._whereabouts.listed()
        if not self._store.complete:  # what was listed is published by then
            asyncio.get_running_loop().call_soon(self._look_for_completeness)
        if self._memory is not None:
            self._memory.changed_somewhere()

    def _make_memory(self) -> Memory | None:
        snapshot = self._config.snapshot
        if snapshot.file is None:
            return None
        return Memory(
            Path(snapshot.file),
            self._config.domain,
            snapshot.pace(),
            self._index,
            lambda: self._members,
            lambda: self._pipeline,
            self._damping,
        )

    def _damping(self, cluster: ClusterId) -> Damping:
        return self._watch.damping(cluster)

    def _open_member(self, cluster: ClusterId, origin: str, connection: Connection, admit: Admit, held: Held) -> Opened:
        """What follows a member that is reached so."""
        if isinstance(connection, Manifests):
            return Opened(ManifestsSource(cluster, Path(connection.folder)), None)
        kubeconfig = connection if isinstance(connection, Kubeconfig) else None
        connect = connector(kubeconfig, f"cluster {cluster} ({origin})", self._config.exec_seconds)
        source = KubernetesSource(
            cluster,
            kubeconfig.server if kubeconfig else "in-cluster",
            connect,
            random=random.random,
            kinds=self._export.kinds,
            admit=admit,
            held=held,
            options=self._config.follow.options(),
        )
        return Opened(source, connect)

    def _make_writer(self, cluster: ClusterId, connect: Connect) -> ServiceEntryWriter:
        return ServiceEntryWriter(
            cluster,
            connect,
            services=self._index.services,
            get=self._index.get,
            namespaces=lambda: self._index.namespaces(cluster),
            ready=self._may_write,
            names=self._names,
            policy=lambda service: self._publisher.policy(service).policy,
            family=lambda: self._index.family(cluster),
            random=random.random,
            admit=partial(self._members.recognize, cluster),
        )

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
            excluded=self._export.excludes,
            ready=self._may_write,
            now=time.time,
            random=random.random,
            admit=partial(self._members.recognize, cluster),
        )
        return writer

    def _tell_export_writer(self, cluster: ClusterId, ref: ObjectRef) -> None:
        writer = self._export_writers.get(cluster)
        if writer is not None and self._conditions.status(cluster) is not None:
            writer.told(ServiceKey(ref.namespace, ref.name))

    def _group(self, node: Node, kind: ResourceType) -> Hashable:
        """Who is shown the same: of assignments clients of one place, of all else everybody."""
        if kind is not EDS:
            return ""
        return self._met(place_of(node.locality, node.metadata, node.id), who_of(node.metadata, node.id))

    def _place_of_client(self, client: pb.Client) -> Place:
        return self._met(place_of_client(client), who_is_client(client))

    def _met(self, place: Place, who: Who) -> Place:
        """A client there looks at endpoints."""
        self._networks.client_of(place.network)
        return self._whereabouts.at(place, who)

    def _go_by_nodes(self, by_nodes: bool) -> None:
        self._whereabouts.by_nodes = by_nodes
        self._regroup()

    def _regroup(self) -> None:
        self._xds.regroup()
        self._lookup.regroup()

    def _find_again(self) -> None:
        """More is known of where clients may be that were not found."""
        self._xds.regroup(is_lost)
        self._lookup.regroup(is_lost)

    def _may_write(self) -> bool:
        """Every member is known, and what it listed is in the merged list, so that no entry is written too short."""
        clusters = self._members.clusters()
        return self._members.known and all(
            self._index.merged(each) or self._members.duplicate(each) for each in clusters
        )

    def _cluster_report(self, cluster: ClusterId) -> ClusterReport:
        source, spec = self._members.source(cluster), self._members.spec(cluster)
        return ClusterReport(
            cluster=cluster,
            origin=source.origin if source is not None else spec.origin,
            network=spec.network,
            status=self._pipeline.statuses[cluster],
            standing=self._index.standing(cluster),
            conditions=self._pipeline.conditions.of(cluster),
            named_by=spec.origin,
            objects=self._index.objects(cluster),
            writer=self._writers.status(cluster),
            export_writer=self._conditions.status(cluster),
            drifted=source.drifted if source is not None else 0,
        )


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
