"""One type on one stream: what the client has, what it lacks, and whether it may be sent more.

At most one response per type waits for its ACK or NACK. Until that comes further changes only add names to a set, so a
client that never reads, or never answers, costs no queue; what it misses goes out as one response when it answers. A
client that subscribes to nothing of a type owes no answer: grpc-java ignores responses of types that it left.

A NACK says that something in a response was wrong, not what. The same version of a single resource is not sent again;
a response with several is sent again in two halves, and so on, so that one bad resource keeps no good one back. That
ends after less than twice as many responses as there were resources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final

from registry.xds.resources import Entry, SentVersions, SharedResponse
from registry.xds.response import Pick, Response, Scope, Stream
from registry.xds.status import SentResource, TypeStatus
from registry.xds.store import Partition
from registry.xds.subscription import NAMES_AT_ONCE, Subscription, SubscriptionChange
from registry.xds.types import ResourceType

NEVER: Final = -1.0
NACK_CHARACTERS = 4096
"""So much of a NACK's text is kept."""

RESPONSE_NAMES: Final = 2_500
"""A response of EDS or RDS, and any of Delta, is of no more names than that; the rest follows."""

WORK_AT_ONCE: Final = 80
"""So much is found and encoded in one step, some 2 ms: see ``Partition.work``."""


NOTHING: Final[Iterator[None]] = iter(())
"""No steps."""


def _nobody() -> None:
    """Of a stream that is over."""


