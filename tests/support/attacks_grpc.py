"""What strangers do to the gRPC port. Counts are of the issue's size by default; suites give smaller ones."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import Iterable, Iterator

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from grpc_reflection.v1alpha import reflection_pb2
from support.attackers import (
    DELTA,
    GREEDY,
    LOOKUP,
    REFLECTION,
    SOTW,
    WATCH,
    Report,
    Stranger,
    Where,
    connected,
    data_of,
    for_a_while,
    open_streams,
    strangers,
)
from support.h2_client import HELLO, message, request
from support.steady_member import namespace_of, service_name

from registry.protos import registry_pb2 as pb
from registry.rpc import frames
from registry.rpc.frames import Setting

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
EVERYTHING = GREEDY + frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
NOTHING = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
ROUND_TRIP_SECONDS = 0.05
HALF_A_CLIENT_HELLO = b"\x16\3\1\2\0\1\0\1\xfc\3\3"
"""RFC 8446 sections 5.1 and 4.1.2."""


def a_watch(first: int, count: int, *, reasons: bool = False, zone: str = "") -> bytes:
    """A WatchRequest of ``count`` services from ``first`` on; ``zone`` says where the client is."""
    names = [
        pb.ServiceName(namespace=namespace_of(each), name=service_name(each)) for each in range(first, first + count)
    ]
    client = pb.Client(cluster="steady", region="r", zone=zone) if zone else None
    return pb.WatchRequest(services=names, reasons=reasons, client=client).SerializeToString()


def a_node(addresses: int = 0) -> base_pb2.Node:
    """At most 8,099 addresses fit in a stream's first window (RFC 9113 section 6.9.2)."""
    node = base_pb2.Node(id="sidecar~10.1.2.3~stranger.shop~shop.svc.cluster.local")
    if addresses:
        said = (".".join(str(each)) for each in range(1000, 1000 + addresses))
        node.metadata.update({"INSTANCE_IPS": ",".join(said)})
    return node


def clusters_by_name(count: int) -> bytes:
    names = [f"outbound|80||nobody-{each}.shop.svc.clusterset.local" for each in range(count)]
    return discovery_pb2.DiscoveryRequest(node=a_node(), type_url=CLUSTER, resource_names=names).SerializeToString()


def all_clusters() -> bytes:
    return discovery_pb2.DiscoveryRequest(node=a_node(), type_url=CLUSTER).SerializeToString()


async def connections_come_and_go(where: Where, connections: int = 220_000, at_once: int = 500) -> Report:
    """Connections that greet, ask for one service and leave; half of them with a reset."""
    ask = data_of(1, pb.LookupRequest(service=pb.ServiceName(namespace="shop", name="beat")).SerializeToString())
    numbers = iter(range(connections))
    done = 0

    async def come_and_go() -> None:
        nonlocal done
        for number in numbers:
            source = f"127.6.{number // 10_000 % 200}.6"
            try:
                each = await connected(where.grpc, source)
            except OSError:
                await asyncio.sleep(ROUND_TRIP_SECONDS)
                continue
            await each.send(HELLO, request(1, path=LOOKUP), ask)
            await asyncio.sleep(0)
            each.close(reset=number % 2 == 0)
            done += 1

    await asyncio.gather(*(come_and_go() for _ in range(at_once)))
    return {"connections": done}


async def streams_take_nothing(
    where: Where, rounds: int = 11, connections: int = 20, streams: int = 250, names: int = 200
) -> Report:
    """Streams that ask for much and give no window for it, by connections that then go; and again."""
    many = open_streams(WATCH, [a_watch(each, names, reasons=True, zone="z") for each in range(streams)])
    for _ in range(rounds):
        async with strangers(where.grpc, where.source, connections, NOTHING) as found:
            for each in found:
                each.start_reading()
                await each.send(many)
            await for_a_while(1.0, *found)
    return {"streams": rounds * connections * streams}


