"""An xDS client of one assignment, of either protocol variant, that moves from one replica to the next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2

from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, ADS_SOTW_METHOD, EDS

NODE = base_pb2.Node(id="sidecar~10.0.0.1~pod1.default~cluster.local")
RECONNECT_SECONDS = 0.05
STREAM_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""What reading and writing raise on a stream whose server went away; the second where it ended before a write."""


@dataclass
class MovingClient:
    """Asks the ``replicas`` (HOST:PORT) in turn, the next one whenever its stream ends, for the assignment ``name``.

    ``seen`` is what it had when that changed, and when, on ``time.monotonic``; ``lost`` are the addresses that it had
    and was told to drop; ``joined`` the replicas that it has asked, in order.
    """

    name: str
    delta: bool
    replicas: Sequence[str]
    addresses: frozenset[str] = frozenset()
    seen: list[tuple[float, frozenset[str]]] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    joined: list[tuple[float, str]] = field(default_factory=list)
    responses: int = 0
    _version: str = ""

    @property
    def protocol(self) -> str:
        return "Delta" if self.delta else "SotW"

    async def run(self) -> None:
        """Follow one replica after the other until cancelled."""
        turn = 0
        while True:
            address = self.replicas[turn % len(self.replicas)]
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(address, options=options) as channel:
                with contextlib.suppress(*STREAM_ENDED):
                    await (self._follow_delta if self.delta else self._follow_sotw)(channel, address)
            turn += 1
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow_delta(self, channel: grpc.aio.Channel, address: str) -> None:
        call = channel.stream_stream(f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}")()
        known = {self.name: self._version} if self._version else {}
        first = discovery_pb2.DeltaDiscoveryRequest(
            node=NODE, type_url=EDS.url, resource_names_subscribe=[self.name], initial_resource_versions=known
        )
        await call.write(first.SerializeToString())
        self._join(address)
        while (data := await call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            for each in response.resources:
                self._version = each.version
                self._take(each.resource.value)
            if self.name in response.removed_resources:
                self._version = ""
                self._have(frozenset())
            self.responses += 1
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS.url, response_nonce=response.nonce)
            await call.write(ack.SerializeToString())

    async def _follow_sotw(self, channel: grpc.aio.Channel, address: str) -> None:
        call = channel.stream_stream(f"/{ADS_SERVICE}/{ADS_SOTW_METHOD}")()
        request = discovery_pb2.DiscoveryRequest(
            node=NODE, type_url=EDS.url, resource_names=[self.name], version_info=self._version
        )
        await call.write(request.SerializeToString())
        self._join(address)
        while (data := await call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DiscoveryResponse.FromString(data)
            self._version = response.version_info
            for each in response.resources:
                self._take(each.value)
            self.responses += 1
            ack = discovery_pb2.DiscoveryRequest(
                type_url=EDS.url,
                resource_names=[self.name],
                version_info=response.version_info,
                response_nonce=response.nonce,
            )
            await call.write(ack.SerializeToString())

    def _join(self, address: str) -> None:
        self.joined.append((time.monotonic(), address))

    def _take(self, body: bytes) -> None:
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(body)
        ends = (end.endpoint for locality in assignment.endpoints for end in locality.lb_endpoints)
        self._have(frozenset(end.address.socket_address.address for end in ends))

    def _have(self, addresses: frozenset[str]) -> None:
        self.lost |= self.addresses - addresses
        if addresses != self.addresses:
            self.seen.append((time.monotonic(), addresses))
        self.addresses = addresses


@asynccontextmanager
async def moving_clients(name: str, *replicas: str) -> AsyncIterator[tuple[MovingClient, MovingClient]]:
    """A Delta and a SotW client, running."""
    clients = MovingClient(name, True, replicas), MovingClient(name, False, replicas)
    tasks = [asyncio.create_task(each.run()) for each in clients]
    try:
        yield clients
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def transcript(
    began: float, clients: Sequence[MovingClient], events: Sequence[tuple[float, str]], short: Callable[[str], str]
) -> str:
    """What happened, and what each client saw, in order; times in seconds since ``began``."""
    lines = list(events)
    for client in clients:
        lines += [(at, f"{client.protocol:5} client asks {short(address)}") for at, address in client.joined]
        lines += [
            (at, f"{client.protocol:5} client has {len(addresses)}: {' '.join(sorted(addresses))}")
            for at, addresses in client.seen
        ]
    return "\n".join(f"{at - began:7.2f} s  {text}" for at, text in sorted(lines))
