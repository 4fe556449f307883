"""HTTP/2 frames as bytes (RFC 9113 sections 4 and 6). No state but the input a reader has not finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

HEADER_BYTES = 9
DEFAULT_FRAME_BYTES = 16_384
"""The largest payload unless SETTINGS say otherwise (section 4.2)."""

MAX_FRAME_BYTES = 16_777_215
MAX_WINDOW = 2**31 - 1
MAX_STREAM_ID = 2**31 - 1
DEFAULT_WINDOW = 65_535


# Types of frames (section 6). Plain numbers: they are compared for every frame.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags. ACK and END_STREAM share a bit; which is meant follows from the frame's type.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20


class ErrorCode(IntEnum):
    """Section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """Section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFaultError(Exception):
    """The peer broke a rule in a way that ends the connection (section 5.4.1)."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class StreamFaultError(Exception):
    """The peer broke a rule in a way that ends one stream (section 5.4.2)."""

    def __init__(self, stream_id: int, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.stream_id = stream_id
        self.code = code


Frame = tuple[int, int, int, bytes]
"""Type, flags, stream, payload. The type may be one that is not known; the reserved bit of the stream is cleared."""

_HEADER = Struct(">HBBBL")
_WORD = Struct(">L")
_SETTING = Struct(">HL")
_GOAWAY = Struct(">LL")


class FrameReader:
    """Cuts frames out of bytes that come in pieces of any size."""

    def __init__(self, max_frame_bytes: int = DEFAULT_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = b""
        self._at = 0
        """Where in the buffer the next frame begins."""
        self._later: list[bytes] = []
        """What came while the buffer had frames in it still."""
        self.waiting = 0
        """Bytes that were put and are not part of a frame that was cut."""

    def put(self, data: bytes) -> None:
        """Bytes came."""
        if self.waiting:
            self._later.append(data)
        else:
            self._buffer = data
            self._at = 0
        self.waiting += len(data)

    def take(self, most: int) -> bytes:
        """The next bytes, whatever they are, at most so many."""
        self._join()
        taken = self._buffer[:most]
        self._at = len(taken)
        self.waiting -= len(taken)
        return taken

    def next(self) -> Frame | None:
        """The next whole frame; None: more has to come first.

        Raises:
            ConnectionFaultError: a frame larger than allowed; known before its payload has come.
        """
        begin = self._at
        left = len(self._buffer) - begin
        if left >= HEADER_BYTES:
            high, low, kind, flags, stream_id = _HEADER.unpack_from(self._buffer, begin)
            length = high << 8 | low
            if length > self._max_frame_bytes:
                raise ConnectionFaultError(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes; at most {self._max_frame_bytes} may come"
                )
            after = begin + HEADER_BYTES + length
            if after <= len(self._buffer):
                payload = self._buffer[begin + HEADER_BYTES : after]
                self.waiting -= HEADER_BYTES + length
                if after < len(self._buffer):
                    self._at = after
                else:
                    self._buffer = b""
                    self._at = 0
                return kind, flags, stream_id & MAX_STREAM_ID, payload
        more = bool(self._later)
        self._join()
        return self.next() if more else None

    def _join(self) -> None:
        """Make what is not cut yet one buffer, and keep nothing else."""
        if self._at:
            self._buffer = self._buffer[self._at :]
            self._at = 0
        if self._later:
            self._buffer = b"".join((self._buffer, *self._later))
            self._later.clear()

    def clear(self) -> None:
        """Forget what is not cut yet."""
        self._buffer = b""
        self._at = self.waiting = 0
        self._later.clear()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes: ``put``, and ``next`` as often as there is one."""
        self.put(data)
        found: list[Frame] = []
        while (frame := self.next()) is not None:
            found.append(frame)
        return found


def frame_header(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The 9 bytes before a payload of ``length`` bytes."""
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def settings(values: Mapping[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return frame_header(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK = frame_header(0, SETTINGS, ACK, 0)


def headers(stream_id: int, block: bytes, *, end_stream: bool, max_frame_bytes: int = DEFAULT_FRAME_BYTES) -> bytes:
    """HEADERS with an encoded block, and CONTINUATION for what does not fit in."""
    end = END_STREAM if end_stream else 0
    if len(block) <= max_frame_bytes:
        return frame_header(len(block), HEADERS, end | END_HEADERS, stream_id) + block
    parts = [block[at : at + max_frame_bytes] for at in range(0, len(block), max_frame_bytes)]
    frames = [frame_header(len(parts[0]), HEADERS, end, stream_id) + parts[0]]
    for part in parts[1:]:
        flags = END_HEADERS if part is parts[-1] else 0
        frames.append(frame_header(len(part), CONTINUATION, flags, stream_id) + part)
    return b"".join(frames)


def data(stream_id: int, payload: bytes, *, end_stream: bool = False) -> bytes:
    """A DATA frame."""
    return frame_header(len(payload), DATA, END_STREAM if end_stream else 0, stream_id) + payload


def all_data(stream_id: int, payload: bytes) -> bytes:
    """DATA frames with all of ``payload``, none larger than every peer takes."""
    if len(payload) <= DEFAULT_FRAME_BYTES:
        return data(stream_id, payload)
    parts = range(0, len(payload), DEFAULT_FRAME_BYTES)
    return b"".join([data(stream_id, payload[at : at + DEFAULT_FRAME_BYTES]) for at in parts])


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    return frame_header(4, RST_STREAM, 0, stream_id) + _WORD.pack(code)


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """A PING with 8 bytes of payload."""
    return frame_header(8, PING, ACK if ack else 0, 0) + payload


def goaway(last_stream_id: int, code: ErrorCode, debug: bytes = b"") -> bytes:
    payload = _GOAWAY.pack(last_stream_id, code) + debug
    return frame_header(len(payload), GOAWAY, 0, 0) + payload


def window_update(stream_id: int, increment: int) -> bytes:
    return frame_header(4, WINDOW_UPDATE, 0, stream_id) + _WORD.pack(increment)


def word(payload: bytes) -> int:
    """The 32-bit number ``payload`` begins with."""
    value: int = _WORD.unpack_from(payload)[0]
    return value


# The form of what comes. What breaks it ends the stream or, mostly, the connection.


def check_priority(stream_id: int, payload: bytes) -> None:
    """Section 6.3."""
    if stream_id == 0:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
    if len(payload) != 5:
        raise StreamFaultError(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
    if word(payload) & MAX_STREAM_ID == stream_id:
        raise StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")


def check_settings(flags: int, stream_id: int, payload: bytes) -> None:
    """Section 6.5."""
    if stream_id:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
    if flags & ACK and payload:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS ACK has no payload")


def parse_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The (identifier, value) pairs of a SETTINGS frame, in order."""
    if len(payload) % _SETTING.size:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes, not a multiple of 6")
    return iter(_SETTING.iter_unpack(payload))


def check_ping(stream_id: int, payload: bytes) -> None:
    """Section 6.7."""
    if len(payload) != 8:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "PING has 8 bytes")
    if stream_id:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PING of a stream")


def check_goaway(stream_id: int, payload: bytes) -> None:
    """Section 6.8."""
    if stream_id:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
    if len(payload) < 8:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes at least")


def parse_window_update(payload: bytes) -> int:
    """Section 6.9: the increment. It may be 0, which is a fault of the stream or connection it is for."""
    if len(payload) != 4:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
    return word(payload) & MAX_WINDOW


def unpad(flags: int, payload: bytes) -> bytes:
    """The payload without padding (sections 6.1 and 6.2)."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]
