"""Asks other replicas what they know, and takes over what is missing here.

A round asks all peers at once which clusters they know (``Describe``), then takes the snapshot of the one that adds
most, and of further ones as long as they add something. A snapshot is used when all of it has arrived and is verified,
as a file is. Nothing a peer does takes longer than ``PeerRules`` say, and a peer that fails leaves things as they are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from registry.model.names import ClusterId
from registry.protos import peers_pb2 as pb
from registry.snapshot.format import VERSION, ClusterFacts, SnapshotError, decode
from registry.snapshot.knowledge import Offer, choose
from registry.supervision import Supervisor

if TYPE_CHECKING:
    import grpc.aio

log = logging.getLogger(__name__)

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Peers"].full_name
MOST_PEERS = 32
"""So many addresses are asked, the first in their order."""


class PeerAddress(NamedTuple):
    """``host`` is a name, of which each address is a peer, or an address."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PeerTls:
    """PEM files: ``authority`` is who signed the peers' certificates, the others are shown to them.

    ``server_name`` is the name that the peers' certificates have; empty: the host that is configured.
    """

    authority: Path
    certificate: Path
    key: Path
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class PeerRules:
    """Times in seconds. ``first`` is how long a start waits for the first round, which goes on after that."""

    describe: float = 2.0
    silence: float = 5.0
    transfer: float = 60.0
    first: float = 10.0
    pause: float = 2.0
    most_bytes: int = 512 << 20


class PeerError(Exception):
    """A peer's answer cannot be used; the text says why."""


Learn = Callable[[Iterable[ClusterFacts], float, str], None]
"""Takes what the peer of that name (the last argument) knew at that time."""


