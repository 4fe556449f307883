"""The removal guard: what a list lacks is not gone before somebody else says so too.

A watch's DELETE or MODIFIED is a removal that somebody made, and is believed at once. A list that is shorter than what
is held may be a proxy's, a cache's, or that of an API server that has lost its store. So what such a list lacks is held
beside the objects, where a list is in doubt:

======================================================================  ===============
the list ...                                                            reason
======================================================================  ===============
would take a service's last endpoint, or a network's last gateway       ServiceEmptied
is shorter by more than max(floor, share) of a service's endpoints      ServiceShrunk
is shorter by more than max(floor, share) of the cluster's endpoints    ClusterShrunk
is shorter by more than max(floor, share) of the cluster's objects      ObjectsShrunk
is of an earlier time than what was told before                         Rewound
is not the cluster's first one yet, what is held is from the snapshot   Unverified
======================================================================  ===============

What is held is let go when: a watch speaks of the object, or says that its Service is deleted; a watch or a list has it
again, an endpoint also in another slice of its Service; its Pod is gone, is not ready, or is none of the Service's
selector's; a second list, begun ``confirm_seconds`` later, lacks it too, and no Pod contradicts;
``hold_seconds`` are over; somebody releases it by hand. Pure: the time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from registry.index.lookup import pod_ref
from registry.model.facts import EndpointSlice, Fact, Pod, Service, ServiceExport
from registry.model.names import Kind, ObjectRef, ServiceKey

NO_SLICES: Mapping[ObjectRef, EndpointSlice] = {}


class HoldReason(StrEnum):
    """Why a list was not believed; see the table above."""

    SERVICE_EMPTIED = "ServiceEmptied"
    SERVICE_SHRUNK = "ServiceShrunk"
    CLUSTER_SHRUNK = "ClusterShrunk"
    OBJECTS_SHRUNK = "ObjectsShrunk"
    REWOUND = "Rewound"
    UNVERIFIED = "Unverified"


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """When a shorter list is doubted, and for how long. ``share`` is a part of one."""

    share: float = 0.3
    floor: int = 3
    confirm_seconds: float = 30.0
    hold_seconds: float = 600.0

    def doubts(self, before: int, after: int) -> bool:
        """Whether so many would be too many to lose by a list alone."""
        return after < before and (after == 0 or before - after > max(self.floor, self.share * before))


@dataclass(frozen=True, slots=True)
class Hold:
    """One object that a list lacks and that still counts; of an EndpointSlice, the endpoints that are lacking.

    ``since`` is when the first list came that lacked some of it, ``grown`` the last one that lacked more.
    """

    fact: Fact
    reason: HoldReason
    since: float
    grown: float


class RemovalGuard:
    """What is held of one cluster."""

    def __init__(self, policy: GuardPolicy) -> None:
        self.policy = policy
        self._holds: dict[ObjectRef, Hold] = {}
        self._slices: dict[ServiceKey, dict[ObjectRef, EndpointSlice]] = {}
        self._released: list[ObjectRef] = []
        self._asked_at = float("-inf")
        self.changes = 0
        """How often what is held became something else."""
        self._next: tuple[int, float, float | None] = (-1, 0.0, None)
        """``next_at`` as it was after so many changes, asked for then."""

    def set_policy(self, policy: GuardPolicy) -> None:
        """Later lists are judged so, and what is held is held so long."""
        self.policy = policy
        self.changes += bool(self._holds)

    def __bool__(self) -> bool:
        return bool(self._holds)

    def get(self, ref: ObjectRef) -> Fact | None:
        """The held object, None where nothing is held of that name."""
        hold = self._holds.get(ref)
        return None if hold is None else hold.fact

    def hold_of(self, ref: ObjectRef) -> Hold | None:
        """Why the object, or a part of the slice, is held, where it is."""
        return self._holds.get(ref)

    def slices(self, key: ServiceKey) -> Iterable[EndpointSlice]:
        """The held remainders of the service's slices."""
        return self._slices.get(key, NO_SLICES).values()

    def holds(self) -> Iterable[Hold]:
        """All that is held, in no order."""
        return self._holds.values()

    def hold(self, lost: Fact, reason: HoldReason, now: float) -> None:
        """Keep ``lost``. Of a slice that is held already, what was lost before is kept with it.

        Together they are kept as long as what was lost first; a second list counts when it is one for what was lost
        last.
        """
        before = self._holds.get(lost.ref)
        since = now
        if before is not None and before.reason is not HoldReason.UNVERIFIED:
            since, reason = before.since, before.reason
        if isinstance(lost, EndpointSlice) and before is not None and isinstance(before.fact, EndpointSlice):
            here = _addresses(lost)
            earlier = tuple(each for each in before.fact.endpoints if each.address not in here)
            lost = replace(lost, endpoints=(*lost.endpoints, *earlier))
        self._put(Hold(lost, reason, since, now))

    def told(self, fact: Fact) -> set[ServiceKey]:
        """A watch told the object, so nothing of it is in doubt, nor are endpoints that it has, of another slice.

        Returns the services to be joined anew.
        """
        if not self._holds:
            return set()
        released = self._drop([fact.ref])
        if isinstance(fact, EndpointSlice) and not fact.copy_mark:
            here = _addresses(fact)
            for each in tuple(self.slices(_key_of(fact))):
                released |= self._reduce(self._holds[each.ref], _addresses(each) - here)
        return released

    def deleted(self, ref: ObjectRef) -> set[ServiceKey]:
        """A watch said that the object is gone, of a Service with all its endpoints.

        Returns the services to be joined anew.
        """
        if not self._holds:
            return set()
        released = self._drop([ref])
        if ref.kind is Kind.SERVICE:
            released |= self._drop([each.ref for each in self.slices(ServiceKey(ref.namespace, ref.name))])
        return released

    def reappeared(
        self,
        facts: Callable[[ObjectRef], Fact | None],
        slices: Callable[[ServiceKey], Iterable[EndpointSlice]],
    ) -> set[ServiceKey]:
        """Let go what the cluster's own objects, found by ``facts``, have again, or have as another service's;
        ``slices`` finds those of a service."""
        touched: set[ServiceKey] = set()
        for hold in tuple(self._holds.values()):
            found = facts(hold.fact.ref)
            if not isinstance(hold.fact, EndpointSlice):
                touched |= self._drop([hold.fact.ref]) if found is not None else set()
            elif isinstance(found, EndpointSlice) and _key_of(found) != _key_of(hold.fact):
                touched |= self._drop([hold.fact.ref])
            else:
                here = {address for each in slices(_key_of(hold.fact)) for address in _addresses(each)}
                touched |= self._reduce(hold, _addresses(hold.fact) - here)
        return touched

    def reconsider(self, witness: Witness) -> set[ServiceKey]:
        """Let go the endpoints whose Pods say that they are none; returns the services to be joined anew."""
        touched: set[ServiceKey] = set()
        for hold in tuple(self._holds.values()):
            if isinstance(hold.fact, EndpointSlice) and hold.reason is not HoldReason.UNVERIFIED:
                gone = {address for address, said in witness.testimony(hold.fact) if said is Testimony.GONE}
                touched |= self._reduce(hold, _addresses(hold.fact) - gone)
        return touched

    def confirmed(self, kind: Kind, witness: Witness, began: float) -> set[ServiceKey]:
        """One more list of ``kind``, begun then, lacks what is held of it; returns the services to be joined anew.

        Endpoints whose Pods are alive stay until their time is over.
        """
        touched: set[ServiceKey] = set()
        for hold in tuple(self._holds.values()):
            if hold.fact.ref.kind is not kind or began < hold.grown + self.policy.confirm_seconds:
                continue
            if isinstance(hold.fact, EndpointSlice):
                alive = {address for address, said in witness.testimony(hold.fact) if said is Testimony.ALIVE}
                touched |= self._reduce(hold, alive)
            else:
                touched |= self._drop([hold.fact.ref])
        return touched

    def unverified(self) -> tuple[Hold, ...]:
        """What only the snapshot knows of."""
        return tuple(hold for hold in self._holds.values() if hold.reason is HoldReason.UNVERIFIED)

    def release(self, holds: Iterable[Hold]) -> set[ServiceKey]:
        """Let these go; returns the services to be joined anew."""
        return self._drop([hold.fact.ref for hold in holds])

    def expire(self, now: float) -> set[ServiceKey]:
        """Let go what was held for its time; returns the services to be joined anew."""
        return self.release([each for each in self._holds.values() if self._until(each) <= now])

    def to_relist(self, now: float) -> frozenset[Kind]:
        """The kinds of which a second list is due now; each is asked for once in ``confirm_seconds``."""
        if now < self._asked_at + self.policy.confirm_seconds:
            return frozenset()
        due = (hold for hold in self._holds.values() if hold.reason is not HoldReason.UNVERIFIED)
        kinds = frozenset(each.fact.ref.kind for each in due if each.grown + self.policy.confirm_seconds <= now)
        if kinds:
            self._asked_at = now
        return kinds

    def next_at(self) -> float | None:
        """When there is something to do next: ask for a second list, or let go; None while nothing is held.

        It is asked for at every commit, and there may be as many holds as Pods: nothing is looked through twice.
        """
        changes, asked_at, found = self._next
        if (changes, asked_at) != (self.changes, self._asked_at):
            found = self._due()
            self._next = self.changes, self._asked_at, found
        return found

    def _due(self) -> float | None:
        doubted = [hold for hold in self._holds.values() if hold.reason is not HoldReason.UNVERIFIED]
        if not doubted:
            return None
        ask = max(min(hold.grown for hold in doubted), self._asked_at) + self.policy.confirm_seconds
        return min(ask, min(hold.since for hold in doubted) + self.policy.hold_seconds)

    def until(self, hold: Hold) -> float | None:
        """When the hold ends by itself; None: with the cluster's first list."""
        return None if hold.reason is HoldReason.UNVERIFIED else self._until(hold)

    def take_released(self) -> list[ObjectRef]:
        """The Pods, Nodes and Namespaces that were let go since the last call."""
        released, self._released = self._released, []
        return released

    def _until(self, hold: Hold) -> float:
        return float("inf") if hold.reason is HoldReason.UNVERIFIED else hold.since + self.policy.hold_seconds

    def _put(self, hold: Hold) -> None:
        self.changes += 1
        self._holds[hold.fact.ref] = hold
        if isinstance(hold.fact, EndpointSlice):
            self._slices.setdefault(_key_of(hold.fact), {})[hold.fact.ref] = hold.fact

    def _reduce(self, hold: Hold, addresses: set[str]) -> set[ServiceKey]:
        """Keep of a held slice the endpoints with these addresses."""
        fact = hold.fact
        assert isinstance(fact, EndpointSlice)
        kept = tuple(each for each in fact.endpoints if each.address in addresses)
        if len(kept) == len(fact.endpoints):
            return set()
        if not kept:
            return self._drop([fact.ref])
        self._put(replace(hold, fact=replace(fact, endpoints=kept)))
        return {_key_of(fact)}

    def _drop(self, refs: Iterable[ObjectRef]) -> set[ServiceKey]:
        touched: set[ServiceKey] = set()
        for ref in refs:
            hold = self._holds.pop(ref, None)
            if hold is None:
                continue
            self.changes += 1
            match hold.fact:
                case EndpointSlice():
                    key = _key_of(hold.fact)
                    self._slices[key].pop(ref)
                    if not self._slices[key]:
                        del self._slices[key]
                    touched.add(key)
                case Service() | ServiceExport():
                    touched.add(hold.fact.key)
                case _:
                    self._released.append(ref)
        return touched


