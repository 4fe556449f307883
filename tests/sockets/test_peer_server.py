"""What a replica gives to others: whole, in steps that hold nobody up, the same bytes to all, to a few at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from support.certificates import write_certificate

from registry.model.facts import EndpointSlice, Pod, Service, ServicePort, SliceEndpoint, SlicePort
from registry.model.names import ClusterId, Kind
from registry.protos import peers_pb2 as pb
from registry.rpc.server import RpcServer
from registry.rpc.tls import ServerTls
from registry.servers.peers import MOST_TRANSFERS, PeerServer
from registry.snapshot.format import ClusterFacts, decode
from registry.snapshot.peers import SERVICE_NAME, PeerAddress, PeerRules, Peers, PeerTls

DOMAIN = "clusterset.local"


def facts(name: str, services: int, pods: int = 4) -> ClusterFacts:
    numbers = range(services)
    slices = [
        EndpointSlice(
            "shop",
            f"echo-{number}-1",
            f"echo-{number}",
            ports=(SlicePort("http", 8080),),
            endpoints=tuple(SliceEndpoint(f"10.{number >> 8}.{number & 255}.{pod}", pod="p") for pod in range(pods)),
        )
        for number in numbers
    ]
    return ClusterFacts(
        ClusterId(name),
        {
            Kind.SERVICE: tuple(Service("shop", f"echo-{number}", (ServicePort(80, "http"),)) for number in numbers),
            Kind.ENDPOINT_SLICE: tuple(slices),
            Kind.POD: tuple(Pod("shop", f"echo-{number}") for number in numbers),
        },
        uid=f"uid-{name}",
        age=3.0,
    )


class Giving:
    """A replica that gives ``clusters``, and how often it was asked for them."""

    def __init__(self, *clusters: ClusterFacts) -> None:
        self.known = clusters
        self.encodings = 0
        self.server = PeerServer(
            DOMAIN,
            "giver",
            clusters=self._clusters,
            describe=lambda: [replace(each, facts={}) for each in self.known],
            clock=time.monotonic,
            wall_clock=time.time,
        )
        self.address = ""

    def _clusters(self) -> Iterable[ClusterFacts]:
        self.encodings += 1
        return self.known


@asynccontextmanager
async def giving(*clusters: ClusterFacts, tls: ServerTls | None = None) -> AsyncIterator[Giving]:
    it = Giving(*clusters)
    rpc = RpcServer([it.server.service()], "127.0.0.1:0", tls=tls)
    it.address = await rpc.start()
    try:
        yield it
    finally:
        await it.server.stop()
        await rpc.stop(0.1)


def asking(address: str, learnt: list[ClusterFacts], host: str = "127.0.0.1", tls: PeerTls | None = None) -> Peers:
    def learn(clusters: Iterable[ClusterFacts], _created: float, _origin: str) -> None:
        learnt.extend(clusters)

    port = int(address.rpartition(":")[2])
    return Peers(
        [PeerAddress(host, port)],
        DOMAIN,
        "asker",
        known=dict,
        learn=learn,
        missing=set,
        wall_clock=time.time,
        tls=tls,
        rules=PeerRules(),
    )


async def test_10000_services_are_taken_whole_and_the_loop_is_not_held_up() -> None:
    """The clock is this thread's own; the best of three, since Python's garbage is looked through now and then."""
    known = facts("a", 10_000)
    turns = []
    async with giving(known) as it:
        for _ in range(3):
            learnt: list[ClusterFacts] = []
            longest, last = 0.0, time.thread_time()
            done = asyncio.create_task(asking(it.address, learnt).round())
            while not done.done():
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, last = max(longest, now - last), now
            await done
            assert learnt[0].facts == known.facts
            assert (learnt[0].uid, learnt[0].age) == ("uid-a", 3.0)
            turns.append(longest)
    assert min(turns) < 0.02, "seconds of CPU in one turn of the loop, of the one that gives and the one that asks"


async def test_replicas_that_ask_at_once_get_the_same_bytes_and_one_too_many_is_refused() -> None:
    async with giving(facts("a", 2_000)) as it, grpc.aio.insecure_channel(it.address) as channel:
        method = channel.unary_stream(f"/{SERVICE_NAME}/Snapshot", response_deserializer=pb.SnapshotPiece.FromString)
        calls = [method(b"") for _ in range(MOST_TRANSFERS)]
        firsts = [await call.read() for call in calls]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(b"").read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        wholes = set()
        for call, first in zip(calls, firsts, strict=True):
            pieces = [first.data]
            while isinstance(piece := await call.read(), pb.SnapshotPiece):
                pieces.append(piece.data)
            wholes.add(b"".join(pieces))
        (whole,) = wholes
        assert [each.cluster for each in decode(whole, DOMAIN).clusters] == ["a"]
        assert it.encodings == 1
        call = method(b"")
        assert isinstance(await call.read(), pb.SnapshotPiece)
        assert it.encodings == 2, "what nobody takes any more is not kept"


async def test_client_that_goes_in_the_middle_costs_nothing_more() -> None:
    async with giving(facts("a", 20_000)) as it, grpc.aio.insecure_channel(it.address) as channel:
        method = channel.unary_stream(f"/{SERVICE_NAME}/Snapshot", response_deserializer=pb.SnapshotPiece.FromString)
        call = method(b"")
        await call.read()
        call.cancel()
        async with asyncio.timeout(5):
            while it.server._transfers:
                await asyncio.sleep(0.01)
        assert it.server._shared is None
        learnt: list[ClusterFacts] = []
        await asking(it.address, learnt).round()
        assert len(learnt) == 1


@pytest.mark.parametrize("mutual", [False, True])
async def test_replicas_speak_tls_where_their_own_port_does(
    mutual: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_certificate(tmp_path, "ca", "server")
    write_certificate(tmp_path, "other-ca", "other")
    ca, certificate, key = tmp_path / "ca.crt", tmp_path / "server.crt", tmp_path / "server.key"
    async with giving(facts("a", 1), tls=ServerTls(certificate, key, ca if mutual else None)) as it:
        learnt: list[ClusterFacts] = []
        await asking(it.address, learnt, tls=PeerTls(ca, certificate, key, "localhost")).round()
        assert len(learnt) == 1, "by the name in the certificate"
        await asking(it.address, learnt, "localhost", PeerTls(ca, certificate, key)).round()
        assert len(learnt) == 2, "by the host that is configured"
        wrong = [
            PeerTls(tmp_path / "other-ca.crt", certificate, key, "localhost"),
            PeerTls(ca, certificate, key, "elsewhere.example"),
            None,
        ]
        if mutual:
            wrong.append(PeerTls(ca, tmp_path / "other.crt", tmp_path / "other.key", "localhost"))
        for tls in wrong:
            caplog.clear()
            await asking(it.address, learnt, tls=tls).round()
            assert caplog.text.count(f"peer {it.address}: ") == 1
        assert len(learnt) == 2
