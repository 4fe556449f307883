"""Reads large manifest files in a process of its own: it takes seconds of a CPU, and Python has one lock for all.

Its input has an ``Ask`` a line, as JSON. It answers each with frames: a length of four bytes, then an ``Answer`` as
MessagePack. It ends with its input.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from registry.sources.manifests.disk import read_file
from registry.sources.manifests.objects import ManifestError, Row, read_rows

MEMORY_BYTES = 1 << 30
"""More is refused to it by the system: the file is then one that cannot be read."""

NICE = 5
FRAME_BYTES = 16 << 10
"""What the other side decodes in one turn of its loop, in about 3 ms."""

LENGTH_BYTES = 4


class Ask(msgspec.Struct, frozen=True):
    """Read the file at ``path``; ``name`` is what errors call it."""

    name: str
    path: str


class Answer(msgspec.Struct, frozen=True):
    """Some of the rows of a file. The last answer has ``last``, and a ``problem`` if the file cannot be used."""

    rows: list[Row]
    problem: str = ""
    unreadable: str = ""
    last: bool = False


def main() -> None:
    """Answer until the input ends."""
    with contextlib.suppress(OSError, ValueError):
        os.nice(NICE)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        for answer in _answers(msgspec.json.decode(line, type=Ask)):
            frame = msgspec.msgpack.encode(answer)
            sys.stdout.buffer.write(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
        sys.stdout.buffer.flush()


def _answers(ask: Ask) -> Iterator[Answer]:
    try:
        rows = read_rows(ask.name, read_file(Path(ask.path)))
    except ManifestError as error:
        yield Answer([], problem=str(error), last=True)
        return
    except OSError as error:
        yield Answer([], unreadable=error.strerror or str(error), last=True)
        return
    frame: list[Row] = []
    size = 0
    for row in rows:
        frame.append(row)
        size += len(row.body)
        if size >= FRAME_BYTES:
            yield Answer(frame)
            frame, size = [], 0
    yield Answer(frame, last=True)
