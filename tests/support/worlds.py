"""Random histories of several clusters, with everything that decides of endpoints: lists, holds, standings, exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from support.facts import A, B, C, facts, listing, namespaces, service_names

from registry.index import ExportMode, ExportPolicy, GuardPolicy, Index
from registry.model.events import Apply, Delete, Init, InitApply, InitDone
from registry.model.facts import Fact, ServiceExport
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.standing import Standing

KEYS = tuple(ServiceKey(namespace, name) for namespace in ("shop", "pay") for name in ("echo", "cart"))
Step = Callable[[Index, ClusterId], None]

exports = st.builds(ServiceExport, namespaces, service_names, st.sampled_from(["", "2026-01-01T00:00:00Z"]))
exported_facts: st.SearchStrategy[Fact] = st.one_of(facts, facts, facts, exports)


def told(fact: Fact) -> Step:
    """A watch says that the object is there, or is another."""
    return lambda index, cluster: index.apply(cluster, Apply(fact))


def deleted(ref: ObjectRef) -> Step:
    return lambda index, cluster: index.apply(cluster, Delete(ref))


def relisted(kind: Kind, listed: Sequence[Fact], rewound: bool) -> Step:
    """A list of the kind has just these."""

    def step(index: Index, cluster: ClusterId) -> None:
        index.apply(cluster, Init(kind))
        for fact in listed:
            if fact.ref.kind is kind:
                index.apply(cluster, InitApply(fact))
        index.apply(cluster, InitDone(kind, rewound))

    return step


def stands(standing: Standing) -> Step:
    return lambda index, cluster: index.set_standing(cluster, standing) and None


steps = st.tuples(
    st.sampled_from([A, B, C]),
    st.one_of(
        exported_facts.map(told),
        exported_facts.map(told),
        exported_facts.map(told),
        exported_facts.map(lambda fact: deleted(fact.ref)),
        st.builds(relisted, st.sampled_from(list(Kind)), st.lists(exported_facts, max_size=3), st.booleans()),
        st.sampled_from(list(Standing)).map(stands),
    ),
)
policies = st.builds(
    ExportPolicy,
    excluded_namespaces=st.sampled_from([frozenset(), frozenset(), frozenset({"pay"})]),
    excluded_services=st.sampled_from([frozenset(), frozenset(), frozenset({ServiceKey("shop", "cart")})]),
    mode=st.sampled_from([ExportMode.ALL, ExportMode.ALL, ExportMode.SERVICE_EXPORT, ExportMode.SELECTOR]),
    selector=st.just((("exported", "yes"),)),
)


@dataclass(frozen=True)
class World:
    """How three clusters began, and what came then. ``remembered`` is what a snapshot says of the first one."""

    policy: ExportPolicy
    remembered: tuple[Fact, ...]
    listed: frozenset[ClusterId]
    walk: tuple[tuple[ClusterId, Step], ...]

    def index(self) -> Index:
        """The index after all of it."""
        index = Index(self.policy, GuardPolicy(floor=0))
        for cluster in (A, B, C):
            index.add_cluster(cluster, "" if cluster == A else f"net-{cluster}")
        if self.remembered:
            index.restore(A, {fact.ref: fact for fact in self.remembered}.values())
        for cluster in sorted(self.listed):
            for event in listing():
                index.apply(cluster, event)
        for cluster, step in self.walk:
            step(index, cluster)
        index.commit()
        return index


worlds = st.builds(
    World,
    policies,
    st.one_of(st.just(()), st.lists(exported_facts, max_size=6).map(tuple)),
    st.sets(st.sampled_from([A, B, C]), min_size=1).map(frozenset),
    st.lists(steps, max_size=30).map(tuple),
)
