"""YAML and JSON that strangers wrote, as the API server's clients read them, with the place of each value. Pure.

``scalars``  what a scalar is
``events``   libyaml's events, and its errors as ours
``frames``   what is known in the middle of a stream
``tree``     the values of a YAML stream
``json``     the values of JSON texts
``places``   where a value stands
``mend``     what to write instead of a scalar of the wrong type
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from registry.documents import json as json_texts
from registry.documents.errors import DocumentError, Problem
from registry.documents.frames import Visitor
from registry.documents.mend import mended
from registry.documents.places import Place, find
from registry.documents.tree import MAX_DEPTH, MAX_VALUES, Builder

__all__ = [
    "MAX_DEPTH",
    "Builder",
    "Document",
    "DocumentError",
    "Place",
    "Problem",
    "Source",
    "Visitor",
    "mended",
    "parse",
    "sources",
]


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a file that is all YAML, or one JSON text. ``line`` is how many lines of the file come before it."""

    content: bytes = field(repr=False)
    line: int = 0
    is_json: bool = False

    def place(self, ordinal: int, path: str, *keys: str) -> Place:
        """Where the value at ``path`` (``$.spec.ports[0].port``), then ``keys``, stands in the file."""
        found = find(json_texts.for_yaml(self.content) if self.is_json else self.content, ordinal, path, *keys)
        return Place(found.line + self.line, found.text, found.quoted)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its plain value (dicts, lists, strings, numbers, booleans, None), and where each part stands."""

    value: Any
    _source: Source
    _ordinal: int = 0

    def place(self, path: str = "$") -> Place:
        """The place of the value at ``path``, or of the innermost part of it that exists."""
        return self._source.place(self._ordinal, path)

    def line(self, path: str = "$") -> int:
        """The line of that place."""
        return self.place(path).line


def parse(content: bytes, *, json: bool = False, ours: bool = False, most: int = MAX_VALUES) -> list[Document]:
    """Every document of a YAML stream, or of JSON texts one after the other; empty documents are left out.

    Values are those of JSON: a date stays the text it is. The same key twice in a mapping is an error. ``ours``: it is
    no Kubernetes object, where ``y`` and ``n`` are booleans and ``.inf`` cannot be, but a file of our own.
    ``most``: values in one document, and documents.

    Raises:
        DocumentError: the content is no YAML or JSON, holds what JSON cannot, or is unreasonably deep or large.
    """
    found: list[Document] = []
    for source in sources(content, json=json):
        for document in _documents(source, ours, most):
            found.append(document)
            if len(found) > most:
                raise DocumentError(f"more than {most} documents", document.line())
    return found


def sources(content: bytes, *, json: bool = False) -> Iterator[Source]:
    """The parts of a file, as kubectl tells them apart: JSON if it begins with a brace and can be read as JSON.

    ``json``: the file says that it is JSON, and errors are to be those of JSON.

    Raises:
        DocumentError: JSON, and no YAML after it.
    """
    if not json_texts.begins(content):
        yield Source(content)
        return
    content = json_texts.repaired(content)
    found, rest, error = json_texts.texts(content)
    after = content[rest : rest + 3]
    if error is not None and after != b"---" and (found or json):
        raise error
    lines = position = 0
    for start, end in found:
        lines, position = lines + content.count(b"\n", position, start), start
        whole = start == 0 and end == len(content)
        yield Source(content if whole else content[start:end], lines, is_json=True)
    if error is not None:
        yield Source(content[rest:], json_texts.line_of(content, rest) - 1)


def _documents(source: Source, ours: bool, most: int) -> Iterator[Document]:
    if source.is_json:
        value, problem = json_texts.value_of(source.content)
        if problem is not None:
            raise DocumentError(problem.message, problem.line + source.line)
        yield Document(value, source)
        return
    for tree in Builder(source.content, ours=ours, most=most).shifted(source.line):
        if tree.problem is not None:
            raise DocumentError(tree.problem.message, tree.problem.line + source.line)
        yield Document(tree.value, source, tree.ordinal)