class Testimony(StrEnum):
    """What its Pod says of an endpoint."""

    ALIVE = "Alive"
    """It is there and ready, and the Service selects it."""
    GONE = "Gone"
    """It is not there, or not ready, or not selected."""
    UNKNOWN = "Unknown"
    """The endpoint has no Pod, or nothing is known of Pods."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What a cluster's Pods say. ``get`` finds an object of the cluster, ``held`` one whose removal is in doubt."""

    get: Callable[[ObjectRef], Fact | None]
    held: Callable[[ObjectRef], Fact | None]
    has_pods: bool

    def testimony(self, fact: EndpointSlice) -> Iterator[tuple[str, Testimony]]:
        """Address and testimony of each endpoint of the slice."""
        service = self.get(ObjectRef(Kind.SERVICE, fact.namespace, fact.service))
        known = service if isinstance(service, Service) else Service(fact.namespace, fact.service)
        for each in fact.endpoints:
            said = Testimony.UNKNOWN
            if each.pod and self.has_pods:
                said = self._pod(pod_ref(fact, each.pod), known.selector, known.publish_not_ready)
            yield each.address, said

    def _pod(self, ref: ObjectRef, selector: tuple[tuple[str, str], ...], unready: bool) -> Testimony:
        """``unready``: Pods that are not ready are endpoints too (``publishNotReadyAddresses``)."""
        pod = self.get(ref)
        if not isinstance(pod, Pod):
            return Testimony.UNKNOWN if self.held(ref) is not None else Testimony.GONE
        if pod.terminating or not (pod.ready or unready):
            return Testimony.GONE
        if not selector:
            return Testimony.UNKNOWN
        labels = dict(pod.labels)
        return Testimony.ALIVE if all(labels.get(key) == value for key, value in selector) else Testimony.GONE


def _addresses(fact: EndpointSlice) -> set[str]:
    return {each.address for each in fact.endpoints}


def _key_of(fact: EndpointSlice) -> ServiceKey:
    return ServiceKey(fact.namespace, fact.service)
