"""Gives other replicas what this one knows, as the bytes of a snapshot.

Its cost is bounded: one snapshot is encoded at a time, in steps that do not hold the loop, and replicas that ask while
that is new get the same bytes. ``MOST_TRANSFERS`` are sent at once, and the bytes are dropped with the last of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from google.protobuf.message import DecodeError

from registry.protos import peers_pb2 as pb
from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream
from registry.snapshot.format import VERSION, ClusterFacts, encode

log = logging.getLogger(__name__)

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Peers"].full_name
MOST_TRANSFERS = 4
REQUEST_BYTES = 1_024
NEW_SECONDS = 5.0
"""So long after its encoding began a snapshot is given to further replicas."""
PIECE_BYTES = 1 << 18

Known = Callable[[], Iterable[ClusterFacts]]


class PeerServer:
    """``clusters`` gives what there is to remember; ``describe`` the same without the facts."""

    def __init__(
        self,
        domain: str,
        instance: str,
        *,
        clusters: Known,
        describe: Known,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._domain = domain
        self._instance = instance
        self._clusters = clusters
        self._known = describe
        self._clock = clock
        self._wall_clock = wall_clock
        self._shared: _Shared | None = None
        self._encoding: asyncio.Task[None] | None = None
        self._transfers: set[_Transfer] = set()
        self._count = 0

    def service(self) -> Service:
        """What the gRPC server is to carry."""
        return Service(SERVICE_NAME, unary={"Describe": self._describe}, streams={"Snapshot": self._open})

    def count(self) -> int:
        """How many transfers were begun before."""
        self._count += 1
        return self._count

    async def stop(self) -> None:
        """End what is being encoded."""
        if self._encoding is not None:
            self._encoding.cancel()
            await asyncio.gather(self._encoding, return_exceptions=True)

    async def _describe(self, message: bytes, _call: CallInfo) -> bytes:
        _parsed(pb.DescribeRequest, message)
        known = [pb.KnownCluster(name=each.cluster, uid=each.uid, age=each.age) for each in self._known()]
        said = pb.Description(instance=self._instance, domain=self._domain, version=VERSION, clusters=known)
        return said.SerializeToString()

    def _open(self, stream: Stream, call: CallInfo) -> _Transfer:
        return _Transfer(self, stream, call.peer)

    def begin(self, transfer: _Transfer) -> _Shared:
        """The bytes that ``transfer`` is to send, which may still be growing."""
        if len(self._transfers) >= MOST_TRANSFERS and not self._made_room(transfer):
            text = f"{MOST_TRANSFERS} replicas take the snapshot now; try again"
            raise RpcError(Code.RESOURCE_EXHAUSTED, text)
        self._transfers.add(transfer)
        encoding = self._encoding is not None and not self._encoding.done()
        shared = self._shared
        if shared is None or not (encoding or self._clock() - shared.began < NEW_SECONDS):
            shared = self._shared = _Shared(self._clock())
            self._encoding = asyncio.create_task(self._encode(shared), name="snapshot for a peer")
        return shared

    def _made_room(self, newcomer: _Transfer) -> bool:
        """An address that has several transfers gives one up for an address that has none; whether there was such."""
        count = Counter(_host(each.peer) for each in self._transfers)
        host, most = count.most_common(1)[0]
        if most < 2 or _host(newcomer.peer) in count:
            return False
        last = max((each for each in self._transfers if _host(each.peer) == host), key=lambda each: each.number)
        self._transfers.discard(last)
        last.give_way()
        return True

    def end(self, transfer: _Transfer) -> None:
        """It is over, however it ended."""
        self._transfers.discard(transfer)
        if not self._transfers:
            self._shared = None
            if self._encoding is not None:
                self._encoding.cancel()

    async def _encode(self, shared: _Shared) -> None:
        try:
            for piece in _pieces(encode(self._domain, self._wall_clock(), self._clusters())):
                if piece:
                    shared.pieces.append(pb.SnapshotPiece(data=piece).SerializeToString())
                    self._wake(shared)
                await asyncio.sleep(0)
            shared.done = True
        except Exception:
            log.exception("encoding the snapshot for a peer failed by a bug")
            shared.failed = True
        self._wake(shared)

    def _wake(self, shared: _Shared) -> None:
        for transfer in self._transfers:
            if transfer.shared is shared:
                transfer.stream.wake()


class _Shared:
    """The messages of one snapshot, as far as they are made."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.pieces: list[bytes] = []
        self.done = False
        self.failed = False


class _Transfer:
    """One replica that takes the snapshot."""

    def __init__(self, server: PeerServer, stream: Stream, peer: str) -> None:
        self.stream = stream
        self.shared: _Shared | None = None
        self.number = server.count()
        self._server = server
        self.peer = peer
        self._sent = 0

    def received(self, message: bytes) -> None:
        if self.shared is not None:
            raise RpcError(Code.INVALID_ARGUMENT, "a Snapshot takes one request")
        _parsed(pb.SnapshotRequest, message)
        self.shared = self._server.begin(self)

    def half_closed(self) -> None:
        if self.shared is None:
            raise RpcError(Code.INVALID_ARGUMENT, "a Snapshot takes one request")

    def next_message(self) -> bytes | None:
        shared = self.shared
        if shared is None:
            return None
        if self._sent < len(shared.pieces):
            self._sent += 1
            return shared.pieces[self._sent - 1]
        if shared.failed:
            raise RpcError(Code.INTERNAL, "the snapshot cannot be encoded: see this replica's log")
        if shared.done:
            log.info("peer %s took the snapshot over", self.peer)
            self.stream.finish()
        return None

    def give_way(self) -> None:
        """Another address is to have its place."""
        self.shared = _Shared(0.0)
        self.stream.finish(Code.RESOURCE_EXHAUSTED, "another replica takes the snapshot in the place of one of yours")

    def closed(self) -> None:
        self._server.end(self)


def _pieces(batches: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about ``PIECE_BYTES``; empty ones where a step made no whole piece."""
    piece = bytearray()
    for batch in batches:
        piece += batch
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
        else:
            yield b""
    yield bytes(piece)


def _host(peer: str) -> str:
    """The address without the port, which is another one for each connection."""
    return peer.rpartition(":")[0]


def _parsed(kind: type[pb.DescribeRequest] | type[pb.SnapshotRequest], message: bytes) -> None:
    if len(message) > REQUEST_BYTES:
        text = f"a request of {len(message)} bytes; at most {REQUEST_BYTES} are read"
        raise RpcError(Code.INVALID_ARGUMENT, text)
    try:
        kind.FromString(message)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}: {error}") from error
