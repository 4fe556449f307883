"""A writer for each member: there as long as the member is, over the credentials that the member has now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from support.fake_apiserver import kubeconfig
from support.fake_entries import FakeEntries
from support.processes import until

from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService, TargetPort
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.writers.departure import Departure, Left
from registry.writers.fleet import WriterFleet
from registry.writers.service_entries import ServiceEntryWriter

A, B = ClusterId("a"), ClusterId("b")
OURS = {"app.kubernetes.io/managed-by": "mesh-registry"}


@dataclass
class World:
    """The merged list, and a fleet of writers of it."""

    folder: Path
    services: dict[ServiceKey, MergedService] = field(default_factory=dict)
    claimed: bool = False
    undecided: bool = False
    bug: bool = False
    patience: float = 10.0
    """For how many seconds a cluster that left is cleaned."""

    def __post_init__(self) -> None:
        self.fleet = WriterFleet(self._writer, self._depart)

    def written(self, cluster: ClusterId) -> int:
        """How many entries its writer knows that it wrote."""
        status = self.fleet.status(cluster)
        return status.written if status is not None else 0

    async def _depart(self, cluster: ClusterId, connect: Connect, uid: str) -> Left | None:
        if self.bug:
            raise LookupError
        departure = Departure(cluster, connect, uid, lambda: self.claimed, lambda: 0.0, lambda: self.undecided)
        return await departure.run(self.patience)

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
            admit=lambda _: None,
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
        await until(lambda: written(one) == set(), "what was written is removed, and nothing is written any more")


async def test_writer_moves_over_to_other_credentials_and_writes_nothing_twice(world: World) -> None:
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: world.written(A) == 1, "it is written")
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


async def test_what_was_written_into_a_member_that_leaves_is_removed(world: World) -> None:
    async with an_api() as api:
        api.put("shop", "mesh-registry-theirs", {}, "somebody", OURS)
        world.fleet.reached(A, world.connect(api))
        await until(lambda: "mesh-registry-echo" in written(api), "it is written")
        world.fleet.left(A)
        await until(lambda: written(api) == {"mesh-registry-theirs"}, "ours is gone")
        assert world.fleet.remains == {}


async def test_what_another_member_looks_after_now_is_not_removed(world: World) -> None:
    world.claimed = True
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: written(api), "it is written")
        world.fleet.left(A)
        await until(lambda: not world.fleet.departing, "that is done")
        assert written(api) == {"mesh-registry-echo"}
        assert world.fleet.remains == {}


@pytest.mark.parametrize("stranger", [False, True])
async def test_cluster_that_cannot_be_cleaned_is_said_until_it_is_a_member_again(world: World, stranger: bool) -> None:
    world.patience = 1.0
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: written(api), "it is written")
        if stranger:
            api.uid = "uid-b"
        else:
            api.fault = lambda method, _name: 403 if method == "DELETE" else None
        world.fleet.left(A)
        await until(lambda: A in world.fleet.remains, "it is said")
        left = world.fleet.remains[A]
        assert left.reason == "EntriesRemain"
        assert ("it is another cluster now" if stranger else "403") in left.message
        assert "kubectl delete serviceentries -A -l app.kubernetes.io/managed-by=mesh-registry" in left.message
        assert written(api) == {"mesh-registry-echo"}
        world.fleet.reached(A, world.connect(api))
        assert world.fleet.remains == {}


async def test_what_may_be_another_members_is_not_removed_and_is_said(world: World) -> None:
    world.undecided, world.patience = True, 1.0
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: written(api), "it is written")
        world.fleet.left(A)
        await until(lambda: A in world.fleet.remains, "it is said")
        assert "a member of its name was not reached" in world.fleet.remains[A].message
        assert written(api) == {"mesh-registry-echo"}


async def test_member_that_comes_back_in_the_middle_keeps_what_is_left(world: World) -> None:
    world.services.clear()
    for number in range(30):
        world.put(f"s{number}", "10.0.0.1")
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: len(written(api)) == 30, "they are written")

        def comes_back(method: str, _name: str) -> None:
            world.claimed = world.claimed or method == "DELETE"

        api.fault = comes_back
        world.fleet.left(A)
        await until(lambda: not world.fleet.departing, "that is done")
        assert len(written(api)) >= 20
        assert world.fleet.remains == {}


async def test_cluster_that_is_not_cleaned_by_a_bug_is_said(world: World) -> None:
    world.bug = True
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        world.fleet.left(A)
        await until(lambda: A in world.fleet.remains, "it is said")


async def test_program_that_stops_removes_nothing(world: World) -> None:
    async with an_api() as api:
        world.fleet.reached(A, world.connect(api))
        await until(lambda: written(api), "it is written")
        await world.fleet.stop()
        assert written(api) == {"mesh-registry-echo"}
