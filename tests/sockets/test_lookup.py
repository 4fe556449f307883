"""The lookup API over a real gRPC connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from support.facts import A, a_service, a_slice, listing

from registry.index import Index
from registry.model.events import Apply, Delete
from registry.model.facts import EndpointSlice, Node, SliceEndpoint
from registry.model.gateways import Gateway, Gateways
from registry.model.names import ServiceKey
from registry.protos import registry_pb2 as pb
from registry.rpc.server import RpcServer
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.views.names import Names
from registry.xds.store import ResourceStore

ECHO_NAME = pb.ServiceName(namespace="shop", name="echo")
LATER = pb.ServiceName(namespace="shop", name="later")


@dataclass(frozen=True, slots=True)
class Rig:
    """A lookup server over one cluster that has ``shop/echo`` at 10.0.0.1, and a connection to it."""

    index: Index
    server: LookupServer
    publisher: Publisher
    lookup: Callable[..., object]
    watch: Callable[..., object]

    def after(self, *events: Apply | Delete) -> None:
        """These events happened, and were committed."""
        for event in events:
            self.index.apply(A, event)
        self.publisher.publish(changes := self.index.commit())
        self.server.publish(changes)

    def gateways(self, gateways: Gateways) -> None:
        """The gateways between networks are these now."""
        self.publisher.set_gateways(gateways)
        self.server.set_gateways(gateways)


def a_publisher() -> Publisher:
    return Publisher(ResourceStore(), Names(), ("127.0.0.1", 15001))


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    index = Index()
    index.add_cluster(A)
    for event in listing(a_service(), a_slice("10.0.0.1")):
        index.apply(A, event)
    index.commit()
    publisher = a_publisher()
    server = LookupServer(index.get, Names(), publisher)
    carrier = RpcServer([server.service()], "127.0.0.1:0")
    address = await carrier.start()
    async with grpc.aio.insecure_channel(address) as channel:
        lookup = channel.unary_unary(
            "/registry.v1.Registry/Lookup",
            request_serializer=pb.LookupRequest.SerializeToString,
            response_deserializer=pb.LookupResponse.FromString,
        )
        watch = channel.unary_stream(
            "/registry.v1.Registry/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        yield Rig(index, server, publisher, lookup, watch)
    await carrier.stop(0)


def addresses(update: pb.WatchResponse) -> list[str]:
    return [endpoint.address for endpoint in update.service.endpoints]


async def refusal(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]
    return error.value


async def test_lookup_gives_the_whole_service(rig: Rig) -> None:
    rig.server.open()
    service = (await rig.lookup(pb.LookupRequest(service=ECHO_NAME))).service  # type: ignore[misc]
    assert service.host == "echo.shop.svc.clusterset.local"
    assert [(port.number, port.name, port.protocol) for port in service.ports] == [(80, "http", "TCP")]
    (endpoint,) = service.endpoints
    assert (endpoint.address, dict(endpoint.ports), endpoint.health) == ("10.0.0.1", {80: 8080}, pb.HEALTH_HEALTHY)
    assert len(service.version) == 16


@pytest.mark.parametrize(
    ("request_message", "code", "text"),
    [
        (pb.LookupRequest(service=LATER), grpc.StatusCode.NOT_FOUND, "no service shop/later"),
        (pb.LookupRequest(), grpc.StatusCode.INVALID_ARGUMENT, "service: a service has a namespace and a name"),
        (pb.LookupRequest(service=pb.ServiceName(name="x")), grpc.StatusCode.INVALID_ARGUMENT, "a namespace"),
    ],
)
async def test_lookup_says_what_is_wrong(
    rig: Rig, request_message: pb.LookupRequest, code: grpc.StatusCode, text: str
) -> None:
    rig.server.open()
    error = await refusal(rig.lookup(request_message))
    assert error.code() is code
    assert text in (error.details() or "")


async def test_before_the_registry_has_read_its_clusters_nothing_is_said_to_be_absent(rig: Rig) -> None:
    assert (await refusal(rig.lookup(pb.LookupRequest(service=LATER)))).code() is grpc.StatusCode.UNAVAILABLE
    stream = rig.watch(pb.WatchRequest(services=[LATER, ECHO_NAME]))
    first = asyncio.create_task(stream.read())  # type: ignore[attr-defined]
    await asyncio.wait([first], timeout=0.2)
    assert not first.done()
    rig.server.open()
    assert (await first).absent == LATER
    assert addresses(await stream.read()) == ["10.0.0.1"]  # type: ignore[attr-defined]


async def test_watch_gives_the_whole_first_then_each_change(rig: Rig) -> None:
    rig.server.open()
    stream = rig.watch(pb.WatchRequest(services=[ECHO_NAME]))
    assert addresses(await stream.read()) == ["10.0.0.1"]  # type: ignore[attr-defined]
    rig.after(Apply(a_slice("10.0.0.1", "10.0.0.2")))
    assert addresses(await stream.read()) == ["10.0.0.1", "10.0.0.2"]  # type: ignore[attr-defined]
    rig.after(Delete(a_service().ref))
    assert (await stream.read()).absent == ECHO_NAME  # type: ignore[attr-defined]
    rig.after(Apply(a_service()))
    assert addresses(await stream.read()) == ["10.0.0.1", "10.0.0.2"]  # type: ignore[attr-defined]


async def test_watch_of_several_tells_each(rig: Rig) -> None:
    rig.server.open()
    stream = rig.watch(pb.WatchRequest(services=[ECHO_NAME, LATER]))
    assert addresses(await stream.read()) == ["10.0.0.1"]  # type: ignore[attr-defined]
    assert (await stream.read()).absent == LATER  # type: ignore[attr-defined]
    rig.after(Apply(a_service("later")))
    assert (await stream.read()).service.name == LATER  # type: ignore[attr-defined]


async def test_change_of_another_service_is_not_told(rig: Rig) -> None:
    rig.server.open()
    stream = rig.watch(pb.WatchRequest(services=[ECHO_NAME]))
    await stream.read()  # type: ignore[attr-defined]
    rig.after(Apply(a_service("stranger")))
    rig.after(Apply(a_slice("10.0.0.3")))
    assert addresses(await stream.read()) == ["10.0.0.3"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("request_message", "text"),
    [
        (pb.WatchRequest(), "services: name 1 to 10000 services"),
        (pb.WatchRequest(services=[ECHO_NAME] * 10_001), "not 10001"),
        (pb.WatchRequest(services=[ECHO_NAME, pb.ServiceName(namespace="x")]), "services[1]: a service has"),
    ],
)
async def test_watch_says_what_is_wrong(rig: Rig, request_message: pb.WatchRequest, text: str) -> None:
    rig.server.open()
    error = await refusal(rig.watch(request_message).read())  # type: ignore[attr-defined]
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in (error.details() or "")


class TestWhoSaysHisPlace:
    """The service prefers the same zone, and has 10.0.0.1 in eu-1 and 10.0.0.2 in us-1."""

    NEAR, FAR = pb.Client(region="eu", zone="eu-1"), pb.Client(region="us", zone="us-1")
    ZONES = (Node("n1", "eu", "eu-1"), Node("n2", "us", "us-1"))

    def ends(self, *addresses: str) -> EndpointSlice:
        found = (SliceEndpoint(each, node="n1" if each.endswith("1") else "n2") for each in addresses)
        return a_slice(*found)

    def begin(self, rig: Rig) -> None:
        rig.server.open()
        service = replace(a_service(), traffic_distribution="PreferSameZone")
        rig.after(*(Apply(each) for each in (service, *self.ZONES, self.ends("10.0.0.1", "10.0.0.2"))))

    async def test_is_told_the_order_for_it(self, rig: Rig) -> None:
        self.begin(rig)
        for client, order in ((self.NEAR, ["10.0.0.1", "10.0.0.2"]), (self.FAR, ["10.0.0.2", "10.0.0.1"])):
            request = pb.LookupRequest(service=ECHO_NAME, client=client)
            service = (await rig.lookup(request)).service  # type: ignore[misc]
            assert targets(service) == list(enumerate(order))
            assert [each.address for each in service.endpoints] == ["10.0.0.1", "10.0.0.2"], "all there are"

    async def test_is_told_why_where_that_is_asked(self, rig: Rig) -> None:
        self.begin(rig)
        request = pb.LookupRequest(service=ECHO_NAME, client=self.NEAR, reasons=True)
        service = (await rig.lookup(request)).service  # type: ignore[misc]
        said = {each.address: [reason.code for reason in each.reasons] for each in service.ports[0].assignment.reasons}
        assert said == {"10.0.0.1": ["SameZone"], "10.0.0.2": ["Elsewhere"]}

    async def test_who_does_not_is_told_no_order(self, rig: Rig) -> None:
        self.begin(rig)
        service = (await rig.lookup(pb.LookupRequest(service=ECHO_NAME))).service  # type: ignore[misc]
        assert not service.ports[0].HasField("assignment")

    async def test_each_watcher_follows_its_own_order(self, rig: Rig) -> None:
        self.begin(rig)
        streams = [rig.watch(pb.WatchRequest(services=[ECHO_NAME], client=each)) for each in (self.NEAR, self.FAR)]
        near, far = [(await each.read()).service for each in streams]  # type: ignore[attr-defined]
        assert targets(near) == list(reversed([(1 - place, address) for place, address in targets(far)]))
        assert near.version != far.version
        rig.after(Apply(self.ends("10.0.0.2")))
        for stream in streams:
            assert targets((await stream.read()).service) == [(0, "10.0.0.2")]  # type: ignore[attr-defined]

    async def test_a_gateway_that_comes_is_told_to_who_is_on_another_network_alone(self, rig: Rig) -> None:
        rig.index.set_network(A, "net-a")
        self.begin(rig)
        elsewhere = rig.watch(pb.WatchRequest(services=[ECHO_NAME], client=pb.Client(network="net-b")))
        anybody = rig.watch(pb.WatchRequest(services=[ECHO_NAME]))
        assert targets((await elsewhere.read()).service) == []  # type: ignore[attr-defined]
        await anybody.read()  # type: ignore[attr-defined]
        rig.gateways({"net-a": [Gateway("203.0.113.1", 15443)]})
        assert targets((await elsewhere.read()).service) == [(0, "203.0.113.1")]  # type: ignore[attr-defined]
        rig.after(Delete(a_service().ref))
        assert (await anybody.read()).absent == ECHO_NAME  # type: ignore[attr-defined]


def targets(service: pb.Service) -> list[tuple[int, str]]:
    """Priorities and addresses of the service's only port."""
    (port,) = service.ports
    return [(group.priority, each.address) for group in port.assignment.groups for each in group.targets]


