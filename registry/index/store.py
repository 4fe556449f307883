"""One cluster's objects, and the lists in progress that will replace them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from registry.index.objects import Objects
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact
from registry.model.names import BASE_KINDS, Kind, ObjectRef


class Difference(NamedTuple):
    """One object before and after. At least one side is not None, and the two are not equal."""

    old: Fact | None
    new: Fact | None


class _Listing:
    """A list in progress: what it has just as it is held, by identity, and all else.

    Most of a relist is as before, so nothing is kept of that but a number. What changes while the list comes is in
    ``fresh``; so an object that is held in the end and is not in there was held all along, and its identity its own.
    What is not held any more is forgotten here, so that two numbers tell that a list has all that is held.
    """

    __slots__ = ("fresh", "same")

    def __init__(self, kind: Kind) -> None:
        self.same: set[int] = set()
        self.fresh = Objects(kind)

    def has(self, held: Fact) -> bool:
        """Whether the list has the object that is held."""
        return id(held) in self.same or held.ref in self.fresh

    def brings_nothing(self, held: Objects) -> bool:
        """The list has what is held, and nothing else."""
        return not self.fresh and len(self.same) == len(held)


class FactStore:
    """The objects of one cluster, by kind.

    Objects of a list are set apart until ``InitDone`` swaps them in, so a relist is one step: what it lacks is gone,
    what it has anew is there, and the difference comes out once. ``Init`` again abandons the list before it. A change
    told while its kind is being listed counts for both the objects held and the list. What a list has just as it is
    held stays the same object, so that a relist takes memory for what is new alone.
    """

    def __init__(self, required: frozenset[Kind] = BASE_KINDS) -> None:
        """``required`` are the kinds without which nothing of the cluster is shown."""
        self._required = required
        self._held = {kind: Objects(kind) for kind in Kind}
        self._lists: dict[Kind, _Listing] = {}
        self._listed: set[Kind] = set()

    @property
    def synced(self) -> bool:
        """Every required kind was listed at least once."""
        return self._required <= self._listed

    def listed(self, kind: Kind) -> bool:
        """The kind was listed at least once."""
        return kind in self._listed

    def held(self, kind: Kind) -> Objects:
        """The objects of ``kind``, without those of a list in progress."""
        return self._held[kind]

    def get(self, ref: ObjectRef) -> Fact | None:
        return self._held[ref.kind].find(ref)

    def apply(self, event: SourceEvent) -> Iterator[Difference]:
        """Take in one event; yields what it changed. Exhaust the iterator before the next call."""
        match event:
            case Apply(fact):
                ref = fact.ref
                if ref.kind in self._lists:
                    self._lists[ref.kind].fresh[ref] = fact
                    self._lists[ref.kind].same.discard(id(self._held[ref.kind].find(ref)))
                yield from self._put(ref, fact)
            case InitApply(fact):
                self.take(fact)
            case Init(kind):
                self._lists[kind] = _Listing(kind)
            case InitKeep(ref):
                kept = self._held[ref.kind].find(ref)
                if kept is not None:
                    self._list_of(ref.kind).same.add(id(kept))
            case InitDone(kind):
                yield from self.compare(kind)
                self.swap(kind)
            case Delete(ref):
                if ref.kind in self._lists:
                    self._lists[ref.kind].fresh.pop(ref, None)
                    self._lists[ref.kind].same.discard(id(self._held[ref.kind].find(ref)))
                yield from self._put(ref, None)

    def take(self, fact: Fact) -> None:
        """``apply`` of an InitApply, which changes nothing yet."""
        ref = fact.ref
        held = self._held[ref.kind].find(ref)
        listing = self._list_of(ref.kind)
        if held is not None and _alike(held, fact):
            listing.same.add(id(held))
            listing.fresh.pop(ref, None)
        else:
            listing.fresh[ref] = fact

    def compare(self, kind: Kind) -> list[Difference]:
        """What ``swap`` would change."""
        held, listing = self._held[kind], self._list_of(kind)
        if listing.brings_nothing(held):
            return []
        fresh, same = listing.fresh, listing.same
        differences = [
            Difference(old, new)
            for old in held.facts()
            if (fresh or id(old) not in same)
            and (new := fresh.find(old.ref) or (old if id(old) in same else None)) is not old
            and old != new
        ]
        differences += [Difference(None, new) for new in fresh.facts() if not held or new.ref not in held]
        return differences

    def swap(self, kind: Kind) -> None:
        """The list in progress is complete: what it lacks goes, what it has anew comes."""
        held, listing = self._held[kind], self._list_of(kind)
        if not listing.brings_nothing(held):
            for old in [old for old in held.facts() if not listing.has(old)]:
                del held[old.ref]
            if held:
                held.update(listing.fresh)
            else:
                self._held[kind] = listing.fresh
        del self._lists[kind]
        self._listed.add(kind)

    def restore(self, facts: Iterable[Fact]) -> Iterator[Difference]:
        """Hold ``facts``, of an earlier run or of another replica, without taking any kind for listed.

        What was listed already is newer, and stays as it is.
        """
        for fact in facts:
            if fact.ref.kind in self._listed:
                continue
            self._held[fact.ref.kind][fact.ref] = fact
            yield Difference(None, fact)

    def _list_of(self, kind: Kind) -> _Listing:
        try:
            return self._lists[kind]
        except KeyError:
            raise ValueError(f"no list of {kind} is in progress: Init comes before InitApply and InitDone") from None

    def _put(self, ref: ObjectRef, new: Fact | None) -> Iterator[Difference]:
        held = self._held[ref.kind]
        old = held.pop(ref, None) if new is None else held.find(ref)
        if new is not None:
            held[ref] = new
        if old != new:
            yield Difference(old, new)


def _alike(held: Fact, listed: Fact) -> bool:
    return held.resource_version == listed.resource_version and held == listed
