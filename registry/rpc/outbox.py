"""What one HTTP/2 connection sends: frames in order, content as far as the client's windows go (RFC 9113 section 5.2).

Everything collects until ``take`` fetches it. Of each stream at most one payload waits for windows, or for ``ROOM``;
``on_sent`` says when it is through. A stream may be gone before its user knows: then nothing is sent.
"""

from __future__ import annotations

from typing import Final, Protocol

from registry.rpc import frames
from registry.rpc.frames import DEFAULT_WINDOW, MAX_WINDOW, ConnectionFaultError, ErrorCode, Setting, StreamFaultError
from registry.rpc.headers import TABLE_SIZE_ZERO
from registry.rpc.streams import Stream, Streams

ROOM: Final = 256 << 10
"""How much of payloads that are cut into frames is made between two calls of ``take``: frames are copies, and while the
socket does not take them a payload that many clients wait for stays one."""


class Sender(Protocol):
    """Who sends content."""

    def on_sent(self, stream_id: int) -> None:
        """What waited on the stream's windows is through; the stream may be given more."""


class Outbox:
    """The sending half of a connection. It ends the streams whose response is complete or that are reset."""

    def __init__(self, streams: Streams, sender: Sender) -> None:
        self.stream_window = DEFAULT_WINDOW
        """What a new stream's window is."""
        self.choked = False
        """Some payload waits for room: ``push`` after ``take``."""
        self._room = ROOM
        self._next_window = DEFAULT_WINDOW
        """What SETTINGS say of ``stream_window``, before ``settle``."""
        self._streams = streams
        self._open = streams.open
        self._sender = sender
        self._out: list[bytes] = []
        self._window = DEFAULT_WINDOW
        """The connection's."""
        self._frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._table_size_told = False
        self._pings = 0
        """How many of ours are unanswered."""

    def take(self) -> list[bytes]:
        """What is to be sent, in order; it is the caller's now."""
        out = self._out
        if out:
            self._out = []
            self._room = ROOM
        return out

    def close(self, sender: Sender) -> None:
        """The connection is gone: tell ``sender`` instead, and keep nothing."""
        self._sender = sender
        self._out = []

    def put(self, frame: bytes) -> None:
        """A frame that no window holds back."""
        self._out.append(frame)

    def respond(self, stream_id: int, block: bytes) -> None:
        """Begin the response of a stream with an encoded header block."""
        if stream_id in self._open:
            self._put_block(stream_id, block, end_stream=False)

    def send(self, stream_id: int, payload: bytes) -> bool:
        """Send content; False when the windows hold some back: send no more on the stream until ``on_sent``."""
        stream = self._open.get(stream_id)
        if stream is None:
            return True
        size = len(payload)
        if size <= self._window and size <= stream.window and size <= self._frame_bytes:
            self._window -= size
            stream.window -= size
            self._out.append(frames.data(stream_id, payload))
            return True
        stream.waiting = memoryview(payload)
        return self._push(stream)

    def send_framed(self, stream_id: int, framed: bytes, size: int) -> bool:
        """Send content of ``size`` bytes, made by ``frames.all_data`` for that stream, if the windows have room now."""
        stream = self._open.get(stream_id)
        if stream is None:
            return True
        if size > self._window or size > stream.window:
            return False
        self._window -= size
        stream.window -= size
        self._out.append(framed)
        return True

    def unsent(self, stream_id: int) -> int:
        """Bytes of the stream that wait."""
        stream = self._open.get(stream_id)
        return 0 if stream is None or stream.waiting is None else len(stream.waiting)

    def finish(self, stream_id: int, block: bytes = b"") -> None:
        """End the stream with an encoded block of trailers, or without any, after what still waits."""
        stream = self._open.get(stream_id)
        if stream is None:
            return
        stream.trailers = block
        if stream.waiting is None:
            self._end(stream)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End the stream at once."""
        if self._streams.forget(stream_id):
            self.refuse(stream_id, code)

    def refuse(self, stream_id: int, code: ErrorCode) -> None:
        """Say that the stream is over, or never was."""
        self._streams.remember_reset(stream_id)
        self._out.append(frames.rst_stream(stream_id, code))

    def ping(self, payload: bytes) -> None:
        """Ask for a sign of life, 8 bytes that come back."""
        self._pings += 1
        self._out.append(frames.ping(payload))

    def pong(self) -> bool:
        """An answer to a ping came; whether one of ours waited for it."""
        if not self._pings:
            return False
        self._pings -= 1
        return True

    def go_away(self, *, last: bool) -> None:
        """Say that the connection will be closed (section 6.8): first as a warning, then with the ``last`` stream that
        is served."""
        if last:
            self._streams.last_accepted = self._streams.highest
        self._out.append(frames.goaway(self._streams.last_accepted, ErrorCode.NO_ERROR))

    # What the client allows. It allows too much, or nothing, by breaking a rule.

    def set(self, setting: int, value: int) -> None:
        """A value of the client's SETTINGS (section 6.5.2). After the last one ``settle``."""
        if setting == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
        if setting == Setting.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
            self._next_window = value
        elif setting == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            self._frame_bytes = value
        elif setting == Setting.HEADER_TABLE_SIZE:
            self._table_size_told = False

    def settle(self) -> None:
        """All values of a SETTINGS frame are set: apply the last INITIAL_WINDOW_SIZE to the streams, once, and then
        acknowledge them; only what follows may depend on them (section 6.5.3)."""
        change = self._next_window - self.stream_window
        if not change:
            self.put(frames.SETTINGS_ACK)
            return
        self.stream_window = self._next_window
        for stream in self._open.values():
            stream.window += change
            if stream.window > MAX_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE overflows a window")
            if stream.waiting is not None and stream.window > 0:
                self._streams.blocked[stream.id] = stream
        self.put(frames.SETTINGS_ACK)
        self.push()

    def widen(self, increment: int) -> None:
        """The connection's window grew (section 6.9)."""
        self._window += increment
        if increment == 0 or self._window > MAX_WINDOW:
            raise ConnectionFaultError(_why(increment), f"WINDOW_UPDATE by {increment}")
        self.push()

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """A stream's window grew."""
        stream.window += increment
        if increment == 0 or stream.window > MAX_WINDOW:
            raise StreamFaultError(stream.id, _why(increment), f"WINDOW_UPDATE by {increment}")
        if stream.waiting is not None and stream.window > 0:
            self._push_blocked(stream)

    def push(self) -> None:
        """Send what waits for the connection's window, or for room, as far as these go."""
        self.choked = False
        if not self._streams.blocked or self._window <= 0:
            return
        for stream in list(self._streams.blocked.values()):
            if self._window <= 0:
                return
            if self._room <= 0:
                self.choked = True
                return
            if stream.id in self._streams.blocked:
                self._push_blocked(stream)

    def _push_blocked(self, stream: Stream) -> None:
        self._streams.blocked.pop(stream.id, None)
        if not self._push(stream):
            return
        if stream.trailers is not None:
            self._end(stream)
        else:
            self._sender.on_sent(stream.id)

    def _push(self, stream: Stream) -> bool:
        """Send what waits as far as the windows go; whether that was all of it."""
        waiting = stream.waiting
        assert waiting is not None
        while len(waiting):
            if self._window <= 0 or stream.window <= 0 or self._room <= 0:
                stream.waiting = waiting
                if stream.window > 0:
                    self._streams.blocked[stream.id] = stream
                    self.choked = self.choked or self._window > 0
                return False
            size = min(len(waiting), self._window, stream.window, self._frame_bytes)
            self._out.append(frames.data(stream.id, bytes(waiting[:size])))
            self._room -= size
            self._window -= size
            stream.window -= size
            waiting = waiting[size:]
        stream.waiting = None
        return True

    def _end(self, stream: Stream) -> None:
        """Section 8.1: a response may be complete before its request is; then the rest of that is not wanted."""
        if stream.trailers:
            self._put_block(stream.id, stream.trailers, end_stream=True)
        else:
            self._out.append(frames.data(stream.id, b"", end_stream=True))
        self._streams.forget(stream.id)
        if stream.remote_open:
            self.refuse(stream.id, ErrorCode.NO_ERROR)

    def _put_block(self, stream_id: int, block: bytes, *, end_stream: bool) -> None:
        if not self._table_size_told:
            self._table_size_told = True
            block = TABLE_SIZE_ZERO + block
        self._out.append(frames.headers(stream_id, block, end_stream=end_stream, max_frame_bytes=self._frame_bytes))


def _why(increment: int) -> ErrorCode:
    return ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
