"""The registry from its sources to its services, wired as the program wires it, with no sockets, files or threads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path

from support.cluster_api import ClusterApi, Door

from registry.coalesce import Coalescer
from registry.companions import Standings
from registry.config.sections import GuardConfig
from registry.index import GuardPolicy, Index
from registry.liveness.plan import ProbePlan
from registry.liveness.sample import Target
from registry.liveness.table import Rules
from registry.liveness.watch import LivenessWatch
from registry.membership.following import Admit, Held, Opened
from registry.membership.members import Members
from registry.membership.remembered import RememberedMembers
from registry.membership.spec import Connection, Listener, MemberSpec
from registry.memory import Memory
from registry.model.events import Init, InitApply, InitDone
from registry.model.names import ClusterId, Kind
from registry.model.services import ChangeSet
from registry.model.standing import Standing
from registry.model.status import Source
from registry.pipeline import Pipeline
from registry.rpc.seam import Service
from registry.servers.ads import XdsServer
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.snapshot.format import decode, encode
from registry.snapshot.pace import PaceRules
from registry.sources.kubernetes.decode import decode_object
from registry.sources.kubernetes.kubeconfig import Kubeconfig
from registry.sources.kubernetes.reflector import KubernetesSource
from registry.startup import StartRules, Startup
from registry.telemetry import Metrics
from registry.views.names import Names
from registry.views.place import place_of
from registry.xds.session import SessionOptions
from registry.xds.status import Node
from registry.xds.store import ResourceStore
from registry.xds.types import EDS, ResourceType

DOMAIN = "clusterset.local"
QUIET_SECONDS, LONGEST_SECONDS = 0.01, 0.1
SETTLE_SECONDS = GuardConfig().settle_seconds
MAX_WAIT_SECONDS = 0.0
"""A start does not wait for members that cannot list."""
SNAPSHOT_SECONDS = 1.0
"""So long after a change it is written down."""


class Operator:
    """Says which members there are: the one place that names them."""

    origin = "the operator"

    def __init__(self) -> None:
        self.specs: tuple[MemberSpec, ...] = ()
        self._listener: Listener | None = None

    async def run(self, listener: Listener) -> None:
        self._listener = listener
        listener.members(self.specs)
        await asyncio.Event().wait()

    def say(self, specs: Iterable[MemberSpec]) -> None:
        self.specs = tuple(specs)
        if self._listener is not None:
            self._listener.members(self.specs)

    def release(self, _name: str) -> bool:
        return False


class World:
    """What is there whether or not a registry runs: doors by their tokens, and whose gateways answer probes."""

    def __init__(self) -> None:
        self.doors: dict[str, Door] = {}
        self.silent: set[str] = set()

    def door(self, api: ClusterApi, *, locked: bool = False) -> Kubeconfig:
        """A credential that nobody had before."""
        token = f"token-{len(self.doors)}"
        self.doors[token] = Door(api, locked=locked)
        return Kubeconfig("https://cluster", user=token)

    async def ask(self, target: Target, _timeout: float) -> str:
        return "Refused" if target.host in self.silent else ""


def gateway(name: str) -> ProbePlan:
    return ProbePlan(target=Target(name, 15443))


class WholeRegistry:
    """One run of the program. ``snapshot`` is what an earlier one left; ``opened`` is called once clients are answered.

    ``written`` is the snapshot of this one.
    """

    def __init__(
        self,
        world: World,
        specs: Iterable[MemberSpec],
        policy: GuardPolicy,
        snapshot: bytes,
        opened: Callable[[], None],
    ) -> None:
        self._world = world
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(1)
        self.written = snapshot
        self._doors: dict[Source, Door] = {}
        self.index = Index(guard=policy, clock=self._loop.time)
        self.store = ResourceStore()
        self._xds = XdsServer(self.store, self._loop.time, SessionOptions(group=group))
        publisher = Publisher(self.store, Names(), ("0.0.0.0", 15001))
        self._lookup = LookupServer(self.index.get, Names(), publisher)
        self._memory = Memory(
            Path("none"), DOMAIN, PaceRules(), self.index, lambda: self.members, lambda: self.pipeline
        )
        self.pipeline = Pipeline(
            self.index,
            Coalescer(QUIET_SECONDS, LONGEST_SECONDS),
            self._loop,
            audiences=[publisher.publish, self._lookup.publish, self._learnt],
            bystanders=[self._look_again],
            metrics=Metrics(),
            wall_clock=self._loop.time,
        )
        self._watch = LivenessWatch(Rules(), self._loop.time, self.pipeline)
        self._standings = Standings(self._watch, self.index, lambda: self.members, ask=world.ask)
        self.operator = Operator()
        self.operator.say(specs)
        remembered = RememberedMembers(
            "the snapshot", self._memory.specs, lambda: self.members.hearing, forget=self._memory.forget
        )
        companions = [self._standings, self._memory]
        self.members = Members(
            [self.operator, remembered], self.pipeline, self._open, companions, settle_seconds=SETTLE_SECONDS
        )
        self._startup = Startup(
            StartRules(MAX_WAIT_SECONDS, policy.hold_seconds),
            self._loop,
            pipeline=self.pipeline,
            index=self.index,
            store=self.store,
            roll=lambda: self.members,
            opened=self._answer,
            covered=self._lookup.cover,
        )
        self._changed = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    @property
    def xds(self) -> Service:
        return self._xds.services()[0]

    @property
    def lookup(self) -> Service:
        return self._lookup.service()

    def start(self) -> None:
        if self.written:
            self._standings.remembered = self._memory.begin(decode(self.written, DOMAIN).clusters)
        self._startup.begin(remembers=bool(self.written))
        self._watch.start()
        self.members.start(self._startup.told)

    async def kill(self) -> None:
        """It is gone; nothing was written or said at the end."""
        self._startup.stop()
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        await self.members.stop()
        await self._watch.stop()

    def door(self, cluster: ClusterId) -> Door | None:
        """What the member is heard through now."""
        source = self.members.source(cluster)
        return self._doors.get(source) if source is not None else None

    def problems(self) -> list[str]:
        """What is not as it should be where nothing is wrong."""
        found = [f"held: {each}" for each in self.index.held()]
        for cluster in self.members.clusters():
            status, standing = self.pipeline.statuses[cluster], self.index.standing(cluster)
            if (status.state, status.reason, standing) != ("Synced", "", Standing.CURRENT):
                found.append(f"{cluster}: {status} {standing}")
            found += [
                f"{cluster}: {dated.condition}"
                for dated in self.pipeline.conditions.of(cluster)
                if not dated.condition.status
            ]
        return found

    def _answer(self) -> None:
        self._xds.open()
        self._lookup.open()
        self._opened()

    def _open(self, cluster: ClusterId, _origin: str, connection: Connection, admit: Admit, held: Held) -> Opened:
        assert isinstance(connection, Kubeconfig)
        door = self._world.doors[connection.user]

        async def connect() -> Door:
            return door

        source = KubernetesSource(
            cluster,
            connection.user,
            connect,
            random=self._random.random,
            clock=self._loop.time,
            admit=admit,
            held=held,
        )
        self._doors[source] = door
        return Opened(source, None)

    def _learnt(self, _changes: ChangeSet) -> None:
        self._changed.set()

    def _look_again(self) -> None:
        self._watch.look_soon()
        self._changed.set()

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SNAPSHOT_SECONDS)
            self._changed.clear()
            self.written = b"".join(encode(DOMAIN, self._loop.time(), self._memory.clusters()))


def remembered_members(snapshot: bytes) -> frozenset[str]:
    """The members that the snapshot knows."""
    known = decode(snapshot, DOMAIN).clusters if snapshot else ()
    return frozenset(each.cluster for each in known)


def group(node: Node, kind: ResourceType) -> Hashable:
    return place_of(node.locality, node.metadata) if kind is EDS else ""


def fresh_store(clusters: Mapping[str, ClusterApi]) -> ResourceStore:
    """What a registry shows that was started on these clusters as they are now, and never heard of any other time."""
    index, store = Index(), ResourceStore()
    publisher = Publisher(store, Names(), ("0.0.0.0", 15001))
    for name, api in clusters.items():
        cluster = ClusterId(name)
        index.add_cluster(cluster)
        for kind in Kind:
            index.apply(cluster, Init(kind))
            for document in api.documents[kind].values():
                index.apply(cluster, InitApply(decode_object(kind, document)))
            index.apply(cluster, InitDone(kind))
    publisher.publish(index.commit())
    return store


def serve(store: ResourceStore) -> Service:
    """The store over xDS, open to everybody."""
    server = XdsServer(store, lambda: 0.0, SessionOptions(group=group))
    server.open()
    return server.services()[0]
