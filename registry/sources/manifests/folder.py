"""All files of a folder together: what they say, what changed since, what is wrong. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, SourceEvent
from registry.model.facts import EndpointSlice, Fact, Namespace
from registry.model.names import Kind, ObjectRef
from registry.printable import shortened
from registry.sources.manifests.files import ManifestError, Placed, read_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The file is there and its content cannot be had. ``again``: that may pass without a change of the file."""

    reason: str
    again: bool = False


Content = tuple[Placed, ...] | str | Unreadable
"""What a file came to: its facts, or what is wrong with its text, with the place."""


def content_of(name: str, text: bytes) -> Content:
    """What the text of the file ``name`` comes to. A bug that it brings to light is a problem of this file alone."""
    try:
        return read_manifest(name, text)
    except ManifestError as error:
        return str(error)
    except Exception as error:
        log.exception("%s: reading it failed by a bug", name)
        return shortened(f"{name}:1: cannot be read ({type(error).__name__}: {error}); the log has the details")


@dataclass(slots=True)
class _File:
    """One file: its last good content, and what is wrong with its present one."""

    placed: tuple[Placed, ...] = ()
    problem: str = ""


class ManifestFolder:
    """The state of one cluster, as its files tell it.

    A file that cannot be read keeps its last good content. An object in two files is that of the first, in the order
    of file names. A namespace exists when it has a manifest or an object in it.
    """

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._told: dict[ObjectRef, Fact] | None = None
        self._merged: tuple[dict[ObjectRef, Fact], list[str]] | None = None
        """The facts that count and the conflicts; None after a change."""

    def put(self, name: str, text: bytes) -> None:
        """The file was found, or found changed."""
        self.place(name, content_of(name, text))

    def unreadable(self, name: str, reason: str) -> None:
        """The file is there and its content cannot be had."""
        self.place(name, Unreadable(reason))

    def place(self, name: str, content: Content) -> None:
        """The file was found, or found changed, and read."""
        self._merged = None
        file = self._files.setdefault(name, _File())
        if isinstance(content, str):
            file.problem = _kept(content, file)
        elif isinstance(content, Unreadable):
            file.problem = _kept(f"{name}: cannot be read: {content.reason}", file)
        else:
            before, fresh = list(file.placed), list(content)
            del content
            file.placed, file.problem = _shared(before, fresh), ""
            _let_go(before)
            _let_go(fresh)

    def remove(self, name: str) -> None:
        """The file is gone, and with it what it said."""
        self._files.pop(name, None)
        self._merged = None

    def changes(self, *, keep: bool = False) -> Iterator[SourceEvent]:
        """What is different since the last call; the first time, a list of each kind. Exhaust the iterator.

        ``keep``: what is missing stays for now. A file that is still being read may have it.
        """
        before, now = self._told, self._merge()[0]
        if keep and before is not None:
            now = {**before, **now}
        self._told = now
        if before is None:
            for kind in Kind:
                yield Init(kind)
                yield from (InitApply(fact) for ref, fact in now.items() if ref.kind is kind)
                yield InitDone(kind)
            return
        yield from (Apply(fact) for ref, fact in now.items() if before.get(ref) != fact)
        yield from (Delete(ref) for ref in before if ref not in now)

    def relist(self) -> None:
        """Let the next ``changes`` be a list of each kind again."""
        self._told = None

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files, each beginning with the name and, where there is one, the line."""
        broken = [file.problem for _, file in sorted(self._files.items()) if file.problem]
        return (*broken, *self._merge()[1])

    def oddities(self) -> tuple[str, ...]:
        """What is no fault but worth a word: slices whose Service is not in the folder."""
        services = {ref for ref in self._merge()[0] if ref.kind is Kind.SERVICE}
        return tuple(
            f"{placed.place}: an EndpointSlice of the Service {fact.service!r}, which has no manifest; add it"
            for placed in self.placed()
            if isinstance(fact := placed.fact, EndpointSlice)
            and fact.service
            and ObjectRef(Kind.SERVICE, fact.namespace, fact.service) not in services
        )

    def placed(self) -> Iterator[Placed]:
        """Every fact of every file, in the order that decides between two of one name."""
        for _, file in sorted(self._files.items()):
            yield from file.placed

    def _merge(self) -> tuple[dict[ObjectRef, Fact], list[str]]:
        if self._merged is None:
            facts: dict[ObjectRef, Fact] = {}
            again = [each for each in self.placed() if facts.setdefault(each.fact.ref, each.fact) is not each.fact]
            for namespace in sorted({ref.namespace for ref in facts if ref.namespace}):
                implied = Namespace(namespace)
                facts.setdefault(implied.ref, implied)
            self._merged = facts, list(self._conflicts(again))
        return self._merged

    def _conflicts(self, again: Sequence[Placed]) -> Iterator[str]:
        """What is wrong with objects whose name another has that comes first."""
        wanted = {placed.fact.ref for placed in again}
        first: dict[ObjectRef, Placed] = {}
        for placed in self.placed() if wanted else ():
            if placed.fact.ref in wanted:
                first.setdefault(placed.fact.ref, placed)
        for placed in again:
            ref = placed.fact.ref
            yield f"{placed.place}: {ref} is also at {first[ref].place}, which counts; delete one"


def _shared(before: Sequence[Placed], fresh: Sequence[Placed]) -> tuple[Placed, ...]:
    """``fresh``, with the same object for each fact that is equal to the one before: the index has that one."""
    known = {each.fact.ref: each.fact for each in before}
    return tuple(
        Placed(fact, each.place) if (fact := known.pop(each.fact.ref, None)) is not None and fact == each.fact else each
        for each in fresh
    )


def _let_go(items: list[Placed]) -> None:
    """Free them some at a time: Python frees a whole list without a turn for any other thread."""
    while items:
        del items[-1000:]


def _kept(problem: str, file: _File) -> str:
    return f"{problem}; its last good content still counts" if file.placed else problem


def changed_names(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """The names to read anew and the names that are gone, from two scans of name -> signature."""
    fresh = sorted(name for name, signature in after.items() if before.get(name) != signature)
    return fresh, sorted(name for name in before if name not in after)
