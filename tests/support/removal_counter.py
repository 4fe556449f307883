"""A Delta xDS client that watches assignments, and counts endpoints that go without having been asked to.

It decodes with envoy-data-plane, which shares no code with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import grpc.aio
from envoy_data_plane.envoy.config.core.v3 import HealthStatus, Node
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy_data_plane.google.protobuf import Any, Struct, Value
from support.moving_client import STREAM_ENDED

from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, EDS

METHOD = f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}"
NODE = Node(
    id="sidecar~10.9.0.1~watcher.default~cluster.local",
    metadata=Struct(fields={"CLUSTER_ID": Value(string_value="elsewhere")}),
)
"""In none of the members: to clients of a cluster its own endpoints are never in doubt."""
HEALTHY = (HealthStatus.UNKNOWN, HealthStatus.HEALTHY)
DEADLINE = 30.0
RECONNECT_SECONDS = 0.05


class Held(NamedTuple):
    """How an endpoint is shown."""

    priority: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class Removal:
    """One endpoint taken away from the client: it is ``gone`` from the assignment ``name``, or not healthy any more.

    ``at`` is on ``time.monotonic``; ``asked``: the test wanted it.
    """

    name: str
    address: str
    at: float
    gone: bool
    asked: bool


@dataclass(frozen=True, slots=True)
class Response:
    """One response: how many resources it brought or removed, and which of them were already so.

    ``held``: the client had the same bytes. ``repeated``: it had the same version.
    """

    at: float
    resources: int
    held: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()


@dataclass(slots=True)
class _Assignment:
    body: bytes
    version: str
    endpoints: dict[str, Held] = field(default_factory=dict)


class RemovalCounter:
    """Subscribed to the assignments ``names`` at ``address`` (HOST:PORT) until closed. Use as an async context.

    When its stream ends it connects again and says which versions it has, as Envoy does. An endpoint is known by its
    address: two of them in one assignment are one here.
    """

    def __init__(self, address: str, *names: str) -> None:
        self._address = address
        self._names = names
        self._held: dict[str, _Assignment] = {}
        self._asked: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.removals: list[Removal] = []
        self.demoted: set[str] = set()
        """The addresses that were ever shown at a lower priority than before."""
        self.responses: list[Response] = []
        self.connects = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Raises what went wrong meanwhile."""
        assert self._task is not None
        self._task.cancel()
        (outcome,) = await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    def endpoints(self, name: str | None = None) -> dict[str, Held]:
        """Address -> how it is shown in ``name``, by default the only assignment there is."""
        assignment = self._held.get(name or self._only())
        return assignment.endpoints if assignment else {}

    def addresses(self, name: str | None = None) -> set[str]:
        return set(self.endpoints(name))

    def ask(self, *addresses: str) -> None:
        """From now on these may go; one that comes back after that may not go again."""
        self._asked.update(addresses)

    @property
    def wrong(self) -> list[Removal]:
        """The removals nobody asked for."""
        return [removal for removal in self.removals if not removal.asked]

    @property
    def without_cause(self) -> list[Response]:
        """The responses that told nothing that was not known."""
        return [each for each in self.responses if each.resources == len(each.held)]

    def removed_at(self, address: str) -> float:
        """When it went last, on ``time.monotonic``."""
        return max(removal.at for removal in self.removals if removal.address == address and removal.gone)

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = DEADLINE) -> None:
        """Wait for responses until ``condition`` holds."""
        assert self._task is not None
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
                    if self._task.done():
                        self._task.result()
        except TimeoutError:
            shown = {name: assignment.endpoints for name, assignment in self._held.items()}
            raise AssertionError(f"after {timeout:.0f} s still not: {what}; the client has {shown}") from None

    async def _run(self) -> None:
        while True:
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(self._address, options=options) as channel:
                with contextlib.suppress(*STREAM_ENDED):
                    await self._follow(channel.stream_stream(METHOD)())
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, call: grpc.aio.StreamStreamCall) -> None:
        """Take and ACK every response of one stream, until its end."""
        first = DeltaDiscoveryRequest(
            node=NODE,
            type_url=EDS.url,
            resource_names_subscribe=list(self._names),
            initial_resource_versions={name: assignment.version for name, assignment in self._held.items()},
        )
        await call.write(bytes(first))
        self.connects += 1
        self._changed.set()
        while (data := await call.read()) is not grpc.aio.EOF:
            nonce = self._take(data)
            await call.write(bytes(DeltaDiscoveryRequest(type_url=EDS.url, response_nonce=nonce)))

    def _take(self, data: bytes) -> str:
        """Note what a response changes; its nonce."""
        message = DeltaDiscoveryResponse.parse(data)
        now = time.monotonic()
        held, repeated = [], []
        for each in message.resources:
            assert isinstance(each.resource, Any)
            old = self._held.get(each.name)
            if old is not None and old.body == each.resource.value:
                held.append(each.name)
            if old is not None and old.version == each.version:
                repeated.append(each.name)
            new = _Assignment(each.resource.value, each.version, dict(_endpoints(each.resource.value)))
            self._note(each.name, old, new, now)
            self._held[each.name] = new
        for name in message.removed_resources:
            self._note(name, self._held.pop(name, None), _Assignment(b"", ""), now)
        count = len(message.resources) + len(message.removed_resources)
        self.responses.append(Response(now, count, tuple(held), tuple(repeated)))
        self._changed.set()
        return message.nonce

    def _note(self, name: str, old: _Assignment | None, new: _Assignment, now: float) -> None:
        before = old.endpoints if old else {}
        for address, was in before.items():
            shown = new.endpoints.get(address)
            if shown is None or (was.healthy and not shown.healthy):
                self.removals.append(Removal(name, address, now, shown is None, address in self._asked))
            elif shown.priority > was.priority:
                self.demoted.add(address)
        self._asked.difference_update(address for address in new.endpoints if address not in before)

    def _only(self) -> str:
        (name,) = self._names
        return name


def _endpoints(body: bytes) -> Iterator[tuple[str, Held]]:
    for locality in ClusterLoadAssignment.parse(body).endpoints:
        for each in locality.lb_endpoints:
            assert each.endpoint is not None
            assert each.endpoint.address is not None
            assert each.endpoint.address.socket_address is not None
            yield each.endpoint.address.socket_address.address, Held(locality.priority, each.health_status in HEALTHY)
