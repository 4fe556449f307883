"""State of the World: every request names all the client wants.

A client that comes from another server, or from this one before a restart, says in its first request which version it
has, not of what. The version is a hash of all it was sent (``SentState``), so it tells whether that is just what the
store has. Where it is not, and resources of the store may lack a part (``Coverage.partial``), the client keeps what it
has: nothing is sent of what its first request names, and no list that would be too short.

The rules are those of the xDS protocol (envoyproxy docs api-docs/xds_protocol): "ACK/NACK and resource type instance
version", "Resource updates" (nonces), "Grouping Resources into Responses" and "Deleting Resources".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from envoy.service.discovery.v3 import discovery_pb2

from registry.xds.channel import NOTHING, WORK_AT_ONCE, Channel
from registry.xds.resources import Entry, SentState, content_version
from registry.xds.response import Response, Scope, Stream
from registry.xds.store import Partition
from registry.xds.subscription import NAMES_AT_ONCE, SubscriptionChange
from registry.xds.types import ResourceType


class SotwChannel(Channel):
    """What is common to types sent whole and in parts."""

    __slots__ = ("_brought", "_first", "_state")

    def __init__(self, kind: ResourceType, partition: Partition, stream: Stream) -> None:
        self._state = SentState()
        super().__init__(kind, partition, stream, self._state)
        self._first = True
        self._brought = ""
        """The version that the client has from an earlier stream."""

    def receiving(self, request: discovery_pb2.DiscoveryRequest) -> Iterator[None]:
        """A request of the client: the first, an ACK, a NACK, a new list of names, or a new subscription; in steps.

        A request without a nonce after a response is a new subscription: the client starts with nothing, and gets
        everything it names (as from istiod). Older grpc-java does so when it comes back to a type. Two such requests
        are answers all the same: one with an error, and one with the version that waits for its ACK.

        Before anything was sent there is no nonce to compare with, and one from an earlier stream means nothing.
        """
        error = request.error_detail.message if request.HasField("error_detail") else None
        restarted = False
        if self._nonce and request.response_nonce == self._nonce:
            self._answered(error)
            self._abandoned = False
        elif self._nonce and request.response_nonce:
            if not self._counts(request.resource_names):
                return NOTHING
        elif self._nonce:
            restarted = error is None and not (self.waiting and request.version_info == self._version)
            if not restarted:
                self._answered(error)
        if not restarted and not self._first and self.subscription.unchanged(request.resource_names):
            self.deferred = ()
            return NOTHING
        return self._taking(request.resource_names, restarted, request.version_info)

    def held(self, now: float, patience: float) -> float:
        if not self.deferred:
            return super().held(now, patience)
        left = self._left(now, patience)
        if not left:
            self.late = self._taking(self.deferred, restarted=True)
            self.deferred = ()
        return left

    def _counts(self, names: Sequence[str]) -> bool:
        """Whether a request with a stale nonce is not ignored.

        The client wrote it before it saw the last response. Mostly the answer to that follows, and has the names then
        wanted. But grpc-java answers no response of a type that it has left: so a request that leaves the type counts,
        and any other does when no answer comes for as long as types wait for each other.
        """
        if not self.waiting:
            return self._abandoned
        if names:
            known = self.deferred
            self.deferred = known if self._same(known, names) else tuple(map(self.partition.canonical, names))
            return False
        return self.subscription.ends_without_names

    def _same(self, known: Sequence[str], names: Sequence[str]) -> bool:
        return len(known) == len(names) and all(map(str.__eq__, known, names))

    def _taking(self, names: Sequence[str], restarted: bool, version: str = "") -> Iterator[None]:
        """These are the names wanted now; ``restarted``: of none of them the client has anything.

        ``version`` is what it has, as far as it says.
        """
        self.deferred = ()
        self._prepared = 0
        if restarted:
            self._expect_no_answer()
            self._gone.clear()
            self._sent.clear()
        change = yield from self.subscription.replacing(names, self.partition.canonical)
        yield from self._following(change)
        first, self._first = self._first, False
        if first and version and self.partition.coverage.partial:
            self._brought = version
            self._take_up(change.asked)
            yield from self.reconsidering()
        else:
            yield from self._asking(change)
        if restarted:
            self._kept.clear()
            self._ask_again()

    def _asking(self, change: SubscriptionChange) -> Iterator[None]:
        """Note what a new list of names calls for, in steps."""
        raise NotImplementedError

    def _ask_again(self) -> None:
        """Note that everything subscribed to is to be sent."""
        raise NotImplementedError

    def _take_up(self, names: Sequence[str]) -> None:
        """Note what the client named first, of which it may have something."""
        raise NotImplementedError

    def _share(self, entries: Iterable[Entry], names: tuple[str, ...] = ()) -> bytes:
        response = self.partition.responses.sotw(self._state.version, tuple(entries), self._turn, self._stream.server)
        return self._await_answer(response, names)


class PartsChannel(SotwChannel):
    """EDS and RDS: a response has the resources that changed; nothing can say that one is gone.

    A name that does not exist is not answered until it does ("Knowing When a Requested Resource Does Not Exist").
    """

    __slots__ = ()

    def respond(self, scope: Scope) -> Response | None:
        if not self.prepare(scope):
            self.unprepared = True
            return None
        pick = self._pick(scope)
        if not pick.entries:
            return None
        added, updated = self._record(pick.entries)
        return Response(self._share(pick.entries, pick.names), added, updated)

    def reconsidering(self) -> Iterator[None]:
        """Keep nothing back from a client that has just what the store has."""
        yield from self._preparing(tuple(self._kept))
        entries = [entry for name in self._kept if (entry := self._visible(name)) is not None]
        if entries and content_version(entries) == self._brought:
            for entry in entries:
                self._sent.record(entry)
            self._kept.clear()

    def _asking(self, change: SubscriptionChange) -> Iterator[None]:
        for number, name in enumerate(change.asked, 1):
            self._asked[name] = None
            if not number % NAMES_AT_ONCE:
                yield None

    def _ask_again(self) -> None:
        self._asked.update(self.subscription.names)

    def _take_up(self, names: Sequence[str]) -> None:
        for name in names:
            self._keep(name)

    def _removed(self, name: str) -> None:
        self._sent.forget(name)


class WholeChannel(SotwChannel):
    """LDS and CDS: each response has everything the client subscribes to, and what it lacks is gone.

    So that additions can go out before removals, a response that may not remove anything yet holds the resources that
    are gone as the client was last sent them.
    """

    __slots__ = ("_had", "_listing")

    def __init__(self, kind: ResourceType, partition: Partition, stream: Stream) -> None:
        super().__init__(kind, partition, stream)
        self._had: tuple[Entry, ...] = ()
        self._listing: tuple[Entry, ...] | None = None
        """The last one of which everything is prepared."""

    def reconsidering(self) -> Iterator[None]:
        """Withhold nothing from a client that would miss nothing."""
        if self.withheld:
            yield from self._preparing(entry.name for entry in self._entries())
        self._reconsider()

    def prepare(self, scope: Scope) -> bool:  # noqa: ARG002
        """Make a part of what the next response needs, which is everything; whether that is all there."""
        partition = self.partition
        enough = partition.work + WORK_AT_ONCE
        if self.subscription.wildcard and not self.subscription.names:
            listing = partition.listing()
            if self._listing is listing:
                return True
            for entry in listing:
                partition.work += entry.prepare()
                if partition.work >= enough:
                    return False
            self._listing = listing
            return True
        for name in islice(self.subscription.names, self._prepared, None):
            partition.prepare(name)
            self._prepared += 1
            if partition.work >= enough:
                return False
        return True

    def _reconsider(self) -> None:
        """Withhold nothing from a client that would miss nothing: it has the same, or named what is all there."""
        if self.withheld:
            names = self.subscription.names
            named = not self.subscription.wildcard and all(self.partition.get(name) is not None for name in names)
            self.withheld = not named and content_version(self._entries()) != self._brought

    @property
    def doubts(self) -> bool:
        return self.withheld

    def settling(self) -> Iterator[None]:
        self.withheld = self.withheld and self.partition.coverage.partial
        return iter(())

    def respond(self, scope: Scope) -> Response | None:
        if not self.prepare(scope):
            self.unprepared = True
            return None
        if scope is Scope.BREAK:
            for name in self._gone:
                self._sent.forget(name)
            self._gone.clear()
        entries = self._entries()
        changed = [entry for entry in entries if self._sent.get(entry.name) != entry.version]
        added, updated = self._record(changed)
        self._fresh.clear()
        self._owed = False
        self._had = entries
        return Response(self._share(entries), added, updated)

    def _asking(self, change: SubscriptionChange) -> Iterator[None]:
        if change.asked or change.wildcard_asked:
            self._owed = True
            self._reconsider()
        return iter(())

    def _take_up(self, names: Sequence[str]) -> None:  # noqa: ARG002
        self._owed = True
        self.withheld = True
        self.partition.coverage.doubtful[self] = None

    def _ask_again(self) -> None:
        self.withheld = False
        self._owed = self.subscription.wildcard or bool(self.subscription.names)

    def _entries(self) -> tuple[Entry, ...]:
        """Everything subscribed to, ordered by name, with what is gone and may not be missed yet."""
        listing = self.partition.listing() if self.subscription.wildcard else ()
        if not self.subscription.names and not self._gone:
            return listing
        wanted = {entry.name: entry for entry in self._had if entry.name in self._gone}
        wanted.update((entry.name, entry) for entry in listing)
        for name in self.subscription.names:
            entry = self.partition.get(name)
            if entry is not None:
                wanted[name] = entry
        return tuple(wanted[name] for name in sorted(wanted))