class Channel(ABC):
    """What both protocol variants have in common. It is a ``Watcher`` of its partition of the store."""

    __slots__ = (
        "_abandoned",
        "_acked",
        "_acked_at",
        "_asked",
        "_error",
        "_fresh",
        "_gone",
        "_held_since",
        "_kept",
        "_left_behind",
        "_nacked",
        "_nacked_at",
        "_nonce",
        "_owed",
        "_prepared",
        "_retries",
        "_sent",
        "_sent_at",
        "_stream",
        "_turn",
        "_unanswered",
        "_version",
        "ack",
        "deferred",
        "hurried",
        "kind",
        "late",
        "looked_at",
        "partition",
        "subscription",
        "unprepared",
        "waiting",
        "withheld",
    )

    def __init__(self, kind: ResourceType, partition: Partition, stream: Stream, sent: SentVersions) -> None:
        self.kind = kind
        self.subscription = Subscription(kind)
        self.waiting = False
        self.ack = b""
        """The request that accepts the response that waits, as far as its bytes can be known."""
        self.hurried = False
        """It waited long enough for other types: it may send everything."""
        self.deferred: tuple[str, ...] = ()
        """The names of a request that counts only if the last response stays unanswered; of SotW alone."""
        self._held_since = NEVER
        """When the session first saw that it had something to send and was held back."""
        self._abandoned = False
        """The last response was not answered, and no answer is expected any more."""
        self._turn = False
        self.partition = partition
        self._stream = stream
        self._sent = sent
        self._owed = False
        self._asked: dict[str, None] = {}
        self._fresh: dict[str, None] = {}
        """In the order in which they changed."""
        self._gone: dict[str, None] = {}
        self._kept: dict[str, None] = {}
        """What the client has from an earlier stream and keeps: the store does not know enough to replace it."""
        self.withheld = False
        """Nothing is sent: a response is a complete list, and would perhaps lack what the client has."""
        self._prepared = 0
        """So many of the next names are ready to be sent."""
        self.unprepared = False
        """``respond`` gave nothing because more has to be prepared first: call it again later."""
        self._left_behind: Partition | None = None
        """The partition from which it is moving."""
        self.looked_at = 0
        """The names that the last response was chosen from."""
        self.late: Iterator[None] | None = None
        """What ``held`` found to be done."""
        self._unanswered: tuple[str, ...] = ()
        self._retries: list[tuple[str, ...]] = []
        self._nonce = self._version = ""
        self._acked = self._nacked = self._error = ""
        self._sent_at = self._acked_at = self._nacked_at = 0.0

    @property
    def pending(self) -> bool:
        """There may be something to send."""
        return not self.withheld and bool(self._fresh or self._asked or self._gone or self._owed or self._retries)

    @property
    def answering(self) -> bool:
        """A request is still to be answered."""
        return not self.withheld and (self._owed or bool(self._asked))

    @property
    def making(self) -> bool:
        """There are additions or changes to send."""
        return not self.withheld and bool(self._fresh or self._retries)

    @property
    def breaking(self) -> bool:
        """There are removals to send."""
        return not self.withheld and bool(self._gone)

    def held(self, now: float, patience: float) -> float:
        """For how many more seconds it is to be held back by other types; 0: no longer, it is ``hurried``.

        ``NEVER`` when it is not held back: it has nothing to send, or waits for an answer itself.
        """
        if self.waiting or not self.pending:
            self._held_since = NEVER
            return NEVER
        left = self._left(now, patience)
        self.hurried = not left
        return left

    def release(self) -> None:
        """Nothing holds it back."""
        self._held_since = NEVER

    def _left(self, now: float, patience: float) -> float:
        if self._held_since < 0:
            self._held_since = now
        return max(self._held_since + patience - now, 0.0)

    @abstractmethod
    def respond(self, scope: Scope) -> Response | None:
        """The next response within ``scope``, or None when on a closer look there is nothing to say.

        May be called when nothing waits for an answer. What is expensive is prepared first, a part in each call.
        """

    def changed(self, name: str, entry: Entry | None) -> None:
        # Told are those who watch the name and those with a wildcard, so only what is not listed has to be looked up.
        # This is done for every client of a service at each of its changes: a look-up left out counts.
        if self._kept and name in self._kept and self._keeps(name, entry):
            return
        if entry is None or not (entry.listed or name in self.subscription.names):
            self._fresh.pop(name, None)
            if name in self._sent:
                self._removed(name)
            return
        if self._gone:
            self._gone.pop(name, None)
        if self._sent.get(name) != entry.version:
            self._fresh[name] = None
        elif self._fresh:
            self._fresh.pop(name, None)

    def wake(self) -> None:
        if not self.waiting:
            self._stream.wake()

    def renew(self, names: Iterable[str]) -> None:
        """Take these as asked for again, those of them that are subscribed to and exist.

        That includes what the client has from an earlier stream: a cluster that warms without endpoints loses them all.
        """
        for name in names:
            if name in self._asked:
                continue
            sent = name in self._sent and name not in self._gone and name not in self._kept
            if sent or self._visible(name) is not None:
                self._kept.pop(name, None)
                self._asked[name] = None

    def prepare(self, scope: Scope) -> bool:
        """Make a part of what the next response needs; whether that is all there."""
        pending = len(self._asked) + len(self._fresh)
        if pending <= 1 or self._prepared >= min(pending, RESPONSE_NAMES):
            return True
        partition = self.partition
        enough = partition.work + WORK_AT_ONCE
        for name in islice(self._next_names(scope), self._prepared, None):
            partition.prepare(name)
            self._prepared += 1
            if partition.work >= enough:
                return False
        return True

    def move(self, partition: Partition) -> None:
        """The client is of another group: from now on it is told what is in ``partition``.

        It is as if every resource that differs between the two had changed; what the client has stays known.
        """
        for _ in self.moving(partition):
            pass

    def moving(self, partition: Partition) -> Iterator[None]:
        """The same in steps. A name that has not moved yet is told of as in the old partition: too often, at worst."""
        before, self.partition = self.partition, partition
        self._left_behind = before
        if self.subscription.wildcard:
            partition.watch_everything(self)
        before.unwatch_everything(self)
        names = self.subscription.names
        others = chain(self._sent.names(), tuple(self._fresh))
        if self.subscription.wildcard:
            others = chain(others, (entry.name for entry in partition.listing()))
        done, enough = 0, partition.work + WORK_AT_ONCE
        for name in chain(tuple(names), (each for each in others if each not in names)):
            if name in names:
                partition.watch(name, self)
                before.unwatch(name, self)
            entry = partition.get(name)
            if name not in self._asked and not (entry is None and name in self._kept):
                self.changed(name, entry)
            done += 1
            if done >= NAMES_AT_ONCE or partition.work >= enough:
                yield None
                done, enough = 0, partition.work + WORK_AT_ONCE
        self._left_behind = None
        if self.pending:
            self.wake()

    def reconsidering(self) -> Iterator[None]:
        """The store has changed much since the client's first request: look again at what is kept back, in steps.

        By default that is looked at with each change.
        """
        return iter(())

    def _preparing(self, names: Iterable[str]) -> Iterator[None]:
        """Find and encode these, in steps."""
        partition = self.partition
        done, enough = 0, partition.work + WORK_AT_ONCE
        for name in names:
            partition.prepare(name)
            done += 1
            if done >= NAMES_AT_ONCE or partition.work >= enough:
                yield None
                done, enough = 0, partition.work + WORK_AT_ONCE

    @property
    def doubts(self) -> bool:
        """Something is kept back as long as the store does not know enough."""
        return bool(self._kept)

    def settling(self) -> Iterator[None]:
        """Send what need not be kept back any more, in steps."""
        partition = self.partition
        coverage = partition.coverage
        done, enough = 0, partition.work + WORK_AT_ONCE
        for name in tuple(self._kept):
            if name not in self._kept:
                continue
            entry = self._visible(name)
            if entry is not None and not coverage.partial:
                self._kept.pop(name, None)
                if self._sent.get(name) != entry.version:
                    self._fresh[name] = None
            elif entry is None and coverage.complete:
                self._kept.pop(name, None)
                if name in self._sent:
                    self._gone[name] = None
            done += 1
            if done >= NAMES_AT_ONCE or partition.work >= enough:
                yield None
                done, enough = 0, partition.work + WORK_AT_ONCE

    def close(self) -> None:
        """Take no part any more: changes of the store are not seen."""
        for _ in self.closing():
            pass

    def closing(self) -> Iterator[None]:
        """The same in steps: from the first on nothing is said to the stream."""
        self._stream = Stream(self._stream.server, _nobody, self._stream.clock)
        self.partition.coverage.doubtful.pop(self, None)
        for partition in self.partitions:
            partition.unwatch_everything(self)
            for number, name in enumerate(self.subscription.names, 1):
                partition.unwatch(name, self)
                if not number % NAMES_AT_ONCE:
                    yield None
        self.subscription.names = {}

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """What it has entered: two while it moves."""
        return (self.partition,) if self._left_behind is None else (self.partition, self._left_behind)

    def status(self) -> TypeStatus:
        return TypeStatus(
            type_url=self.kind.url,
            short=self.kind.short,
            wildcard=self.subscription.wildcard,
            names=len(self.subscription.names),
            sent_version=self._version,
            sent_nonce=self._nonce,
            acked_version=self._acked,
            nacked_version=self._nacked,
            nack_error=self._error,
            waiting=self.waiting,
            sent_at=self._sent_at,
            acked_at=self._acked_at,
            nacked_at=self._nacked_at,
        )

    def sent(self, name: str) -> SentResource:
        """How far the client is with the resource of that name."""
        return SentResource(self._subscribed(name), self._sent.get(name) or "")

    def _removed(self, name: str) -> None:
        """A resource the client was sent is gone."""
        self._gone[name] = None

    def _keep(self, name: str) -> None:
        """The client has the resource from an earlier stream, and keeps it until more is known."""
        self._kept[name] = None
        self.partition.coverage.doubtful[self] = None

    def _keeps(self, name: str, entry: Entry | None) -> bool:
        """Whether a kept resource stays as the client has it, though the store has it otherwise now, or not any more.

        It is not kept any longer where the store has just that. While resources may lack a part a change is no reason:
        the other part may be there still. When they are whole, a change is a change.
        """
        subscribed = entry is not None and (entry.listed or name in self.subscription.names)
        equal = subscribed and entry is not None and self._sent.get(name) == entry.version
        if not equal and self.partition.coverage.partial:
            return True
        self._kept.pop(name, None)
        return False

    def _visible(self, name: str) -> Entry | None:
        """The resource of that name, if it exists and is subscribed to."""
        entry = self.partition.get(name)
        if entry is None or name in self.subscription.names or (self.subscription.wildcard and entry.listed):
            return entry
        return None

    def _subscribed(self, name: str) -> bool:
        return self.subscription.wildcard or name in self.subscription.names

    def _following(self, change: SubscriptionChange) -> Iterator[None]:
        """Watch what is subscribed to now, and forget what is no longer, in steps."""
        partition = self.partition
        for number, name in enumerate(change.added, 1):
            partition.watch(name, self)
            if not number % NAMES_AT_ONCE:
                yield None
        for number, name in enumerate(change.dropped, 1):
            partition.unwatch(name, self)
            if not self.subscription.wildcard or self._visible(name) is None:
                self._forget(name)
            if not number % NAMES_AT_ONCE:
                yield None
        if change.wildcard_asked:
            partition.watch_everything(self)
        if change.wildcard_stopped:
            partition.unwatch_everything(self)
            for name in {*self._sent.names(), *self._asked, *self._fresh, *self._gone}:
                if name not in self.subscription.names:
                    self._forget(name)
        if not self.subscription.names and not self.subscription.wildcard:
            self._expect_no_answer()

    def _expect_no_answer(self) -> None:
        """The client may leave the last response unanswered. An answer that comes all the same does no harm."""
        self._abandoned |= self.waiting
        self.waiting = self._owed = False
        self.ack = b""
        self._unanswered = ()
        self._retries.clear()

    def _forget(self, name: str) -> None:
        self._sent.forget(name)
        self._asked.pop(name, None)
        self._fresh.pop(name, None)
        self._gone.pop(name, None)
        self._kept.pop(name, None)

    def _answered(self, error: str | None) -> None:
        """The client ACKed the response that waits, or NACKed it with ``error``."""
        if not self.waiting:
            return
        names = self._unanswered
        if error is None:
            self.acked()
            return
        self.waiting = False
        self.ack, self._unanswered = b"", ()
        self._nacked, self._error = self._version, error[:NACK_CHARACTERS]
        self._nacked_at = self._stream.clock()
        if len(names) > 1:
            half = len(names) // 2
            self._retries += [names[half:], names[:half]]

    def acked(self) -> None:
        """The client accepted the response that waits, and said nothing else."""
        self.waiting = False
        self.ack = b""
        self._unanswered = ()
        self._acked = self._version
        self._acked_at = self._stream.clock()

    def _await_answer(self, response: SharedResponse, names: tuple[str, ...] = ()) -> bytes:
        """A response goes out; ``names`` are tried again in parts if it is rejected. Returns its bytes."""
        self._version, self._nonce, self.ack = response.version, response.nonce, response.ack
        self._sent_at = self._stream.clock()
        self._turn = not self._turn
        self._unanswered = names
        self._held_since = NEVER
        self._abandoned = self.hurried = False
        self.waiting = True
        return response.data

    def _next_names(self, scope: Scope) -> Iterator[str]:
        """What the next response is chosen from, apart from what is tried again after a NACK."""
        if scope is Scope.ASKED or not self._fresh:
            return islice(self._asked, RESPONSE_NAMES)
        if not self._asked:
            return islice(self._fresh, RESPONSE_NAMES)
        return islice(chain(self._asked, self._fresh), RESPONSE_NAMES)

    def _pick(self, scope: Scope) -> Pick:
        """Take the names of the next response off what is pending, up to the limits, and in order."""
        if scope is Scope.ASKED or self._asked or not self._retries:
            names = sorted(set(self._next_names(scope)))
        else:
            names = [name for name in self._retries.pop() if name not in self._fresh and self._subscribed(name)]
            self._fresh.update(dict.fromkeys(names))
        pick = Pick()
        for name in names:
            pick.take(name, self._visible(name))
            self._asked.pop(name, None)
            self._fresh.pop(name, None)
            if pick.full and not self.kind.whole:
                break
        self.looked_at = len(names)
        self._prepared = 0
        self._owed = False
        if not self._asked:
            self._asked.clear()  # an emptied dict keeps its size
        if not self._fresh:
            self._fresh.clear()
        return pick

    def _record(self, entries: Iterable[Entry]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Note that ``entries`` are sent; returns the names new to the client, and those sent before."""
        added: list[str] = []
        updated: list[str] = []
        for entry in entries:
            (updated if entry.name in self._sent else added).append(entry.name)
            self._sent.record(entry)
        return tuple(added), tuple(updated)
