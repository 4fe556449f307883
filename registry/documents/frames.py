"""What is known of a YAML stream in the middle of it: the open collections, and what aliases may name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from registry.documents.errors import Problem

NO_KEY: Any = object()
MERGE: Any = object()

ROOT, OBJECT, ITEMS, INNER = range(4)
"""Where a collection is: around a document, an object or a list of objects of Kubernetes, anywhere else."""


class Visitor(Protocol):
    """Takes the objects of a List as soon as they are read."""

    def skips(self, version: str, kind: str) -> bool:
        """Whether nobody wants objects of this kind: their values are not built and their problems not reported."""

    def item(self, path: str, line: int, value: Any, problem: Problem | None) -> object:
        """Return what stands for the item at ``path`` (``$.items[3]``) in its list."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One document. ``ordinal`` counts the documents of the stream from 0, ``line`` lines from 1."""

    value: Any
    problem: Problem | None
    ordinal: int
    line: int


@dataclass(frozen=True, slots=True)
class Anchored:
    """What an alias stands for, how much it is, and what is wrong in it."""

    value: Any
    values: int
    characters: int
    problem: Problem | None


class Frame:
    """A collection whose end has not been read."""

    __slots__ = (
        "anchor",
        "characters",
        "explicit",
        "key",
        "level",
        "line",
        "mapping",
        "path",
        "problem",
        "skipped",
        "value",
        "values",
    )

    def __init__(self, value: Any, *, mapping: bool, level: int, line: int, path: str, anchor: str | None) -> None:
        self.value = value
        self.mapping = mapping
        self.level = level
        self.line = line
        self.path = path
        self.anchor = anchor
        self.key: Any = NO_KEY
        self.problem: Problem | None = None
        self.explicit: set[str] | None = None
        """The keys that are written out, where others come of a merge."""
        self.skipped = 0
        """How deep in skipped text it is; it was built for its anchor alone."""
        self.values = self.characters = 0
