"""The calls of one connection: what its requests become, and what is sent for them. No socket."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

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
from registry.rpc.turns import COSTLY, Turns, Worker
from registry.rpc.vigil import Vigil

log = logging.getLogger(__name__)

CALL_BYTES: Final = 1024
"""What a call takes, apart from its headers and from what its handler charges."""


SHOWN_METHODS = 3
"""So many are named where a connection is described."""


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
    def turns(self) -> Turns: ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time of its event loop."""


class Carrier(Worker):
    """What carries the bytes. A class and not a protocol, as ``Wire`` is."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = ""
        """The client's address, for people."""

    @abstractmethod
    def ready(self) -> None:
        """Call ``OpenCalls.work`` soon, and write what came of it: some calls are awake."""

    @abstractmethod
    def write(self) -> None:
        """Write what was made so far; more is being made. The client may be found to read slowly meanwhile."""

    @abstractmethod
    def watch(self, at: float) -> None:
        """Call ``OpenCalls.check`` at that time of the clock, or a little later."""

    @abstractmethod
    def ponged(self, payload: bytes) -> None:
        """The client answered a ping of the carrier's."""


class OpenCalls(Wire):
    """The ``Listener`` of an HTTP/2 connection, which it makes, and the ``Wire`` of the calls on it.

    ``vigil`` is told of streams, pings and what is sent. ``work`` and ``close`` take a slice of time; the next call
    goes on where they stopped.
    """

    def __init__(self, carrier: Carrier, offer: Offer, vigil: Vigil) -> None:
        super().__init__(Account(offer.ledger, offer.limits.connection_bytes), offer.turns.slice)
        self._carrier = carrier
        self._limits = offer.limits
        self._routes = offer.routes
        self._shared = offer.shared
        self._vigil = vigil
        self._clock = offer.clock
        self._calls: dict[int, Call] = {}
        self._awake: list[Call] = []
        self._undigested: list[Call] = []
        """In order, as the awake ones are. Mostly empty, and never longer than a client may have streams."""
        self._watched: dict[Call, float] = {}
        """When to check calls with a message that waits for its client."""
        self._closing: list[Call] = []
        """Their streams are gone; they have to be closed."""
        self._refused: dict[int, NotGrpcError] = {}
        """Requests that are not gRPC, and have not ended."""
        self._unfinished = 0
        """Bytes of messages that are not complete."""
        self._busy = False
        """They are pulled before long anyway."""
        self._over = False
        self._made = 0
        """Bytes that were made since the last write."""
        self.connection = Connection(offer.limits, self, self._clock(), self.time)
        self._out = self.connection.out

    def __str__(self) -> str:
        """How many calls of which methods are open."""
        methods = Counter([call.path for call in self._calls.values()])
        return ", ".join(f"{count} open {path}" for path, count in methods.most_common(SHOWN_METHODS)) or "no open call"

    # The carrier

    def work(self) -> bool:
        """Give the calls what came and pull those that are awake, as long as the client reads; whether some is left."""
        if self.paused:
            return False
        self._busy = True
        try:
            if not self._digest():
                return True
            more = self.connection.unread > 0 and self.connection.work(self._vigil.heard_at)
            return self._pull() or more
        finally:
            self._busy = False

    def take(self) -> list[bytes]:
        """What is to be written, in order; it is the caller's now."""
        self._made = 0
        return self._out.take()

    def leave(self) -> None:
        """The server is going: no more streams begin, and those that are open end; ``work`` has to follow."""
        self._out.go_away(last=True)
        for call in list(self._calls.values()):
            call.leave()

    def lost(self) -> None:
        """The connection is gone; ``close`` has to follow."""
        self._over = True
        self._carrier = _GONE
        self._end_calls()
        self.connection.close()

    def close(self) -> bool:
        """Close the calls whose streams are gone; whether some are left."""
        while self._closing:
            self._closing.pop().closed()
            self.time.left -= COSTLY
            if self.time.left <= 0 and self._closing and self.time.over():
                return True
        return False

    def check(self, now: float) -> None:
        """End the calls of which a message waits for the client for too long."""
        for call in [call for call, at in self._watched.items() if at <= now]:
            left = call.check(now)
            if left < math.inf:
                self._watched[call] = now + left
            else:
                self._watched.pop(call, None)

    def next_check(self) -> float:
        """When to call ``check``; infinite: not needed."""
        return min(self._watched.values(), default=math.inf)

    # Wire

    def now(self) -> float:
        return self._clock()

    def awake(self, call: Call) -> None:
        if self._over or call.queued:
            return
        call.queued = True
        self._awake.append(call)
        if not self._busy:
            self._carrier.ready()

    def undigested(self, call: Call) -> None:
        self._undigested.append(call)

    def hold(self, change: int) -> None:
        """All unfinished messages of a connection together may have the size of one."""
        self._unfinished += change
        self.account.add(change)
        if change > 0 and self._unfinished > self._limits.received_message_bytes + messages.PREFIX_BYTES:
            raise RpcError(Code.RESOURCE_EXHAUSTED, "too many unfinished messages on this connection")

    def watch(self, call: Call, seconds: float) -> None:
        at = self._clock() + seconds
        if at < self._watched.get(call, math.inf):
            first = not self._watched
            self._watched[call] = at
            if first:
                self._carrier.watch(at)

    def unsent(self, stream_id: int) -> int:
        return self._out.unsent(stream_id)

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
        self._dropped(call)
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
        call = self._calls[stream_id] = Call(self, stream_id, head, self._limits)
        self._vigil.streams(len(self._calls), self._clock())
        size = CALL_BYTES + sum([len(name) + len(value) for name, value in headers])
        call.open(method, CallInfo(head.path, self._carrier.peer, head.metadata), size)
        self.time.left -= COSTLY
        if ended:
            call.receive(b"", True)

    def on_content(self, stream_id: int, data: bytes, ended: bool) -> None:
        call = self._calls.get(stream_id)
        if call is not None:
            call.receive(data, ended)
        elif ended:
            self._refuse(stream_id)

    def on_sent(self, stream_id: int) -> None:
        call = self._calls.get(stream_id)
        if call is not None:
            call.sent()

    def on_abort(self, stream_id: int, _code: int) -> None:
        self._refused.pop(stream_id, None)
        call = self._calls.pop(stream_id, None)
        if call is not None:
            self._dropped(call)
            call.closed()
            self.time.left -= COSTLY

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

    def _digest(self) -> bool:
        """Give the calls the messages they were not given; whether none is left."""
        while self._undigested:
            self._undigested.pop(0).digest()
            if self.time.left <= 0 and self._undigested and self.time.over():
                return False
        return True

    def _pull(self) -> bool:
        if self._out.choked:
            self._out.push()
        time = self.time
        while self._awake and not self.paused:
            if self.account.waiting > self.account.limit:
                return self._out.choked
            call = self._awake.pop(0)
            call.queued = False
            call.pull()
            time.left -= COSTLY // 2
            if time.left <= 0 and self._awake and time.over():
                break
        return not self.paused and (bool(self._awake) or self._out.choked)

    def _dropped(self, call: Call) -> None:
        """The call is over. It may be among those that are awake, where it does nothing."""
        self._watched.pop(call, None)
        self._vigil.streams(len(self._calls), self._clock())

    def _end_calls(self) -> None:
        self._closing += self._calls.values()
        self._calls = {}
        self._awake.clear()
        self._undigested.clear()
        self._watched.clear()
        self._refused.clear()
        if self._closing:
            self._carrier.ready()


class _Gone(Carrier):
    """Carries nothing: the connection is gone, and the calls that are closed keep it no more."""

    def ready(self) -> None:
        pass

    def write(self) -> None:
        pass

    def ponged(self, payload: bytes) -> None:
        pass

    def watch(self, at: float) -> None:
        pass

    def work(self) -> bool:
        return False

    def broke(self) -> None:
        pass


_GONE: Final = _Gone()
