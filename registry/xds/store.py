"""The store of named resources, and who is to be told when one of them changes.

The store can be driven by any program: ``set`` and ``remove`` for single resources, ``apply`` for a batch that clients
see as one change. Sessions register what they are subscribed to, so a change reaches exactly those that asked for it.
A program with very many names that hardly anybody asks for need not store them: see ``on_demand``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from registry.xds.resources import Entry, Resource, ResourceChange, SharedResponses

Finder = Callable[[str, str], Resource | None]
"""From type URL and name to a resource that is not stored; None: there is none of that name."""


class Watcher(Protocol):
    """One subscription to a partition of the store. Both calls return at once and change no resource."""

    def changed(self, name: str) -> None:
        """A resource it subscribes to was added, changed or removed. The store holds the whole batch already."""

    def wake(self) -> None:
        """The batch is complete."""


class Partition:
    """The resources of one type in one group, and their watchers."""

    def __init__(self, type_url: str) -> None:
        self.responses = SharedResponses(type_url)
        self.find: Finder | None = None
        self._type_url = type_url
        self._found: set[str] = set()
        """Names that ``find`` knew, kept as long as somebody watches them."""
        self._entries: dict[str, Entry] = {}
        self._listing: tuple[Entry, ...] | None = None
        self._everything: set[Watcher] = set()
        self._by_name: dict[str, set[Watcher]] = {}

    def get(self, name: str) -> Entry | None:
        """The resource of that name, stored or found."""
        entry = self._entries.get(name)
        if entry is None and self.find is not None:
            resource = self.find(self._type_url, name)
            if resource is not None:
                entry = Entry(self._type_url, name, resource)
                if name in self._by_name:
                    self._entries[name] = entry
                    self._found.add(name)
        return entry

    def listing(self) -> tuple[Entry, ...]:
        """What a wildcard subscription includes, ordered by name."""
        if self._listing is None:
            listed = (entry for entry in self._entries.values() if entry.listed)
            self._listing = tuple(sorted(listed, key=lambda entry: entry.name))
        return self._listing

    def watch(self, name: str, watcher: Watcher) -> None:
        """Tell ``watcher`` of this name, whether or not it exists."""
        self._by_name.setdefault(name, set()).add(watcher)

    def unwatch(self, name: str, watcher: Watcher) -> None:
        watchers = self._by_name[name]
        watchers.discard(watcher)
        if not watchers:
            del self._by_name[name]
            if name in self._found:
                self._found.remove(name)
                self._entries.pop(name, None)

    def watched(self, name: str) -> bool:
        """Whether somebody subscribes to it by its name."""
        return name in self._by_name

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
        new = None if resource is None else Entry(self._type_url, name, resource)
        listed = (old is not None and old.listed) or (new is not None and new.listed)
        watched = name in self._by_name or (listed and bool(self._everything))
        if watched and old is not None and new is not None and _same(old, new):
            return None
        if new is not None:
            self._entries[name] = new
        elif old is not None:
            del self._entries[name]
        else:
            return None
        if listed:
            self._listing = None
        return _Change(self, name, listed) if watched else None

    def watchers(self, name: str, listed: bool) -> Iterable[Watcher]:
        """Who subscribes to ``name``, each once; ``listed``: by wildcard too."""
        named = self._by_name.get(name, frozenset[Watcher]())
        return named | self._everything if listed and self._everything else named


@dataclass(frozen=True, slots=True)
class _Change:
    partition: Partition
    name: str
    listed: bool


def _same(old: Entry, new: Entry) -> bool:
    return old.listed == new.listed and old.version == new.version


class ResourceStore:
    """Named resources by type and group."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, str], Partition] = {}

    def partition(self, type_url: str, group: str = "") -> Partition:
        key = (type_url, group)
        found = self._partitions.get(key)
        if found is None:
            found = self._partitions[key] = Partition(type_url)
        return found

    def on_demand(self, type_url: str, find: Finder, group: str = "") -> None:
        """Ask ``find`` for names of this type that are not stored, when somebody wants them.

        What it finds must be ``on_demand`` resources, and is kept while it is subscribed to. When such a resource
        changes, comes or goes while it is ``watched``, ``apply`` has to be told; else it need not be.
        """
        self.partition(type_url, group).find = find

    def watched(self, type_url: str, name: str, group: str = "") -> bool:
        """Whether somebody subscribes to the resource by its name."""
        return self.partition(type_url, group).watched(name)

    def apply(self, changes: Iterable[ResourceChange]) -> None:
        """Make all ``changes``, then tell those who subscribe to what is different now.

        No watcher sees a part of the batch. Where two changes name the same resource the last one counts. Removing
        what is not there is no error.
        """
        done = [self.partition(each.type_url, each.group).put(each.name, each.resource) for each in changes]
        touched: set[Watcher] = set()
        for change in done:
            if change is None:
                continue
            for watcher in change.partition.watchers(change.name, change.listed):
                watcher.changed(change.name)
                touched.add(watcher)
        for watcher in touched:
            watcher.wake()

    def set(self, type_url: str, name: str, resource: Resource, group: str = "") -> None:
        """Add or change one resource."""
        self.apply([ResourceChange(type_url, name, resource, group)])

    def remove(self, type_url: str, name: str, group: str = "") -> None:
        """Remove one resource."""
        self.apply([ResourceChange(type_url, name, None, group)])

    def get(self, type_url: str, name: str, group: str = "") -> Resource | None:
        entry = self.partition(type_url, group).get(name)
        return None if entry is None else entry.resource
