"""All files of a folder together: what they say, what changed since, what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, SourceEvent
from registry.model.facts import EndpointSlice, Fact, Namespace
from registry.model.names import Kind, ObjectRef
from registry.sources.manifests.files import ManifestError, Placed, read_manifest


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

    def put(self, name: str, content: bytes) -> None:
        """The file was found, or found changed."""
        file = self._files.setdefault(name, _File())
        try:
            file.placed = read_manifest(name, content)
            file.problem = ""
        except ManifestError as error:
            file.problem = _kept(str(error), file)

    def unreadable(self, name: str, reason: str) -> None:
        """The file is there and its content cannot be had."""
        file = self._files.setdefault(name, _File())
        file.problem = _kept(f"{name}: cannot be read: {reason}", file)

    def remove(self, name: str) -> None:
        """The file is gone, and with it what it said."""
        self._files.pop(name, None)

    def changes(self) -> Iterator[SourceEvent]:
        """What is different since the last call; the first time, a list of each kind. Exhaust the iterator."""
        before, now = self._told, self._facts()
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
        return (*broken, *self._conflicts())

    def oddities(self) -> tuple[str, ...]:
        """What is no fault but worth a word: slices whose Service is not in the folder."""
        services = {ref for ref in self._facts() if ref.kind is Kind.SERVICE}
        return tuple(
            f"{placed.place}: an EndpointSlice of the Service {fact.service!r}, which has no manifest; add it"
            for placed in self._placed()
            if isinstance(fact := placed.fact, EndpointSlice)
            and fact.service
            and ObjectRef(Kind.SERVICE, fact.namespace, fact.service) not in services
        )

    def _placed(self) -> Iterator[Placed]:
        """Every fact of every file, in the order that decides between two of one name."""
        for _, file in sorted(self._files.items()):
            yield from file.placed

    def _facts(self) -> dict[ObjectRef, Fact]:
        facts: dict[ObjectRef, Fact] = {}
        for placed in self._placed():
            facts.setdefault(placed.fact.ref, placed.fact)
        for namespace in sorted({ref.namespace for ref in facts if ref.namespace}):
            implied = Namespace(namespace)
            facts.setdefault(implied.ref, implied)
        return facts

    def _conflicts(self) -> Iterator[str]:
        first: dict[ObjectRef, Placed] = {}
        for placed in self._placed():
            winner = first.setdefault(placed.fact.ref, placed)
            if winner is not placed:
                yield f"{placed.place}: {placed.fact.ref} is also at {winner.place}, which counts; delete one"


def _kept(problem: str, file: _File) -> str:
    return f"{problem}; its last good content still counts" if file.placed else problem


def changed_names(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """The names to read anew and the names that are gone, from two scans of name -> signature."""
    fresh = sorted(name for name, signature in after.items() if before.get(name) != signature)
    return fresh, sorted(name for name in before if name not in after)
