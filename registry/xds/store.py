"""The store of named resources, and who is to be told when one of them changes.

The store can be driven by any program: ``set`` and ``remove`` for single resources, ``apply`` for a batch that clients
see as one change. Sessions register what they are subscribed to, so a change reaches exactly those that asked for it.
A program with very many names that hardly anybody asks for need not store them: see ``on_demand``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from registry.xds.resources import Entry, Resource, ResourceChange, SharedResponses

Finder = Callable[[str, Hashable, str], Resource | None]
"""From type URL, group and name to a resource that is not stored; None: there is none of that name."""

Forgetter = Callable[[Hashable, str], None]


EMPTIED = 1_000
"""A dict from which very many names went keeps its size: it is copied after so many, when they were most of it."""

FOUND = 10
"""So much work is it to find a resource."""


class Watcher(Protocol):
    """One subscription to a partition of the store. Both calls return at once and change no resource."""

    def changed(self, name: str, entry: Entry | None) -> None:
        """A resource it subscribes to was added, changed, or removed (None). The store has the whole batch already."""

    def wake(self) -> None:
        """The batch is complete."""


class Doubtful(Protocol):
    """A subscription whose client brought resources from an earlier stream that the store lacks or has otherwise."""

    @property
    def doubts(self) -> bool:
        """Whether anything is still held back."""

    def settling(self) -> Iterator[None]:
        """The store learnt more (see ``Coverage``): send what can be sent now, in short steps."""

    def wake(self) -> None: ...


def _nobody(_group: Hashable) -> None:
    """Where nobody asks who left."""


Work = Callable[[Iterator[None]], None]
"""Does what an iterator does, at once or a few steps at a time."""


def at_once(steps: Iterator[None]) -> None:
    """All of it now."""
    for _ in steps:
        pass


class Coverage:
    """How much of what there is the store has. ``doubtful`` are those who will ``settle`` when that is more.

    Not ``complete``: a resource that the store lacks may exist. ``partial``: a resource that it has may lack a part.
    """

    __slots__ = ("complete", "doubtful", "partial")

    def __init__(self, complete: bool, partial: bool) -> None:
        self.complete = complete
        self.partial = partial
        self.doubtful: dict[Doubtful, None] = {}


class Demand:
    """What is common to all groups of a type whose ``on_demand`` resources are found when somebody wants them.

    ``viewers`` has, for each name that is subscribed to, the groups in which somebody does so. Mostly that is one, and
    all its names share one set (``alone``): a name that somebody makes up should take little.
    """

    __slots__ = ("_gone", "find", "forget", "viewers")

    def __init__(self, find: Finder, forget: Forgetter | None) -> None:
        self.find = find
        self.forget = forget
        self.viewers: dict[str, frozenset[Hashable]] = {}
        self._gone = 0

    def looks(self, name: str, alone: frozenset[Hashable]) -> None:
        """The first one of the group that is in ``alone`` subscribes to the name."""
        groups = self.viewers.get(name)
        self.viewers[name] = alone if groups is None else groups | alone

    def leaves(self, name: str, group: Hashable, alone: frozenset[Hashable]) -> None:
        """The last one did."""
        groups = self.viewers[name] - alone
        if groups:
            self.viewers[name] = groups
        else:
            del self.viewers[name]
            self._gone += 1
            if self._gone > EMPTIED and self._gone > 4 * len(self.viewers):
                self._gone = 0
                self.viewers = dict(self.viewers)
        if self.forget is not None:
            self.forget(group, name)


class Partition:
    """The resources of one type in one group, and their watchers. ``users`` are those who entered it."""

    def __init__(
        self,
        type_url: str,
        responses: SharedResponses,
        group: Hashable = "",
        demand: Demand | None = None,
        coverage: Coverage | None = None,
    ) -> None:
        self.responses = responses
        self.coverage = coverage or Coverage(complete=True, partial=False)
        self.group = group
        self.demand = demand
        self.users = 0
        self.work = 0
        """What it has cost to find and encode resources, in units of some 25 microseconds: see ``Entry.prepare``."""
        self._gone = 0
        self._alone = frozenset((group,))
        self._type_url = type_url
        self._entries: dict[str, Entry] = {}
        self._listing: tuple[Entry, ...] | None = None
        self._everything: set[Watcher] = set()
        self._by_name: dict[str, Watcher | set[Watcher]] = {}
        """Mostly one watches a name, who needs no set."""

    def get(self, name: str) -> Entry | None:
        """The resource of that name, stored or found."""
        entry = self._entries.get(name)
        if entry is None and self.demand is not None:
            resource = self.demand.find(self._type_url, self.group, name)
            if resource is not None:
                self.work += FOUND
                kept = name in self._by_name
                entry = resource.entry(self._type_url, name, kept=kept)
                if kept:
                    self._entries[name] = entry
        return entry

    def prepare(self, name: str) -> None:
        """Do now what makes the resource expensive to send first, and count it as ``work``."""
        entry = self.get(name)
        if entry is not None:
            self.work += entry.prepare()

    def canonical(self, name: str) -> str:
        """The same name, as the one object that is kept of it where there is such a resource."""
        entry = self._entries.get(name)
        return name if entry is None else entry.name

    @property
    def is_empty(self) -> bool:
        """It holds no resource."""
        return not self._entries

    def listing(self) -> tuple[Entry, ...]:
        """What a wildcard subscription includes, ordered by name."""
        if self._listing is None:
            listed = (entry for entry in self._entries.values() if entry.listed)
            self._listing = tuple(sorted(listed, key=lambda entry: entry.name))
        return self._listing

    def watch(self, name: str, watcher: Watcher) -> None:
        """Tell ``watcher`` of this name, whether or not it exists."""
        watchers = self._by_name.get(name)
        if watchers is None:
            self._by_name[name] = watcher
            if self.demand is not None:
                self.demand.looks(name, self._alone)
        elif isinstance(watchers, set):
            watchers.add(watcher)
        elif watchers is not watcher:
            self._by_name[name] = {watchers, watcher}

    def unwatch(self, name: str, watcher: Watcher) -> None:
        """The contrary, where it watches the name."""
        watchers = self._by_name.get(name)
        if isinstance(watchers, set):
            watchers.discard(watcher)
            if watchers:
                return
        elif watchers is not watcher:
            return
        del self._by_name[name]
        self._gone += 1
        if self._gone > EMPTIED and self._gone > 4 * len(self._by_name):
            self._gone = 0
            self._by_name = dict(self._by_name)
        if self.demand is not None:
            self.demand.leaves(name, self.group, self._alone)
            entry = self._entries.get(name)
            if entry is not None and not entry.listed:
                del self._entries[name]
                entry.resource.leave(entry)

    def watch_everything(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of every listed resource."""
        self._everything.add(watcher)

    def unwatch_everything(self, watcher: Watcher) -> None:
        self._everything.discard(watcher)

    def put(self, name: str, resource: Resource | None) -> _Change | None:
        """Store or remove a resource; None when nobody has to be told.

        A resource nobody subscribes to is not encoded, so it is not compared with the one before either.
        """
        old = self._entries.get(name)
        new = None if resource is None else resource.entry(self._type_url, name)
        listed = (old is not None and old.listed) or (new is not None and new.listed)
        watched = name in self._by_name or (listed and bool(self._everything))
        if watched and old is not None and new is not None and _same(old, new):
            if new is not old:
                new.resource.leave(new)
            return None
        if new is not None:
            self._entries[name] = new
        elif old is not None:
            del self._entries[name]
        else:
            return None
        if old is not None and old is not new:
            old.resource.leave(old)
        if listed:
            self._listing = None
        return _Change(self, name, listed) if watched else None

    def watchers(self, name: str, listed: bool) -> AbstractSet[Watcher]:
        """Who subscribes to ``name``, each once; ``listed``: by wildcard too."""
        found = self._by_name.get(name)
        if found is None:
            return self._everything if listed else set()
        named = found if isinstance(found, set) else {found}
        return named | self._everything if listed and self._everything else named


