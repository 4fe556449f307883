"""Incremental xDS: requests and responses say what is different.

The rules are those of the xDS protocol (envoyproxy docs api-docs/xds_protocol), section "Incremental xDS", parts
"Subscribing to Resources", "Unsubscribing from Resources" and "Knowing When a Requested Resource Does Not Exist".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final

from envoy.service.discovery.v3 import discovery_pb2

from registry.xds.channel import RESPONSE_NAMES, WORK_AT_ONCE, Channel
from registry.xds.resources import Entry, SentVersions
from registry.xds.response import Response, Scope, Stream
from registry.xds.store import Partition
from registry.xds.subscription import NAMES_AT_ONCE, SubscriptionChange
from registry.xds.types import ResourceType

VERSION_CHARACTERS: Final = 64
"""So much is kept of a version that a client says it has; ours are shorter."""


class DeltaChannel(Channel):
    """One type on a Delta stream. The version of a response is for people; the client goes by each resource's own."""

    __slots__ = ("_first",)

    def __init__(self, kind: ResourceType, partition: Partition, stream: Stream) -> None:
        super().__init__(kind, partition, stream, SentVersions())
        self._first = True

    def receiving(self, request: discovery_pb2.DeltaDiscoveryRequest) -> Iterator[None]:
        """A request of the client: the first, an ACK, a NACK, or names it came to want or no longer wants; in steps.

        The nonce only tells which response is answered; what a request says of the subscription counts whatever its
        nonce.
        """
        if request.response_nonce and request.response_nonce == self._nonce:
            self._answered(request.error_detail.message if request.HasField("error_detail") else None)
        self._prepared = 0
        change = yield from self.subscription.adjusting(
            request.resource_names_subscribe, request.resource_names_unsubscribe, self.partition.canonical
        )
        yield from self._following(change)
        known: Mapping[str, str] = request.initial_resource_versions if self._first else {}
        self._first = False
        yield from self._assuming(known)
        yield from self._asking(change, known)

    def respond(self, scope: Scope) -> Response | None:
        if len(self._fresh) == 1 and not (self._asked or self._gone or self._owed or self._retries):
            return self._one(self._fresh.popitem()[0])
        if not self.prepare(scope):
            self.unprepared = True
            return None
        owed = self._owed
        pick = self._pick(scope)
        added, updated = self._record(pick.entries)
        if scope is Scope.BREAK:
            missing = set(pick.missing)
            left = RESPONSE_NAMES - len(pick.entries)
            for name in sorted(islice((each for each in self._gone if each not in missing), left)):
                if pick.full:
                    break
                pick.take(name, None)
        names = pick.names
        for name in pick.missing:
            self._forget(name)
        if not (pick.entries or pick.missing or owed):
            return None
        return Response(self._share(tuple(pick.entries), tuple(sorted(pick.missing)), names), added, updated)

    def _one(self, name: str) -> Response | None:
        """What happens most: one resource is another than before, and that is all. The same as the long way."""
        entry = self._visible(name)
        if entry is None:
            return None
        known = name in self._sent
        self._sent.record(entry)
        names = (name,)
        data = self._share((entry,), (), names)
        return Response(data, (), names) if known else Response(data, names)

    def _share(self, entries: tuple[Entry, ...], removed: tuple[str, ...], names: tuple[str, ...]) -> bytes:
        response = self.partition.responses.delta(entries, removed, self._turn, self._stream.server)
        return self._await_answer(response, names)

    def _assuming(self, known: Mapping[str, str]) -> Iterator[None]:
        """Take the client's word for what it has from an earlier stream.

        What of that is gone will be removed, once the store is complete. What the store has otherwise the client keeps
        as long as resources may lack a part.
        """
        partition = self.partition
        coverage = partition.coverage
        done, enough = 0, partition.work + WORK_AT_ONCE
        for name, version in known.items():
            done += 1
            if done >= NAMES_AT_ONCE or partition.work >= enough:
                yield None
                done, enough = 0, partition.work + WORK_AT_ONCE
            if not self._subscribed(name):
                continue
            self._sent.assume(partition.canonical(name), version[:VERSION_CHARACTERS])
            entry = self._visible(name)
            if entry is None and coverage.complete:
                self._gone[name] = None
            elif entry is None or (coverage.partial and entry.version != version):
                self._keep(name)

    def _asking(self, change: SubscriptionChange, known: Mapping[str, str]) -> Iterator[None]:
        """Note what has to be answered: all that was asked for, apart from what the client said it has.

        What it has in another version is news to it and no more: it may be that version again when its turn comes.

        A subscription to the wildcard is answered in any case, so that a client with nothing to get knows it. A name
        unsubscribed under a wildcard is answered too, since the client cannot tell whether the wildcard has it.
        """
        names: Iterable[str] = change.asked
        if self.subscription.wildcard:
            names = chain(names, change.dropped)
        if change.wildcard_asked:
            self._owed = True
            names = chain(names, (entry.name for entry in self.partition.listing()))
        for number, name in enumerate(names, 1):
            if not number % NAMES_AT_ONCE:
                yield None
            if name in self._gone:
                continue
            has = name in known
            if not has and name not in self._kept:
                self._asked[name] = None
                continue
            entry = self._visible(name)
            if name in self._kept and (known or entry is None):
                continue
            self._kept.pop(name, None)  # asked for once more: the client needs an answer
            if entry is None or not has:
                self._asked[name] = None
            elif known[name] != entry.version:
                self._fresh[name] = None
