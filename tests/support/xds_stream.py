"""The scripted xDS client over real gRPC streams, aggregated or one per type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc.aio
from envoy_data_plane.envoy.config.core.v3 import Node
from support.xds_client import NODE, Reply, XdsClient

from registry.rpc.seam import Service
from registry.rpc.server import RpcServer
from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, ADS_SOTW_METHOD, ResourceType

DEADLINE = 10.0
"""Seconds a test waits for something that is to happen."""


@asynccontextmanager
async def serving(*services: Service) -> AsyncIterator[str]:
    """A server of ``services`` on a free port of loopback; gives its address."""
    server = RpcServer(services, "127.0.0.1:0")
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop(grace=0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the server does on its own time."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


class Stream:
    """One open stream; its client's requests are sent and its responses read one at a time."""

    def __init__(self, channel: grpc.aio.Channel, method: str, delta: bool, node: Node | None = NODE) -> None:
        self.client = XdsClient(delta, node)
        self.call = channel.stream_stream(method)()

    async def send(self, request: bytes) -> None:
        await self.call.write(request)

    async def expect(self) -> Reply:
        """The next response, left unanswered."""
        async with asyncio.timeout(DEADLINE):
            data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return self.client.read(data)

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended."""
        async with asyncio.timeout(DEADLINE):
            return await self.call.code(), await self.call.details() or ""


class Connection:
    """A client of one protocol variant: one aggregated stream, or a stream for each type it asks for."""

    def __init__(self, channel: grpc.aio.Channel, delta: bool, aggregated: bool) -> None:
        self._channel = channel
        self._delta = delta
        self._aggregated = aggregated
        self._streams: dict[str, Stream] = {}

    def stream(self, kind: ResourceType) -> Stream:
        method = self._method(kind)
        if method not in self._streams:
            self._streams[method] = Stream(self._channel, method, self._delta)
        return self._streams[method]

    async def subscribe(self, kind: ResourceType, *names: str, known: dict[str, str] | None = None) -> None:
        stream = self.stream(kind)
        await stream.send(stream.client.subscribe(kind, *names, known=known))

    async def unsubscribe(self, kind: ResourceType, *names: str) -> None:
        stream = self.stream(kind)
        await stream.send(stream.client.unsubscribe(kind, *names))

    async def expect(self, kind: ResourceType) -> Reply:
        """The next response on the stream of ``kind``, which must be of that type; left unanswered."""
        reply = await self.stream(kind).expect()
        assert reply.kind is kind
        return reply

    async def ack(self, reply: Reply) -> Reply:
        stream = self.stream(reply.kind)
        await stream.send(stream.client.ack(reply))
        return reply

    async def nack(self, reply: Reply, error: str) -> Reply:
        stream = self.stream(reply.kind)
        await stream.send(stream.client.nack(reply, error))
        return reply

    async def take(self, kind: ResourceType) -> Reply:
        """The next response, ACKed."""
        return await self.ack(await self.expect(kind))

    def held(self, kind: ResourceType) -> dict[str, str]:
        return self.stream(kind).client.belief(kind).resources

    def _method(self, kind: ResourceType) -> str:
        if self._aggregated:
            return f"/{ADS_SERVICE}/{ADS_DELTA_METHOD if self._delta else ADS_SOTW_METHOD}"
        return f"/{kind.service}/{kind.delta_method if self._delta else kind.sotw_method}"