@dataclass(frozen=True, slots=True)
class _Change:
    partition: Partition
    name: str
    listed: bool


def _same(old: Entry, new: Entry) -> bool:
    return old.listed == new.listed and old.version == new.version


class ResourceStore:
    """Named resources by type and group. A group is any value that clients who are shown the same have in common.

    A store that is not ``complete`` may lack resources that exist: what a client brings along from an earlier stream
    and the store does not know stays with the client. In a store that is ``partial`` a resource may lack a part too: so
    a client keeps each resource that it brings along in another version. ``cover`` ends both.
    """

    def __init__(
        self,
        complete: bool = True,
        partial: bool = False,
        work: Work = at_once,
        left: Callable[[Hashable], None] = _nobody,
    ) -> None:
        """What concerns very many clients is done by ``work``. ``left`` is told a group when nobody is in it any more,
        of one type, and it holds nothing."""
        self._coverage = Coverage(complete, partial)
        self._left = left
        self._work = work
        self._partitions: dict[tuple[str, Hashable], Partition] = {}
        self._responses: dict[str, SharedResponses] = {}
        self._demands: dict[str, Demand] = {}

    def on_demand(self, type_url: str, find: Finder, forget: Forgetter | None = None) -> None:
        """Ask ``find`` for names of this type that are not stored, when somebody wants them.

        What it finds must be ``on_demand`` resources, and is kept while it is subscribed to. When such a resource
        changes, comes or goes for one of its ``viewers``, ``apply`` has to be told; else it need not be. ``forget`` is
        called when nobody in a group subscribes to a name any more. To be said before anybody subscribes.
        """
        self._demands[type_url] = Demand(find, forget)

    def viewers(self, type_url: str, name: str) -> Collection[Hashable]:
        """The groups in which somebody subscribes to the resource by its name, of a type that is found on demand."""
        return self._demands[type_url].viewers.get(name, frozenset[Hashable]())

    def viewed(self, type_url: str) -> bool:
        """Whether there are viewers of any resource of such a type."""
        return bool(self._demands[type_url].viewers)

    def enter(self, type_url: str, group: Hashable) -> Partition:
        """The partition, for somebody who will ``leave`` it."""
        partition = self.partition(type_url, group)
        partition.users += 1
        return partition

    def leave(self, type_url: str, partition: Partition) -> None:
        """One who entered is gone. What nobody looks at and holds nothing is dropped with the last one."""
        partition.users -= 1
        if not partition.users and partition.is_empty:
            self._partitions.pop((type_url, partition.group), None)
            self._left(partition.group)

    def groups(self, type_url: str) -> list[Hashable]:
        """Those of which there is a partition."""
        return [group for of, group in self._partitions if of == type_url]

    def in_use(self, type_url: str, group: Hashable) -> bool:
        """Whether anybody is in the group."""
        partition = self._partitions.get((type_url, group))
        return partition is not None and bool(partition.users)

    def apply(self, changes: Iterable[ResourceChange]) -> None:
        """Make all ``changes``, then tell those who subscribe to what is different now.

        No watcher sees a part of the batch; those who are told the same are woken one after another. Where two changes
        name the same resource the last one counts. Removing what is not there is no error.
        """
        done = [self.partition(each.type_url, each.group).put(each.name, each.resource) for each in changes]
        told: list[AbstractSet[Watcher]] = []
        for change in done:
            if change is None:
                continue
            watchers = change.partition.watchers(change.name, change.listed)
            entry = change.partition.get(change.name)
            for watcher in watchers:
                watcher.changed(change.name, entry)
            told.append(watchers)
        # Mostly there is one change, and its watchers, who are a set, need not be made one again.
        for watcher in told[0] if len(told) == 1 else dict.fromkeys(chain.from_iterable(told)):
            watcher.wake()

    @property
    def complete(self) -> bool:
        """What the store does not have does not exist."""
        return self._coverage.complete

    @property
    def partial(self) -> bool:
        """What the store has may lack a part."""
        return self._coverage.partial

    def completed(self) -> None:
        """From now on what the store does not have does not exist."""
        self.cover(complete=True, partial=False)

    def cover(self, *, complete: bool, partial: bool) -> None:
        """Say how much the store has now. Where that is more, clients receive what was held back for it."""
        coverage = self._coverage
        more = (complete and not coverage.complete) or (coverage.partial and not partial)
        coverage.complete, coverage.partial = complete, partial
        if not more:
            return
        self._work(self._settling())

    def _settling(self) -> Iterator[None]:
        doubtful = self._coverage.doubtful
        for each in tuple(doubtful):
            if each in doubtful:
                yield from each.settling()
                if not each.doubts:
                    doubtful.pop(each, None)
                each.wake()
                yield None

    def set(self, type_url: str, name: str, resource: Resource, group: Hashable = "") -> None:
        """Add or change one resource."""
        self.apply([ResourceChange(type_url, name, resource, group)])

    def remove(self, type_url: str, name: str, group: Hashable = "") -> None:
        """Remove one resource."""
        self.apply([ResourceChange(type_url, name, None, group)])

    def get(self, type_url: str, name: str, group: Hashable = "") -> Resource | None:
        """The resource as the group sees it, stored or found."""
        partition = self._partitions.get((type_url, group)) or self._new(type_url, group)
        entry = partition.get(name)
        return None if entry is None else entry.resource

    def partition(self, type_url: str, group: Hashable = "") -> Partition:
        key = (type_url, group)
        found = self._partitions.get(key)
        if found is None:
            found = self._partitions[key] = self._new(type_url, group)
        return found

    def _new(self, type_url: str, group: Hashable) -> Partition:
        responses = self._responses.get(type_url)
        if responses is None:
            responses = self._responses[type_url] = SharedResponses(type_url)
        return Partition(type_url, responses, group, self._demands.get(type_url), self._coverage)
