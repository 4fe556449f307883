"""The same promises from each variant of the protocol, over real gRPC: {SotW, Delta} x {aggregated, per type}.

That nothing is sent is shown by what is sent next.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc.aio
import pytest
from support.xds_client import resource
from support.xds_stream import Connection, serving, until

from registry.servers.ads import ClientStatus, XdsServer
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, LDS, RDS, ResourceType


@dataclass
class World:
    """A server, its store, and one client of the variant under test."""

    store: ResourceStore
    server: XdsServer
    client: Connection
    delta: bool
    aggregated: bool
    channel: grpc.aio.Channel

    def put(self, kind: ResourceType, name: str, content: str = "1", on_demand: bool = False) -> None:
        self.store.set(kind.url, name, resource(kind, name, content, on_demand))

    def reconnected(self) -> Connection:
        return Connection(self.channel, self.delta, self.aggregated)

    def status(self, kind: ResourceType) -> ClientStatus:
        service = "ADS" if self.aggregated else kind.short
        (found,) = (each for each in self.server.clients() if each.service == service)
        return found


@pytest.fixture(
    params=[(delta, aggregated) for delta in (False, True) for aggregated in (True, False)],
    ids=["SotW-ADS", "SotW-per-type", "Delta-ADS", "Delta-per-type"],
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    delta, aggregated = request.param
    store = ResourceStore()
    server = XdsServer(store, clock=lambda: 1234.5)
    server.open()
    async with serving(*server.services()) as address, grpc.aio.insecure_channel(address) as channel:
        yield World(store, server, Connection(channel, delta, aggregated), delta, aggregated, channel)
    assert server.clients() == ()


async def test_legacy_wildcard(world: World) -> None:
    world.put(CDS, "a")
    world.put(CDS, "b")
    await world.client.subscribe(CDS)
    first = await world.client.take(CDS)
    assert first.resources == {"a": "1", "b": "1"}
    assert first.control_plane == "mesh-registry"
    world.put(CDS, "c")
    await world.client.take(CDS)
    assert world.client.held(CDS) == {"a": "1", "b": "1", "c": "1"}


async def test_explicit_wildcard_of_listeners(world: World) -> None:
    world.put(LDS, "l")
    await world.client.subscribe(LDS, "*")
    assert (await world.client.take(LDS)).resources == {"l": "1"}


@pytest.mark.parametrize("kind", [LDS, RDS, CDS, EDS], ids=lambda kind: kind.short)
async def test_named_subscription_of_every_type(world: World, kind: ResourceType) -> None:
    world.put(kind, "a")
    world.put(kind, "other")
    await world.client.subscribe(kind, "a")
    assert (await world.client.take(kind)).resources == {"a": "1"}
    world.put(kind, "other", "2")
    world.put(kind, "a", "2")
    assert (await world.client.take(kind)).resources == {"a": "2"}


async def test_unsubscribed_names_stay_silent_and_come_back_when_asked_for(world: World) -> None:
    world.put(EDS, "a")
    world.put(EDS, "b")
    await world.client.subscribe(EDS, "a", "b")
    await world.client.take(EDS)
    await world.client.unsubscribe(EDS, "a")
    await until(lambda: world.status(EDS).types[0].names == 1)
    world.put(EDS, "a", "2")
    world.put(EDS, "b", "2")
    assert (await world.client.take(EDS)).resources == {"b": "2"}
    await world.client.subscribe(EDS, "a")
    assert (await world.client.take(EDS)).resources == {"a": "2"}


async def test_a_name_subscribed_to_again_is_sent_again(world: World) -> None:
    world.put(EDS, "a")
    await world.client.subscribe(EDS, "a")
    await world.client.take(EDS)
    if not world.delta:
        await world.client.unsubscribe(EDS, "a")
    await world.client.subscribe(EDS, "a")
    assert (await world.client.take(EDS)).resources == {"a": "1"}


async def test_on_demand_names_are_no_part_of_the_wildcard(world: World) -> None:
    world.put(LDS, "listed")
    world.put(LDS, "short", on_demand=True)
    await world.client.subscribe(LDS)
    assert (await world.client.take(LDS)).resources == {"listed": "1"}
    named = world.reconnected()
    await named.subscribe(LDS, "short")
    assert (await named.take(LDS)).resources == {"short": "1"}


async def test_a_resource_that_appears_later(world: World) -> None:
    world.put(EDS, "here")
    await world.client.subscribe(EDS, "here", "late")
    reply = await world.client.take(EDS)
    assert reply.resources == {"here": "1"}
    assert reply.removed == (("late",) if world.delta else ())
    world.put(EDS, "late")
    assert (await world.client.take(EDS)).resources == {"late": "1"}


async def test_a_removed_cluster_is_gone_for_the_client(world: World) -> None:
    world.put(CDS, "a")
    world.put(CDS, "b")
    await world.client.subscribe(CDS)
    await world.client.take(CDS)
    world.store.remove(CDS.url, "a")
    reply = await world.client.take(CDS)
    assert reply.removed == (("a",) if world.delta else ())
    assert world.client.held(CDS) == {"b": "1"}


async def test_a_reconnecting_client_gets_what_is_true_now(world: World) -> None:
    for name in ("a", "b", "c"):
        world.put(CDS, name)
    await world.client.subscribe(CDS)
    known = dict((await world.client.take(CDS)).versions)
    world.put(CDS, "a", "2")
    world.store.remove(CDS.url, "b")
    again = world.reconnected()
    await again.subscribe(CDS, known=known)
    reply = await again.take(CDS)
    if world.delta:
        assert (reply.resources, reply.removed) == ({"a": "2"}, ("b",))
    else:
        assert reply.resources == {"a": "2", "c": "1"}


async def test_ack_and_nack_are_recorded_for_the_client(world: World) -> None:
    world.put(CDS, "a")
    await world.client.subscribe(CDS)
    good = await world.client.take(CDS)
    await until(lambda: world.status(CDS).types[0].acked_version == good.version)
    world.put(CDS, "a", "2")
    bad = await world.client.expect(CDS)
    await world.client.nack(bad, "a refusal: naïve ✗")
    await until(lambda: world.status(CDS).types[0].nack_error == "a refusal: naïve ✗")
    status = world.status(CDS)
    (cluster,) = status.types
    assert (cluster.nacked_version, cluster.acked_version) == (bad.version, good.version)
    assert (cluster.short, cluster.wildcard, cluster.names) == ("CDS", True, 0)
    assert (cluster.sent_version, cluster.sent_nonce) == (bad.version, bad.nonce)
    assert status.node.id == "sidecar~10.0.0.1~pod1.default~cluster.local"
    assert (status.cluster_id, status.namespace, status.network) == ("a", "default", "n1")
    assert (status.node.locality, status.node.user_agent) == (("r1", "z1", ""), "scripted 1.0")
    assert (status.protocol, status.connected_at) == ("Delta" if world.delta else "SotW", 1234.5)
    assert status.peer.startswith("ipv4:127.0.0.1:")
    world.put(CDS, "a", "3")
    assert (await world.client.take(CDS)).resources == {"a": "3"}


async def test_a_stale_nonce_acks_nothing(world: World) -> None:
    world.put(EDS, "a")
    await world.client.subscribe(EDS, "a")
    first = await world.client.take(EDS)
    await until(lambda: not world.status(EDS).types[0].waiting)
    world.put(EDS, "a", "2")
    second = await world.client.expect(EDS)
    await world.client.nack(first, "too late")
    await world.client.ack(second)
    await until(lambda: world.status(EDS).types[0].acked_version == second.version)
    assert world.status(EDS).types[0].nack_error == ""


async def test_a_client_that_leaves_is_forgotten(world: World) -> None:
    await world.client.subscribe(CDS)
    await world.client.take(CDS)
    assert len(world.server.clients()) == 1
    world.client.stream(CDS).call.cancel()
    await until(lambda: world.server.clients() == ())


async def test_a_client_that_says_it_is_done_gets_a_clean_end(world: World) -> None:
    await world.client.subscribe(CDS)
    await world.client.take(CDS)
    await world.client.stream(CDS).call.done_writing()
    assert (await world.client.stream(CDS).status())[0] is grpc.StatusCode.OK
