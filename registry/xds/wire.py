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


def count_fields(message: bytes, at: int, most: int, found: dict[int, tuple[int, int]]) -> int:
    """Look at ``most`` fields of a message from ``at`` on, and add to ``found`` how often each field is there, and how
    many bytes the longest of it has. Returns where to go on: the message's end also where the bytes are no protobuf,
    since a parser says what is wrong.

    A message of nothing but empty fields takes thirty times its size once it is parsed; this tells first.
    """
    end, left = len(message), most
    while at < end and left:
        key = message[at]
        if key < 0x80 and key & 7 == _LENGTH_DELIMITED:
            # Names, one after the other: this is done for each of very many.
            begin, count, longest = at, 0, 0
            while at + 1 < end and message[at] == key and (size := message[at + 1]) < 0x80 and left:
                at += 2 + size
                left -= 1
                count += 1
                if size > longest:  # noqa: PLR1730 - a call costs more
                    longest = size
            if at > begin:
                before = found.get(key >> 3, (0, 0))
                found[key >> 3] = (before[0] + count, max(before[1], longest))
                continue
        left -= 1
        key, at = _number(message, at)
        size, kind = 0, key & 7
        if kind == _LENGTH_DELIMITED:
            size, at = _number(message, at)
            at += size
        elif kind == 0:
            _, at = _number(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            at = end
        count, longest = found.get(key >> 3, (0, 0))
        found[key >> 3] = (count + 1, max(longest, size))
    return at


def _number(message: bytes, at: int) -> tuple[int, int]:
    """The base 128 number that begins there, and where it ends; past the end of the message where it has no end."""
    found = shift = 0
    end = len(message)
    while at < end and shift < 64:
        byte = message[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
    return 0, end
