"""What is held in doubt, as people are told of it: by service, and of objects that are no part of one, by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from registry.index.guard import Hold
from registry.index.judgement import keys_of
from registry.index.member import Member
from registry.index.store import Difference
from registry.model.facts import EndpointSlice, Service
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.trace import Trace


@dataclass(frozen=True, slots=True)
class HeldService:
    """Of one service in one cluster: what a list lacks and is kept all the same.

    ``since`` and ``until`` are in the time of the index's clock; ``until`` None: until the cluster's first list.
    ``endpoints`` are addresses, ordered.
    """

    cluster: ClusterId
    key: ServiceKey
    reason: str
    since: float
    until: float | None
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldObjects:
    """Of one kind in one cluster: Pods, Nodes or Namespaces that a list lacks and that count all the same.

    They say more about endpoints, as their labels and places. Times as in HeldService; ``refs`` are in no order.
    """

    cluster: ClusterId
    kind: Kind
    reason: str
    since: float
    until: float | None
    refs: tuple[ObjectRef, ...]


Held = HeldService | HeldObjects


class Holds:
    """What a member's guard holds at this moment, sorted out."""

    def __init__(self, cluster: ClusterId, member: Member) -> None:
        self._cluster = cluster
        self._member = member
        self._services: dict[ServiceKey, list[Hold]] = {}
        self._objects: dict[Kind, list[Hold]] = {}
        for hold in member.guard.holds():
            keys = keys_of([Difference(hold.fact, None)])
            for key in keys:
                self._services.setdefault(key, []).append(hold)
            if not keys:
                self._objects.setdefault(hold.fact.ref.kind, []).append(hold)

    def services(self) -> Iterable[HeldService]:
        """Ordered by service."""
        return (self._service(key, holds) for key, holds in sorted(self._services.items()))

    def each(self) -> dict[ServiceKey, Callable[[], HeldService]]:
        """What makes each of ``services``, when it is wanted."""
        return {key: partial(self._service, key, holds) for key, holds in sorted(self._services.items())}

    def objects(self) -> Iterable[HeldObjects]:
        """Ordered by kind."""
        for kind, holds in sorted(self._objects.items()):
            first, until = self._first(holds)
            refs = tuple(hold.fact.ref for hold in holds)
            yield HeldObjects(self._cluster, kind, first.reason, first.since, until, refs)

    def of(self, held: Held) -> Sequence[Hold]:
        """What one of these is made of."""
        return self._services[held.key] if isinstance(held, HeldService) else self._objects[held.kind]

    def _first(self, holds: Iterable[Hold]) -> tuple[Hold, float | None]:
        first = min(holds, key=lambda hold: hold.since)
        return first, self._member.guard.until(first)

    def _service(self, key: ServiceKey, holds: Sequence[Hold]) -> HeldService:
        slices = (hold.fact for hold in holds if isinstance(hold.fact, EndpointSlice))
        addresses = {end.address for fact in slices for end in fact.endpoints}
        if not addresses:
            contribution = self._member.contribution(key, trace=Trace())
            addresses = {endpoint.address for endpoint in contribution.endpoints} if contribution else set()
        if not addresses:
            addresses = {each for hold in holds if isinstance(hold.fact, Service) for each in hold.fact.external}
        first, until = self._first(holds)
        return HeldService(self._cluster, key, first.reason, first.since, until, tuple(sorted(addresses)))
