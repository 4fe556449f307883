"""Carries services of ``registry.rpc.seam`` on the gRPC library (grpc.aio)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from registry.errors import StartError
from registry.rpc.seam import CallInfo, Code, RpcError, Service, StreamHandler, StreamMethod, UnaryMethod

log = logging.getLogger(__name__)

MAX_RECEIVED_BYTES = 32 << 20
"""The largest request: 200,000 xDS resource names of 160 bytes."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
    ("grpc.max_send_message_length", -1),
    # A second server on the port is an error, not a silent sharer of its connections.
    ("grpc.so_reuseport", 0),
    # A peer that vanished without a word is noticed after a minute and a half.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    # Proxies ping idle xDS streams; only those that do it more often than this are cut off.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_SHUTDOWN = "the registry is shutting down"
_INTERNAL = "internal error; the registry's log has the details"

Behaviour = Callable[[Any, Any], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class GrpcioServer:
    """Serves ``services`` on ``address`` (HOST:PORT; port 0: any free one), without TLS."""

    def __init__(self, services: Iterable[Service], address: str) -> None:
        self._services = tuple(services)
        self._address = address
        self._server: grpc.aio.Server | None = None
        self._calls: set[_StreamCall] = set()

    async def start(self) -> str:
        """Listen; returns the bound address as HOST:PORT.

        Raises:
            StartError: the address cannot be had.
        """
        server = grpc.aio.server(options=OPTIONS)
        for service in self._services:
            server.add_generic_rpc_handlers((self._handlers(service),))
        try:
            port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise StartError(
                f"gRPC cannot listen on {self._address} (the port is in use, or the address is not this machine's): "
                "choose another with --grpc"
            ) from error
        await server.start()
        self._server = server
        return f"{self._address.rpartition(':')[0]}:{port}"

    async def stop(self, grace: float) -> None:
        """Accept nothing more, end the open streams with UNAVAILABLE, and leave ``grace`` seconds to what still runs.

        UNAVAILABLE makes xDS clients connect again, to another replica where there is one.
        """
        if self._server is None:
            return
        stopping = asyncio.ensure_future(self._server.stop(grace))
        for call in tuple(self._calls):
            call.finish(Code.UNAVAILABLE, _SHUTDOWN)
        await stopping
        self._server = None

    def _handlers(self, service: Service) -> grpc.GenericRpcHandler:
        unary: dict[str, Handler] = {
            name: grpc.unary_unary_rpc_method_handler(_answer(f"/{service.name}/{name}", method))
            for name, method in service.unary.items()
        }
        # What a call's two directions look like on the wire does not depend on how many messages each has.
        streams: dict[str, Handler] = {
            name: grpc.stream_stream_rpc_method_handler(self._carry(f"/{service.name}/{name}", method))
            for name, method in service.streams.items()
        }
        return grpc.method_handlers_generic_handler(service.name, {**unary, **streams})

    def _carry(self, path: str, method: StreamMethod) -> Behaviour:
        async def carry(_requests: Any, context: Context) -> None:
            call = _StreamCall(path, context)
            self._calls.add(call)
            try:
                await call.run(method)
            finally:
                self._calls.discard(call)

        return carry


def _answer(path: str, method: UnaryMethod) -> Behaviour:
    async def answer(request: bytes, context: Context) -> bytes:
        try:
            return await method(request, _call_info(path, context))
        except RpcError as error:
            code, message = error.code, error.message
        except Exception:
            log.exception("%s failed", path)
            code, message = Code.INTERNAL, _INTERNAL
        return await context.abort(_STATUS[code], message)

    return answer


def _call_info(path: str, context: Context) -> CallInfo:
    metadata = context.invocation_metadata() or ()
    text = {key: value for key, value in metadata if isinstance(value, str)}
    return CallInfo(method=path, peer=context.peer(), metadata=text)


class _StreamCall:
    """One open stream: reads as messages come, writes one message at a time, each pulled when the last is away."""

    def __init__(self, path: str, context: Context) -> None:
        self._path = path
        self._context = context
        self._awake = asyncio.Event()
        self._status: tuple[Code, str] | None = None

    def wake(self) -> None:
        self._awake.set()

    def finish(self, code: Code = Code.OK, message: str = "") -> None:
        if self._status is None:
            self._status = (code, message)
        self._awake.set()

    async def run(self, method: StreamMethod) -> None:
        """Carry the stream to its end, and end it with its status."""
        try:
            handler = method(self, _call_info(self._path, self._context))
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its stream and no other
            self._fail(error)
        else:
            await self._carry(handler)
        code, message = self._status or (Code.OK, "")
        if code is not Code.OK:
            await self._context.abort(_STATUS[code], message)

    async def _carry(self, handler: StreamHandler) -> None:
        """Read and write until the writer is done, or the reader fails: a failure does not wait for a slow client."""
        writer = asyncio.create_task(self._write(handler))
        reader = asyncio.create_task(self._read(handler, writer))
        try:
            await asyncio.wait({writer})
        finally:
            reader.cancel()
            writer.cancel()
            handler.closed()

    async def _write(self, handler: StreamHandler) -> None:
        """Send what the handler has, each time it is woken, until the stream is to end."""
        try:
            while True:
                while (message := handler.next_message()) is not None:
                    await self._context.write(message)
                if self._status is not None:
                    return
                await self._awake.wait()
                self._awake.clear()
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its stream and no other
            self._fail(error)

    async def _read(self, handler: StreamHandler, writer: asyncio.Task[None]) -> None:
        read: Callable[[], Awaitable[object]] = self._context.read
        try:
            while isinstance(message := await read(), bytes):
                handler.received(message)
                self._awake.set()
            handler.half_closed()
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its stream and no other
            self._fail(error)
            writer.cancel()

    def _fail(self, error: Exception) -> None:
        """End the stream with what ``error`` says: the handler's own words, a lost connection, or a bug."""
        if isinstance(error, RpcError):
            self._status = (error.code, error.message)
        elif isinstance(error, grpc.aio.BaseError):
            self._status = (Code.CANCELLED, "the connection is gone")
        else:
            log.error("%s failed", self._path, exc_info=error)
            self._status = (Code.INTERNAL, _INTERNAL)
