"""A well-behaved client, in a process of its own, that measures how it is served.

Run as a program: GRPC HTTP CONTROL CA. With the file ``CA`` the gRPC port is asked over TLS; without it, it is empty.

At a steady pace it looks up services over one gRPC connection, asks for ``/healthz`` and greets the gRPC port over
connections that are new each time, and pings the control (``steady_member``); and it follows ``shop/beat`` over an xDS
stream. Each request is begun when it is due, whether or not those before it were answered, and its time counts from
then: thirty seconds in which nothing is answered are thousands of late answers, not one.

It prints a line once it is served, and after that for each line of its standard input: the figures since the one
before (``Served`` as JSON).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from support.steady_member import BEAT, BEAT_SECONDS, namespace_of, service_name, written_at

from registry.protos import registry_pb2 as pb
from registry.rpc import frames

LOOKUP = "/registry.v1.Registry/Lookup"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
RESOURCE = f"outbound|80||{BEAT}.shop.svc.clusterset.local"
PATIENCE_SECONDS = 60.0
"""An answer that takes longer is an error."""
MOST_ERRORS = 20
PACES = {"lookup": 0.01, "healthz": 0.05, "newcomer": 0.1, "control": 0.01}
"""Seconds from one to the next."""


class Measures:
    """Times in seconds since the last ``taken``, by what was asked for; and what failed."""

    def __init__(self) -> None:
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._pending: dict[str, dict[object, float]] = defaultdict(dict)
        self._errors: list[str] = []
        self.last_change = 0.0
        """When the newest change was written that has arrived; 0: none has."""

    async def measure(self, what: str, due: float, work: Awaitable[None]) -> None:
        """Time from ``due`` until ``work`` is done."""
        mark = object()
        pending = self._pending[what]
        pending[mark] = due
        failure = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the client was not served
            failure = error
        if pending.pop(mark, None) is None:
            return  # it was counted when the figures were taken before
        self._times[what].append(time.monotonic() - due)
        if failure is not None:
            self.failed(what, failure)

    def failed(self, what: str, error: Exception) -> None:
        if len(self._errors) < MOST_ERRORS:
            self._errors.append(f"{what}: {error!r:.300}")

    def changed(self, written: float) -> None:
        """A change arrives; with it, all those that it came after."""
        if self.last_change:
            self._times["change"] += self._late(written)
        self.last_change = max(self.last_change, written)

    def taken(self) -> dict[str, object]:
        now = time.monotonic()
        times = {what: list(found) for what, found in self._times.items()}
        for what, pending in self._pending.items():
            times.setdefault(what, []).extend(now - due for due in pending.values() if now - due > PACES[what])
            pending.clear()
        times.setdefault("change", []).extend(self._late(now - BEAT_SECONDS))
        errors, self._errors = self._errors, []
        self._times.clear()
        return {"times": times, "errors": errors}

    def _late(self, written: float) -> list[float]:
        """How late each change is that was due after the last one and until ``written``."""
        now = time.monotonic()
        count = round((written - self.last_change) / BEAT_SECONDS)
        return [now - self.last_change - BEAT_SECONDS * (each + 1) for each in range(count)]


class Client:
    def __init__(self, grpc_address: str, http: str, control: str, ca: str) -> None:
        self._grpc = grpc_address
        self._http = http
        self._control_address = control
        self._tls: ssl.SSLContext | None = None
        if ca:
            self._tls = ssl.create_default_context(cafile=ca)
            self._tls.set_alpn_protocols(["h2"])
            trust = grpc.ssl_channel_credentials(Path(ca).read_bytes())
            self._channel = grpc.aio.secure_channel(grpc_address, trust)
        else:
            self._channel = grpc.aio.insecure_channel(grpc_address)
        self._lookup_call = self._channel.unary_unary(LOOKUP)
        self._number = 0
        self.measures = Measures()

    async def run(self) -> None:
        self._control = await _connection(self._control_address)
        self._control_turn = asyncio.Lock()
        works = {"lookup": self._lookup, "healthz": self._healthz, "newcomer": self._greet, "control": self._ping}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            for what, work in works.items():
                tasks.create_task(self._pace(what, work))

    async def _pace(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        running: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while True:
            due += PACES[what]
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self.measures.measure(what, due, work()))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _lookup(self) -> None:
        self._number = (self._number + 1) % 1000
        name = pb.ServiceName(namespace=namespace_of(self._number), name=service_name(self._number))
        await self._lookup_call(pb.LookupRequest(service=name).SerializeToString())

    async def _healthz(self) -> None:
        reader, writer = await _connection(self._http)
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200"), answer[:100]
        finally:
            writer.close()

    async def _greet(self) -> None:
        """A new client of the gRPC port: greeting for greeting (RFC 9113 section 3.4)."""
        reader, writer = await _connection(self._grpc, self._tls)
        try:
            writer.write(frames.PREFACE + frames.settings({}))
            head = await reader.readexactly(9)
            assert head[3] == frames.SETTINGS, head
        finally:
            writer.close()

    async def _ping(self) -> None:
        reader, writer = self._control
        async with self._control_turn:
            writer.write(b"ping\n")
            await reader.readline()

    async def _follow(self) -> None:
        while True:
            try:
                await self._subscribe()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, ConnectionError) as error:
                self.measures.failed("xDS stream", error)
                await asyncio.sleep(BEAT_SECONDS)

    async def _subscribe(self) -> None:
        call = self._channel.stream_stream(DELTA)()
        subscribe = discovery_pb2.DeltaDiscoveryRequest(
            node=base_pb2.Node(id="sidecar~10.0.0.1~honest.shop~shop.svc.cluster.local"),
            type_url=ASSIGNMENT,
            resource_names_subscribe=[RESOURCE],
        )
        await call.write(subscribe.SerializeToString())
        async for response in call:
            written = written_at(response)
            if written is not None:
                self.measures.changed(written)
            nonce = discovery_pb2.DeltaDiscoveryResponse.FromString(response).nonce
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=ASSIGNMENT, response_nonce=nonce)
            await call.write(ack.SerializeToString())
        raise ConnectionError("the registry ended the stream")


async def _connection(
    address: str, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=tls)


async def main() -> None:
    client = Client(*sys.argv[1:])
    running = asyncio.create_task(client.run())
    while not client.measures.last_change and not running.done():
        await asyncio.sleep(0.01)
    client.measures.taken()
    print("{}", flush=True)
    while not running.done() and await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(client.measures.taken()), flush=True)
    running.cancel()
    await running


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
