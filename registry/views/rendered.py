"""One rendered resource, before anybody serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf import any_pb2
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Rendered:
    """A named xDS resource.

    ``encode`` makes the bytes of the resource message (not wrapped in an Any); the same each time. ``on_demand``: sent
    to clients that ask for it by name, not to those that ask for everything.
    """

    type_url: str
    name: str
    encode: Callable[[], bytes]
    on_demand: bool = False


def serialized(message: Message) -> bytes:
    """The message's bytes, the same for the same content (maps in key order)."""
    return message.SerializeToString(deterministic=True)


def packed(message: Message) -> any_pb2.Any:
    """The message in an Any, as xDS wraps the configuration of an extension."""
    return any_pb2.Any(type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}", value=serialized(message))


def delimiter(number: int, length: int) -> bytes:
    """What stands before ``length`` bytes that are field ``number`` of a message (protobuf.dev, "Encoding").

    ``number`` is below 16.
    """
    out = bytearray((number << 3 | 2,))
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)
