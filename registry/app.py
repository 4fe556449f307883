"""The composition root: the only module that knows every layer."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from registry.coalesce import Coalescer
from registry.config import ClusterConfig, Config, parse_address
from registry.errors import StartError
from registry.index import Index
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import MergedService
from registry.model.status import Source
from registry.pipeline import Pipeline
from registry.rpc.server import ListenError, RpcServer
from registry.rpc.tls import ServerTls, TlsError
from registry.servers.ads import ClientStatus, XdsServer
from registry.servers.health import HealthServer
from registry.servers.http import HttpServer
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.servers.reflection import ReflectionServer
from registry.servers.reports import ClusterReport
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import Connect, KubernetesSource
from registry.sources.manifests import ManifestsSource
from registry.telemetry import Metrics
from registry.views.names import Names
from registry.writers.service_entries import ServiceEntryWriter
from registry.xds.session import SessionOptions
from registry.xds.store import ResourceStore

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0


class Registry:
    """The whole program, wired: sources -> pipeline (index) -> publisher, lookup, writers -> servers.

    Clients may connect as soon as it is started; they are answered once every cluster has listed or has said why it
    cannot, so that a restart never shows a shorter list than there is.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._metrics = Metrics()
        self._names = Names(config.domain)
        self._index = Index(config.export.policy(), config.guard.policy(), asyncio.get_running_loop().time)
        self._members = {ClusterId(each.name): self._member(each) for each in config.clusters}
        self._store = ResourceStore()
        options = SessionOptions(identifier="mesh-registry", max_names=config.limits.subscriptions)
        self._xds = XdsServer(self._store, time.time, options)
        self._lookup = LookupServer(self._index.get, self._names)
        services = (*self._xds.services(), self._lookup.service())
        self._health = HealthServer(services)
        services = (*services, self._health.service())
        self._services = (*services, *ReflectionServer(services).services())
        self._pipeline = self._make_pipeline()
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
            tasks = await stack.enter_async_context(_Tasks())
            for cluster, member in self._members.items():
                self._pipeline.add_cluster(cluster, member.network)
            self._pipeline.when_accounted(self._open)
            for cluster, member in self._members.items():
                tasks.start(member.source.run(self._pipeline), f"source {cluster}")
                if member.writer is not None:
                    tasks.start(member.writer.run(), f"writer {cluster}")
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop following, finish what is being answered, close."""
        await self._stack.aclose()

    def ready(self) -> bool:
        return self._serving

    def clusters(self) -> Sequence[ClusterReport]:
        return [
            ClusterReport(
                cluster=cluster,
                origin=member.source.origin,
                network=member.network,
                status=self._pipeline.statuses[cluster],
                objects=self._index.objects(cluster),
                writer=member.writer.status() if member.writer else None,
            )
            for cluster, member in sorted(self._members.items())
        ]

    def services(self) -> Sequence[MergedService]:
        return self._index.services()

    def service(self, key: ServiceKey) -> MergedService | None:
        return self._index.get(key)

    def clients(self) -> Sequence[ClientStatus]:
        return self._xds.clients()

    def _open(self) -> None:
        """Every cluster is accounted for: answer clients."""
        log.info("every cluster is accounted for: serving %d services", len(self._index.services()))
        self._serving = True
        self._xds.open()
        self._lookup.open()
        self._health.open()

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
        publisher = Publisher(self._store, self._names, parse_address(self._config.envoy.listener))
        writers = [member.writer for member in self._members.values() if member.writer is not None]
        coalesce = self._config.coalesce
        return Pipeline(
            self._index,
            Coalescer(coalesce.quiet_ms / 1000, coalesce.max_ms / 1000),
            asyncio.get_running_loop(),
            audiences=[publisher.publish, self._lookup.publish, *(writer.publish for writer in writers)],
            bystanders=[writer.look_again for writer in writers],
            metrics=self._metrics,
        )

    def _member(self, config: ClusterConfig) -> _Member:
        cluster = ClusterId(config.name)
        if config.manifests is not None:
            return _Member(config.network, ManifestsSource(cluster, Path(config.manifests)))
        connect, origin = _connection(config)
        source = KubernetesSource(cluster, origin, connect, random=random.random)
        if not self._config.service_entries.write:
            return _Member(config.network, source)
        writer = ServiceEntryWriter(
            cluster,
            connect,
            services=self._index.services,
            get=self._index.get,
            namespaces=lambda: self._index.namespaces(cluster),
            ready=lambda: all(map(self._index.synced, self._members)),
            names=self._names,
            random=random.random,
        )
        return _Member(config.network, source, writer)


@dataclass(frozen=True, slots=True)
class _Member:
    """One member cluster's parts."""

    network: str
    source: Source
    writer: ServiceEntryWriter | None = None


def _connection(config: ClusterConfig) -> tuple[Connect, str]:
    """How to reach the cluster's API server, and what to call the place before it was reached."""
    if config.kubeconfig is None:
        return KubernetesClient.in_cluster, "in-cluster"
    path = Path(config.kubeconfig)
    return partial(KubernetesClient.from_kubeconfig, path, config.context), str(path)


class _Tasks:
    """Tasks that run until the context ends. One that fails by a bug is logged; it takes nothing down with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run ``work`` under ``name``."""
        task = asyncio.create_task(self._guarded(work, name), name=name)
        self._tasks.add(task)

    async def _guarded(self, work: Coroutine[None, None, None], name: str) -> None:
        try:
            await work
        except Exception:
            log.exception("%s failed and will not be restarted", name)
