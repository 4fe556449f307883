"""A writer for each member: there as long as the member is, over the credentials that the member has now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest_asyncio
from support.fake_apiserver import kubeconfig
from support.fake_entries import FakeEntries, a_moment
from support.processes import until

from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService, TargetPort
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.writers.fleet import WriterFleet
from registry.writers.service_entries import ServiceEntryWriter

A, B = ClusterId("a"), ClusterId("b")


@dataclass
class World:
    """The merged list, and a fleet of writers of it."""

    folder: Path
    services: dict[ServiceKey, MergedService] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fleet = WriterFleet(self._writer)

    def connect(self, api: FakeEntries) -> Connect:
        path = self.folder / f"kubeconfig-{api.url.rpartition(':')[2]}"
        path.write_text(kubeconfig(api.url))
        return partial(KubernetesClient.from_kubeconfig, path)

    def put(self, name: str, address: str) -> None:
        endpoint = Endpoint(Locality(), address, (TargetPort(80, 8080),), A)
        key = ServiceKey("shop", name)
        old, new = self.services.get(key), MergedService(key, (ServicePort(80, "http"),), (endpoint,), (A,))
        self.services[key] = new
        self.fleet.publish((Change(key, old, new),))

    def _writer(self, cluster: ClusterId, connect: Connect) -> ServiceEntryWriter:
        return ServiceEntryWriter(
            cluster,
            connect,
            services=lambda: tuple(self.services.values()),
            get=self.services.get,
            namespaces=lambda: frozenset({"shop"}),
            ready=lambda: True,
            names=Names(),
            random=lambda: 0.0,
        )


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    it = World(tmp_path)
    it.put("echo", "10.0.0.1")
    yield it
    await it.fleet.stop()


@asynccontextmanager
async def an_api() -> AsyncIterator[FakeEntries]:
    api = FakeEntries()
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


def written(api: FakeEntries) -> set[str]:
    return {name for _, name in api.objects}


async def test_writers_come_and_go_with_their_members(world: World) -> None:
    async with an_api() as one, an_api() as two:
        for cluster, api in ((A, one), (B, two)):
            world.fleet.joined(cluster)
            assert world.fleet.status(cluster) is None
            world.fleet.reached(cluster, world.connect(api))
        await until(lambda: written(one) == written(two) == {"mesh-registry-echo"}, "both are written")
        world.fleet.left(A)
        assert world.fleet.status(A) is None
        world.put("cart", "10.0.0.2")
        await until(lambda: "mesh-registry-cart" in written(two), "the other goes on")
        await a_moment()
        assert written(one) == {"mesh-registry-echo"}, "what it has stays; nothing is written any more"


async def test_writer_moves_over_to_other_credentials_and_writes_nothing_twice(world: World) -> None:
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: written(api), "it is written")
        requests = api.requests
        world.fleet.reached(A, world.connect(api))
        await until(lambda: api.requests > requests, "it looks again over the new ones")
        world.put("cart", "10.0.0.2")
        await until(lambda: len(api.wrote) == 2, "it goes on")
        assert api.wrote == [("PATCH", "mesh-registry-echo"), ("PATCH", "mesh-registry-cart")]
        status = world.fleet.status(A)
        assert status is not None
        assert (status.entries, status.written) == (2, 2)


async def test_member_that_has_no_api_server_any_more_is_written_into_no_more(world: World) -> None:
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: written(api), "it is written")
        world.fleet.reached(A, None)
        assert world.fleet.status(A) is None
        world.fleet.left(A)
