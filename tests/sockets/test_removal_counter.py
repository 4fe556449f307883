"""The removal counter itself: it sees what goes, knows what was asked for, and what told nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import pytest_asyncio
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from support.removal_counter import METHOD, Held, RemovalCounter

from registry.rpc.server import RpcServer
from registry.servers.ads import XdsServer
from registry.xds.resources import Resource
from registry.xds.store import ResourceStore
from registry.xds.types import EDS

NAME = "outbound|80||echo"


def assignment(*addresses: str, draining: str = "", demoted: str = "", note: str = "") -> Resource:
    """``note`` is content that says nothing of endpoints."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=NAME)
    for address in addresses:
        group = message.endpoints.add(priority=int(address == demoted))
        group.locality.zone = note
        health = health_check_pb2.DRAINING if address == draining else health_check_pb2.HEALTHY
        group.lb_endpoints.add(health_status=health).endpoint.address.socket_address.address = address
    return Resource(message.SerializeToString)


@dataclass
class Rig:
    """A server of one assignment, ``NAME``, with the endpoints 1, 2 and 3."""

    store: ResourceStore
    server: RpcServer
    services: XdsServer
    address: str

    def put(self, resource: Resource, name: str = NAME) -> None:
        self.store.set(EDS.url, name, resource)

    async def restart(self) -> None:
        """Another server, with the same resources, on the same port."""
        await self.server.stop(grace=0)
        self.server = RpcServer(self.services.services(), self.address)
        await self.server.start()


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    store = ResourceStore()
    services = XdsServer(store, clock=lambda: 0.0)
    services.open()
    server = RpcServer(services.services(), "127.0.0.1:0")
    it = Rig(store, server, services, await server.start())
    it.put(assignment("1", "2", "3"))
    yield it
    await it.server.stop(grace=0)


async def test_what_goes_is_wrong_unless_it_was_asked_for(rig: Rig) -> None:
    async with RemovalCounter(rig.address, NAME) as client:
        await client.until(lambda: client.addresses() == {"1", "2", "3"}, "all three")
        client.ask("1")
        rig.put(assignment("3"))
        await client.until(lambda: client.addresses() == {"3"}, "one is left")
        assert [(each.address, each.gone, each.asked) for each in client.removals] == [
            ("1", True, True),
            ("2", True, False),
        ]
        assert [each.address for each in client.wrong] == ["2"]
        assert client.responses[0].at < client.removed_at("1") <= client.responses[-1].at


async def test_asking_ends_when_the_endpoint_is_back(rig: Rig) -> None:
    async with RemovalCounter(rig.address, NAME) as client:
        await client.until(lambda: len(client.addresses()) == 3, "all three")
        client.ask("1")
        for addresses in (("2", "3"), ("1", "2", "3"), ("2", "3")):
            rig.put(assignment(*addresses))
            await client.until(lambda addresses=addresses: client.addresses() == set(addresses), "the change")
        assert [each.asked for each in client.removals] == [True, False]


async def test_draining_takes_an_endpoint_away_and_a_lower_priority_does_not(rig: Rig) -> None:
    async with RemovalCounter(rig.address, NAME) as client:
        await client.until(lambda: len(client.addresses()) == 3, "all three")
        rig.put(assignment("1", "2", "3", demoted="1"))
        await client.until(lambda: client.endpoints()["1"] == Held(1, healthy=True), "1 is second choice")
        assert client.removals == []
        assert client.demoted == {"1"}
        rig.put(assignment("1", "2", "3", draining="1"))
        await client.until(lambda: client.endpoints()["1"] == Held(0, healthy=False), "1 is draining")
        assert [(each.address, each.gone) for each in client.wrong] == [("1", False)]


async def test_an_assignment_that_is_removed_takes_all_of_its_endpoints(rig: Rig) -> None:
    other = "outbound|80||other"
    rig.put(assignment("4"), other)
    async with RemovalCounter(rig.address, NAME, other) as client:
        await client.until(lambda: client.addresses(NAME) and client.addresses(other), "both")
        rig.store.remove(EDS.url, NAME)
        await client.until(lambda: not client.addresses(NAME), "one is gone")
        assert {each.address for each in client.wrong} == {"1", "2", "3"}
        assert client.addresses(other) == {"4"}


async def test_a_response_that_tells_nothing_new_is_noticed() -> None:
    async with scripted("a", "b", "a", "a") as address, RemovalCounter(address, NAME) as client:
        await client.until(lambda: len(client.responses) == 4, "every response")
        assert client.without_cause == client.responses[3:]
        assert client.responses[3].held == client.responses[3].repeated == (NAME,)


@asynccontextmanager
async def scripted(*notes: str) -> AsyncIterator[str]:
    """A server that tells an assignment with each of these notes, whether or not it was told before."""

    async def tell(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        for nonce, note in enumerate(notes):
            await anext(aiter(requests))
            response = discovery_pb2.DeltaDiscoveryResponse(type_url=EDS.url, nonce=str(nonce))
            told = response.resources.add(name=NAME, version=note)
            told.resource.type_url = EDS.url
            told.resource.value = assignment("1", note=note).body
            yield response.SerializeToString()
        await asyncio.Event().wait()

    service, method = METHOD.strip("/").split("/")
    handler = grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(tell)})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=0)


async def test_reconnecting_with_what_it_has_it_is_told_only_what_changed(rig: Rig) -> None:
    async with RemovalCounter(rig.address, NAME) as client:
        await client.until(lambda: len(client.addresses()) == 3, "all three")
        await rig.restart()
        await client.until(lambda: client.connects == 2, "it is back")
        rig.put(assignment("1", "2", "3", "4"))
        await client.until(lambda: "4" in client.addresses(), "the change")
        assert client.without_cause == []
        assert len(client.responses) == 2
        assert client.removals == []
