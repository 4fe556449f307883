"""One client's connection: the HTTP/2 state machine on an asyncio transport, and the calls it carries."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, cast

from registry.rpc import frames, messages
from registry.rpc.calls import Call
from registry.rpc.connection import Connection
from registry.rpc.frames import ErrorCode
from registry.rpc.headers import Header
from registry.rpc.limits import Limits
from registry.rpc.messages import NotGrpcError
from registry.rpc.seam import CallInfo, Code, RpcError, StreamMethod
from registry.rpc.vigil import Verdict, Vigil

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

KEEPALIVE_PING = b"alive?  "
GOAWAY_PING = b"goaway  "
GOAWAY_SECONDS = 1.0
"""How long a client may take to answer that it heard the first GOAWAY."""

SHARED_MESSAGES = 8
SHARED_BYTES = 256 << 10
"""Larger messages are framed for each stream, as its windows let them through."""

SHARED_STREAMS = 16
"""Frames are shared for so many stream numbers: clients that have one stream, or one for each type, have the lowest."""


class SharedFrames:
    """The DATA frames of the last few messages, made once for all connections that send them on a stream of one number.

    Messages are told apart by being the same object, not by being equal: comparing would cost more than it saves.
    """

    def __init__(self) -> None:
        self._frames: dict[int, tuple[bytes, bytes, dict[int, bytes]]] = {}

    def framed(self, message: bytes) -> bytes:
        """The message with its gRPC prefix."""
        return self._found(message)[1]

    def frame(self, stream_id: int, message: bytes) -> bytes:
        """The DATA frames with all of it."""
        _, framed, by_stream = self._found(message)
        frame = by_stream.get(stream_id)
        if frame is None:
            frame = frames.all_data(stream_id, framed)
            if len(by_stream) < SHARED_STREAMS:
                by_stream[stream_id] = frame
        return frame

    def _found(self, message: bytes) -> tuple[bytes, bytes, dict[int, bytes]]:
        key = id(message)
        found = self._frames.get(key)
        if found is None:
            if len(self._frames) >= SHARED_MESSAGES:
                del self._frames[next(iter(self._frames))]
            # The message is kept with its frames, so that its id is not given to another.
            found = self._frames[key] = (message, messages.framed(message), {})
        return found


class Site(Protocol):
    """What a link needs of its server."""

    @property
    def limits(self) -> Limits: ...

    @property
    def routes(self) -> Mapping[str, StreamMethod]:
        """The method behind each path."""

    @property
    def shared(self) -> SharedFrames: ...

    def ready(self, link: Link) -> None:
        """Call ``link.flush`` soon: some of its calls are awake."""

    def watch(self, link: Link, at: float) -> None:
        """Call ``link.look`` at that time of the loop, or a little later."""

    def connected(self, link: Link) -> None:
        """The link has its transport."""

    def lost(self, link: Link) -> None:
        """The link is over."""


class Link:
    """Carries the calls of one connection: an asyncio protocol, and the ``Wire`` of its calls.

    It does not inherit ``asyncio.Protocol``: compiled, its attributes would be entries of a dictionary then.
    """

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        self._site = site
        self._loop = loop
        self._calls: dict[int, Call] = {}
        self._awake: dict[Call, None] = {}
        self._refused: dict[int, NotGrpcError] = {}
        """Requests that are not gRPC, and have not ended."""
        self._transport: asyncio.Transport | None = None
        self.paused = False
        self._busy = False
        self._leaving = False
        self._goaway_timer: asyncio.TimerHandle | None = None
        self._made = 0
        """Bytes that were made since the last write."""
        self._peer = ""
        now = loop.time()
        self._connection = Connection(site.limits, self, now)
        self._out = self._connection.out
        self._vigil = Vigil(site.limits, now)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        high = self._site.limits.waiting_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)
        self._peer = _peer(self._transport)
        self._site.connected(self)
        self._write()
        self._site.watch(self, self._vigil.next_check())

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        self._vigil.heard(now)
        self._busy = True
        try:
            self._connection.receive(data, now)
        finally:
            self._busy = False
        self.flush()

    def pause_writing(self) -> None:
        """The client reads slowly: nothing more is made for it, and nothing more is read from it, until it has."""
        self.paused = True
        self._vigil.paused(self._loop.time())
        self._site.watch(self, self._vigil.next_check())
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        self._vigil.resumed()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._site.ready(self)

    def eof_received(self) -> bool:
        """The client will send no more: with HTTP/2 that is the end."""
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._goaway_timer is not None:
            self._goaway_timer.cancel()
        self._transport = None
        self._end_calls()
        self._site.lost(self)

    # Wire

    def awake(self, call: Call) -> None:
        if self._transport is None:
            return
        self._awake[call] = None
        if not self._busy:
            self._site.ready(self)

    def begin(self, stream_id: int) -> None:
        self._out.respond(stream_id, messages.RESPONSE_HEAD)

    def send(self, stream_id: int, message: bytes) -> bool:
        if len(message) > self._site.limits.sent_message_bytes:
            limit = self._site.limits.sent_message_bytes
            raise RpcError(Code.RESOURCE_EXHAUSTED, f"a response of {len(message)} bytes; at most {limit} are sent")
        self._vigil.sent()
        self._made += len(message)
        if self._made >= self._site.limits.waiting_bytes:
            self._write()
        shared = self._site.shared
        framed = shared.framed(message)
        if len(framed) <= SHARED_BYTES:
            frame = shared.frame(stream_id, message)
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
        self._vigil.streams(len(self._calls), self._loop.time())
        if not self._busy:
            self._site.ready(self)

    # The server

    def flush(self) -> None:
        """Pull the calls that are awake, as long as the client reads, and write what came of it."""
        self._busy = True
        try:
            while self._awake and not self.paused:
                call, _ = self._awake.popitem()
                call.pull()
        finally:
            self._busy = False
        self._write()

    def leave(self) -> None:
        """The server is going: say so (RFC 9113 section 6.8), end the calls, and close when they have ended."""
        if self._transport is None or self._leaving:
            return
        self._leaving = True
        self._out.go_away(last=False)
        self._out.ping(GOAWAY_PING)
        self._goaway_timer = self._loop.call_later(GOAWAY_SECONDS, self._leave_now)
        self._write()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _leave_now(self) -> None:
        """The client knows; what it began before is answered still."""
        if self._goaway_timer is None:
            return
        self._goaway_timer.cancel()
        self._goaway_timer = None
        self._out.go_away(last=True)
        for call in list(self._calls.values()):
            call.leave()
        self.flush()

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
        call = self._calls[stream_id] = Call(self, stream_id, head, self._site.limits.received_message_bytes)
        self._vigil.streams(len(self._calls), self._loop.time())
        call.open(method, CallInfo(head.path, self._peer, head.metadata))
        if ended:
            call.receive(b"", True)

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
            self._vigil.streams(len(self._calls), self._loop.time())

    def on_ping(self) -> None:
        if not self._vigil.client_pinged(self._loop.time()):
            self._connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")

    def on_pong(self, payload: bytes) -> None:
        if payload == GOAWAY_PING:
            self._leave_now()

    def on_failure(self, code: ErrorCode, message: str) -> None:
        log.debug("%s: %s: %s", self._peer, code.name, message)
        self._end_calls()

    def _refuse(self, stream_id: int) -> None:
        """Answer what is not gRPC, once all of it is here."""
        error = self._refused.pop(stream_id, None)
        if error is not None:
            self._out.respond(stream_id, messages.refusal_head(error))
            self._out.send(stream_id, error.message.encode() + b"\n")
            self._out.finish(stream_id)

    def _route(self, path: str) -> StreamMethod:
        method = self._site.routes.get(path)
        if method is None:
            raise RpcError(Code.UNIMPLEMENTED, f"no method {path}")
        return method

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
        if held > self._site.limits.received_message_bytes + messages.PREFIX_BYTES:
            call.fail(RpcError(Code.RESOURCE_EXHAUSTED, "too many unfinished messages on this connection"))

    def _end_calls(self) -> None:
        calls, self._calls = self._calls, {}
        self._awake.clear()
        for call in calls.values():
            call.closed()

    def _write(self) -> None:
        transport = self._transport
        if transport is None:
            return
        self._made = 0
        out = self._out.take()
        if out:
            transport.write(out[0] if len(out) == 1 else b"".join(out))
        if self._connection.failed or (self._leaving and self._goaway_timer is None and not self._connection.streams):
            transport.close()

    def look(self, now: float) -> None:
        """Ask the vigil what is to be done, and when it wants to be asked again."""
        if self._transport is None:
            return
        if self._connection.greeted:
            self._vigil.greeted()
        verdict = self._vigil.check(now)
        if verdict is Verdict.PING:
            self._out.ping(KEEPALIVE_PING)
            self._write()
        elif verdict is Verdict.IDLE and not (self._leaving and self._goaway_timer is None):
            self.leave()
        elif verdict is not None:
            # Also an idle connection that was told twice: it has streams without a call, requests that were refused and
            # never end, or answers that are never taken.
            log.debug("%s: closed: %s", self._peer, verdict.value)
            self.abort()
            return
        self._site.watch(self, self._vigil.next_check())


def _peer(transport: asyncio.Transport) -> str:
    """The client's address as gRPC writes it."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) == 2:
        return f"ipv4:{name[0]}:{name[1]}"
    if isinstance(name, tuple):
        return f"ipv6:[{name[0]}]:{name[1]}"
    return "unix:"
