"""The server's side of one HTTP/2 connection (RFC 9113): bytes in, events and bytes out. No IO, no clock.

``receive`` takes bytes and tells a listener what they mean; everything to be sent collects until ``take`` fetches it.
What a stream sends is held to the peer's windows here: of each stream at most one payload waits, and ``on_sent`` says
when it is through. What breaks a rule ends the stream, or the connection, that broke it (section 5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from registry.rpc import frames
from registry.rpc.frames import (
    DEFAULT_WINDOW,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PREFACE,
    ConnectionFaultError,
    ErrorCode,
    FrameReader,
    Setting,
    StreamFaultError,
)
from registry.rpc.headers import TABLE_SIZE_ZERO, Header, HeaderDecoder, check_request, check_trailers
from registry.rpc.limits import Allowance, Limits

STREAM_WINDOW = 256 << 10
CONNECTION_WINDOW = 1 << 20
RESETS_REMEMBERED = 256
"""Frames for a stream that we reset may be on their way still (section 5.1); of so many streams they are ignored."""

REQUEST_EXPLAINS = 4
"""How many control frames one frame with content explains."""


class Listener(Protocol):
    """Is told what happens on a connection, in order, while ``Connection.receive`` runs. It may send meanwhile."""

    def on_request(self, stream_id: int, headers: list[Header], ended: bool) -> None:
        """A request began. ``ended``: it has no content."""

    def on_content(self, stream_id: int, data: bytes, ended: bool) -> None:
        """Content of a request. ``ended``: it was the last."""

    def on_sent(self, stream_id: int) -> None:
        """What waited on the stream's windows is through; the stream may be given more."""

    def on_abort(self, stream_id: int, code: int) -> None:
        """The stream is over before its time: the client reset it, or broke a rule."""

    def on_ping(self) -> None:
        """The client asked for a sign of life, and got it."""

    def on_pong(self, payload: bytes) -> None:
        """The client answered a ping."""

    def on_failure(self, code: ErrorCode, message: str) -> None:
        """The connection is over; once what is to be sent was sent it is to be closed. Nothing more is told."""


class _Stream:
    """One open stream. ``waiting`` is what its windows hold back, ``trailers`` the block that ends it after that."""

    __slots__ = ("content_left", "credit", "id", "remote_open", "trailers", "waiting", "window")

    def __init__(self, stream_id: int, window: int) -> None:
        self.id = stream_id
        self.window = window
        self.credit = 0
        self.remote_open = True
        self.content_left: int | None = None
        self.waiting: memoryview | None = None
        self.trailers: bytes | None = None


