"""One member cluster: its objects, what of them is held in doubt, and which services an event touches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from registry.index.belief import Belief
from registry.index.contribution import Contribution
from registry.index.export import ExportPolicy
from registry.index.guard import GuardPolicy, Hold, HoldReason
from registry.index.join import SYSTEM_NAMESPACE, Changed, Place, join
from registry.index.judgement import BEARING, Judge, keys_of
from registry.index.residents import Residents
from registry.index.store import Difference
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, SourceEvent
from registry.model.facts import NETWORK_LABEL, EndpointSlice, Fact, Namespace, Node, Pod, ServiceExport
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.reasons import Reason, reason
from registry.model.trace import Trace

SYSTEM_NAMESPACE_REF = ObjectRef(Kind.NAMESPACE, "", SYSTEM_NAMESPACE)


class Member(Belief):
    """What is believed of one cluster, as it is told: takes in what the cluster says, and judges its lists.

    Not to be seen before every required kind was listed once, or it was restored from a snapshot. Without a ``policy``
    of the guard every list is believed at once.
    """

    def __init__(
        self, cluster: ClusterId, network: str, export: ExportPolicy, policy: GuardPolicy | None = None
    ) -> None:
        self._cluster = cluster
        self._network = network
        super().__init__(export, policy)
        self._guarded = policy is not None
        self._judge = Judge(self.facts, self.guard)
        self._present_network = network
        self._pods_changed = False
        self._began: dict[Kind, float] = {}
        """When the last list of each kind began."""
        self._changed: dict[ServiceKey, _Names] = {}
        """The Pods and Nodes that changed since a service was joined last."""
        self._residents: Residents | None = None
        """Once somebody asked."""
        self.restored = False

    def anew(self) -> Member:
        """The same member, of which nothing was said yet."""
        anew = Member(self._cluster, self._network, self._export, self.guard.policy if self._guarded else None)
        anew.local = self.local
        return anew

    @property
    def shown(self) -> bool:
        return self.restored or self.facts.synced

    @property
    def verified(self) -> bool:
        """Its first list since the start is complete."""
        return self.facts.synced

    def apply(self, event: SourceEvent, now: float) -> set[ServiceKey]:
        """Take in one event; returns the services that have to be joined anew."""
        if isinstance(event, InitApply):
            self.facts.take(event.fact)
            return set()
        was_shown = self.shown
        match event:
            case Init(kind):
                self._began[kind] = now
                touched = self._touched(self.facts.apply(event))
            case InitDone():
                touched = self._list(event, now)
            case Apply(fact):
                touched = self._touched(self.facts.apply(event)) | self.guard.told(fact)
            case Delete(ref):
                touched = self._touched(self.facts.apply(event)) | self.guard.deleted(ref)
            case _:
                touched = self._touched(self.facts.apply(event))
        if not self.shown:
            self._changed.clear()
            return set()
        return (touched | self._let_go()) if was_shown else self.services()

    def set_network(self, network: str) -> set[ServiceKey]:
        """The configured network is this from now on; returns the services that have to be joined anew."""
        self._network = network
        touched = self._set_network()
        return touched if self.shown else set()

    def set_local(self, *, local: bool) -> set[ServiceKey]:
        """Whether it is a folder of manifests from now on; returns the services that have to be joined anew."""
        differs, self.local = local is not self.local, local
        return self.services() if differs and self.shown else set()

    def restore(self, facts: Iterable[Fact]) -> set[ServiceKey]:
        """Begin with what a snapshot says; returns the services to be joined."""
        for difference in self.facts.restore(facts):
            self.lookup.touched(difference)
        self.restored = True
        self._set_network()
        return self.services()

    def settle(self) -> set[ServiceKey]:
        """Ask the Pods once more about what is held, if any of them changed; returns the services to be joined anew."""
        if not self._pods_changed:
            return set()
        self._pods_changed = False
        return self.guard.reconsider(self.witness()) | self._let_go() if self.guard else set()

    def expire(self, now: float) -> set[ServiceKey]:
        """Let go what was held for its time; returns the services that have to be joined anew."""
        return self.guard.expire(now) | self._let_go()

    def release(self, holds: Iterable[Hold]) -> set[ServiceKey]:
        """Let these go; returns the services that have to be joined anew."""
        return self.guard.release(holds) | self._let_go()

    def contribution(
        self, key: ServiceKey, before: Contribution | None = None, trace: Trace | None = None
    ) -> Contribution | None:
        """Its part in the service, None where it has none; ``before`` is what it was the last time.

        With a ``trace`` there is to be no ``before``, and what changed since the last time is still to be joined.
        """
        changed = (self._changed.pop(key, None) if trace is None else None) or _Names()
        service = self.admitted(key)
        if isinstance(service, Reason):
            if trace is not None:
                for fact in self.slices(key):
                    trace.left_out(fact, service)
            return None
        export = self.get(ObjectRef(Kind.SERVICE_EXPORT, *key)) if self._export.by_objects else None
        doubted = [each.ref for each in (service, export) if each is not None and self.facts.get(each.ref) is None]
        if trace is not None:
            self._tell_doubts(trace, key, doubted)
        created = export.created if isinstance(export, ServiceExport) else ""
        return join(
            self._place(),
            service,
            self.own_slices(key),
            self.guard.slices(key),
            in_doubt=bool(doubted),
            created=created,
            before=before,
            changed=Changed(changed.pods, changed.nodes),
            trace=trace,
        )

    def _tell_doubts(self, trace: Trace, key: ServiceKey, doubted: Iterable[ObjectRef]) -> None:
        """That the service's slices are in doubt with these objects, each held though a list lacks it."""
        for hold in filter(None, map(self.guard.hold_of, doubted)):
            for fact in self.own_slices(key):
                trace.about(fact, reason(hold.reason), f"{hold.fact.ref} is what the list lacks")

    def from_snapshot(self, kind: Kind) -> bool:
        """What is held of ``kind`` is from the snapshot: it was not listed since."""
        return self.restored and not self.facts.listed(kind)

    def node_at(self, address: str) -> str:
        """The Node of the Pods behind Services that have the address; empty where there are none, or on several."""
        if self._residents is None:
            slices = (each for each in self.facts.held(Kind.ENDPOINT_SLICE).facts() if isinstance(each, EndpointSlice))
            self._residents = Residents(slices)
        return self._residents.node_at(address)

    def _place(self) -> Place:
        """Where its endpoints are now. While nothing is in doubt its objects are found without a detour: there are two
        look-ups for every endpoint."""
        if self.guard:
            return Place(self._cluster, self._present_network, self.get, self.get, self.local)
        pods, nodes = self.facts.held(Kind.POD), self.facts.held(Kind.NODE)
        return Place(self._cluster, self._present_network, pods.find, nodes.find, self.local)

    def _touched(self, differences: Iterable[Difference]) -> set[ServiceKey]:
        touched: set[ServiceKey] = set()
        for difference in differences:
            services = self.lookup.touched(difference)
            touched.update(services)
            match difference.new or difference.old:
                case Namespace(name) if name == SYSTEM_NAMESPACE:
                    touched |= self._set_network()
                case Pod() as pod:
                    self._pods_changed = True
                    self._note(pod.ref, services)
                case Node() as node:
                    self._note(node.ref, services)
                case EndpointSlice() if self._residents is not None:
                    old, new = difference
                    self._residents.changed(
                        old if isinstance(old, EndpointSlice) else None, new if isinstance(new, EndpointSlice) else None
                    )
                case _:
                    pass
        return touched

    def _note(self, ref: ObjectRef, services: Iterable[ServiceKey]) -> None:
        """Endpoints of these services that name the Pod or Node are to be made anew."""
        for key in services:
            names = self._changed.setdefault(key, _Names())
            (names.pods if ref.kind is Kind.POD else names.nodes).add(ref.name)

    def _let_go(self) -> set[ServiceKey]:
        """The services of Pods, Nodes and the system namespace that were held and are no longer."""
        touched: set[ServiceKey] = set()
        for ref in self.guard.take_released():
            if ref == SYSTEM_NAMESPACE_REF:
                touched |= self._set_network()
            self._pods_changed |= ref.kind is Kind.POD
            services = self.lookup.users(ref)
            self._note(ref, services)
            touched.update(services)
        return touched

    def _set_network(self) -> set[ServiceKey]:
        """The network the cluster's endpoints are on: as configured, else as its system namespace is labelled."""
        labelled = self.get(SYSTEM_NAMESPACE_REF)
        network = self._network
        if not network and isinstance(labelled, Namespace):
            network = dict(labelled.labels).get(NETWORK_LABEL, "")
        if network == self._present_network:
            return set()
        self._present_network = network
        return self.services()

    def _list(self, done: InitDone, now: float) -> set[ServiceKey]:
        """A list is complete: swap it in, and hold what of it is in doubt."""
        kind, rewound = done.kind, done.rewound
        differences = self.facts.compare(kind)
        was_verified = self.verified
        guarded = self._guarded and self.shown
        lost = [each for each in differences if each.old is not None and not _is_copy(each.old)] if guarded else []
        keys = keys_of(lost) if kind in BEARING else set()
        before = {key: self.addresses(key) for key in keys}
        objects, total = len(self.facts.held(kind)), self.total() if keys else 0
        self.facts.swap(kind)
        touched = self._touched(differences)
        if not guarded:
            return touched
        if self.guard:
            touched |= self.guard.reappeared(self.facts.get, self.own_slices)
        if lost and not self.verified:
            self._judge.hold_all(lost, HoldReason.UNVERIFIED, now)
        elif lost and kind in BEARING:
            self._judge.endpoints(lost, before, total, self.addresses, rewound=rewound, now=now)
        elif lost:
            removed = [each for each in lost if each.new is None]
            self._judge.objects(removed, objects, len(self.facts.held(kind)), rewound=rewound, now=now)
        if self.verified and self.guard:
            if not was_verified:
                touched |= self._verify(now)
            if not done.retold:
                touched |= self.guard.confirmed(kind, self.witness(), self._began[kind])
            touched |= self.guard.reconsider(self.witness())
        return touched | self._set_network() if kind is Kind.NAMESPACE else touched

    def _verify(self, now: float) -> set[ServiceKey]:
        """The first list since the start is complete: judge what it lacks of the snapshot as one list."""
        unverified = self.guard.unverified()
        lost = [Difference(hold.fact, None) for hold in unverified]
        bearing = [each for each in lost if _kind(each) in BEARING]
        before = {key: self.addresses(key) for key in keys_of(bearing)}
        total = self.total()
        touched = self.guard.release(unverified)
        self._judge.endpoints(bearing, before, total, self.addresses, rewound=False, now=now)
        for kind in {_kind(each) for each in lost} - BEARING:
            gone = [each for each in lost if _kind(each) is kind]
            present = len(self.facts.held(kind))
            self._judge.objects(gone, present + len(gone), present, rewound=False, now=now)
        return touched


def _is_copy(fact: Fact) -> bool:
    return isinstance(fact, EndpointSlice) and bool(fact.copy_mark)


def _kind(difference: Difference) -> Kind:
    fact = difference.old or difference.new
    assert fact is not None
    return fact.ref.kind


@dataclass(slots=True)
class _Names:
    """Pods and Nodes."""

    pods: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
