"""The composition root: the only module that knows every layer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from registry.claims import ELSEWHERE, Claims
from registry.coalesce import Coalescer
from registry.companions import Standings
from registry.config import ClusterConfig, Config, parse_address
from registry.conflict_log import log_conflicts
from registry.errors import StartError
from registry.index import Index
from registry.liveness.damping import Damping
from registry.liveness.watch import LivenessWatch
from registry.membership.absence import AbsencePolicy
from registry.membership.configured import ConfigurationFile
from registry.membership.following import Companion
from registry.membership.members import Members
from registry.membership.opening import Opener
from registry.membership.places import absence_policy, places
from registry.membership.remembered import RememberedMembers
from registry.membership.spec import Provider
from registry.memory import Memory
from registry.model.gateways import Gateways
from registry.model.names import ClusterId, Kind
from registry.model.services import ChangeSet
from registry.networks import Networks
from registry.peering import Peering
from registry.pipeline import Observer, Pipeline
from registry.ports import Ports
from registry.protos import registry_pb2 as pb
from registry.reload import ConfigurationInForce, Parts
from registry.reporting import Reporting
from registry.rpc.server import ListenError, RpcServer
from registry.rpc.tls import ServerTls, TlsError
from registry.runtime import open_files
from registry.servers.ads import XdsServer
from registry.servers.health import HealthServer
from registry.servers.http import HttpServer
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.servers.reflection import ReflectionServer
from registry.servers.turns import Turns
from registry.stall_watch import StallWatch
from registry.stalls import Stalls
from registry.startup import StartRules, Startup
from registry.supervision import Supervisor
from registry.telemetry import Metrics
from registry.views.lookup import place_of_client, who_is_client
from registry.views.names import Names
from registry.views.place import Place, Who, place_of, who_of
from registry.whereabouts import Whereabouts, is_lost
from registry.writing import Writing
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
        self._tasks = Supervisor(lambda task: self._metrics.restarts.labels(task).inc())
        self._stalls = Stalls(self._metrics.stalled)
        self._names = Names(config.domain)
        clock = asyncio.get_running_loop().time
        self._turns = Turns(asyncio.get_running_loop().call_soon, clock)
        self._index = Index(self._export, config.guard.policy(), clock, config.network_rules())
        self._store = ResourceStore(complete=False, partial=True, work=self._turns, left=self._group_left)
        options = SessionOptions(
            identifier="mesh-registry", max_names=config.limits.subscriptions, group=self._group, clock=time.time
        )
        self._xds = XdsServer(self._store, time.time, options, self._turns)
        self._publisher = Publisher(
            self._store, self._names, parse_address(config.envoy.listener), config.policy_rules(), self._go_by_nodes
        )
        self._whereabouts = Whereabouts(self._index, self._find_again_soon)
        self._whereabouts.by_nodes = False
        self._lookup = LookupServer(
            self._index.get, self._names, self._publisher, self._place_of_client, self._turns, self._place_left
        )
        self._memory = self._make_memory()
        self._peering = Peering(config, self._memory, self._unknown_members, self._tasks)
        services = (*self._xds.services(), self._lookup.service(), *self._peering.services())
        self._health = HealthServer(services)
        services = (*services, self._health.service())
        self._services = (*services, *ReflectionServer(services).services())
        self.writing = Writing(
            self._index,
            self._publisher,
            self._names,
            self._export,
            tcp=config.service_entries.tcp,
            members=lambda: self._members,
            pipeline=lambda: self._pipeline,
            tasks=self._tasks,
        )
        self._pipeline = self._make_pipeline()
        self._startup = Startup(
            StartRules(config.startup.max_wait_seconds, config.guard.hold_seconds),
            asyncio.get_running_loop(),
            pipeline=self._pipeline,
            index=self._index,
            store=self._store,
            roll=lambda: self._members,
            opened=self._open,
            covered=self._lookup.cover,
            tasks=self._tasks,
        )
        self._networks = Networks(self._pipeline, self._network_appeared)
        self._claims = Claims(self._networks, self._index, self._regroup_soon, self._in_use)
        self._watch = LivenessWatch(config.liveness.rules(), time.monotonic, self._pipeline, self._tasks)
        probe = config.liveness.probe.plan() if config.liveness.probe is not None else None
        self._standings = Standings(self._watch, self._index, lambda: self._members, probe)
        companions: list[Companion] = [self._standings, self._memory]
        companions += [self.writing.entries] if config.service_entries.write else []
        companions += [self.writing.conditions] if config.exported.write_conditions else []
        absence = absence_policy(config)
        self._in_force = ConfigurationInForce(
            file[1] if file is not None else config,
            lambda: self._parts(absence),
            lambda outcome: self._metrics.reloads.labels(outcome).inc(),
        )
        self._file = ConfigurationFile(*file, absence, self._in_force) if file is not None else None
        providers = self._places(flags, absence)
        self._members = Members(
            providers,
            self._pipeline,
            Opener(self._export.kinds, config.exec_seconds, config.follow.options()),
            companions,
            settle_seconds=config.guard.settle_seconds,
            tasks=self._tasks,
        )
        self._ports = Ports(
            config.limits,
            open_files(),
            lambda port, why: self._metrics.refused.labels(port, why).inc(),
            asyncio.get_running_loop().call_later,
        )
        self.reports = Reporting(
            index=self._index,
            pipeline=self._pipeline,
            members=self._members,
            publisher=self._publisher,
            xds=self._xds,
            whereabouts=self._whereabouts,
            reach=self._networks,
            memory=self._memory,
            startup=self._startup,
            writing=self.writing,
            names=self._names,
            tasks=self._tasks,
            entries_with_tcp=config.service_entries.tcp,
            ports=self._ports,
        )
        self._stack = AsyncExitStack()
        self.grpc_address = ""
        self.http_address = ""

    async def start(self) -> None:
        """Listen, and begin to follow the clusters.

        Raises:
            StartError: a port cannot be had. Nothing is left running then.
        """
        async with AsyncExitStack() as stack:
            watch = StallWatch(self._stalls)
            watch.start()
            stack.callback(watch.stop)
            grpc = self._rpc_server()
            try:
                self.grpc_address = await grpc.start()
            except ListenError as error:
                raise StartError(f"gRPC cannot listen on {error}; choose another address with --grpc") from error
            stack.push_async_callback(grpc.stop, GRACE_SECONDS)
            address = parse_address(self._config.listen.http)
            http = HttpServer(
                self.reports,
                self._names,
                self._metrics.pieces,
                address.host,
                address.port,
                limits=self._config.limits.http(),
                admission=self._ports.http,
            )
            self.http_address = await http.start()
            stack.push_async_callback(http.stop)
            self._metrics.observe(self.reports)
            stack.push_async_callback(self.writing.stop)
            await self._memory.start()
            stack.push_async_callback(self._memory.stop)
            stack.push_async_callback(self._peering.stop)
            await self._peering.start()
            self._standings.remembered = self._memory.stood()
            self._startup.begin(remembers=bool(self._standings.remembered))
            stack.callback(self._startup.stop)
            self._watch.start()
            stack.push_async_callback(self._watch.stop)
            stack.push_async_callback(self._members.stop)
            self._members.start(self._startup.told)
            self.writing.begin()
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop following, finish what is being answered, close."""
        await self._stack.aclose()

    async def reload(self) -> None:
        """Read the configuration file now, and put what it says in force."""
        if self._file is None:
            log.info("reload: no configuration file was named with --config, so there is nothing to reload")
        else:
            await self._file.reload()

    def _parts(self, absence: AbsencePolicy) -> Parts:
        return Parts(
            self._index,
            self._pipeline,
            self._publisher,
            self._lookup,
            self.writing,
            self._watch,
            self._standings,
            self._members,
            absence,
        )

    def _open(self) -> None:
        """Answer clients."""
        self._xds.open()
        self._lookup.open()
        self._health.open()
        self._opened()

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
        limits = self._config.limits.limits()
        server = RpcServer(
            self._services,
            listen.grpc,
            limits=limits,
            tls=tls,
            admission=self._ports.grpc,
            tasks=self._tasks,
            stalls=self._stalls,
        )
        self._ports.rpc_server = server
        return server

    def _make_pipeline(self) -> Pipeline:
        coalesce = self._config.coalesce
        kinds = (Kind.SERVICE, Kind.SERVICE_EXPORT) if self._config.exported.write_conditions else ()
        observers: dict[Kind, Observer] = dict.fromkeys(kinds, self.writing.told)
        observers |= dict.fromkeys((Kind.POD, Kind.ENDPOINT_SLICE), self._whereabouts.told)
        return Pipeline(
            self._index,
            Coalescer(coalesce.quiet_ms / 1000, coalesce.max_ms / 1000),
            asyncio.get_running_loop(),
            audiences=[
                self._publisher.publish,
                self._look_at_networks,
                self._lookup.publish,
                self.writing.publish,
                log_conflicts,
                self._memory.publish,
            ],
            gateway_audiences=[self._publisher.set_gateways, self._lookup.set_gateways, self._look_at_gateways],
            bystanders=[self._look_again],
            observers=observers,
            metrics=self._metrics,
            tasks=self._tasks,
            stalls=self._stalls,
        )

    def _look_at_networks(self, changes: ChangeSet) -> None:
        self._claims.publish(changes)
        self._networks.publish(changes)

    def _look_at_gateways(self, gateways: Gateways) -> None:
        self._networks.set_gateways(gateways, self._index.gateway_problems())

    def _look_again(self) -> None:
        """A list was completed, or there is another namespace."""
        self.writing.look_again()
        self._watch.look_soon()
        self._whereabouts.listed()
        self._startup.look_soon()
        self._memory.changed_somewhere()

    def _places(self, flags: Sequence[ClusterConfig] | None, absence: AbsencePolicy) -> list[Provider]:
        """All that name members. The last stands for those that it remembers and no other place has named yet."""
        config = self._config
        providers = places(config, config.clusters if flags is None else flags, self._file, absence)
        if config.snapshot.file is not None or config.replicas.addresses:
            origin = f"snapshot {config.snapshot.file}" if config.snapshot.file else "peers"
            believed = self._file is None and config.kubeconfig_folder is None and config.remote_secrets is None
            remembered = RememberedMembers(
                origin,
                self._memory.specs,
                lambda: self._members.hearing,
                policy=None if believed else absence,
                forget=self._memory.forget,
            )
            providers.append(remembered)
        return providers

    def _make_memory(self) -> Memory:
        snapshot = self._config.snapshot
        return Memory(
            Path(snapshot.file) if snapshot.file is not None else None,
            self._config.domain,
            snapshot.pace(),
            self._index,
            lambda: self._members,
            lambda: self._pipeline,
            self._damping,
            tasks=self._tasks,
        )

    def _damping(self, cluster: ClusterId) -> Damping:
        return self._watch.damping(cluster)

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
        return self._claims.admit(self._whereabouts.at(place, who), place.node)

    def _find_again_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._find_again)

    def _regroup_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._regroup)

    def _network_appeared(self) -> None:
        self._claims.look_again()

    def _in_use(self, place: Place) -> bool:
        return self._store.in_use(EDS.url, place) or self._lookup.looks_from(place)

    def _group_left(self, group: Hashable) -> None:
        if isinstance(group, Place):
            self._place_left(group)

    def _place_left(self, place: Place) -> None:
        """Nobody looks from there any more: what was kept of the client's network may go."""
        if place.network == ELSEWHERE:
            places = [*self._store.groups(EDS.url), *self._lookup.places()]
            if not any(isinstance(each, Place) and each.network == ELSEWHERE for each in places):
                self._networks.clients_left()

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

    def _unknown_members(self) -> Sequence[ClusterId]:
        return self._startup.unknown_members()
