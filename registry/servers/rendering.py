"""JSON documents piece by piece, so that a long one can be made over many turns of the event loop. No IO."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

import msgspec

BREATH = object()
"""Among the items of a list: some work was done for what comes later, and others may have a turn."""

_encode = msgspec.json.Encoder().encode


class Items:
    """A list of a document whose items are made one after the other, each when it is its turn."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[object]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[object]:
        return iter(self._items)


def pieces(document: Mapping[str, object]) -> Iterator[bytes]:
    """The document as JSON in ASCII: each key, and each item of its ``Items``, begins a line. Some pieces are empty."""
    before = b"{\n  "
    for key, value in document.items():
        yield before + encoded(key) + b": "
        before = b",\n  "
        if isinstance(value, Items):
            yield from _list(value, b"\n    ", b"\n  ]")
        else:
            yield encoded(value)
    yield b"{}\n" if not document else b"\n}\n"


def encoded(value: object) -> bytes:
    """One value as JSON in ASCII, on one line: what others wrote may be shown on a terminal."""
    try:
        text = _encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair
        text = b"\xff"
    return text if text.isascii() else json.dumps(value, separators=(",", ":")).encode()


def _list(values: Items, between: bytes, end: bytes) -> Iterator[bytes]:
    before = b"[" + between
    for value in values:
        if value is BREATH:
            yield b""
            continue
        yield before
        before = b"," + between
        if isinstance(value, Mapping) and any(isinstance(each, Items) for each in value.values()):
            yield from _item(value)
        else:
            yield encoded(value)
    yield b"[]" if before[:1] == b"[" else end


def _item(value: Mapping[str, object]) -> Iterator[bytes]:
    before = b"{"
    for key, each in value.items():
        head = before + encoded(key) + b":"
        before = b","
        if isinstance(each, Items):
            yield head
            yield from _list(each, b"", b"]")
        else:
            yield head + encoded(each)
    yield b"}"
