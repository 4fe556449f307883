"""What one client wants of one type: the subscription rules of both protocol variants.

The rules are those of the xDS protocol (envoyproxy docs api-docs/xds_protocol), sections "How the client specifies what
resources to return", "Unsubscribing From Resources" (SotW), "Subscribing to Resources" and "Unsubscribing from
Resources" (Incremental xDS).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from sys import intern

from registry.xds.types import WILDCARD, ResourceType


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

    @property
    def ends_without_names(self) -> bool:
        """SotW: whether a request without names unsubscribes from everything, and is not the legacy wildcard."""
        return self._explicit or not self._whole

    def replace(self, names: Iterable[str]) -> SubscriptionChange:
        """SotW: every request names all the client wants; what it leaves out is unsubscribed.

        A request without names means the wildcard as long as no request of the stream named anything (the legacy
        wildcard); after that it means nothing at all.
        """
        wanted = dict.fromkeys(map(intern, names))
        self._explicit |= bool(wanted)
        wildcard = self._whole and (WILDCARD in wanted or not self._explicit)
        if self._whole:
            wanted.pop(WILDCARD, None)
        added = tuple(name for name in wanted if name not in self.names)
        dropped = tuple(name for name in self.names if name not in wanted)
        before, self.wildcard = self.wildcard, wildcard
        self.names = wanted
        return SubscriptionChange(
            asked=added,
            added=added,
            dropped=dropped,
            wildcard_asked=wildcard and not before,
            wildcard_stopped=before and not wildcard,
        )

    def adjust(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> SubscriptionChange:
        """Delta: each request names what is new and what is no longer wanted.

        Subscribing again to a name asks for it again, since the client may have forgotten it. A name in both lists
        ends up subscribed. A request without any name means the wildcard as long as none before had one.
        """
        asked = dict.fromkeys(map(intern, subscribe))
        unwanted = {name: None for name in unsubscribe if name not in asked}
        self._explicit |= bool(asked or unwanted)
        before, again = self.wildcard, False
        if self._whole:
            again = WILDCARD in asked
            stop = WILDCARD in unwanted
            self.wildcard = again or not self._explicit or (before and not stop)
            asked.pop(WILDCARD, None)
            unwanted.pop(WILDCARD, None)
        added = tuple(name for name in asked if name not in self.names)
        dropped = tuple(name for name in unwanted if name in self.names)
        for name in dropped:
            del self.names[name]
        self.names.update(asked)
        return SubscriptionChange(
            asked=tuple(asked),
            added=added,
            dropped=dropped,
            wildcard_asked=self.wildcard and (again or not before),
            wildcard_stopped=before and not self.wildcard,
        )