class Connection:
    """One connection to a client, from its first byte on."""

    def __init__(self, limits: Limits, listener: Listener, now: float) -> None:
        self.failed = False
        self.greeted = False
        """The client's preface and first SETTINGS are here."""
        self._limits = limits
        self._reader = FrameReader()
        self._decoder = HeaderDecoder(limits.header_list_bytes)
        self._preface = PREFACE
        self._streams: dict[int, _Stream] = {}
        self._blocked: dict[int, _Stream] = {}
        """Those with something that waits on a window, the one served last at the end."""
        self._highest = 0
        self._last_accepted = MAX_STREAM_ID
        """Streams above are not served: the connection is being closed."""
        self._reset_by_us: dict[int, None] = {}
        self._block: tuple[int, bool, bytearray] | None = None
        """The header block that CONTINUATION frames have yet to complete: stream, END_STREAM, bytes."""
        self._window = DEFAULT_WINDOW
        self._credit = 0
        self._peer_stream_window = DEFAULT_WINDOW
        self._peer_frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._table_size_told = False
        self._pings = 0
        """How many of ours are unanswered."""
        self._listener = listener
        burst = limits.burst_seconds
        self._control = Allowance(limits.control_frames, limits.control_frames * burst, now)
        self._resets = Allowance(limits.resets, limits.resets * burst, now)
        self._new_streams = Allowance(limits.new_streams, limits.new_streams * burst, now)
        self._out: list[bytes] = [
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: limits.streams,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
                }
            ),
            frames.window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW),
        ]

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    def take(self) -> list[bytes]:
        """What is to be sent, in order; it is the caller's now."""
        out = self._out
        if out:
            self._out = []
        return out

    def receive(self, data: bytes, now: float) -> None:
        """Tell the listener what ``data`` means. Nothing is understood after a failure."""
        if not self.failed:
            self._receive(data, now)

    def _receive(self, data: bytes, now: float) -> None:
        try:
            if self._preface:
                data = self._greet(data)
            for kind, flags, stream_id, payload in self._reader.feed(data):
                try:
                    self._frame(kind, flags, stream_id, payload, now)
                except StreamFaultError as broken:
                    self._spend(self._resets, now, "streams with faults")
                    self._abort(broken.stream_id, broken.code)
                if self.failed:
                    return
        except ConnectionFaultError as fault:
            self.fail(fault.code, str(fault))

    # A stream may be gone before its user knows: then nothing is sent.

    def respond(self, stream_id: int, block: bytes) -> None:
        """Begin the response of a stream with an encoded header block."""
        if stream_id in self._streams:
            self._send_block(stream_id, block, end_stream=False)

    def send(self, stream_id: int, payload: bytes) -> bool:
        """Send content; False when the windows hold some back: send no more on the stream until ``on_sent``."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return True
        size = len(payload)
        if size <= self._window and size <= stream.window and size <= self._peer_frame_bytes:
            self._window -= size
            stream.window -= size
            self._out.append(frames.data(stream_id, payload))
            return True
        stream.waiting = memoryview(payload)
        return self._push(stream)

    def send_framed(self, stream_id: int, framed: bytes, size: int) -> bool:
        """Send content of ``size`` bytes, made by ``frames.all_data`` for that stream, if the windows have room now."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return True
        if size > self._window or size > stream.window:
            return False
        self._window -= size
        stream.window -= size
        self._out.append(framed)
        return True

    def finish(self, stream_id: int, block: bytes = b"") -> None:
        """End the stream with an encoded block of trailers, or without any, after what still waits."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.trailers = block
        if stream.waiting is None:
            self._end(stream)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End the stream at once."""
        if self._forget(stream_id):
            self._remember_reset(stream_id)
            self._out.append(frames.rst_stream(stream_id, code))

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life, 8 bytes that come back in ``on_pong``."""
        self._pings += 1
        self._out.append(frames.ping(payload))

    def go_away(self, *, last: bool, code: ErrorCode = ErrorCode.NO_ERROR, message: str = "") -> None:
        """Say that the connection will be closed (section 6.8): first as a warning, then with the ``last`` stream that
        is served."""
        if last:
            self._last_accepted = self._highest
        self._out.append(frames.goaway(self._last_accepted, code, message.encode()))

    def fail(self, code: ErrorCode, message: str) -> None:
        """End the connection for a fault."""
        if self.failed:
            return
        self.failed = True
        self._out.append(frames.goaway(self._highest, code, message.encode()))
        self._streams.clear()
        self._blocked.clear()
        self._listener.on_failure(code, message)

    # What comes in.

    def _greet(self, data: bytes) -> bytes:
        """Take the preface off; the rest."""
        expected, got = self._preface, data[: len(self._preface)]
        if not expected.startswith(got):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "not HTTP/2: the connection preface is wrong")
        self._preface = expected[len(got) :]
        return data[len(got) :]

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a frame within a header block")
        if kind == frames.DATA and self.greeted:
            self._on_data(flags, stream_id, payload, now)
            return
        if not self.greeted and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == frames.HEADERS:
            self._on_headers(flags, stream_id, payload, now)
            return
        if kind == frames.PING and flags & frames.ACK and self._pings:
            self._pings -= 1
        else:
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
            self._out.append(frames.window_update(0, self._credit))
            self._credit = 0
        stream = self._known(stream_id, "DATA")
        data = frames.unpad(flags, payload)
        if stream is None:
            self._spend(self._control, now, "DATA of streams that are over")
            return
        if not stream.remote_open:
            raise StreamFaultError(stream.id, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        stream.credit += size
        if stream.credit > STREAM_WINDOW:
            raise StreamFaultError(stream.id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        ended = bool(flags & frames.END_STREAM)
        if data:
            self._control.earn(REQUEST_EXPLAINS)
        elif not ended:
            self._spend(self._control, now, "DATA frames without data")
        self._count_content(stream, len(data), ended)
        if ended:
            stream.remote_open = False
        elif stream.credit >= STREAM_WINDOW // 2:
            self._out.append(frames.window_update(stream.id, stream.credit))
            stream.credit = 0
        self._listener.on_content(stream.id, data, ended)

    def _count_content(self, stream: _Stream, size: int, ended: bool) -> None:
        """Section 8.1.1: content-length has to be true."""
        if stream.content_left is None:
            return
        stream.content_left -= size
        if stream.content_left < 0 or (ended and stream.content_left > 0):
            raise StreamFaultError(
                stream.id, ErrorCode.PROTOCOL_ERROR, "content-length is not the length of the content"
            )

    def _on_headers(self, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.2."""
        if stream_id % 2 == 0:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
        block = frames.unpad(flags, payload)
        if flags & frames.HAS_PRIORITY:
            if len(block) < 5:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS with half a priority")
            if frames.word(block) & MAX_STREAM_ID == stream_id:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
            block = block[5:]
        ended = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, block, ended, now)
        else:
            self._block = (stream_id, ended, bytearray(block))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.10."""
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        stream_id, ended, block = self._block
        block += payload
        if len(block) > self._limits.header_list_bytes:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header block larger than allowed")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream_id, bytes(block), ended, now)

    def _on_block(self, stream_id: int, block: bytes, ended: bool, now: float) -> None:
        """A header block is whole: a request, trailers, or of a stream that is no more. It is decoded in any case."""
        headers = self._decoder.decode(block)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, headers, ended)
        elif stream_id > self._highest:
            self._highest = stream_id
            self._open(stream_id, headers, ended, now)
        elif stream_id not in self._reset_by_us and stream_id <= self._last_accepted:
            raise ConnectionFaultError(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        else:
            self._spend(self._control, now, "headers of streams that are over")

    def _on_trailers(self, stream: _Stream, headers: list[Header], ended: bool) -> None:
        if not stream.remote_open:
            raise StreamFaultError(stream.id, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if not ended:
            raise StreamFaultError(stream.id, ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        check_trailers(stream.id, headers)
        self._count_content(stream, 0, True)
        stream.remote_open = False
        self._listener.on_content(stream.id, b"", True)

    def _open(self, stream_id: int, headers: list[Header], ended: bool, now: float) -> None:
        """Section 5.1.2: beyond what was promised a stream is refused, which tells the client to try again."""
        if stream_id > self._last_accepted:
            self._spend(self._control, now, "streams after GOAWAY")
            return
        content_length = check_request(stream_id, headers)
        if len(self._streams) >= self._limits.streams or not self._new_streams.spend(now):
            raise StreamFaultError(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        if ended and content_length:
            raise StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, "content-length of a request without content")
        self._control.earn(REQUEST_EXPLAINS)
        stream = self._streams[stream_id] = _Stream(stream_id, self._peer_stream_window)
        stream.remote_open = not ended
        stream.content_left = content_length
        self._listener.on_request(stream_id, headers, ended)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.3: read for its form only."""
        if stream_id == 0:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise StreamFaultError(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
        if frames.word(payload) & MAX_STREAM_ID == stream_id:
            raise StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.4."""
        if len(payload) != 4:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        if stream_id == 0 or stream_id > self._highest:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "RST_STREAM of a stream that never was")
        self._spend(self._resets, now, "resets")
        if self._forget(stream_id):
            self._listener.on_abort(stream_id, frames.word(payload))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Section 6.5. Each value costs what a frame costs: thousands fit in one, and each may change every stream."""
        if stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS ACK has no payload")
            return
        for setting, value in frames.parse_settings(payload):
            self._spend(self._control, now, "settings")
            self._set(setting, value)
        self.greeted = True
        self._out.append(frames.SETTINGS_ACK)
        self._push_all()

    def _set(self, setting: int, value: int) -> None:
        if setting == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
        if setting == Setting.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
            change = value - self._peer_stream_window
            self._peer_stream_window = value
            for stream in self._streams.values():
                stream.window += change
                if stream.window > MAX_WINDOW:
                    raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE overflows a window")
        elif setting == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            self._peer_frame_bytes = value
        elif setting == Setting.HEADER_TABLE_SIZE:
            self._table_size_told = False

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes, _now: float) -> None:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.7."""
        if len(payload) != 8:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "PING has 8 bytes")
        if stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if flags & frames.ACK:
            self._listener.on_pong(payload)
        else:
            self._out.append(frames.ping(payload, ack=True))
            self._listener.on_ping()

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.8: we open no streams, so it changes nothing."""
        if stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes at least")

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes, _now: float) -> None:
        """Section 6.9."""
        if len(payload) != 4:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        increment = frames.word(payload) & MAX_WINDOW
        if stream_id == 0:
            self._window += increment
            if increment == 0 or self._window > MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise ConnectionFaultError(code, f"WINDOW_UPDATE by {increment}")
            self._push_all()
            return
        stream = self._known(stream_id, "WINDOW_UPDATE", tolerate_closed=True)
        if stream is None:
            return
        stream.window += increment
        if increment == 0 or stream.window > MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise StreamFaultError(stream.id, code, f"WINDOW_UPDATE by {increment}")
        if stream.waiting is not None:
            self._push_blocked(stream)

    def _known(self, stream_id: int, what: str, tolerate_closed: bool = False) -> _Stream | None:
        """The frame's stream; None when it is over in a way that lets such a frame still come (section 5.1)."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            return stream
        if stream_id == 0 or stream_id > self._highest or stream_id % 2 == 0:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"{what} of a stream that never was")
        if tolerate_closed or stream_id in self._reset_by_us or stream_id > self._last_accepted:
            return None
        raise StreamFaultError(stream_id, ErrorCode.STREAM_CLOSED, f"{what} on a closed stream")

    # What goes out.

    def _send_block(self, stream_id: int, block: bytes, *, end_stream: bool) -> None:
        if not self._table_size_told:
            self._table_size_told = True
            block = TABLE_SIZE_ZERO + block
        self._out.append(
            frames.headers(stream_id, block, end_stream=end_stream, max_frame_bytes=self._peer_frame_bytes)
        )

    def _push(self, stream: _Stream) -> bool:
        """Send what waits as far as the windows go; whether that was all of it."""
        waiting = stream.waiting
        assert waiting is not None
        while len(waiting):
            size = min(len(waiting), self._window, stream.window, self._peer_frame_bytes)
            if size <= 0:
                stream.waiting = waiting
                self._blocked[stream.id] = stream
                return False
            self._out.append(frames.data(stream.id, bytes(waiting[:size])))
            self._window -= size
            stream.window -= size
            waiting = waiting[size:]
        stream.waiting = None
        return True

    def _push_all(self) -> None:
        """The connection's window, or all windows, grew."""
        if not self._blocked:
            return
        for stream in list(self._blocked.values()):
            if self._window <= 0:
                return
            if stream.id in self._blocked:
                self._push_blocked(stream)

    def _push_blocked(self, stream: _Stream) -> None:
        del self._blocked[stream.id]
        if self._push(stream):
            self._through(stream)

    def _through(self, stream: _Stream) -> None:
        if stream.trailers is not None:
            self._end(stream)
        else:
            self._listener.on_sent(stream.id)

    def _end(self, stream: _Stream) -> None:
        """Section 8.1: a response may be complete before its request is; then the rest of that is not wanted."""
        if stream.trailers:
            self._send_block(stream.id, stream.trailers, end_stream=True)
        else:
            self._out.append(frames.data(stream.id, b"", end_stream=True))
        self._forget(stream.id)
        if stream.remote_open:
            self._remember_reset(stream.id)
            self._out.append(frames.rst_stream(stream.id, ErrorCode.NO_ERROR))

    def _abort(self, stream_id: int, code: ErrorCode) -> None:
        """A stream broke a rule."""
        if self._forget(stream_id):
            self._listener.on_abort(stream_id, code)
        self._remember_reset(stream_id)
        self._out.append(frames.rst_stream(stream_id, code))

    def _forget(self, stream_id: int) -> bool:
        """The stream is over; whether it was not before."""
        self._blocked.pop(stream_id, None)
        return self._streams.pop(stream_id, None) is not None

    def _remember_reset(self, stream_id: int) -> None:
        self._reset_by_us[stream_id] = None
        if len(self._reset_by_us) > RESETS_REMEMBERED:
            del self._reset_by_us[next(iter(self._reset_by_us))]

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
