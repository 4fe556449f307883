"""One gRPC call on one HTTP/2 stream: messages to its handler, the handler's messages to the client."""

from __future__ import annotations

import asyncio
import logging
import sys
from abc import ABC, abstractmethod

from registry.rpc import messages
from registry.rpc.ledger import Account
from registry.rpc.messages import Head, MessageReader
from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler, StreamMethod, UnaryMethod

log = logging.getLogger(__name__)

_INTERNAL = "internal error; the server's log has the details"


class Wire(ABC):
    """What a call needs of its connection. Streams are named by their numbers.

    A class and not a protocol: compiled, its methods are called for every response without being looked up.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.paused = False
        """The client does not take what was sent already: make nothing more for it."""

    @abstractmethod
    def awake(self, call: Call) -> None:
        """Pull the call when the client can take something."""

    @abstractmethod
    def begin(self, stream_id: int) -> None:
        """Send the response's head."""

    @abstractmethod
    def send(self, stream_id: int, message: bytes) -> bool:
        """Send a message; False when no more may be sent until ``Call.sent`` is called."""

    @abstractmethod
    def end(self, stream_id: int, block: bytes) -> None:
        """Send the header block that ends the response, after what still waits."""

    @abstractmethod
    def cancel(self, stream_id: int) -> None:
        """End the stream at once, and what waits for it."""

    @abstractmethod
    def forget(self, call: Call) -> None:
        """The call is over."""


class Call:
    """A call from its head to its end: the ``Stream`` its handler holds."""

    __slots__ = (
        "_begun",
        "_charged",
        "_deadline",
        "_finished",
        "_handler",
        "_over",
        "_reader",
        "_wire",
        "blocked",
        "path",
        "stream_id",
    )

    def __init__(self, wire: Wire, stream_id: int, head: Head, max_message_bytes: int) -> None:
        self.stream_id = stream_id
        self.path = sys.intern(head.path)
        self.blocked = False
        """A message waits on the client's windows."""
        self._wire = wire
        self._reader = MessageReader(max_message_bytes)
        self._handler: StreamHandler | None = None
        self._begun = False
        self._charged = 0
        self._over = False
        self._finished: tuple[Code, str] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        if head.timeout is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(head.timeout, self._expire)

    @property
    def held(self) -> int:
        """Bytes of a message that is not complete."""
        return self._reader.held

    def open(self, method: StreamMethod, info: CallInfo) -> None:
        """Let ``method`` handle the call."""
        try:
            self._handler = method(self, info)
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)

    def wake(self) -> None:
        self._wire.awake(self)

    def finish(self, code: Code = Code.OK, message: str = "") -> None:
        if self._finished is None:
            self._finished = (code, message)
            self._wire.awake(self)

    def charge(self, size: int) -> None:
        change = size - self._charged
        if self._over or not change:
            return
        self._charged = size
        account = self._wire.account
        if not account.add(change) and change > 0:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"the server keeps {account.held} bytes for this connection; at most {account.limit} are kept for one",
            )

    def receive(self, data: bytes, ended: bool) -> None:
        """Content of the request."""
        try:
            handler = self._handler
            if handler is None or self._finished is not None:
                return
            for message in self._reader.feed(data):
                handler.received(message)
            if ended:
                self._reader.close()
                handler.half_closed()
            self.pull()
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)

    def pull(self) -> None:
        """Send what the handler has, as far as the client takes it."""
        handler = self._handler
        if handler is None:
            return
        try:
            while not self.blocked:
                if self._wire.paused:
                    self._wire.awake(self)
                    return
                message = handler.next_message()
                if message is None:
                    break
                self._send(message)
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)
            return
        if self._finished is not None and not self.blocked:
            self._end(*self._finished)

    def sent(self) -> None:
        """The message that waited is through."""
        self.blocked = False
        self.pull()

    def leave(self) -> None:
        """The server is going: a stream ends, which tells its client to go to another; a request is answered still."""
        if not isinstance(self._handler, _Unary):
            self.finish(Code.UNAVAILABLE, "the server is shutting down")

    def fail(self, error: Exception) -> None:
        """End the call now, after what was sent already."""
        if isinstance(error, RpcError):
            self._end(error.code, error.message)
        else:
            log.error("%s failed", self.path, exc_info=error)
            self._end(Code.INTERNAL, _INTERNAL)

    def closed(self) -> None:
        """The stream is gone, or has its end."""
        self.charge(0)
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        handler, self._handler = self._handler, None
        if handler is not None:
            try:
                handler.closed()
            except Exception:
                log.exception("%s failed when it was closed", self.path)

    def _send(self, message: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._wire.begin(self.stream_id)
        self.blocked = not self._wire.send(self.stream_id, message)

    def _end(self, code: Code, message: str) -> None:
        if self._over:
            return
        encode = messages.trailers if self._begun else messages.trailers_only
        self._wire.end(self.stream_id, encode(code, message))
        self._wire.forget(self)
        self.closed()

    def _expire(self) -> None:
        """A client whose windows are closed would never learn of the status."""
        self._deadline = None
        if self.blocked:
            self._wire.cancel(self.stream_id)
            self._wire.forget(self)
            self.closed()
        else:
            self._end(Code.DEADLINE_EXCEEDED, "the call's own deadline has passed")


class _Unary:
    """Handles a call of one request and one response."""

    def __init__(self, stream: Stream, method: UnaryMethod, info: CallInfo) -> None:
        self._stream = stream
        self._method = method
        self._info = info
        self._request: bytes | None = None
        self._response: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    def received(self, message: bytes) -> None:
        if self._request is not None:
            raise RpcError(Code.UNIMPLEMENTED, f"{self._info.method} takes one message")
        self._request = message

    def half_closed(self) -> None:
        if self._request is None:
            raise RpcError(Code.UNIMPLEMENTED, f"{self._info.method} takes one message, and none came")
        self._task = asyncio.create_task(self._answer(self._request))

    def next_message(self) -> bytes | None:
        response, self._response = self._response, None
        return response

    def closed(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, request: bytes) -> None:
        try:
            self._response = await self._method(request, self._info)
        except RpcError as error:
            self._stream.finish(error.code, error.message)
        except Exception:
            log.exception("%s failed", self._info.method)
            self._stream.finish(Code.INTERNAL, _INTERNAL)
        else:
            self._stream.finish()


def routes(services: tuple[Service, ...]) -> dict[str, StreamMethod]:
    """The method behind each path ``/package.Service/Method``."""
    found: dict[str, StreamMethod] = {}
    for service in services:
        for name, unary in service.unary.items():
            found[f"/{service.name}/{name}"] = _as_stream(unary)
        for name, method in service.streams.items():
            found[f"/{service.name}/{name}"] = method
    return found


def _as_stream(method: UnaryMethod) -> StreamMethod:
    def opened(stream: Stream, info: CallInfo) -> StreamHandler:
        return _Unary(stream, method, info)

    return opened