async def test_reader_that_was_away_gets_the_newest_state_only() -> None:
    """Without a socket: what is pulled after many changes is one message."""
    index = Index()
    index.add_cluster(A)
    for event in listing(a_service(), a_slice("10.0.0.1")):
        index.apply(A, event)
    index.commit()
    server = LookupServer(index.get, Names(), a_publisher())
    server.open()
    woken: list[bool] = []

    class Idle:
        def wake(self) -> None:
            woken.append(True)

        def finish(self, *_status: object) -> None:
            raise AssertionError("nobody ends the stream")

        def charge(self, _size: int) -> None:
            """Nothing is refused."""

    open_watch = server.service().streams["Watch"](Idle(), None)  # type: ignore[arg-type]
    open_watch.received(pb.WatchRequest(services=[ECHO_NAME]).SerializeToString())
    assert open_watch.next_message() is not None
    assert open_watch.next_message() is None
    for last in range(2, 200):
        index.apply(A, Apply(a_slice(f"10.0.0.{last}")))
        server.publish(index.commit())
    message = open_watch.next_message()
    assert message is not None
    assert addresses(pb.WatchResponse.FromString(message)) == ["10.0.0.199"]
    assert open_watch.next_message() is None
    open_watch.closed()
    woken.clear()
    index.apply(A, Apply(a_slice("10.0.1.1")))
    server.publish(index.commit())
    assert woken == []
    assert index.get(ServiceKey("shop", "echo")) is not None
