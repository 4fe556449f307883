"""What goes into one response, and how much it may say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from registry.xds.resources import Entry

RESPONSE_BYTES = 2 << 20
"""A response of EDS or RDS is closed at this size and the rest follows; gRPC clients accept 4 MiB by default. LDS and
CDS are never split: a client takes the first response for the complete list."""


class Scope(IntEnum):
    """How much a response may say. Each scope includes the ones before it."""

    ASKED = 1
    """What requests asked for and were not answered yet."""
    MAKE = 2
    """Resources the client lacks or has in another version."""
    BREAK = 3
    """Resources that are gone."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a channel needs of its stream.

    ``server`` is an encoded ``ControlPlane``; ``wake`` says that there may be something to send. ``clock`` is asked
    once for each response and each answer.
    """

    server: bytes
    wake: Callable[[], None]
    clock: Callable[[], float]


class Response:
    """An encoded response; ``added`` are new to the client, ``updated`` it was sent before."""

    __slots__ = ("added", "data", "updated")

    def __init__(self, data: bytes, added: tuple[str, ...] = (), updated: tuple[str, ...] = ()) -> None:
        self.data = data
        self.added = added
        self.updated = updated


class Pick:
    """The names of one response as they are picked: the resources of those that exist, and those that do not."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.missing: list[str] = []
        self._bytes = 0

    def take(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            self.missing.append(name)
            self._bytes += len(name)
        else:
            self.entries.append(entry)
            self._bytes += entry.resource.size

    @property
    def full(self) -> bool:
        """The response has the size at which it is closed."""
        return self._bytes >= RESPONSE_BYTES

    @property
    def names(self) -> tuple[str, ...]:
        return (*(entry.name for entry in self.entries), *self.missing)
