"""A gRPC service for the tests of the server itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.rpc.limits import Limits
from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler
from registry.rpc.server import DEFAULT_LIMITS, RpcServer
from registry.rpc.tls import ServerTls


class Echo:
    """``Say`` returns its request, ``Wait`` never answers, ``Fail`` raises what the request says, ``Who`` tells of its
    caller; ``Chat`` sends every message back, ``Newest`` the number that was ``published`` last."""

    def __init__(self) -> None:
        self.open: set[StreamHandler] = set()
        self.cancelled = 0
        self.newest = 0
        self.padding = 0

    def service(self) -> Service:
        return Service(
            "echo.Echo",
            unary={"Say": self._say, "Wait": self._wait, "Fail": self._fail, "Who": self._who},
            streams={"Chat": self._chat, "Newest": self._follow},
        )

    def publish(self, number: int) -> None:
        self.newest = number
        for handler in tuple(self.open):
            if isinstance(handler, _Newest):
                handler.stream.wake()

    async def _say(self, request: bytes, _call: CallInfo) -> bytes:
        return request

    async def _wait(self, _request: bytes, _call: CallInfo) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        raise AssertionError

    async def _fail(self, request: bytes, _call: CallInfo) -> bytes:
        if request == b"bug":
            raise ZeroDivisionError("a bug")
        raise RpcError(Code.FAILED_PRECONDITION, request.decode())

    async def _who(self, _request: bytes, call: CallInfo) -> bytes:
        return f"{call.method} {call.peer} {sorted(call.metadata.items())}".encode()

    def _chat(self, stream: Stream, _call: CallInfo) -> StreamHandler:
        handler = _Chat(self, stream)
        self.open.add(handler)
        return handler

    def _follow(self, stream: Stream, _call: CallInfo) -> StreamHandler:
        handler = _Newest(self, stream)
        self.open.add(handler)
        return handler


class _Chat:
    def __init__(self, echo: Echo, stream: Stream) -> None:
        self._echo = echo
        self._stream = stream
        self._waiting: list[bytes] = []

    def received(self, message: bytes) -> None:
        self._waiting.append(message)

    def half_closed(self) -> None:
        self._stream.finish()

    def next_message(self) -> bytes | None:
        return self._waiting.pop(0) if self._waiting else None

    def closed(self) -> None:
        self._echo.open.discard(self)


class _Newest:
    def __init__(self, echo: Echo, stream: Stream) -> None:
        self._echo = echo
        self.stream = stream
        self._told = 0

    def received(self, message: bytes) -> None:
        pass

    def half_closed(self) -> None:
        pass

    def next_message(self) -> bytes | None:
        if self._told == self._echo.newest:
            return None
        self._told = self._echo.newest
        return self._told.to_bytes(4, "big") + bytes(self._echo.padding)

    def closed(self) -> None:
        self._echo.open.discard(self)


@asynccontextmanager
async def echoing(
    echo: Echo | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    tls: ServerTls | None = None,
    address: str = "127.0.0.1:0",
) -> AsyncIterator[RpcServer]:
    server = RpcServer([(echo or Echo()).service()], address, limits=limits, tls=tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.1)
