"""What a source says while another is still in charge of its cluster: kept, and said when it takes over. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from registry.model.conditions import Condition, ConditionType
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact
from registry.model.names import ClusterId, Kind, ObjectRef
from registry.model.status import Sink, SourceStatus


@dataclass(slots=True)
class _Kind:
    """One kind: its objects, those that are there but could not be read, and the list in progress."""

    facts: dict[ObjectRef, Fact] = field(default_factory=dict)
    kept: set[ObjectRef] = field(default_factory=set)
    listed: InitDone | None = None
    coming: _Kind | None = None


class Standby:
    """As much as the cluster holds, however long it stands by: the state, not what was said on the way to it."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, _Kind] = {}

    def apply(self, event: SourceEvent) -> None:
        """Take in one event. A change of what is not there is as harmless as to an index."""
        match event:
            case Init(kind):
                self._of(kind).coming = _Kind()
            case InitApply(fact):
                coming = self._of(fact.ref.kind).coming
                if coming is not None:
                    coming.facts[fact.ref] = fact
            case InitKeep(ref):
                coming = self._of(ref.kind).coming
                if coming is not None:
                    coming.kept.add(ref)
            case InitDone(kind):
                self._swap(kind, event)
            case Apply(fact):
                for each in self._both(fact.ref.kind):
                    each.kept.discard(fact.ref)
                    each.facts[fact.ref] = fact
            case Delete(ref):
                for each in self._both(ref.kind):
                    each.kept.discard(ref)
                    each.facts.pop(ref, None)

    def replay(self) -> Iterator[SourceEvent]:
        """All of it as one list of each kind that was listed, and what is to follow of a list that is under way.

        The ends of those lists come last, one after another. Other events may be applied between two of these, if the
        listener hears the changes among them as well; but not after an InitDone. Lists that are completed meanwhile are
        told too; so when it ends, and only then, the listener has heard all there is.
        """
        told: dict[Kind, _Kind] = {}
        coming: dict[Kind, _Coming] = {}
        while True:
            ends: dict[Kind, None] = {}
            while new := self._untold(told):
                for kind in new:
                    held = told[kind] = self._kinds[kind]
                    ends[kind] = None
                    yield Init(kind)
                    yield from _list(held)
            for kind in ends:
                done = told[kind].listed
                if done is not None:
                    yield replace(done, retold=True)
            news = False
            for event in self._under_way(coming):
                news = True
                yield event
            if not news and not self._untold(told):
                return

    def _untold(self, told: Mapping[Kind, _Kind]) -> list[Kind]:
        """The kinds of which a list was completed that was not told."""
        return [
            kind for kind, held in sorted(self._kinds.items()) if held.listed is not None and told.get(kind) is not held
        ]

    def _under_way(self, told: dict[Kind, _Coming]) -> Iterator[SourceEvent]:
        """What is not ``told`` yet of the lists that are under way."""
        for kind, held in sorted(self._kinds.items()):
            if held.coming is None:
                continue
            known = told.get(kind)
            if known is None or known.of is not held.coming:
                known = told[kind] = _Coming(held.coming)
                yield Init(kind)
            for ref, fact in tuple(known.of.facts.items()):
                if known.facts.get(ref) is not fact:
                    known.facts[ref] = fact
                    yield InitApply(fact)
            for ref in sorted(known.of.kept - known.kept):
                known.kept.add(ref)
                yield InitKeep(ref)

    def forget(self) -> Iterator[None]:
        """Let go of everything, a little at each step: to free it all takes a tenth of the time it took to tell it."""
        for held in self._kinds.values():
            while held.facts:
                held.facts.popitem()
                yield

    def held(self, kind: Kind) -> Mapping[ObjectRef, Fact]:
        """The objects of the kind, as of its last list and what came since."""
        return self._of(kind).facts

    def _of(self, kind: Kind) -> _Kind:
        return self._kinds.setdefault(kind, _Kind())

    def _both(self, kind: Kind) -> Iterator[_Kind]:
        """What is held, and the list under way: a change told during a list counts for both."""
        held = self._of(kind)
        yield held
        if held.coming is not None:
            yield held.coming

    def _swap(self, kind: Kind, done: InitDone) -> None:
        """The list is complete. What it has and could not be read keeps the content that was read of it before."""
        held = self._of(kind)
        coming = held.coming
        if coming is None:
            return
        for ref in coming.kept & held.facts.keys():
            coming.facts[ref] = held.facts[ref]
            coming.kept.discard(ref)
        coming.listed = done
        self._kinds[kind] = coming


@dataclass(slots=True)
class _Coming:
    """A list under way, and what of it was told."""

    of: _Kind
    facts: dict[ObjectRef, Fact] = field(default_factory=dict)
    kept: set[ObjectRef] = field(default_factory=set)


def _list(held: _Kind) -> Iterator[SourceEvent]:
    """What is there when its turn comes: changes are told to the listener besides."""
    for ref in tuple(held.facts):
        fact = held.facts.get(ref)
        if fact is not None:
            yield InitApply(fact)
    for ref in sorted(held.kept):
        if ref in held.kept:
            yield InitKeep(ref)


def _nobody(_status: SourceStatus) -> None:
    """Hears what is said through a relay that is closed."""


class Relay:
    """The sink of one source: it stands by until it is put in charge, and is deaf once it is closed.

    ``heard`` is told each status before it is handed on, and may put the relay in charge or close it.
    """

    def __init__(self, cluster: ClusterId, heard: Callable[[SourceStatus], None]) -> None:
        self._cluster = cluster
        self._heard = heard
        self._standby: Standby | None = Standby()
        self._conditions: dict[ConditionType, Condition] = {}
        self._sink: Sink | None = None

    @property
    def in_charge(self) -> bool:
        """All that was said is heard."""
        return self._sink is not None and self._standby is None

    def held(self, kind: Kind) -> Mapping[ObjectRef, Fact]:
        """What was said of the kind while nobody heard it."""
        return self._standby.held(kind) if self._standby is not None else {}

    def take_over(self, sink: Sink) -> Iterator[bool]:
        """From now on this is what ``sink`` hears of the cluster, beginning with all that was said so far.

        To be exhausted; each step tells one thing, and gives whether there may be a pause after it. What is said in a
        pause is heard at once if it is a change; of lists it is heard in its turn.
        """
        self._sink = sink
        for condition in self._conditions.values():
            sink.condition(self._cluster, condition)
        return self._tell()

    def _tell(self) -> Iterator[bool]:
        standby = self._standby
        if standby is None:
            return
        for event in standby.replay():
            if self._sink is None:
                break
            self._sink.event(self._cluster, event)
            yield not isinstance(event, InitDone)
        self._standby = None
        for _ in standby.forget():
            yield True

    def close(self) -> None:
        """What is said from now on is said to nobody."""
        self._sink = self._standby = None
        self._heard = _nobody

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        if self._standby is not None:
            self._standby.apply(event)
            if not isinstance(event, Apply | Delete):
                return
        if self._sink is not None:
            self._sink.event(cluster, event)

    def status(self, cluster: ClusterId, status: SourceStatus) -> None:
        if self._sink is None and self._standby is None:
            return
        self._heard(status)
        if self._sink is not None:
            self._sink.status(cluster, status)

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        if self._sink is not None:
            self._sink.condition(cluster, condition)
        elif self._standby is not None:
            self._conditions[condition.type] = condition