class Peers:
    """``known`` says of what is known when it had last proven to be so; ``learn`` takes what a peer gives.

    ``missing`` are the clusters of which nothing is known, asked for after the first round.
    """

    def __init__(
        self,
        addresses: Sequence[PeerAddress],
        domain: str,
        instance: str,
        *,
        known: Callable[[], Mapping[ClusterId, float]],
        learn: Learn,
        missing: Callable[[], Collection[ClusterId]],
        wall_clock: Callable[[], float],
        tls: PeerTls | None = None,
        rules: PeerRules | None = None,
        tasks: Supervisor | None = None,
    ) -> None:
        self._addresses = addresses
        self._domain = domain
        self._instance = instance
        self._known = known
        self._learn = learn
        self._missing = missing
        self._wall_clock = wall_clock
        self._tls = tls
        self._rules = rules or PeerRules()
        self._tasks = tasks or Supervisor()
        self._said: dict[tuple[str, str], str] = {}
        """The last complaint about each peer and step."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to ask; returns when the first round is over, or has taken too long to wait for."""
        first = asyncio.Event()
        self._task = self._tasks.start("peers", partial(self._run, first))
        try:
            async with asyncio.timeout(self._rules.first):
                await first.wait()
        except TimeoutError:
            log.warning("peers: still asking after %g s; the start goes on", self._rules.first)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, first: asyncio.Event) -> None:
        wanted: Collection[ClusterId] | None = self._missing() if first.is_set() else None
        while True:
            try:
                if wanted is None or wanted:
                    await self.round(wanted)
            finally:
                first.set()
            await asyncio.sleep(self._rules.pause)
            wanted = self._missing()

    async def round(self, wanted: Collection[ClusterId] | None = None) -> None:
        """Ask all peers once for what they know of ``wanted``, by default of everything."""
        targets = await self._resolve()
        asked = await asyncio.gather(*(self._describe(peer, host) for peer, host in targets.items()))
        offers = [each for each in asked if each is not None]
        known = dict(self._known())
        while (offer := choose(offers, known, wanted)) is not None:
            offers.remove(offer)
            if await self._take(offer, targets[offer.peer]):
                known |= {name: max(at, known.get(name, at)) for name, at in offer.clusters.items()}

    async def _resolve(self) -> dict[str, str]:
        """ADDRESS:PORT of each peer, and the host that the configuration names it by."""
        found: dict[str, str] = {}
        loop = asyncio.get_running_loop()
        for host, port in self._addresses:
            try:
                async with asyncio.timeout(self._rules.describe):
                    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, TimeoutError) as error:
                self._complain(host, f"its name cannot be resolved ({str(error) or 'it takes too long'})", "Resolve")
                continue
            addresses = sorted({str(info[4][0]) for info in infos})
            found |= {f"[{each}]:{port}" if ":" in each else f"{each}:{port}": host for each in addresses}
        return dict(list(found.items())[:MOST_PEERS])

    async def _describe(self, peer: str, host: str) -> Offer | None:
        """What the peer says it knows; None where it is this replica itself, or cannot be used."""
        try:
            async with _faults(), asyncio.timeout(self._rules.describe), await self._channel(peer, host) as channel:
                call: grpc.aio.UnaryUnaryMultiCallable[pb.DescribeRequest, bytes] = channel.unary_unary(
                    f"/{SERVICE_NAME}/Describe",
                    request_serializer=pb.DescribeRequest.SerializeToString,
                )
                offer = self._offer(peer, pb.Description.FromString(await call(pb.DescribeRequest())))
        except DecodeError:
            self._complain(peer, "its answer cannot be read: is it a replica's gRPC port?", "Describe")
            return None
        except PeerError as error:
            self._complain(peer, str(error), "Describe")
            return None
        self._said.pop((peer, "Describe"), None)
        return offer

    def _offer(self, peer: str, said: pb.Description) -> Offer | None:
        """None of this replica itself. Raises PeerError where its snapshot would be refused."""
        if said.instance == self._instance:
            return None
        if said.domain != self._domain:
            raise PeerError(f"it is of the domain {said.domain!r}, this registry's is {self._domain!r}")
        if said.version != VERSION:
            raise PeerError(f"it gives version {said.version} of the snapshot format; this program takes {VERSION}")
        now = self._wall_clock()
        return Offer(peer, {ClusterId(each.name): now - max(each.age, 0.0) for each in said.clusters})

    async def _take(self, offer: Offer, host: str) -> bool:
        """Take over the peer's snapshot; whether that went well."""
        clock = asyncio.get_running_loop().time
        began, asked_at = clock(), self._wall_clock()
        try:
            async with _faults(), asyncio.timeout(self._rules.transfer):
                data = await self._download(offer.peer, host)
            snapshot = await asyncio.to_thread(decode, data, self._domain)
        except (PeerError, SnapshotError) as error:
            self._complain(offer.peer, f"its snapshot is not used: {error}", "Snapshot")
            return False
        self._said.pop((offer.peer, "Snapshot"), None)
        names = ", ".join(each.cluster for each in snapshot.clusters)
        seconds = clock() - began
        log.info("peer %s: took over %.1f MB in %.2f s, of %s", offer.peer, len(data) / 1e6, seconds, names)
        self._learn(snapshot.clusters, asked_at, f"peer {offer.peer}")
        return True

    async def _download(self, peer: str, host: str) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async with await self._channel(peer, host) as channel:
            method = channel.unary_stream(
                f"/{SERVICE_NAME}/Snapshot",
                request_serializer=pb.SnapshotRequest.SerializeToString,
                response_deserializer=pb.SnapshotPiece.FromString,
            )
            call = method(pb.SnapshotRequest())
            while True:
                async with asyncio.timeout(self._rules.silence):
                    piece = await call.read()
                if not isinstance(piece, pb.SnapshotPiece):
                    return b"".join(pieces)
                size += len(piece.data)
                if size > self._rules.most_bytes:
                    raise PeerError(f"it is larger than {self._rules.most_bytes >> 20} MiB")
                pieces.append(piece.data)

    async def _channel(self, peer: str, host: str) -> grpc.aio.Channel:
        """A connection of its own, over TLS where this replica's own port has it. The files are read each time."""
        import grpc

        options: list[tuple[str, int | str]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
        ]
        if self._tls is None:
            return grpc.aio.insecure_channel(peer, options=options)
        files = (self._tls.authority, self._tls.key, self._tls.certificate)
        authority, key, certificate = [await asyncio.to_thread(each.read_bytes) for each in files]
        options.append(("grpc.ssl_target_name_override", self._tls.server_name or host))
        return grpc.aio.secure_channel(peer, grpc.ssl_channel_credentials(authority, key, certificate), options=options)

    def _complain(self, peer: str, why: str, step: str) -> None:
        """Once as long as it stays so."""
        if self._said.get((peer, step)) != why:
            self._said[peer, step] = why
            log.warning("peer %s: %s", peer, why)


@asynccontextmanager
async def _faults() -> AsyncIterator[None]:
    """Whatever keeps a peer from answering is a PeerError. gRPC's client is imported by those who have peers."""
    import grpc

    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            text = "it gives nothing to other replicas: `peers` of its own configuration lets it"
            raise PeerError(text) from error
        raise PeerError(f"{error.code().name}: {error.details()}") from error
    except TimeoutError as error:
        raise PeerError("it does not answer in time") from error
    except OSError as error:
        raise PeerError(str(error)) from error
