"""The server's side of one HTTP/2 connection (RFC 9113): bytes in, events and bytes out. No IO.

``receive`` takes bytes; ``work`` tells a listener what they mean, for a slice of time; ``out`` has what is to be sent.
What breaks a rule ends the stream, or the connection, that broke it (section 5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from registry.rpc import frames
from registry.rpc.frames import (
    DEFAULT_WINDOW,
    PREFACE,
    ConnectionFaultError,
    ErrorCode,
    FrameReader,
    Setting,
    StreamFaultError,
)
from registry.rpc.headers import Block, BlockReader, Header, check_request, check_trailers
from registry.rpc.limits import Allowance, Limits
from registry.rpc.listener import NOBODY, Listener
from registry.rpc.outbox import Outbox
from registry.rpc.streams import STREAM_WINDOW, Stream, Streams
from registry.rpc.turns import Slice

CONNECTION_WINDOW: Final = 1 << 20
REQUEST_EXPLAINS: Final = 4
"""How many control frames one frame with content explains."""


class Connection:
    """One connection to a client, from its first byte on. Its user sends through ``out``."""

    def __init__(self, limits: Limits, listener: Listener, now: float, time: Slice) -> None:
        self.failed = False
        self.greeted = False
        """The client's preface and first SETTINGS are here."""
        self.unread = 0
        """Bytes that came and mean nothing yet: frames and header blocks that are not whole, or wait for ``work``."""
        self.progress = 0
        """How many frames and header blocks were whole."""
        self._limits = limits
        self._time = time
        self._reader = FrameReader()
        self._blocks = BlockReader(limits.header_list_bytes)
        self._within_block = False
        """CONTINUATION has to come next."""
        self._preface = PREFACE
        self._streams = Streams()
        self._open = self._streams.open
        """Looked up with nearly every frame."""
        self._credit = 0
        """What was sent on all streams and has not been allowed again."""
        self._listener = listener
        burst = limits.burst_seconds
        self._control = Allowance(limits.control_frames, limits.control_frames * burst, now)
        self._resets = Allowance(limits.resets, limits.resets * burst, now)
        self._new_streams = Allowance(limits.new_streams, limits.new_streams * burst, now)
        self.out = Outbox(self._streams, listener)
        promises = {
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
        }
        self.out.put(frames.settings(promises))
        self.out.put(frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._open)

    def receive(self, data: bytes) -> None:
        """Take what came. Nothing is understood after a failure."""
        if not self.failed:
            self._reader.put(data)
            self.unread += len(data)

    def work(self, now: float) -> bool:
        """Tell the listener what the next frames mean, one at least; whether there are more when the time is over."""
        try:
            more = (not self._preface or self._greet()) and self._work(now)
        except ConnectionFaultError as fault:
            self.fail(fault.code, str(fault))
            more = False
        self.unread = self._reader.waiting + self._blocks.waiting
        return more

    def _work(self, now: float) -> bool:
        time, reader = self._time, self._reader
        while True:
            frame = reader.next()
            if frame is None:
                return False
            kind, flags, stream_id, payload = frame
            try:
                self._frame(kind, flags, stream_id, payload, now)
            except StreamFaultError as broken:
                self._spend(self._resets, now, "streams with faults")
                self._abort(broken.stream_id, broken.code)
            if not self._within_block:
                self.progress += 1
            time.left -= 1
            if not reader.waiting:
                return False
            if time.left <= 0 and time.over():
                return True

    def close(self) -> None:
        """The connection is gone: tell nobody any more, and keep nothing."""
        self.failed = True
        self._listener = NOBODY
        self.out.close(NOBODY)
        self._reader.clear()
        self._streams.clear()

    def fail(self, code: ErrorCode, message: str) -> None:
        """End the connection for a fault."""
        if self.failed:
            return
        self.failed = True
        self.out.put(frames.goaway(self._streams.highest, code, message.encode()))
        self._reader.clear()
        self._streams.clear()
        self._listener.on_failure(code, message)

    def _greet(self) -> bool:
        """Take the preface off; whether all of it is here."""
        got = self._reader.take(len(self._preface))
        if not self._preface.startswith(got):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "not HTTP/2: the connection preface is wrong")
        self._preface = self._preface[len(got) :]
        return not self._preface

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        if self._within_block and kind != frames.CONTINUATION:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a frame within a header block")
        if kind == frames.DATA and self.greeted:
            self._on_data(flags, stream_id, payload, now)
            return
        if not self.greeted and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == frames.HEADERS:
            self._on_block(self._blocks.headers(flags, stream_id, payload), now)
            return
        if kind != frames.PING or not flags & frames.ACK or not self.out.pong():
            self._spend(self._control, now, "control frames")
        # Clients send these two as often as they are sent something: compiled, a call by name is the quicker one.
        if kind == frames.WINDOW_UPDATE:
            self._on_window_update(flags, stream_id, payload, now)
        elif kind == frames.PING:
            self._on_ping(flags, stream_id, payload, now)
        elif (handler := _HANDLERS.get(kind)) is not None:
            handler(self, flags, stream_id, payload, now)

    def _on_data(self, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.1. Content is taken as read at once: what is kept of it, and how much, is the caller's affair."""
        size = len(payload)
        self._credit += size
        if self._credit > CONNECTION_WINDOW:
            raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        if self._credit >= CONNECTION_WINDOW // 2:
            self.out.put(frames.window_update(0, self._credit))
            self._credit = 0
        stream = self._open.get(stream_id)
        if stream is None:
            self._streams.expect_late(stream_id, "DATA")
        data = frames.unpad(flags, payload)
        if stream is None:
            self._spend(self._control, now, "DATA of streams that are over")
            return
        stream.charge(size)
        ended = bool(flags & frames.END_STREAM)
        if data:
            self._control.earn(REQUEST_EXPLAINS)
        elif not ended:
            self._spend(self._control, now, "DATA frames without data")
        stream.count(len(data), ended)
        if ended:
            stream.remote_open = False
        elif stream.credit >= STREAM_WINDOW // 2:
            self.out.put(frames.window_update(stream.id, stream.credit))
            stream.credit = 0
        self._listener.on_content(stream.id, data, ended)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        self._on_block(self._blocks.continuation(flags, stream_id, payload), now)

    def _on_block(self, block: Block | None, now: float) -> None:
        """A whole block is a request, trailers, or of a stream that is no more. It was decoded in any case."""
        self._within_block = block is None
        if block is None:
            return
        stream_id, headers, ended = block
        stream = self._open.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, headers, ended)
        elif stream_id > self._streams.highest:
            self._streams.highest = stream_id
            self._begin(stream_id, headers, ended, now)
        elif self._streams.ignores(stream_id):
            self._spend(self._control, now, "headers of streams that are over")
        else:
            raise ConnectionFaultError(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")

    def _on_trailers(self, stream: Stream, headers: list[Header], ended: bool) -> None:
        if not stream.remote_open:
            raise StreamFaultError(stream.id, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if not ended:
            raise StreamFaultError(stream.id, ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        check_trailers(stream.id, headers)
        stream.count(0, True)
        stream.remote_open = False
        self._listener.on_content(stream.id, b"", True)

    def _begin(self, stream_id: int, headers: list[Header], ended: bool, now: float) -> None:
        """Section 5.1.2: beyond what was promised a stream is refused, which tells the client to try again."""
        if stream_id > self._streams.last_accepted:
            self._spend(self._control, now, "streams after GOAWAY")
            return
        content_length = check_request(stream_id, headers)
        if self.streams >= self._limits.streams or not self._new_streams.spend(now):
            raise StreamFaultError(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        if ended and content_length:
            raise StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length of a request without content")
        self._control.earn(REQUEST_EXPLAINS)
        stream = self._open[stream_id] = Stream(stream_id, self.out.stream_window)
        stream.remote_open = not ended
        stream.content_left = content_length
        self._listener.on_request(stream_id, headers, ended)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.3: read for its form only."""
        frames.check_priority(stream_id, payload)

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.4."""
        if len(payload) != 4:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        if stream_id == 0 or stream_id > self._streams.highest:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of a stream that never was")
        self._spend(self._resets, now, "resets")
        if self._streams.forget(stream_id):
            self._listener.on_abort(stream_id, frames.word(payload))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.5. Each value costs what a frame costs: thousands fit in one, and each may change every stream."""
        frames.check_settings(flags, stream_id, payload)
        if flags & frames.ACK:
            return
        for setting, value in frames.parse_settings(payload):
            self._spend(self._control, now, "settings")
            self.out.set(setting, value)
        self.out.settle()
        self.greeted = True

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes, _now: float) -> None:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.7."""
        frames.check_ping(stream_id, payload)
        if flags & frames.ACK:
            self._listener.on_pong(payload)
        else:
            self.out.put(frames.ping(payload, ack=True))
            self._listener.on_ping()

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.8: we open no streams, so it changes nothing."""
        frames.check_goaway(stream_id, payload)

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.9."""
        increment = frames.parse_window_update(payload)
        if stream_id == 0:
            self.out.widen(increment)
            return
        stream = self._open.get(stream_id)
        if stream is not None:
            self.out.widen_stream(stream, increment)
        else:
            self._streams.expect_late(stream_id, "WINDOW_UPDATE", tolerate_closed=True)

    def _abort(self, stream_id: int, code: ErrorCode) -> None:
        """A stream broke a rule."""
        if self._streams.forget(stream_id):
            self._listener.on_abort(stream_id, code)
        self.out.refuse(stream_id, code)

    def _spend(self, allowance: Allowance, now: float, what: str) -> None:
        if not allowance.spend(now):
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")


_HANDLERS: dict[int, Callable[[Connection, int, int, bytes, float], None]] = {
    frames.PRIORITY: Connection._on_priority,
    frames.RST_STREAM: Connection._on_rst_stream,
    frames.SETTINGS: Connection._on_settings,
    frames.PUSH_PROMISE: Connection._on_push_promise,
    frames.GOAWAY: Connection._on_goaway,
    frames.CONTINUATION: Connection._on_continuation,
}
