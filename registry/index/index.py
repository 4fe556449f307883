"""Events in, change sets out: the merged list of all clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence

from registry.index.contribution import Contribution
from registry.index.explain import ServiceExplanation, explain
from registry.index.export import ExportPolicy
from registry.index.gateways import NO_RULES, GatewayTable, NetworkRule
from registry.index.guard import GuardPolicy
from registry.index.held import Held, HeldObjects, HeldService, Holds
from registry.index.member import Member
from registry.index.merge import merge
from registry.index.refusals import Refusal
from registry.index.refused import Refused, refused
from registry.model.events import SourceEvent
from registry.model.facts import Fact
from registry.model.gateways import Gateways
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import Change, ChangeSet, MergedService
from registry.model.standing import Standing

LOOKED_AT, MARKED = 200, 20
"""So many services are looked at, and so many of them change in one cluster, in one step of another export policy."""

NO_PARTS: Mapping[ClusterId, Contribution] = {}


class Index:
    """The merged list, in memory.

    ``apply`` takes in what clusters say and only marks what it touches; ``commit`` joins and merges what was marked.
    Nothing is visible before ``commit``, nor, of one cluster, before every kind was listed once. An event costs what
    depends on the object, and a commit what depends on the marked services, however many others there are.

    With a ``guard`` a list that is much shorter than the one before is doubted (see ``registry.index.guard``);
    ``clock`` gives its time, in seconds.
    """

    def __init__(
        self,
        export: ExportPolicy | None = None,
        guard: GuardPolicy | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        networks: Mapping[str, NetworkRule] = NO_RULES,
    ) -> None:
        """``networks``: what the configuration says of networks and their gateways."""
        self._export = export or ExportPolicy()
        self._guard = guard
        self._clock = clock
        self._members: dict[ClusterId, Member] = {}
        self._standing: dict[ClusterId, Standing] = {}
        """Of the clusters that are not CURRENT."""
        self._contributions: dict[ServiceKey, dict[ClusterId, Contribution]] = {}
        self._merged: dict[ServiceKey, MergedService] = {}
        self._gateways = GatewayTable(networks)
        self._stale: set[tuple[ClusterId, ServiceKey]] = set()
        """What each cluster gives to which service has to be joined anew."""
        self._unmerged: set[ServiceKey] = set()
        """Services to be merged anew, whose parts are the same."""

        self._unsettled: set[ClusterId] = set()
        """Clusters of which something is held, and which said something since the last commit."""
        self._new: set[ClusterId] = set()
        """Clusters that had not listed everything when the last commit came."""
        self._unseen: set[ClusterId] = set()
        """Clusters of which nothing was shown when the last commit came."""
        self.doubted: set[ClusterId] = set()
        """Clusters of which something is held, or was at the last commit."""
        self.failures: list[tuple[ClusterId | None, ServiceKey | None, Exception]] = []
        """What the last commit could not bring up to date."""
        self._left_out: dict[ClusterId, dict[ServiceKey, tuple[Refusal, ...]]] = {}
        """What of services is left out for good, of those of which anything is."""
        self._refusing: set[ClusterId] = set()
        """Clusters of which other things are left out than before."""

    def add_cluster(self, cluster: ClusterId, network: str = "") -> None:
        """Expect events of ``cluster``, whose endpoints are on ``network`` where nothing in it says otherwise.

        Raises:
            ValueError: it is a member already.
        """
        if cluster in self._members:
            raise ValueError(f"cluster {cluster} is a member already")
        self._members[cluster] = Member(cluster, network, self._export, self._guard)
        self._new.add(cluster)
        self._unseen.add(cluster)

    def remove_cluster(self, cluster: ClusterId) -> None:
        """Forget ``cluster``: the next commit is without all it said."""
        del self._members[cluster]
        self._standing.pop(cluster, None)
        self._gateways.forget(cluster)
        self.doubted.discard(cluster)
        self._new.discard(cluster)
        self._unseen.discard(cluster)
        self._stale.update((cluster, key) for key in self._keys_of(cluster))

    def start_over(self, cluster: ClusterId) -> None:
        """Forget the lists of ``cluster`` so far, if there are not yet enough of them for it to be shown."""
        member = self._members[cluster]
        if not member.shown:
            self._members[cluster] = member.anew()

    def set_network(self, cluster: ClusterId, network: str) -> None:
        """The endpoints of ``cluster`` are on ``network`` from now on, where nothing in it says otherwise."""
        self._touch(cluster, self._members[cluster].set_network(network))

    def set_local(self, cluster: ClusterId, *, local: bool) -> None:
        """Whether ``cluster`` is a folder of manifests, where loopback addresses may be meant."""
        self._touch(cluster, self._members[cluster].set_local(local=local))

    def set_networks(self, rules: Mapping[str, NetworkRule]) -> None:
        """The configuration says this of networks and their gateways from now on."""
        for cluster, keys in self._gateways.set_rules(rules).items():
            for key in keys:
                self._gateways.put(cluster, key, self._members[cluster].gateway(key))

    def set_guard(self, policy: GuardPolicy) -> None:
        """Lists are judged so from now on, and what is held is held so long."""
        self._guard = policy
        for cluster, member in self._members.items():
            member.guard.set_policy(policy)
            if member.guard:
                self.doubted.add(cluster)

    def set_export(self, policy: ExportPolicy) -> Iterator[None]:
        """These services are exported from now on, as the next commits show.

        Each step looks at some services and marks a few of those that come or go: their commit takes milliseconds.
        """
        before, self._export = self._export, policy
        for member in self._members.values():
            member.set_export(policy)
        keys = list(set().union(*[member.services() for member in self._members.values()]))
        for start in range(0, len(keys), LOOKED_AT):
            differ = [
                (cluster, key)
                for key in keys[start : start + LOOKED_AT]
                for cluster, member in self._members.items()
                if member.admission_differs(key, before)
            ]
            for first in range(0, len(differ) or 1, MARKED):
                self._stale.update(differ[first : first + MARKED])
                yield

    def apply(self, cluster: ClusterId, event: SourceEvent) -> None:
        """Take in one event of a member cluster.

        Raises:
            KeyError: the cluster is no member.
            ValueError: the event cannot come now (an InitApply without Init).
        """
        member = self._members[cluster]
        self._touch(cluster, member.apply(event, self._clock()))
        if member.guard:
            self._unsettled.add(cluster)
            self.doubted.add(cluster)

    def restore(self, cluster: ClusterId, facts: Iterable[Fact]) -> None:
        """Show ``facts``, which an earlier run knew of the cluster, until its first list is complete.

        Until then what lists add counts, and what they lack stays.
        """
        self._touch(cluster, self._members[cluster].restore(facts))

    def set_standing(self, cluster: ClusterId, standing: Standing) -> bool:
        """How much is believed of the cluster; whether that is another standing than before."""
        if self.standing(cluster) is standing:
            return False
        if standing is Standing.CURRENT:
            del self._standing[cluster]
        else:
            self._standing[cluster] = standing
        self._unmerged.update(self._keys_of(cluster))
        self._gateways.stands(cluster)
        return True

    def standing(self, cluster: ClusterId) -> Standing:
        return self._standing.get(cluster, Standing.CURRENT)

    def commit(self) -> ChangeSet:
        """Make everything applied so far visible; returns what that changed.

        A service that cannot be joined or merged, by a bug, stays as it was: ``failures`` has the error, with the
        cluster and the service that are concerned.
        """
        self.failures.clear()
        for cluster in self._unsettled.intersection(self._members):
            try:
                self._touch(cluster, self._members[cluster].settle())
            except Exception as error:  # noqa: BLE001 - the pipeline logs it
                self.failures.append((cluster, None, error))
        self._unsettled.clear()
        self.doubted = {
            cluster for cluster in self.doubted if cluster in self._members and self._members[cluster].guard
        }
        for cluster, key in self._stale:
            try:
                self._set_contribution(key, cluster, self._join(cluster, key))
                member = self._members.get(cluster)
                self._gateways.put(cluster, key, None if member is None else member.gateway(key))
            except Exception as error:  # noqa: BLE001 - the pipeline logs it
                self.failures.append((cluster, key, error))
        self._new = {cluster for cluster in self._new if not self._members[cluster].facts.synced}
        self._unseen = {cluster for cluster in self._unseen if not self._members[cluster].shown}
        touched = self._unmerged.union(key for _, key in self._stale)
        self._stale.clear()
        self._unmerged.clear()
        changes = []
        for key in sorted(touched):
            old = self._merged.get(key)
            try:
                new = merge(key, self._contributions.get(key, {}).values(), self._standing)
            except Exception as error:  # noqa: BLE001 - the pipeline logs it
                self.failures.append((None, key, error))
                continue
            if old == new:
                continue
            if new is None:
                del self._merged[key]
            else:
                self._merged[key] = new
            changes.append(Change(key, old, new))
        return tuple(changes)

    def next_at(self) -> float | None:
        """When ``on_time`` has something to do, in the clock's time; None: nothing is in doubt."""
        guards = (self._members[cluster].guard for cluster in self.doubted if cluster in self._members)
        return min((at for guard in guards if (at := guard.next_at()) is not None), default=None)

    def on_time(self) -> Mapping[ClusterId, frozenset[Kind]]:
        """Let go what was held for its time; returns the kinds of which a second list is wanted, by cluster."""
        now = self._clock()
        wanted: dict[ClusterId, frozenset[Kind]] = {}
        for cluster in self.doubted.intersection(self._members):
            member = self._members[cluster]
            self._touch(cluster, member.expire(now))
            self._unsettled.add(cluster)
            kinds = member.guard.to_relist(now)
            if kinds:
                wanted[cluster] = kinds
        return wanted

    def doubts(self, cluster: ClusterId) -> int | None:
        """How often what is held of the cluster became something else; None where nothing is held."""
        return self._members[cluster].guard.changes if cluster in self.doubted else None

    def held_of(self, cluster: ClusterId) -> tuple[Held, ...]:
        """All that is in doubt of one cluster, as ``held`` and ``held_objects`` have it."""
        holds = Holds(cluster, self._members[cluster])
        return (*holds.services(), *holds.objects())

    def held(self) -> tuple[HeldService, ...]:
        """The endpoints that are in doubt, ordered by cluster and service."""
        return tuple(each for holds in self._holds() for each in holds.services())

    def held_objects(self) -> tuple[HeldObjects, ...]:
        """The Pods, Nodes and Namespaces that are in doubt, ordered by cluster and kind."""
        return tuple(each for holds in self._holds() for each in holds.objects())

    def release(self, cluster: ClusterId | None = None, key: ServiceKey | None = None) -> tuple[Held, ...]:
        """Let go what is held, of one cluster or one service or all; returns what it was.

        A Pod or Node that is held goes with its cluster, and not with a service: it may be others' too.
        """
        released: list[Held] = []
        for holds in self._holds():
            services = [each for each in holds.services() if key in (None, each.key)]
            found: list[Held] = [*services, *(holds.objects() if key is None else ())]
            for each in found:
                if cluster in (None, each.cluster):
                    self._touch(each.cluster, self._members[each.cluster].release(holds.of(each)))
                    self._unsettled.add(each.cluster)
                    released.append(each)
        return tuple(released)

    def explain(self, key: ServiceKey) -> ServiceExplanation:
        """The service as a commit would show it now, and why. Costs a full join of this service in every cluster."""
        return explain(key, self._members, self._standing)

    def get(self, key: ServiceKey) -> MergedService | None:
        """The service as of the last commit."""
        return self._merged.get(key)

    def gateways(self) -> Gateways:
        """The gateways of each network that has any, as of the last commit; the same object while nothing changes."""
        return self._gateways.find(self._standing)

    def gateway_problems(self) -> Mapping[ClusterId, tuple[str, ...]]:
        """What of each cluster's gateways cannot be used, as of the last commit."""
        return self._gateways.problems()

    def keys(self) -> KeysView[ServiceKey]:
        """The services there are as of the last commit, in no order."""
        return self._merged.keys()

    def services(self) -> tuple[MergedService, ...]:
        """All services as of the last commit, ordered by key."""
        return tuple(self._merged[key] for key in sorted(self._merged))

    def namespaces(self, cluster: ClusterId) -> frozenset[str]:
        """The namespaces the cluster has, whether or not a commit came since."""
        return frozenset(ref.name for ref in self._members[cluster].facts.held(Kind.NAMESPACE))

    def zone_of(self, cluster: ClusterId, node: str) -> tuple[str, str] | None:
        """Region and zone of the cluster's Node of that name; None where there is none."""
        member = self._members.get(cluster)
        return member.zone_of(node) if member is not None else None

    def node_of(self, cluster: ClusterId, pod: ObjectRef) -> str:
        """The Node that a Pod of the cluster runs on; empty where that, or the cluster, is not known."""
        member = self._members.get(cluster)
        return member.node_of(pod) if member is not None else ""

    def node_at(self, cluster: ClusterId, address: str) -> str:
        """The Node of the cluster's Pods that are behind Services and have the address, in its one text form.

        Empty where there are none, or on several Nodes, or the cluster is not known.
        """
        member = self._members.get(cluster)
        return member.node_at(address) if member is not None else ""

    def family(self, cluster: ClusterId) -> str:
        """``IPv4`` or ``IPv6``, whichever the cluster's Pods have first; empty where that is not known."""
        return self._members[cluster].family

    def synced(self, cluster: ClusterId) -> bool:
        """Every kind of the cluster was listed once."""
        return self._members[cluster].facts.synced

    def merged(self, cluster: ClusterId) -> bool:
        """What the cluster listed at first is in the merged list: it was synced when the last commit came."""
        return cluster not in self._new

    def seen(self, cluster: ClusterId) -> bool:
        """What is known of the cluster is in the merged list: what it listed, or what a snapshot has of it."""
        return cluster not in self._unseen

    @property
    def waiting(self) -> int:
        """How many clusters are not in the merged list yet."""
        return len(self._new)

    def restored(self, cluster: ClusterId) -> bool:
        """What is shown of the cluster is still from a snapshot."""
        member = self._members[cluster]
        return member.restored and not member.verified

    def objects(self, cluster: ClusterId) -> Mapping[Kind, int]:
        """How many objects of each kind are held of the cluster."""
        facts = self._members[cluster].facts
        return {kind: len(facts.held(kind)) for kind in Kind}

    def take_refusing(self) -> Mapping[ClusterId, Mapping[ServiceKey, Sequence[Refusal]]]:
        """The clusters of which something else is left out for good than when this was asked last, and all of that."""
        refusing, self._refusing = self._refusing, set()
        return {cluster: self._left_out.get(cluster, {}) for cluster in sorted(refusing.intersection(self._members))}

    def refused(self) -> tuple[Refused, ...]:
        """What is exported and can be no service of several clusters, and of others what is left out for good;
        ordered by service and cluster."""
        return tuple(sorted(each for cluster in self._members for each in self.refused_of(cluster)))

    def refused_of(self, cluster: ClusterId) -> tuple[Refused, ...]:
        """The same of one cluster, in no order."""
        member = self._members.get(cluster)
        if member is None or not member.shown:
            return ()
        services, exports = member.facts.held(Kind.SERVICE), member.facts.held(Kind.SERVICE_EXPORT)
        partly = (
            Refused(key, cluster, *each) for key, found in self._left_out.get(cluster, {}).items() for each in found
        )
        return (*refused(cluster, self._export, services, exports), *partly)

    def refusals(self, key: ServiceKey) -> tuple[Refused, ...]:
        """The same of one service, ordered by cluster."""
        found: list[Refused] = []
        for cluster, services in self._left_out.items():
            found += [Refused(key, cluster, *each) for each in services.get(key, ())]
        for cluster, member in self._members.items():
            if member.shown:
                held = (_one(member.facts.held(kind), kind, key) for kind in (Kind.SERVICE, Kind.SERVICE_EXPORT))
                found += refused(cluster, self._export, *held)
        return tuple(sorted(found))

    def held_services(self, cluster: ClusterId) -> Mapping[ServiceKey, Callable[[], HeldService]]:
        """What makes ``held`` of each service of one cluster, in the order of their keys."""
        member = self._members.get(cluster)
        return Holds(cluster, member).each() if member is not None else {}

    def __contains__(self, cluster: ClusterId) -> bool:
        return cluster in self._members

    def held_facts(self, cluster: ClusterId, kind: Kind) -> Mapping[ObjectRef, Fact]:
        """The cluster's objects of ``kind`` as it told them last."""
        return self._members[cluster].facts.held(kind)

    def facts(self, cluster: ClusterId) -> Mapping[Kind, Sequence[Fact]]:
        """All that counts of the cluster now, by kind: what ``restore`` of a later run takes."""
        return self._members[cluster].effective()

    def _holds(self) -> Iterator[Holds]:
        for cluster in sorted(self.doubted.intersection(self._members)):
            yield Holds(cluster, self._members[cluster])

    def _touch(self, cluster: ClusterId, keys: Iterable[ServiceKey]) -> None:
        self._stale.update((cluster, key) for key in keys)

    def _keys_of(self, cluster: ClusterId) -> list[ServiceKey]:
        return [key for key, parts in self._contributions.items() if cluster in parts]

    def _join(self, cluster: ClusterId, key: ServiceKey) -> Contribution | None:
        member = self._members.get(cluster)
        before = self._contributions.get(key, NO_PARTS).get(cluster)
        return None if member is None else member.contribution(key, before)

    def _set_contribution(self, key: ServiceKey, cluster: ClusterId, new: Contribution | None) -> None:
        refused = new.refused if new is not None else ()
        if refused or cluster in self._left_out:
            self._refuse(key, cluster, refused)
        parts = self._contributions.setdefault(key, {})
        if new is None:
            parts.pop(cluster, None)
            if not parts:
                del self._contributions[key]
        else:
            parts[cluster] = new

    def _refuse(self, key: ServiceKey, cluster: ClusterId, refused: tuple[Refusal, ...]) -> None:
        """So much of the cluster's service is left out for good."""
        services = self._left_out.setdefault(cluster, {})
        if services.get(key, ()) != refused:
            self._refusing.add(cluster)
        if refused:
            services[key] = refused
        else:
            services.pop(key, None)
            if not services:
                del self._left_out[cluster]


def _one(facts: Mapping[ObjectRef, Fact], kind: Kind, key: ServiceKey) -> Mapping[ObjectRef, Fact]:
    """The object of that name, if it is among these."""
    ref = ObjectRef(kind, key.namespace, key.name)
    return {ref: facts[ref]} if ref in facts else {}
