"""What a client can do wrong ends its own stream at most; everybody else is served on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from support.xds_client import resource
from support.xds_stream import Connection, Stream, serving, until

from registry.servers.ads import XdsServer
from registry.xds import wire
from registry.xds.store import ResourceStore
from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, ADS_SOTW_METHOD, CDS, EDS

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["SotW", "Delta"])
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class World:
    """A server with one cluster, and a bystander that must notice nothing."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.store = ResourceStore()
        self.server = XdsServer(self.store, clock=lambda: 0.0)
        self.channel = channel
        self.bystander = Connection(channel, delta=False, aggregated=True)

    def ads(self, delta: bool) -> Stream:
        return Stream(self.channel, f"/{ADS_SERVICE}/{ADS_DELTA_METHOD if delta else ADS_SOTW_METHOD}", delta)

    def clusters(self, delta: bool) -> Stream:
        return Stream(self.channel, f"/{CDS.service}/{CDS.delta_method if delta else CDS.sotw_method}", delta)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = ResourceStore()
    store.set(CDS.url, "a", resource(CDS, "a"))
    server = XdsServer(store, clock=lambda: 0.0)
    server.open()
    async with serving(*server.services()) as address, grpc.aio.insecure_channel(address) as channel:
        world = World(channel)
        world.store, world.server = store, server
        await world.bystander.subscribe(CDS)
        assert (await world.bystander.take(CDS)).resources == {"a": "1"}
        yield world
        store.set(CDS.url, "a", resource(CDS, "a", "still served"))
        assert (await world.bystander.take(CDS)).resources == {"a": "still served"}


@BOTH
@pytest.mark.parametrize(
    "message",
    [b"\xff\xff\xff", b"\x0a\x05ab", wire.field(4, b"\xff\xfe"), wire.field(2, b"\xc3\x28")],
    ids=["no protobuf", "truncated", "invalid UTF-8 in a string", "invalid UTF-8 or nested rubbish"],
)
async def test_an_undecodable_request_ends_its_stream(world: World, delta: bool, message: bytes) -> None:
    stream = world.ads(delta)
    await stream.send(message)
    code, details = await stream.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details


@BOTH
async def test_an_unknown_type_is_noted_and_the_others_go_on(world: World, delta: bool) -> None:
    stream = world.ads(delta)
    await stream.send(wire.text(2 if delta else 4, SECRET))
    await stream.send(stream.client.subscribe(CDS))
    reply = await stream.expect()
    assert reply.resources == {"a": "1"}
    status = world.server.clients()[-1]
    assert status.unknown_types == (SECRET,)
    assert [each.short for each in status.types] == ["CDS"]


@BOTH
async def test_unknown_types_on_record_are_bounded(world: World, delta: bool) -> None:
    stream = world.ads(delta)
    for number in range(100):
        await stream.send(wire.text(2 if delta else 4, f"{SECRET}{number}"))
    await stream.send(stream.client.subscribe(CDS))
    await stream.expect()
    assert len(world.server.clients()[-1].unknown_types) == 16
    await stream.send(wire.text(2 if delta else 4, SECRET * 100_000))
    assert sum(map(len, world.server.clients()[-1].unknown_types)) < 4000


@BOTH
async def test_texts_of_a_client_are_kept_to_a_size(world: World, delta: bool) -> None:
    stream = world.ads(delta)
    await stream.send(stream.client.subscribe(CDS))
    await stream.send(stream.client.nack(await stream.expect(), "long " * 100_000))
    await until(lambda: bool(world.server.clients()[-1].types[0].nack_error))
    assert world.server.clients()[-1].types[0].nack_error == ("long " * 1000)[:4096]


@BOTH
@pytest.mark.parametrize(("size", "text"), [(70_000, "70000 characters"), (2 << 20, "bytes")])
async def test_a_node_that_is_too_large_ends_its_stream(world: World, delta: bool, size: int, text: str) -> None:
    node = Node(id="x" * size)
    stream = Stream(world.channel, f"/{CDS.service}/{CDS.delta_method if delta else CDS.sotw_method}", delta, node=node)
    await stream.send(stream.client.subscribe(CDS))
    code, details = await stream.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "a node of" in details
    assert text in details


@BOTH
async def test_another_type_on_a_stream_of_one_type_ends_it(world: World, delta: bool) -> None:
    stream = world.clusters(delta)
    await stream.send(stream.client.subscribe(EDS, "a"))
    code, details = await stream.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert EDS.url in details


@BOTH
async def test_a_stream_of_one_type_needs_no_type_url(world: World, delta: bool) -> None:
    stream = world.clusters(delta)
    await stream.send(b"")
    assert (await stream.expect()).resources == {"a": "1"}


@BOTH
async def test_an_aggregated_stream_needs_a_type_url(world: World, delta: bool) -> None:
    stream = world.ads(delta)
    await stream.send(b"")
    code, details = await stream.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "type_url" in details


@BOTH
async def test_a_wrong_nonce_is_ignored(world: World, delta: bool) -> None:
    stream = world.ads(delta)
    await stream.send(stream.client.subscribe(CDS))
    reply = await stream.expect()
    await stream.send(stream.client.ack(type(reply)(CDS, "v", "no nonce of yours", reply.resources)))
    await stream.send(stream.client.ack(reply))
    await until(lambda: world.server.clients()[-1].types[0].acked_version == reply.version)


@BOTH
async def test_a_request_without_a_node_is_served(world: World, delta: bool) -> None:
    stream = Stream(world.channel, f"/{CDS.service}/{CDS.delta_method if delta else CDS.sotw_method}", delta, node=None)
    await stream.send(stream.client.subscribe(CDS))
    assert (await stream.expect()).resources == {"a": "1"}
    assert world.server.clients()[-1].node.id == ""


@BOTH
async def test_a_hundred_thousand_names_are_taken(world: World, delta: bool) -> None:
    names = [f"outbound|80||service-{number}.namespace.svc.clusterset.local" for number in range(100_000)]
    world.store.set(EDS.url, names[0], resource(EDS, names[0]))
    stream = world.ads(delta)
    await stream.send(stream.client.subscribe(EDS, *names))
    answered: set[str] = set()
    while len(answered) < (len(names) if delta else 1):  # Delta names those that do not exist as well
        reply = await stream.expect()
        answered |= {*reply.resources, *reply.removed}
        await stream.send(stream.client.ack(reply))
    assert world.server.clients()[-1].types[0].names == 100_000


@BOTH
async def test_more_names_than_allowed_end_the_stream(world: World, delta: bool) -> None:
    stream = world.ads(delta)
    await stream.send(stream.client.subscribe(EDS, *map(str, range(200_001))))
    code, details = await stream.status()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "200000" in details
    await until(lambda: len(world.server.clients()) == 1)
