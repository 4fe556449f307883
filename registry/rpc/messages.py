"""gRPC over HTTP/2 as text and bytes (grpc/grpc doc/PROTOCOL-HTTP2.md): requests' heads, messages, statuses."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from registry.rpc.headers import Header, encode
from registry.rpc.seam import Code, RpcError

_PREFIX = Struct(">BL")
PREFIX_BYTES = 5
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_RESERVED = frozenset((b"content-type", b"te", b"user-agent"))
_TEXT = frozenset(range(0x20, 0x7F)) - {ord("%")}

STATUS_CHARACTERS = 1024
"""A message may quote what the client sent, which may be long; clients take some thousand bytes of headers."""

RESPONSE_HEAD = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
"""The header block that begins every response."""


class NotGrpcError(Exception):
    """A request that is not gRPC: an HTTP status, and words for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers of a gRPC request say. ``timeout`` in seconds, None without one."""

    path: str
    metadata: dict[str, str]
    timeout: float | None


def read_head(headers: list[Header]) -> Head:
    """The head of a request.

    Raises:
        NotGrpcError: it is not a gRPC request.
        RpcError: it is one, and asks for what is not to be had.
    """
    fields = dict(headers)
    if fields[b":method"] != b"POST":
        raise NotGrpcError(405, "this port speaks gRPC: requests are POST")
    content_type = fields.get(b"content-type", b"")
    if content_type != b"application/grpc" and not content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    ):
        raise NotGrpcError(415, "this port speaks gRPC: the content-type is application/grpc")
    encoding = fields.get(b"grpc-encoding", b"identity")
    if encoding != b"identity":
        raise RpcError(Code.UNIMPLEMENTED, f"grpc-encoding {encoding.decode('ascii', 'replace')}: use identity")
    timeout = fields.get(b"grpc-timeout")
    metadata = {
        name.decode("ascii"): value.decode("utf-8", "replace")
        for name, value in headers
        if not name.startswith((b":", b"grpc-")) and not name.endswith(b"-bin") and name not in _RESERVED
    }
    return Head(fields[b":path"].decode("ascii", "replace"), metadata, None if timeout is None else seconds(timeout))


def seconds(timeout: bytes) -> float:
    """The value of ``grpc-timeout``: up to 8 digits and a unit.

    Raises:
        RpcError: it is none.
    """
    number, unit = timeout[:-1], _UNITS.get(timeout[-1:])
    if unit is None or not number.isdigit() or len(number) > 8:
        raise RpcError(Code.INTERNAL, f"grpc-timeout {timeout.decode('ascii', 'replace')!r}: up to 8 digits and a unit")
    return int(number) * unit


def trailers(code: Code, message: str = "") -> bytes:
    """The header block that ends a response that has begun."""
    return encode(_status(code, message))


def trailers_only(code: Code, message: str = "") -> bytes:
    """The header block that is the whole of a response without messages."""
    head = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity")]
    return encode([*head, *_status(code, message)])


def refusal_head(refusal: NotGrpcError) -> bytes:
    """The header block of an HTTP answer to what is not gRPC."""
    return encode([(b":status", str(refusal.status).encode()), (b"content-type", b"text/plain; charset=utf-8")])


def _status(code: Code, message: str) -> list[Header]:
    fields = [(b"grpc-status", str(int(code)).encode())]
    if message:
        fields.append((b"grpc-message", percent_encoded(message[:STATUS_CHARACTERS])))
    return fields


def percent_encoded(message: str) -> bytes:
    """Space to ``~`` as they are, apart from ``%``; every other byte of the UTF-8 as ``%XX``."""
    return b"".join(bytes((byte,)) if byte in _TEXT else b"%%%02X" % byte for byte in message.encode())


def framed(message: bytes) -> bytes:
    """A message with its prefix: not compressed, and its length."""
    return _PREFIX.pack(0, len(message)) + message


class MessageReader:
    """Cuts messages out of the content of one stream."""

    __slots__ = ("_held", "_max_bytes", "_wanted")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._wanted = PREFIX_BYTES
        """So many bytes, with those that are held, before there can be a message."""

    @property
    def held(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._held)

    def close(self) -> None:
        """No more content comes.

        Raises:
            RpcError: it ended within a message.
        """
        if self._held:
            raise RpcError(Code.INTERNAL, "the request ended within a message")

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes.

        Raises:
            RpcError: a message that is too large, known before it is here, or compressed. What came before it is lost.
        """
        buffer = data
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            buffer = bytes(self._held)
            self._held.clear()
        found: list[bytes] = []
        begin, end = 0, len(buffer)
        while end - begin >= PREFIX_BYTES:
            compressed, length = _PREFIX.unpack_from(buffer, begin)
            if compressed:
                raise RpcError(Code.INTERNAL, "a compressed message without a grpc-encoding")
            if length > self._max_bytes:
                raise RpcError(
                    Code.RESOURCE_EXHAUSTED, f"a message of {length} bytes; at most {self._max_bytes} may come"
                )
            after = begin + PREFIX_BYTES + length
            if after > end:
                self._wanted = PREFIX_BYTES + length
                break
            found.append(buffer[begin + PREFIX_BYTES : after])
            begin = after
        else:
            self._wanted = PREFIX_BYTES
        if begin < end:
            self._held += buffer[begin:]
        return found
