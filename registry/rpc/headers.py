"""Header blocks: putting together, decoding and checking what clients send, encoding what they get.

What is sent is encoded without state (RFC 7541 section 6.2.2, literal without indexing; section 6.1 for what the static
table has), so that the same bytes do for every connection. Decoding is ``hpack``'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from registry.rpc import frames
from registry.rpc.frames import MAX_STREAM_ID, ConnectionFaultError, ErrorCode, StreamFaultError

Header = tuple[bytes, bytes]

Block = tuple[int, list[Header], bool]
"""A whole header block: its stream, what it says, and whether it ends the stream (END_STREAM)."""

TABLE_SIZE_ZERO = b"\x20"
"""Dynamic table size update to 0 (RFC 7541 section 6.3): what follows never refers to the dynamic table, whatever size
the peer's SETTINGS allow. It has to stand first in the first block after the peer changed that size (section 4.2)."""

CONTENT_LENGTH_DIGITS = 18
"""No content is longer; Python reads no number of more than some thousand digits."""

_STATUS_200 = b"\x88"
_NAME_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_FORBIDDEN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_REQUIRED = frozenset((b":method", b":scheme", b":path"))
_REQUEST_PSEUDO = _REQUIRED | {b":authority"}


def encode(headers: Iterable[Header]) -> bytes:
    """A header block that any decoder understands, whatever came before."""
    return b"".join(_literal(name, value) for name, value in headers)


def _literal(name: bytes, value: bytes) -> bytes:
    if (name, value) == (b":status", b"200"):
        return _STATUS_200
    return b"\x00" + _integer(len(name)) + name + _integer(len(value)) + value


def _integer(value: int, prefix_bits: int = 7) -> bytes:
    """RFC 7541 section 5.1; the bits before the prefix are 0, which for strings means no Huffman code."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((value,))
    out = bytearray((limit,))
    value -= limit
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class HeaderDecoder:
    """Decodes the blocks of one connection, in the order they come."""

    def __init__(self, max_list_bytes: int) -> None:
        self._decoder = Decoder(max_header_list_size=max_list_bytes)

    def decode(self, block: bytes) -> list[Header]:
        """The header list of a whole block.

        Raises:
            ConnectionFaultError: it cannot be decoded, or is larger than allowed: the shared state is lost with it.
        """
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header list larger than allowed") from error
        except (HPACKError, UnicodeDecodeError, IndexError) as error:
            raise ConnectionFaultError(
                ErrorCode.COMPRESSION_ERROR, f"a header block nobody can decode: {error}"
            ) from error


class BlockReader:
    """Puts the header blocks of one connection together: HEADERS, and the CONTINUATION frames after it."""

    def __init__(self, max_list_bytes: int) -> None:
        self._max_bytes = max_list_bytes
        self._decoder = HeaderDecoder(max_list_bytes)
        self._begun: tuple[int, bytearray, bool] | None = None

    @property
    def waiting(self) -> int:
        """Bytes of a block that is not whole."""
        return 0 if self._begun is None else len(self._begun[1])

    def headers(self, flags: int, stream_id: int, payload: bytes) -> Block | None:
        """A HEADERS frame (section 6.2); the block, None when it is not whole.

        Raises:
            ConnectionFaultError: it breaks a rule, or cannot be decoded.
        """
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
            return stream_id, self._decoder.decode(block), ended
        self._begun = (stream_id, bytearray(block), ended)
        return None

    def continuation(self, flags: int, stream_id: int, payload: bytes) -> Block | None:
        """A CONTINUATION frame (section 6.10), with results and errors as ``headers`` has them."""
        if self._begun is None or self._begun[0] != stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without its HEADERS")
        stream_id, block, ended = self._begun
        block += payload
        if len(block) > self._max_bytes:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "a header block larger than allowed")
        if not flags & frames.END_HEADERS:
            return None
        self._begun = None
        return stream_id, self._decoder.decode(bytes(block)), ended


def check_request(stream_id: int, headers: list[Header]) -> int | None:
    """Check a request's header list (RFC 9113 sections 8.2 and 8.3); its ``content-length``, None without one.

    Raises:
        StreamFaultError: it is malformed.
    """
    pseudo: set[bytes] = set()
    content_length = None
    regular = False
    for name, value in headers:
        if name.startswith(b":"):
            if regular or name in pseudo or name not in _REQUEST_PSEUDO:
                raise _malformed(stream_id, f"the pseudo-header {name!r} is unknown, twice, or after a header")
            if name in _REQUIRED and not value:
                raise _malformed(stream_id, f"the pseudo-header {name!r} is empty")
            pseudo.add(name)
            continue
        regular = True
        _check_field(stream_id, name, value)
        if name == b"content-length":
            if (
                not value.isdigit()
                or len(value) > CONTENT_LENGTH_DIGITS
                or (content_length is not None and int(value) != content_length)
            ):
                raise _malformed(stream_id, f"content-length {value!r}")
            content_length = int(value)
    if not pseudo >= _REQUIRED:
        raise _malformed(stream_id, "a request has :method, :scheme and :path")
    return content_length


def check_trailers(stream_id: int, headers: list[Header]) -> None:
    """Check the header list after a request's content.

    Raises:
        StreamFaultError: it is malformed.
    """
    for name, value in headers:
        if name.startswith(b":"):
            raise _malformed(stream_id, "a pseudo-header among trailers")
        _check_field(stream_id, name, value)


def _check_field(stream_id: int, name: bytes, value: bytes) -> None:
    if not name or not _NAME_BYTES.issuperset(name):
        raise _malformed(stream_id, f"the header name {name!r}")
    if name in _FORBIDDEN or (name == b"te" and value != b"trailers"):
        raise _malformed(stream_id, f"the header {name!r} has no place in HTTP/2")
    if any(byte in value for byte in (b"\r", b"\n", b"\0")):
        raise _malformed(stream_id, f"the header {name!r} has a line break or NUL")


def _malformed(stream_id: int, what: str) -> StreamFaultError:
    return StreamFaultError(stream_id, ErrorCode.PROTOCOL_ERROR, what)
