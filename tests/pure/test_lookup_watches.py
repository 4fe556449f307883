"""Watches of very many services: each step is short, and what is the same for several is made once."""

from __future__ import annotations

import pytest

from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService
from registry.protos import registry_pb2 as pb
from registry.rpc.seam import CallInfo, Code, RpcError
from registry.servers import renderings
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.servers.requests import MAX_WATCHED
from registry.servers.watches import TAKEN_IN, Watch
from registry.views.lookup import place_of_client
from registry.views.names import Names
from registry.views.place import OWN_ADDRESSES, Place
from registry.xds import wire
from registry.xds.store import ResourceStore

CALL = CallInfo("/registry.v1.Registry/Watch", "ipv4:127.0.0.1:1")
MANY = 3 * TAKEN_IN


class Stream:
    def __init__(self) -> None:
        self.woken = 0
        self.charged = 0

    def wake(self) -> None:
        self.woken += 1

    def finish(self, code: Code = Code.OK, message: str = "") -> None: ...

    def charge(self, size: int) -> None:
        self.charged = size


class World:
    """So many services, and how often the server looked one up."""

    def __init__(self, count: int = MANY) -> None:
        self.services = {key: a_service(key) for key in keys(count)}
        self.looks = 0
        self.left: list[Place] = []
        self.met: list[pb.Client] = []
        publisher = Publisher(ResourceStore(), Names(), ("127.0.0.1", 15001))
        self.server = LookupServer(self._get, Names(), publisher, self._meet, left=self.left.append)
        self.server.is_open = True

    def _get(self, key: ServiceKey) -> MergedService | None:
        self.looks += 1
        return self.services.get(key)

    def _meet(self, client: pb.Client) -> Place:
        self.met.append(client)
        return place_of_client(client)

    def watch(self, count: int = MANY, client: pb.Client | None = None) -> tuple[Watch, Stream]:
        stream = Stream()
        watch = self.server.service().streams["Watch"](stream, CALL)
        assert isinstance(watch, Watch)
        request = pb.WatchRequest(client=client, reasons=client is not None)
        request.services.extend(pb.ServiceName(namespace=key.namespace, name=key.name) for key in keys(count))
        watch.received(request.SerializeToString())
        return watch, stream

    def read(self, watch: Watch, stream: Stream) -> list[bytes]:
        """All that it is sent; at most so much is done for each."""
        found: list[bytes] = []
        while True:
            before, woken = self.looks, stream.woken
            message = watch.next_message()
            assert self.looks - before <= 2 * TAKEN_IN + 2
            if message is not None:
                found.append(message)
            elif stream.woken == woken:
                return found


def keys(count: int) -> list[ServiceKey]:
    return [ServiceKey("shop", f"service-{number:05}") for number in range(count)]


def a_service(key: ServiceKey, address: str = "10.0.0.1") -> MergedService:
    return MergedService(key, (), (Endpoint(Locality("r", "z", "a"), address, (), ClusterId("a")),), (ClusterId("a"),))


def test_a_watch_of_many_names_is_taken_in_by_parts() -> None:
    world = World()
    watch, stream = world.watch()
    assert world.looks == TAKEN_IN
    assert stream.woken
    answers = world.read(watch, stream)
    named = [pb.WatchResponse.FromString(each).service.name.name for each in answers]
    assert sorted(named) == [key.name for key in keys(MANY)]
    assert stream.charged > 200 * MANY


def test_what_is_the_same_for_several_is_rendered_once() -> None:
    world = World(20)
    client = pb.Client(region="r", zone="z", cluster="a")
    first, *others = (world.read(*world.watch(20, client)) for _ in range(50))
    assert all(mine is theirs for other in others for mine, theirs in zip(first, other, strict=True))
    changed = keys(20)[3]
    old, world.services[changed] = world.services[changed], a_service(changed, "10.0.0.2")
    watch, stream = world.watch(20, client)
    world.read(watch, stream)
    world.server.publish((Change(changed, old, world.services[changed]),))
    assert len(world.read(watch, stream)) == 1


def test_what_was_rendered_goes_with_the_last_who_looks_from_there() -> None:
    world = World(20)
    kept, _ = world.watch(20)
    for number in range(100):
        watch, stream = world.watch(20, pb.Client(zone=f"z{number}"))
        world.read(watch, stream)
        watch.closed()
    assert len(world.left) == 100
    assert world.server.places() == []
    kept.closed()
    assert world.server._watchers == {}
    assert vars(world.server._renderings)["_rendered"] == {}
    assert vars(world.server._renderings)["_prepared"] == {}


def test_renderings_for_others_are_kept_in_bounded_memory() -> None:
    cache = World(0).server._renderings
    key = ServiceKey("shop", "large")
    many = tuple(Endpoint(Locality(), f"10.0.{n >> 8}.{n & 255}", (), ClusterId("a")) for n in range(3_000))
    large = MergedService(key, (), many, ())
    for number in range(renderings.RENDERED_BYTES // 60_000 * 2):
        message = cache.update(key, large, world_view(number % 300))
        assert vars(cache)["_bytes"] <= renderings.RENDERED_BYTES
        if number > 300:
            break
    assert message


def world_view(number: int) -> renderings.View:
    return renderings.View(Place(zone=f"z{number}"))


def test_a_change_wakes_those_who_watch_it_and_no_others() -> None:
    world = World(20)
    all_of_them, one = world.watch(20), world.watch(1)
    for each in (all_of_them, one):
        world.read(*each)
    woken = one[1].woken
    changed = keys(20)[3]
    world.server.publish((Change(changed, None, world.services[changed]),))
    assert len(world.read(*all_of_them)) == 1
    assert one[1].woken == woken


def test_of_a_clients_addresses_the_first_count() -> None:
    world = World(1)
    world.watch(1, pb.Client(addresses=[f"10.1.{n >> 8}.{n & 255}" for n in range(8_099)]))
    assert [len(each.addresses) for each in world.met] == [OWN_ADDRESSES]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x0a\x00" * (1 << 20), f"name 1 to {MAX_WATCHED} services"),
        (b"\x0a\x00" * 5, "a namespace and a name"),
        (b"\x12" + wire.varint(1 << 20) + b"\x32\x00" * (1 << 19), "client: 1048576 bytes"),
        (b"\x7a\x00" * (1 << 20), "fields"),
        (
            pb.WatchRequest(services=[pb.ServiceName(namespace="n", name="x" * 254)]).SerializeToString(),
            "at most 63 and 253",
        ),
        (
            pb.WatchRequest(services=[pb.ServiceName(namespace="n", name="x" * 9999)]).SerializeToString(),
            "9999|at most 63",
        ),
        (
            pb.WatchRequest(
                services=[pb.ServiceName(namespace="n", name="x")], client=pb.Client(zone="z" * 254)
            ).SerializeToString(),
            "client.zone: at most 253 characters",
        ),
    ],
    ids=[
        "empty names",
        "few empty names",
        "a large client",
        "unknown fields",
        "a long name",
        "a longer name",
        "a long zone",
    ],
)
def test_what_is_too_much_is_refused(message: bytes, text: str) -> None:
    watch = World(1).server.service().streams["Watch"](Stream(), CALL)
    with pytest.raises(RpcError, match=text) as refusal:
        watch.received(message)
    assert refusal.value.code is Code.INVALID_ARGUMENT
