"""What one client wants of one type: the subscription rules of both protocol variants.

The rules are those of the xDS protocol (envoyproxy docs api-docs/xds_protocol), sections "How the client specifies what
resources to return", "Unsubscribing From Resources" (SotW), "Subscribing to Resources" and "Unsubscribing from
Resources" (Incremental xDS).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from registry.xds.types import WILDCARD, ResourceType

NAMES_AT_ONCE: Final = 1_000
"""A request of more names is taken in by steps of so many."""


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """What a request did to a subscription.

    ``asked`` are the names the server has to answer for; ``added`` are those of them that were not subscribed to
    before; ``dropped`` are no longer. ``wildcard_asked`` likewise: the wildcard is new, or was asked for again. Names
    are in the order of the request, each once.
    """

    asked: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    wildcard_asked: bool = False
    wildcard_stopped: bool = False


class Subscription:
    """The names and the wildcard one client subscribes to, of one type, on one stream.

    Only LDS and CDS have a wildcard; for other types ``*`` is a name like any other.
    """

    def __init__(self, kind: ResourceType) -> None:
        self._whole = kind.whole
        self._explicit = False
        self.wildcard = False
        self.names: dict[str, None] = {}
        self.characters = 0
        """Of all names together."""

    @property
    def ends_without_names(self) -> bool:
        """SotW: whether a request without names unsubscribes from everything, and is not the legacy wildcard."""
        return self._explicit or not self._whole

    def unchanged(self, names: Sequence[str]) -> bool:
        """SotW: whether a request names just what is subscribed to, in the same order, as an ACK does."""
        if self._whole or len(names) != len(self.names):
            return False
        return all(map(str.__eq__, names, self.names))

    def replace(self, names: Iterable[str]) -> SubscriptionChange:
        """SotW: every request names all the client wants; what it leaves out is unsubscribed.

        A request without names means the wildcard as long as no request of the stream named anything (the legacy
        wildcard); after that it means nothing at all.
        """
        return result(self.replacing(names, _itself))

    def replacing(self, names: Iterable[str], canonical: Callable[[str], str]) -> Steps:
        """The same in steps. ``canonical`` gives the object that is kept of a name."""
        before = self.names
        wanted: dict[str, None] = {}
        for number, part in enumerate(_parts(names)):
            if number:
                yield None
            wanted.update(dict.fromkeys(map(canonical, part)))
        self._explicit |= bool(wanted)
        wildcard = self._whole and (WILDCARD in wanted or not self._explicit)
        if self._whole:
            wanted.pop(WILDCARD, None)
        added = yield from _chosen(wanted, before, among=False)
        dropped: list[str] = []
        if len(before) + len(added) != len(wanted):
            dropped = yield from _chosen(before, wanted, among=False)
        had, self.wildcard = self.wildcard, wildcard
        more, less = (yield from _characters(added)), (yield from _characters(dropped))
        self.names = wanted
        self.characters += more - less
        asked = tuple(added)
        return SubscriptionChange(
            asked=asked,
            added=asked,
            dropped=tuple(dropped),
            wildcard_asked=wildcard and not had,
            wildcard_stopped=had and not wildcard,
        )

    def adjust(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> SubscriptionChange:
        """Delta: each request names what is new and what is no longer wanted.

        Subscribing again to a name asks for it again, since the client may have forgotten it. A name in both lists
        ends up subscribed. A request without any name means the wildcard as long as none before had one.
        """
        return result(self.adjusting(subscribe, unsubscribe, _itself))

    def adjusting(self, subscribe: Iterable[str], unsubscribe: Iterable[str], canonical: Callable[[str], str]) -> Steps:
        """The same in steps. ``canonical`` gives the object that is kept of a name."""
        asked: dict[str, None] = {}
        for number, part in enumerate(_parts(subscribe)):
            if number:
                yield None
            asked.update(dict.fromkeys(map(canonical, part)))
        unwanted = dict.fromkeys((yield from _chosen(unsubscribe, asked, among=False)))
        self._explicit |= bool(asked or unwanted)
        before, again = self.wildcard, False
        if self._whole:
            again = WILDCARD in asked
            stop = WILDCARD in unwanted
            self.wildcard = again or not self._explicit or (before and not stop)
            asked.pop(WILDCARD, None)
            unwanted.pop(WILDCARD, None)
        added = yield from _chosen(asked, self.names, among=False)
        dropped = yield from _chosen(unwanted, self.names, among=True)
        for number, part in enumerate(_parts(dropped)):
            if number:
                yield None
            for name in part:
                del self.names[name]
                self.characters -= len(name)
        for number, part in enumerate(_parts(added)):
            if number:
                yield None
            for name in part:
                self.names[name] = None
                self.characters += len(name)
        return SubscriptionChange(
            asked=tuple(asked),
            added=tuple(added),
            dropped=tuple(dropped),
            wildcard_asked=self.wildcard and (again or not before),
            wildcard_stopped=before and not self.wildcard,
        )


Steps = Generator[None, None, SubscriptionChange]


def result(steps: Steps) -> SubscriptionChange:
    """What comes of it, now."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            change = end.value
            assert isinstance(change, SubscriptionChange)
            return change


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    """The names, so many at a time."""
    left = iter(names)
    while part := list(islice(left, NAMES_AT_ONCE)):
        yield part


def _chosen(names: Iterable[str], held: Collection[str], *, among: bool) -> Generator[None, None, list[str]]:
    """Those of the names that are ``among`` the held ones, or that are not; in steps."""
    found: list[str] = []
    for number, part in enumerate(_parts(names)):
        if number:
            yield None
        found += [name for name in part if (name in held) is among]
    return found


def _characters(names: Iterable[str]) -> Generator[None, None, int]:
    """Of all of them together; in steps."""
    found = 0
    for number, part in enumerate(_parts(names)):
        if number:
            yield None
        found += sum(map(len, part))
    return found


def _itself(name: str) -> str:
    return name
