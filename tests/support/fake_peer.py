"""Another replica, as it may be: what it describes and sends is what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

import grpc.aio

from registry.protos import peers_pb2 as pb
from registry.snapshot.format import VERSION
from registry.snapshot.peers import SERVICE_NAME

Pieces = Callable[[], AsyncIterator[bytes]]


class FakePeer:
    """``clusters`` are those it says it knows, and how old that is; ``pieces`` what it sends.

    ``garbage`` describes it instead, if there is any.

    Use as an async context.
    """

    def __init__(
        self,
        pieces: Pieces,
        *,
        domain: str = "clusterset.local",
        version: int = VERSION,
        instance: str = "peer",
        silent: bool = False,
        garbage: bytes = b"",
        **clusters: float,
    ) -> None:
        self._pieces = pieces
        known = [pb.KnownCluster(name=name, age=age) for name, age in clusters.items()]
        self._description = pb.Description(instance=instance, domain=domain, version=version, clusters=known)
        self._silent = silent
        self._garbage = garbage
        self._server: grpc.aio.Server | None = None
        self.port = 0
        self.transfers = 0

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        handlers = {
            "Describe": grpc.unary_unary_rpc_method_handler(
                self._describe, response_serializer=lambda said: self._garbage or said.SerializeToString()
            ),
            "Snapshot": grpc.unary_stream_rpc_method_handler(
                self._snapshot, response_serializer=pb.SnapshotPiece.SerializeToString
            ),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        await self._server.stop(None)

    async def _describe(self, _request: bytes, _context: object) -> pb.Description:
        if self._silent:
            await asyncio.Event().wait()
        return self._description

    async def _snapshot(self, _request: bytes, _context: object) -> AsyncIterator[pb.SnapshotPiece]:
        self.transfers += 1
        async for piece in self._pieces():
            yield pb.SnapshotPiece(data=piece)


def sends(*pieces: bytes, then_hangs: bool = False) -> Pieces:
    """These pieces, and then the end, or nothing."""

    async def send() -> AsyncIterator[bytes]:
        for each in pieces:
            yield each
        if then_hangs:
            await asyncio.Event().wait()

    return send
