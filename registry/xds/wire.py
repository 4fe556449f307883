"""Discovery responses put together from resources that are encoded already.

Protobuf's encoding of a message is the concatenation of its fields (protobuf.dev "Encoding"), so a response is made by
joining bytes that exist: no resource is parsed or encoded again for another client. Fields are written in the order of
their numbers and empty ones left out, which gives the bytes protobuf's own serialiser gives.
"""

from __future__ import annotations

from collections.abc import Iterable

_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """``number``, not negative, in base 128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    """One length-delimited field: a string, bytes or a message."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    """One string field, nothing when it is empty."""
    return field(number, value.encode()) if value else b""


def any_message(type_url: str, body: bytes) -> bytes:
    """A ``google.protobuf.Any``."""
    return text(1, type_url) + (field(2, body) if body else b"")


def sotw_resource(type_url: str, body: bytes) -> bytes:
    """An element of ``DiscoveryResponse.resources``, as a field of the response."""
    return field(2, any_message(type_url, body))


def delta_resource(type_url: str, name: str, version: str, body: bytes) -> bytes:
    """An element of ``DeltaDiscoveryResponse.resources``, as a field of the response."""
    return field(2, text(1, version) + field(2, any_message(type_url, body)) + text(3, name))


def control_plane(identifier: str) -> bytes:
    """The body of a ``ControlPlane`` message."""
    return text(1, identifier)


def sotw_response(version: str, resources: Iterable[bytes], type_url: str, nonce: str, server: bytes) -> bytes:
    """A ``DiscoveryResponse`` of ``sotw_resource`` fields; ``server`` is a ``control_plane`` body."""
    return b"".join((text(1, version), *resources, text(4, type_url), text(5, nonce), field(6, server)))


def delta_response(
    version: str, resources: Iterable[bytes], type_url: str, nonce: str, server: bytes, *, removed: Iterable[str] = ()
) -> bytes:
    """A ``DeltaDiscoveryResponse`` of ``delta_resource`` fields; ``server`` is a ``control_plane`` body."""
    return b"".join(
        (
            text(1, version),
            *resources,
            text(4, type_url),
            text(5, nonce),
            *(text(6, name) for name in removed),
            field(7, server),
        )
    )


def delta_ack(type_url: str, nonce: str) -> bytes:
    """The ``DeltaDiscoveryRequest`` that accepts a response and asks for nothing: its type and its nonce."""
    return text(2, type_url) + text(6, nonce)
