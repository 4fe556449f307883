"""What the answers of an API server say of one kind, as events. What is to be done next is ``listwatch``'s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact
from registry.model.names import Kind
from registry.sources.kubernetes.decode import Broken, WatchEvent
from registry.sources.kubernetes.unreadable import Unreadable
from registry.sources.kubernetes.versions import older


class Telling:
    """Lists begin with the first that is read of them, and are told as of an earlier time where the history went back.

    ``version`` is the resourceVersion up to which all was told; ``unreadable`` are the objects that were not.
    """

    def __init__(self, kind: Kind, resource: str) -> None:
        self._kind = kind
        self._begun = False
        self._rewound = False
        self.version = ""
        self.unreadable = Unreadable(kind, resource)

    def begins(self) -> None:
        """The next that is read is the first of a list; one that was in progress is abandoned."""
        self._begun = False

    def went_back(self) -> None:
        """The history went back. The list that is told next is of an earlier time, whatever its version is by then."""
        self._rewound = True

    def abandon(self) -> Iterator[SourceEvent]:
        """The list in progress comes to nothing: what was told of it is forgotten."""
        if self._begun:
            self._begun = False
            yield Init(self._kind)

    def restart(self) -> None:
        """Versions mean something else from now on."""
        self.version = ""
        self._rewound = False

    def objects(self, objects: Iterable[Fact | Broken]) -> Iterator[SourceEvent | None]:
        """The next objects of a list in pages; None for one that took time and says nothing."""
        yield from self._begin()
        for each in objects:
            if not isinstance(each, Broken):
                yield InitApply(each)
                continue
            self.unreadable.note(each.ref, each.reason)
            yield InitKeep(each.ref) if each.ref is not None else None

    def initial(self, event: WatchEvent) -> Iterator[SourceEvent]:
        """An object of a list that streams. What changes while it is sent comes as a change, and counts for it."""
        yield from self._begin()
        if event.ends_list:
            return
        self.unreadable.mended(event.ref)
        if event.fact is not None:
            yield InitApply(event.fact)
        elif event.type == "DELETED" and event.ref is not None:
            yield Delete(event.ref)
        elif event.ref is not None:
            self.unreadable.note(event.ref, event.error)
            yield InitKeep(event.ref)

    def complete(self, version: str) -> InitDone:
        """The list is complete, as of ``version``."""
        done = InitDone(self._kind, self._rewound or older(version, self.version))
        self._rewound = self._begun = False
        self.version = version
        return done

    def none(self) -> tuple[Init, InitDone]:
        """A list of nothing, of no known version: there is no such kind."""
        self.unreadable.clear()
        done = InitDone(self._kind, self._rewound)
        self._rewound = self._begun = False
        return Init(self._kind), done

    def change(self, event: WatchEvent) -> Iterator[SourceEvent]:
        """One event of a watch."""
        if event.resource_version:
            self.version = event.resource_version
        self.unreadable.mended(event.ref)
        if event.fact is not None:
            yield Apply(event.fact)
        elif event.type == "DELETED" and event.ref is not None:
            yield Delete(event.ref)
        elif event.error:
            self.unreadable.note(event.ref, event.error)

    def _begin(self) -> Iterator[SourceEvent]:
        if not self._begun:
            self._begun = True
            self.unreadable.clear()
            yield Init(self._kind)
