"""The server asks a session again when its patience is over, though nobody sends anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from support.virtual_loop import virtually
from support.xds_client import Reply, XdsClient, resource

from registry.rpc.seam import CallInfo, Code, StreamHandler
from registry.servers.ads import XdsServer
from registry.xds.resources import ResourceChange
from registry.xds.session import PATIENCE_SECONDS
from registry.xds.store import ResourceStore
from registry.xds.types import ADS_SOTW_METHOD, CDS, RDS


class Carrier:
    """A stream as the gRPC server carries it: woken, it pulls; what came has the time at which it did."""

    def __init__(self, server: XdsServer) -> None:
        self.client = XdsClient(delta=False)
        self.came: list[tuple[float, Reply]] = []
        self.wakes = 0
        ads = server.services()[0]
        self._handler: StreamHandler = ads.streams[ADS_SOTW_METHOD](self, CallInfo("ADS", "somewhere"))

    def wake(self) -> None:
        self.wakes += 1
        asyncio.get_running_loop().call_soon(self.pull)

    def finish(self, code: Code = Code.OK, message: str = "") -> None:
        raise AssertionError((code, message))

    def charge(self, size: int) -> None:
        assert size >= 0

    def pull(self) -> None:
        while (data := self._handler.next_message()) is not None:
            self.came.append((asyncio.get_running_loop().time(), self.client.read(data)))

    def send(self, request: bytes) -> None:
        self._handler.received(request)
        self.pull()

    def take(self) -> Reply:
        _, reply = self.came.pop()
        self.send(self.client.ack(reply))
        return reply

    def close(self) -> None:
        self._handler.closed()


def change(store: ResourceStore, content: str) -> None:
    store.apply(ResourceChange(kind.url, "a", resource(kind, "a", content)) for kind in (CDS, RDS))


def with_client(story: Callable[[ResourceStore, Carrier], Awaitable[None]]) -> None:
    async def run() -> None:
        store = ResourceStore()
        server = XdsServer(store, clock=lambda: 0.0)
        server.open()
        change(store, "1")
        carrier = Carrier(server)
        for kind in (CDS, RDS):
            carrier.send(carrier.client.subscribe(kind, "a"))
            carrier.take()
        await story(store, carrier)

    virtually(run())


def test_routes_follow_clusters_that_are_not_answered_after_the_bound() -> None:
    async def story(store: ResourceStore, carrier: Carrier) -> None:
        await asyncio.sleep(100)
        change(store, "2")
        await asyncio.sleep(1)
        assert [reply.kind for _, reply in carrier.came] == [CDS]
        await asyncio.sleep(100)
        assert [(when, reply.kind) for when, reply in carrier.came] == [(100.0, CDS), (100.0 + PATIENCE_SECONDS, RDS)]
        assert carrier.wakes <= 3, "it is not asked again and again"
        carrier.close()

    with_client(story)


def test_a_stream_that_closed_is_not_woken() -> None:
    async def story(store: ResourceStore, carrier: Carrier) -> None:
        change(store, "2")
        await asyncio.sleep(1)
        wakes = carrier.wakes
        carrier.close()
        await asyncio.sleep(100)
        assert carrier.wakes == wakes

    with_client(story)


def test_answers_in_time_are_waited_for() -> None:
    async def story(store: ResourceStore, carrier: Carrier) -> None:
        for round_ in range(2, 12):
            change(store, str(round_))
            await asyncio.sleep(PATIENCE_SECONDS / 2)
            assert carrier.take().kind is CDS
            assert carrier.take().kind is RDS
            assert carrier.came == []
        carrier.close()

    with_client(story)