async def cheap_requests(where: Where, kib_per_second: float = 20, seconds: float = 20, connections: int = 4) -> Report:
    """Requests for all clusters, a few KiB a second of them, whose answers are read; each is of a stream of its own."""
    sent = 0
    deadline = time.monotonic() + seconds
    async with strangers(where.grpc, where.source, connections, EVERYTHING) as found:
        for each in found:
            each.start_reading()
        for number in itertools.count():
            if time.monotonic() > deadline or all(each.is_over() for each in found):
                break
            for each in found:
                stream = 2 * number + 1
                asked = request(stream, path=SOTW) + data_of(stream, all_clusters())
                leave = frames.rst_stream(stream - 2 * 200, frames.ErrorCode.CANCEL) if number >= 200 else b""
                await each.send(asked, leave)
                sent += len(asked)
            await asyncio.sleep(max(0, sent / (kib_per_second * 1024) - seconds + deadline - time.monotonic()))
        return await for_a_while(0, *found) | {"sent": sent}


async def many_watches(
    where: Where, watches: int = 50, names: int = 2000, seconds: float = 20, places: bool = True
) -> Report:
    """Watches with reasons, each from another place and read at once."""
    async with strangers(where.grpc, where.source, 1, EVERYTHING) as found:
        asked = [a_watch(0, names, reasons=True, zone=f"z{each}" if places else "z") for each in range(watches)]
        for each in found:
            each.start_reading()
            await each.send(open_streams(WATCH, asked))
        return await for_a_while(seconds, *found)


async def one_watch(where: Where, names: int = 10_000, seconds: float = 5) -> Report:
    """One honest Watch of all there is, with reasons."""
    return await many_watches(where, 1, names, seconds)


async def one_byte_at_a_time(where: Where, streams: int = 250, seconds: float = 10, connections: int = 1) -> Report:
    """DATA of one byte each on streams whose messages are never complete."""
    head = b"\0" + (1 << 20).to_bytes(4, "big")
    opening = b"".join(request(2 * each + 1, path=WATCH) + frames.data(2 * each + 1, head) for each in range(streams))
    turn = b"".join(frames.data(2 * each + 1, b"x") for each in range(streams))
    sent = 0
    deadline = time.monotonic() + seconds
    async with strangers(where.grpc, where.source, connections, HELLO + opening) as found:
        for each in found:
            each.start_reading()
        while time.monotonic() < deadline and not all(each.is_over() for each in found):
            for each in found:
                await each.send(turn * 10)
                sent += 10 * streams
            await asyncio.sleep(0)
        return await for_a_while(0, *found) | {"frames": sent}


async def many_addresses(where: Where, streams: int = 100, addresses: int = 8099, seconds: float = 5) -> Report:
    """xDS streams whose nodes claim thousands of addresses."""
    asked = discovery_pb2.DeltaDiscoveryRequest(
        node=a_node(addresses),
        type_url=ASSIGNMENT,
        resource_names_subscribe=["outbound|80||beat.shop.svc.clusterset.local"],
    ).SerializeToString()
    async with strangers(where.grpc, where.source, 1, EVERYTHING) as found:
        for each in found:
            each.start_reading()
            await each.send(open_streams(DELTA, [asked] * streams))
        return await for_a_while(seconds, *found)


