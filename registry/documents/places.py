"""Where a value stands in a text, found by reading the text again: nobody keeps a position for each value. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from registry.documents.errors import DocumentError
from registry.documents.events import Event, events

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value begins; ``line`` counts from 1. ``text`` is that of a scalar, without its quotes if ``quoted``.

    If the value is not there, the line is that of the innermost part around it that is, and there is no text.
    """

    line: int
    text: str | None = None
    quoted: bool = False


def find(content: bytes, ordinal: int, path: str, *keys: str) -> Place:
    """The place of ``path`` (``$.spec.ports[0].port``) and in that of ``keys``, which may have dots in them.

    A value that an alias or a merge puts there is at the place of that. ``ordinal`` is the document's in the stream.
    """
    steps = [(step[1], step[2]) for step in _STEP.finditer(path)] + [(key, None) for key in keys]
    place = Place(1)
    try:
        stream = events(content)
        node = _root(stream, ordinal)
        place = _place(node.start_mark.line, node)
        for key, position in steps:
            found = _descend(stream, node, key, position)
            if found is None:
                return Place(place.line)
            line, node = found
            place = _place(line, node)
    except DocumentError:  # YAML that is broken further on, or JSON that YAML does not take: the part found so far
        return Place(place.line)
    return place


def _place(line: int, node: Event) -> Place:
    if not isinstance(node, yaml.ScalarEvent):
        return Place(line + 1)
    return Place(line + 1, node.value, quoted=not node.implicit[0] and node.tag is None)


def _root(stream: Iterator[Event], ordinal: int) -> Event:
    for event in stream:
        if isinstance(event, yaml.DocumentStartEvent):
            if ordinal == 0:
                return next(stream)
            ordinal -= 1
    raise DocumentError("no such document", 1)


def _descend(stream: Iterator[Event], node: Event, key: str | None, position: str | None) -> tuple[int, Event] | None:
    """The part of ``node`` under ``key`` or at ``position``, with the line its key or item begins on."""
    if key is not None and isinstance(node, yaml.MappingStartEvent):
        for name in stream:
            if isinstance(name, yaml.MappingEndEvent):
                return None
            wanted = isinstance(name, yaml.ScalarEvent) and name.value == key
            _pass(stream, name)
            value = next(stream)
            if wanted:
                return name.start_mark.line, value
            _pass(stream, value)
    if position is not None and isinstance(node, yaml.SequenceStartEvent):
        left = int(position)
        for item in stream:
            if isinstance(item, yaml.SequenceEndEvent):
                return None
            if left == 0:
                return item.start_mark.line, item
            left -= 1
            _pass(stream, item)
    return None


def _pass(stream: Iterator[Event], node: Event) -> None:
    """Read to the end of ``node``."""
    depth = 1 if isinstance(node, _STARTS) else 0
    while depth:
        event = next(stream)
        depth += isinstance(event, _STARTS) - isinstance(event, _ENDS)
