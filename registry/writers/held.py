"""Our ServiceEntries in one cluster, as the API server has them, by the service that each is of. No IO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from registry.model.names import ServiceKey
from registry.sources.kubernetes.versions import older
from registry.views.service_entry import entry_service
from registry.writers.contests import Place
from registry.writers.kept import Kept, kept
from registry.writers.plan import HeldEntry, key_of
from registry.writers.unknown import Unknown

NO_ENTRIES: Mapping[str, HeldEntry] = {}


class HeldEntries:
    """Entries by place and by service; and, while members are unknown, what our entries had of them.

    That is remembered apart, so that who edits or deletes an entry meanwhile loses nothing of those members.
    """

    def __init__(self) -> None:
        self._entries: dict[Place, HeldEntry] = {}
        self.ours = 0
        """How many there are, without those that only have our label."""
        self._of: dict[ServiceKey, dict[str, HeldEntry]] = {}
        self._remembered: dict[ServiceKey, dict[str, HeldEntry]] = {}

    def keys(self) -> list[ServiceKey]:
        """The services that have any, or had while something of it may stay."""
        return sorted(self._of.keys() | self._remembered.keys())

    def get(self, place: Place) -> HeldEntry | None:
        return self._entries.get(place)

    def of(self, key: ServiceKey) -> Mapping[str, HeldEntry]:
        """Name -> entry, of one service."""
        return dict(self._of.get(key, NO_ENTRIES))

    def listed(self, entries: Iterable[HeldEntry]) -> None:
        """These are all there are."""
        self._entries.clear()
        self.ours = 0
        self._of.clear()
        for entry in entries:
            self.put(entry)

    def put(self, entry: HeldEntry) -> None:
        """The API server has the entry so."""
        place = Place(entry.namespace, entry.name)
        self.drop(place)
        self._entries[place] = entry
        self.ours += entry.ours
        self._of.setdefault(key_of(entry), {})[entry.name] = entry

    def drop(self, place: Place) -> None:
        """The API server has it no more."""
        entry = self._entries.pop(place, None)
        if entry is not None:
            self.ours -= entry.ours
            held = self._of[key_of(entry)]
            del held[place.name]
            if not held:
                del self._of[key_of(entry)]

    def forget(self, key: ServiceKey) -> None:
        """Its namespace is not there."""
        for name in list(self._of.get(key, NO_ENTRIES)):
            self.drop(Place(key.namespace, name))

    def is_news(self, entry: HeldEntry) -> bool:
        """Whether the entry, of a watch, is another than is held, and not an older state of it."""
        held = self._entries.get(Place(entry.namespace, entry.name))
        if held is None:
            return True
        return held.version != entry.version and not older(entry.version, held.version)

    def remembered(self, key: ServiceKey, unknown: Unknown) -> Sequence[HeldEntry]:
        """A service's entries as the registry wrote them last, while something of them may stay; ordered by name.

        Where somebody else edits or deletes one, it is as it was before, or else as it was found.
        """
        if not unknown.keeps:
            self._remembered.pop(key, None)
            return ()
        held = {name: entry for name, entry in self._of.get(key, NO_ENTRIES).items() if entry.ours}
        if not held and key not in self._remembered:
            return ()
        found = self._remembered.setdefault(key, {})
        for name, entry in held.items():
            if entry.as_written or name not in found:
                found[name] = entry
        return [entry for _, entry in sorted(found.items())]

    def kept(self, key: ServiceKey, unknown: Unknown) -> Iterator[Kept]:
        """What the entries of a service have of members that are unknown.

        In an entry that somebody else edited, an endpoint that is not attributed may be theirs: it is left out.
        """
        for entry in self.remembered(key, unknown):
            yield kept(entry.spec, partial(_stays, unknown, anybodys=entry.as_written))

    def let_go(self, place: Place) -> None:
        """We deleted the entry: what it had is not wanted, or is in another."""
        key = ServiceKey(place.namespace, entry_service(place.name))
        found = self._remembered.get(key, {})
        found.pop(place.name, None)
        if not found:
            self._remembered.pop(key, None)


def _stays(unknown: Unknown, label: str, *, anybodys: bool) -> bool:
    return (bool(label) or anybodys) and unknown.stays(label)
