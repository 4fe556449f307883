"""What the list-watch machine asks its driver to do, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PAGE_SIZE = 500
WATCH_SECONDS = (300, 600)
"""A watch is asked to last a random time between these, so that watches of many clusters do not end together."""


@dataclass(frozen=True, slots=True)
class GetPage:
    """GET this; then ``page`` or ``refused`` or ``failed``.

    ``in_pieces``: it may be too large to be read in one go; then ``pieces``, and ``pieces_end`` for ``page``.
    """

    path: str
    query: Mapping[str, str]
    in_pieces: bool = False

    @property
    def continues(self) -> bool:
        """It is not the first page of its list."""
        return "continue" in self.query


@dataclass(frozen=True, slots=True)
class GetVersion:
    """GET this, a list of one object, for its resourceVersion; then ``version`` or ``refused`` or ``failed``."""

    path: str
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GetProof:
    """GET this, which may prove that the server lacks the kind; then ``proof`` or ``refused`` or ``failed``."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenWatch:
    """GET this as a stream; then ``line`` for each, and ``ended``, ``lost``, ``quiet`` or ``refused``.

    ``lists``: the stream begins with all there is (KEP-3157).
    """

    path: str
    query: Mapping[str, str]
    lists: bool = False


Request = GetPage | GetVersion | GetProof | OpenWatch


@dataclass(frozen=True, slots=True)
class Wait:
    """Let ``seconds`` pass; then ``waited``."""

    seconds: float
    then: Request


Step = Request | Wait


def page_step(path: str, size: int, token: str = "", *, in_pieces: bool = False) -> GetPage:
    """The page that ``token`` continues with, the first without one."""
    return GetPage(path, {"limit": str(size)} | ({"continue": token} if token else {}), in_pieces)


def version_step(path: str) -> GetVersion:
    return GetVersion(path, {"limit": "1"})


def watch_step(path: str, version: str, random: float) -> OpenWatch:
    """A watch of what comes after ``version``. ``random`` is in [0, 1)."""
    return OpenWatch(path, {"watch": "true", "resourceVersion": version, **_lasting(random)})


def stream_step(path: str, random: float) -> OpenWatch:
    """All there is, at least as new as this moment, then a bookmark that says so, then a watch.

    ``resourceVersion`` left out asks for a consistent read; ``resourceVersionMatch`` must be said all the same (API
    concepts, "Streaming lists").
    """
    query = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    return OpenWatch(path, {**query, **_lasting(random)}, lists=True)


def _lasting(random: float) -> dict[str, str]:
    shortest, longest = WATCH_SECONDS
    return {"allowWatchBookmarks": "true", "timeoutSeconds": str(shortest + int(random * (longest - shortest)))}
