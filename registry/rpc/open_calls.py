"""The calls of one connection: what its requests become, and what is sent for them. No socket."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

from registry.rpc import messages
from registry.rpc.calls import Call, Wire
from registry.rpc.connection import Connection
from registry.rpc.frames import ErrorCode
from registry.rpc.headers import Header
from registry.rpc.ledger import Account, Ledger
from registry.rpc.limits import Limits
from registry.rpc.messages import NotGrpcError
from registry.rpc.seam import CallInfo, Code, RpcError, StreamMethod
from registry.rpc.shared import SHARED_BYTES, SharedFrames
from registry.rpc.vigil import Vigil

log = logging.getLogger(__name__)


class Offer(Protocol):
    """What a server has for its clients."""

    @property
    def limits(self) -> Limits: ...

    @property
    def routes(self) -> Mapping[str, StreamMethod]:
        """The method behind each path."""

    @property
    def shared(self) -> SharedFrames: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time of its event loop."""


class Carrier(ABC):
    """What carries the bytes. A class and not a protocol, as ``Wire`` is."""

    def __init__(self) -> None:
        self.peer = ""
        """The client's address, for people."""

    @abstractmethod
    def ready(self) -> None:
        """Call ``pull`` soon, and write what came of it: some calls are awake."""

    @abstractmethod
    def write(self) -> None:
        """Write what was made so far; more is being made. The client may be found to read slowly meanwhile."""

    @abstractmethod
    def ponged(self, payload: bytes) -> None:
        """The client answered a ping of the carrier's."""


class OpenCalls(Wire):
    """The ``Listener`` of an HTTP/2 connection, which it makes, and the ``Wire`` of the calls on it.

    ``vigil`` is told of streams, pings and what is sent.
    """

    def __init__(self, carrier: Carrier, offer: Offer, vigil: Vigil) -> None:
        super().__init__(Account(offer.ledger, offer.limits.connection_bytes))
        self._carrier = carrier
        self._limits = offer.limits
        self._routes = offer.routes
        self._shared = offer.shared
        self._vigil = vigil
        self._clock = offer.clock
        self._calls: dict[int, Call] = {}
        self._awake: dict[Call, None] = {}
        self._refused: dict[int, NotGrpcError] = {}
        """Requests that are not gRPC, and have not ended."""
        self._busy = False
        """They are pulled before long anyway."""
        self._over = False
        self._made = 0
        """Bytes that were made since the last write."""
        self.connection = Connection(offer.limits, self, self._clock())
        self._out = self.connection.out

    # The carrier

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the client; ``pull`` has to follow."""
        self._busy = True
        try:
            self.connection.receive(data, now)
        finally:
            self._busy = False

    def pull(self) -> None:
        """Pull the calls that are awake, as long as the client reads."""
        self._busy = True
        try:
            while self._awake and not self.paused:
                call, _ = self._awake.popitem()
                call.pull()
        finally:
            self._busy = False

    def take(self) -> list[bytes]:
        """What is to be written, in order; it is the caller's now."""
        self._made = 0
        return self._out.take()

    def leave(self) -> None:
        """The server is going: no more streams begin, and those that are open end; ``pull`` has to follow."""
        self._out.go_away(last=True)
        for call in list(self._calls.values()):
            call.leave()

    def lost(self) -> None:
        """The connection is gone."""
        self._over = True
        self._end_calls()
        self.account.close()

    # Wire

    def awake(self, call: Call) -> None:
        if self._over:
            return
        self._awake[call] = None
        if not self._busy:
            self._carrier.ready()

    def begin(self, stream_id: int) -> None:
        self._out.respond(stream_id, messages.RESPONSE_HEAD)

    def send(self, stream_id: int, message: bytes) -> bool:
        limits = self._limits
        size = len(message)
        if size > limits.sent_message_bytes:
            limit = limits.sent_message_bytes
            raise RpcError(Code.RESOURCE_EXHAUSTED, f"a response of {size} bytes; at most {limit} are sent")
        self._vigil.sent()
        self._made += size
        if self._made >= limits.waiting_bytes:
            self._carrier.write()
        framed = self._shared.framed(message)
        if len(framed) <= SHARED_BYTES:
            frame = self._shared.frame(stream_id, message)
            if self._out.send_framed(stream_id, frame, len(framed)):
                return True
        return self._out.send(stream_id, framed)

    def end(self, stream_id: int, block: bytes) -> None:
        self._out.finish(stream_id, block)

    def cancel(self, stream_id: int) -> None:
        self._out.reset(stream_id, ErrorCode.CANCEL)

    def forget(self, call: Call) -> None:
        self._calls.pop(call.stream_id, None)
        self._awake.pop(call, None)
        self._vigil.streams(len(self._calls), self._clock())
        if not self._busy:
            self._carrier.ready()

    # Listener

    def on_request(self, stream_id: int, headers: list[Header], ended: bool) -> None:
        try:
            head = messages.read_head(headers)
            method = self._route(head.path)
        except NotGrpcError as refusal:
            self._refused[stream_id] = refusal
            if ended:
                self._refuse(stream_id)
            return
        except RpcError as error:
            self._out.finish(stream_id, messages.trailers_only(error.code, error.message))
            return
        call = self._calls[stream_id] = Call(self, stream_id, head, self._limits.received_message_bytes)
        self._vigil.streams(len(self._calls), self._clock())
        call.open(method, CallInfo(head.path, self._carrier.peer, head.metadata))
        if ended:
            call.receive(b"", True)

    def on_content(self, stream_id: int, data: bytes, ended: bool) -> None:
        """All unfinished messages of a connection together may have the size of one."""
        call = self._calls.get(stream_id)
        if call is None:
            if ended:
                self._refuse(stream_id)
            return
        call.receive(data, ended)
        if not call.held:
            return
        held = sum(each.held for each in self._calls.values())
        if held > self._limits.received_message_bytes + messages.PREFIX_BYTES:
            call.fail(RpcError(Code.RESOURCE_EXHAUSTED, "too many unfinished messages on this connection"))

    def on_sent(self, stream_id: int) -> None:
        call = self._calls.get(stream_id)
        if call is not None:
            call.sent()

    def on_abort(self, stream_id: int, _code: int) -> None:
        self._refused.pop(stream_id, None)
        call = self._calls.pop(stream_id, None)
        if call is not None:
            self._awake.pop(call, None)
            call.closed()
            self._vigil.streams(len(self._calls), self._clock())

    def on_ping(self) -> None:
        if not self._vigil.client_pinged(self._clock()):
            self.connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")

    def on_pong(self, payload: bytes) -> None:
        self._carrier.ponged(payload)

    def on_failure(self, code: ErrorCode, message: str) -> None:
        log.debug("%s: %s: %s", self._carrier.peer, code.name, message)
        self._end_calls()

    def _refuse(self, stream_id: int) -> None:
        """Answer what is not gRPC, once all of it is here."""
        error = self._refused.pop(stream_id, None)
        if error is not None:
            self._out.respond(stream_id, messages.refusal_head(error))
            self._out.send(stream_id, error.message.encode() + b"\n")
            self._out.finish(stream_id)

    def _route(self, path: str) -> StreamMethod:
        method = self._routes.get(path)
        if method is None:
            raise RpcError(Code.UNIMPLEMENTED, f"no method {path}")
        return method

    def _end_calls(self) -> None:
        calls, self._calls = self._calls, {}
        self._awake.clear()
        for call in calls.values():
            call.closed()