async def empty_names(where: Where, size: int = (32 << 20) - 16, connections: int = 1, seconds: float = 10) -> Report:
    """A Watch of as many empty names as fit in the largest message that is taken."""
    return await _messages(where, WATCH, [b"\x0a\0" * (size // 2)] * connections, seconds)


async def many_names(where: Where, names: int = 200_000, connections: int = 1, seconds: float = 10) -> Report:
    """xDS subscriptions to names that nobody has."""

    def asked(connection: int) -> bytes:
        return discovery_pb2.DeltaDiscoveryRequest(
            node=a_node(),
            type_url=ASSIGNMENT,
            resource_names_subscribe=[f"outbound|80||nobody-{connection}-{each}.shop.svc" for each in range(names)],
        ).SerializeToString()

    return await _messages(where, DELTA, map(asked, range(connections)), seconds)


async def many_clusters(where: Where, names: int = 200_000, connections: int = 1, seconds: float = 10) -> Report:
    """xDS subscriptions to clusters that nobody has, one by one: a response looks at all that are named."""
    return await _messages(where, SOTW, [clusters_by_name(names)] * connections, seconds)


async def fields_in_turn(where: Where, fields: int = 600_000, connections: int = 4, seconds: float = 5) -> Report:
    """xDS requests of numbers and texts in turn: cheap to send, and no two of a kind beside each other to count."""
    return await _messages(where, DELTA, [b"\x08\1\x1a\0" * (fields // 2)] * connections, seconds)


async def unread_reflection(
    where: Where, streams: int = 250, questions: int = 100, connections: int = 4, seconds: float = 5
) -> Report:
    """Questions of reflection whose answers are never read."""
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="envoy.service.discovery.v3.DiscoveryRequest")
    question = asked.SerializeToString()
    async with strangers(where.grpc, where.source, connections, NOTHING) as found:
        for each in found:
            each.start_reading()
            for stream in range(streams):
                await each.send(request(2 * stream + 1, path=REFLECTION), data_of(2 * stream + 1, question) * questions)
        return await for_a_while(seconds, *found)


async def zero_windows(where: Where, connections: int = 40, streams: int = 250, seconds: float = 10) -> Report:
    """Streams that ask for all clusters and give no window for the answer."""
    async with strangers(where.grpc, where.source, connections, NOTHING) as found:
        for number, each in enumerate(found):
            each.start_reading()
            asked = [a_watch(number * 7 + stream, 1, reasons=True, zone=f"{number}-{stream}") for stream in range(8)]
            await each.send(open_streams(SOTW, [all_clusters()] * (streams - 8)))
            await each.send(b"".join(_streams_from(streams - 8, asked)))
        return await for_a_while(seconds, *found)


async def unfinished_messages(
    where: Where, connections: int = 30, size: int = (32 << 20) - 64, seconds: float = 10
) -> Report:
    """Messages whose last bytes never come."""
    return await _messages(where, WATCH, [b"x" * size] * connections, seconds, unfinished=True)


async def all_connections(where: Where, connections: int = 10_000, seconds: float = 5) -> Report:
    """Connections that greet, from one address, and stay."""
    async with strangers(where.grpc, where.source, connections, HELLO) as found:
        return await for_a_while(seconds, *found)


async def tls_handshakes(where: Where, at_once: int = 100, silent: int = 300, seconds: float = 5) -> Report:
    """Clients that shake hands and leave, and others that stop in the middle of their ClientHello."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    deadline = time.monotonic() + seconds
    done = 0

    async def shake_hands() -> None:
        nonlocal done
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, TimeoutError):
                _, writer = await asyncio.wait_for(
                    asyncio.open_connection(
                        *where.grpc.rsplit(":", 1), ssl=context, server_hostname="it", local_addr=(where.source, 0)
                    ),
                    deadline - time.monotonic(),
                )
                writer.transport.abort()
                done += 1
            await asyncio.sleep(0)

    async with strangers(where.grpc, where.source, silent, HALF_A_CLIENT_HELLO) as found:
        await asyncio.gather(*(shake_hands() for _ in range(at_once)))
        return await for_a_while(0, *found) | {"handshakes": done}


async def slow_takers(where: Where, connections: int = 50, seconds: float = 10) -> Report:
    """Subscribers of all clusters that open every window, and whose kernels take a few KiB."""
    async with strangers(where.grpc, where.source, connections, EVERYTHING, buffer=4096) as found:
        for each in found:
            each.start_reading(bytes_per_second=1024)
            await each.send(open_streams(SOTW, [all_clusters()] * 20))
        return await for_a_while(seconds, *found)


def _streams_from(first: int, asked: list[bytes]) -> Iterator[bytes]:
    for number, body in enumerate(asked, first):
        yield request(2 * number + 1, path=WATCH) + data_of(2 * number + 1, body)


async def _messages(
    where: Where, path: str, bodies: Iterable[bytes], seconds: float, *, unfinished: bool = False
) -> Report:
    """One large message on each connection, in the server's windows; ``unfinished``: all but its last byte."""
    waiting = list(bodies)
    deadline = time.monotonic() + seconds
    async with strangers(where.grpc, where.source, len(waiting), EVERYTHING) as found:

        async def send(each: Stranger, body: bytes) -> None:
            each.start_reading(windows=True)
            await each.send(request(1, path=path))
            await each.send_in_windows(1, message(body)[: -1 if unfinished else None])

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*map(send, found, waiting))
        return await for_a_while(deadline - time.monotonic(), *found)


ATTACKS = {
    each.__name__: each
    for each in (
        connections_come_and_go,
        streams_take_nothing,
        cheap_requests,
        many_watches,
        one_watch,
        one_byte_at_a_time,
        many_addresses,
        empty_names,
        many_names,
        many_clusters,
        fields_in_turn,
        unread_reflection,
        zero_windows,
        unfinished_messages,
        all_connections,
        tls_handshakes,
        slow_takers,
    )
}
