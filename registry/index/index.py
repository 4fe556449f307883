"""Events in, change sets out: the merged list of all clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.index.export import ExportPolicy
from registry.index.join import Contribution, Place, join
from registry.index.lookup import ServiceLookup
from registry.index.merge import merge
from registry.index.store import FactStore
from registry.model.events import SourceEvent
from registry.model.facts import Service
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import Change, ChangeSet, MergedService


@dataclass(slots=True)
class _Member:
    """One cluster: its facts, and what they matter to."""

    place: Place
    facts: FactStore
    lookup: ServiceLookup = field(default_factory=ServiceLookup)


class Index:
    """The merged list, in memory.

    ``apply`` takes in what clusters say and only marks what it touches; ``commit`` joins and merges what was marked.
    Nothing is visible before ``commit``, nor, of one cluster, before every kind was listed once. An event costs what
    depends on the object, and a commit what depends on the marked services, however many others there are.
    """

    def __init__(self, export: ExportPolicy | None = None) -> None:
        self._export = export or ExportPolicy()
        self._members: dict[ClusterId, _Member] = {}
        self._contributions: dict[ServiceKey, dict[ClusterId, Contribution]] = {}
        self._merged: dict[ServiceKey, MergedService] = {}
        self._stale: set[tuple[ClusterId, ServiceKey]] = set()
        """What each cluster gives to which service has to be joined anew."""

    def add_cluster(self, cluster: ClusterId, network: str = "") -> None:
        """Expect events of ``cluster``, whose endpoints are on ``network``.

        Raises:
            ValueError: it is a member already.
        """
        if cluster in self._members:
            raise ValueError(f"cluster {cluster} is a member already")
        facts = FactStore()
        self._members[cluster] = _Member(Place(cluster, network, facts.get), facts)

    def remove_cluster(self, cluster: ClusterId) -> None:
        """Forget ``cluster``: the next commit is without all it said."""
        del self._members[cluster]
        self._stale.update((cluster, key) for key, parts in self._contributions.items() if cluster in parts)

    def apply(self, cluster: ClusterId, event: SourceEvent) -> None:
        """Take in one event of a member cluster.

        Raises:
            KeyError: the cluster is no member.
            ValueError: the event cannot come now (an InitApply without Init).
        """
        member = self._members[cluster]
        was_synced = member.facts.synced
        touched: set[ServiceKey] = set()
        for difference in member.facts.apply(event):
            touched |= member.lookup.touched(difference)
        if not member.facts.synced:
            return
        if not was_synced:
            touched = {ServiceKey(ref.namespace, ref.name) for ref in member.facts.held(Kind.SERVICE)}
        self._stale.update((cluster, key) for key in touched)

    def commit(self) -> ChangeSet:
        """Make everything applied so far visible; returns what that changed."""
        for cluster, key in self._stale:
            self._set_contribution(key, cluster, self._join(cluster, key))
        touched = {key for _, key in self._stale}
        self._stale.clear()
        changes = []
        for key in sorted(touched):
            old = self._merged.get(key)
            new = merge(key, self._contributions.get(key, {}).values())
            if old == new:
                continue
            if new is None:
                del self._merged[key]
            else:
                self._merged[key] = new
            changes.append(Change(key, old, new))
        return tuple(changes)

    def get(self, key: ServiceKey) -> MergedService | None:
        """The service as of the last commit."""
        return self._merged.get(key)

    def services(self) -> tuple[MergedService, ...]:
        """All services as of the last commit, ordered by key."""
        return tuple(self._merged[key] for key in sorted(self._merged))

    def namespaces(self, cluster: ClusterId) -> frozenset[str]:
        """The namespaces the cluster has, whether or not a commit came since."""
        return frozenset(ref.name for ref in self._members[cluster].facts.held(Kind.NAMESPACE))

    def synced(self, cluster: ClusterId) -> bool:
        """Every kind of the cluster was listed once."""
        return self._members[cluster].facts.synced

    def objects(self, cluster: ClusterId) -> Mapping[Kind, int]:
        """How many objects of each kind are held of the cluster."""
        facts = self._members[cluster].facts
        return {kind: len(facts.held(kind)) for kind in Kind}

    def _join(self, cluster: ClusterId, key: ServiceKey) -> Contribution | None:
        member = self._members.get(cluster)
        if member is None or not self._export.exports(key):
            return None
        service = member.facts.get(ObjectRef(Kind.SERVICE, key.namespace, key.name))
        if not isinstance(service, Service) or service.external_name:
            return None
        return join(member.place, service, member.lookup.slices(key))

    def _set_contribution(self, key: ServiceKey, cluster: ClusterId, new: Contribution | None) -> None:
        parts = self._contributions.setdefault(key, {})
        if new is None:
            parts.pop(cluster, None)
            if not parts:
                del self._contributions[key]
        else:
            parts[cluster] = new
