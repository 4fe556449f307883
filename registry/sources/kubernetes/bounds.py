"""What one member may take of memory and time. Pure.

The facts of a member are estimated, object by object: what their texts take, and what the registry makes of each. A
list counts from its first page, so one that never ends is broken off at the bound, not at the end of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from registry.model.events import Apply, Delete, Init, InitApply, InitKeep, SourceEvent
from registry.model.facts import EndpointSlice, Fact, Service
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.conditions import Fault, Reason

PAGE_BYTES = 16 << 20
"""The body of one page. It is scanned in one piece, in some 25 ms. A larger one is read in pieces (``pieces``)."""

PAGE_OBJECTS = 20_000
"""The objects of one page: 500 are asked for, and a server may ignore that."""

ANSWER_BYTES = 1 << 20
"""Any other answer: a Status, one object, a document of discovery."""

OBJECT_BYTES = 4 << 20
"""One object. etcd takes 1.5 MiB by default; JSON is some times larger."""

EMPTY_PAGES = 10
"""Pages in a row without an object that say there are more."""

OBJECT_OVERHEAD, SERVICE_OVERHEAD, ENDPOINT_OVERHEAD = 512, 4096, 512
"""What an object, a Service with its resources, and an endpoint of a slice take besides their texts."""

Held = Callable[[Kind], Mapping[ObjectRef, Fact]]


@dataclass(frozen=True, slots=True)
class MemberBounds:
    """``objects`` and ``bytes`` (an estimate of memory) of all kinds, ``object_bytes`` of one object's JSON, and the
    ``list_seconds`` that one list may take. ``total_bytes`` are of all members."""

    objects: int = 300_000
    bytes: int = 256 << 20
    object_bytes: int = OBJECT_BYTES
    list_seconds: float = 600.0
    total_bytes: int = 512 << 20


class TooMuchError(Exception):
    """The member is beyond a bound. The text has the value, the bound and the mend."""

    @property
    def fault(self) -> Fault:
        return Fault(Reason.LIMIT_EXCEEDED, str(self))


class Total:
    """The estimated bytes of all members. Beyond ``most``, lists of members that are not complete yet give way."""

    def __init__(self, most: int = MemberBounds().total_bytes) -> None:
        self._most = most
        self._bytes = 0
        self.newcomers: set[Account] = set()
        """The members that have never listed everything."""

    def grow(self, size: int) -> None:
        self._bytes += size

    def make_room(self, account: Account) -> None:
        """Have the largest lists in progress of newcomers broken off, where ``account`` is beyond the bound.

        Raises:
            TooMuchError: that is ``account``'s own.
        """
        if self._bytes <= self._most or account not in self.newcomers:
            return
        text = f"all clusters together have some {self._bytes >> 20} MiB, more than {self._most >> 20} MiB"
        error = TooMuchError(f"{text} (follow.maxTotalBytes), and this one is the largest of those that are new")
        for each in sorted(self.newcomers, key=lambda each: each.size, reverse=True):
            if each is account:
                raise error
            if each.give_way(error.fault):
                return


def _cannot(_fault: Fault) -> bool:
    return False


class Account:
    """What one member has told. ``held`` is what the listener holds of a kind; without it changes are not counted.

    ``give_way`` breaks off the member's lists in progress; False where there is none. ``close`` it when it is over.
    """

    def __init__(
        self,
        bounds: MemberBounds,
        held: Held | None,
        total: Total | None = None,
        give_way: Callable[[Fault], bool] = _cannot,
    ) -> None:
        self._bounds = bounds
        self._held = held
        self.give_way = give_way
        self.size = 0
        """Estimated bytes of all kinds."""
        self._total = total or Total(bounds.total_bytes)
        self._total.newcomers.add(self)
        self._objects = 0
        self._totals: dict[Kind, list[int]] = {}
        """Objects and bytes of each kind, of the list in progress where there is one."""

    def count(self, event: SourceEvent) -> None:
        """Count an event that is about to be told.

        Raises:
            TooMuchError: it must not be.
        """
        if isinstance(event, InitApply):  # nearly all of a list
            self._add(event.fact.ref.kind, 1, weight(event.fact))
            return
        match event:
            case Init(kind):
                objects, size = self._totals.get(kind, (0, 0))
                self._objects -= objects
                self._resize(-size)
                self._totals[kind] = [0, 0]
            case InitKeep(ref):
                kept = self._find(ref)
                self._add(ref.kind, 1, weight(kept) if kept is not None else 0)
            case Apply(fact) if self._held is not None:
                before = self._find(fact.ref)
                more = weight(fact) - (weight(before) if before is not None else 0)
                self._add(fact.ref.kind, before is None, more)
            case Delete(ref) if (before := self._find(ref)) is not None:
                self._add(ref.kind, -1, -weight(before))
            case _:
                return

    def complete(self) -> None:
        """The member has listed everything."""
        self._total.newcomers.discard(self)

    def close(self) -> None:
        """The member is not followed any more."""
        self.complete()
        self._resize(-self.size)
        self.give_way = _cannot  # what it knows keeps this account

    def _resize(self, size: int) -> None:
        self.size += size
        self._total.grow(size)

    def _find(self, ref: ObjectRef) -> Fact | None:
        return self._held(ref.kind).get(ref) if self._held is not None else None

    def _add(self, kind: Kind, objects: int, size: int) -> None:
        total = self._totals.get(kind)
        if total is None:
            total = self._totals[kind] = [0, 0]
        total[0] += objects
        total[1] += size
        self._objects += objects
        self._resize(size)
        if objects <= 0 and size <= 0:
            return
        bounds = self._bounds
        if self._objects > bounds.objects:
            raise TooMuchError(self._said(kind, f"{self._objects} objects", f"{bounds.objects} (follow.maxObjects)"))
        if self.size > bounds.bytes:
            text = f"objects of some {self.size >> 20} MiB", f"{bounds.bytes >> 20} MiB (follow.maxBytes)"
            raise TooMuchError(self._said(kind, *text))
        self._total.make_room(self)

    def _said(self, kind: Kind, found: str, bound: str) -> str:
        of_kind = self._totals[kind][0]
        return (
            f"{found} so far, {of_kind} of them of kind {kind}, more than {bound}; what was complete before counts on;"
            " look what fills the cluster, or raise the limit"
        )


def weight(fact: Fact) -> int:
    """About how many bytes of memory the fact takes, with what is made of it."""
    content = len(_ENCODER.encode(fact))
    if isinstance(fact, Service):
        return content + SERVICE_OVERHEAD
    if isinstance(fact, EndpointSlice):
        return content + OBJECT_OVERHEAD + ENDPOINT_OVERHEAD * len(fact.endpoints)
    return content + OBJECT_OVERHEAD


_ENCODER = msgspec.msgpack.Encoder()
