"""Random histories of several clusters, with everything that decides of endpoints: lists, holds, standings, exports.

Most objects are of one service, ``shop/echo``, and most of its slices have its ports, so that rules meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from support.facts import A, B, C, listing, nodes, pods, slice_endpoints

from registry.index import ExportMode, ExportPolicy, GuardPolicy, Index
from registry.model.events import Apply, Delete, Init, InitApply, InitDone
from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Fact,
    Protocol,
    Service,
    ServiceExport,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.standing import Standing

KEYS = (ServiceKey("shop", "echo"), ServiceKey("shop", "cart"))
CLUSTERS = (A, B, C)
Step = Callable[[Index, ClusterId], None]

HTTP, GRPC = ServicePort(80, "http"), ServicePort(81, "grpc")
names = st.sampled_from(["echo", "echo", "echo", "cart"])
services = st.builds(
    Service,
    st.just("shop"),
    names,
    st.sampled_from(
        [
            *[(HTTP,)] * 4,
            (HTTP, GRPC),
            (ServicePort(80, "grpc"), ServicePort(82, "http")),
            (ServicePort(80, "http", Protocol.UDP),),
            (),
        ]
    ),
    labels=st.sampled_from([(), (("exported", "yes"),), (("exported", "yes"),)]),
    external_name=st.sampled_from([*[""] * 9, "example.org"]),
    copy_mark=st.sampled_from([*[""] * 9, "owner ServiceImport"]),
    created=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    ip_families=st.sampled_from([(), (AddressType.IPV6, AddressType.IPV4)]),
)
healthy = st.builds(
    SliceEndpoint,
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1"]),
    node=st.sampled_from(["n1", "n2", ""]),
    zone=st.sampled_from(["", "z1", "z2"]),
    pod=st.sampled_from(["p1", "p2", ""]),
)


def of_its_family(fact: EndpointSlice) -> EndpointSlice:
    """The slice with addresses of its type, as an API server has it: ``fd00::2`` for ``10.0.0.2`` and the reverse."""
    others = {f"10.0.0.{each}": f"fd00::{each}" for each in range(1, 5)}
    if fact.address_type is AddressType.IPV4:
        others = {"fd00:0::1": "10.0.0.1"} | {six: four for four, six in others.items()}
    ends = tuple(each._replace(address=others.get(each.address, each.address)) for each in fact.endpoints)
    return replace(fact, endpoints=ends)


any_slices = st.builds(
    EndpointSlice,
    st.just("shop"),
    st.sampled_from(["s1", "s2", "s3"]),
    names,
    st.sampled_from([*[AddressType.IPV4] * 4, AddressType.IPV6, AddressType.FQDN]),
    st.sampled_from(
        [
            *[(SlicePort("http", 8080),)] * 4,
            (SlicePort("http", 8080), SlicePort("grpc", 8081)),
            (SlicePort("http"),),
            (SlicePort("http", 53, Protocol.UDP),),
            (),
        ]
    ),
    st.lists(st.one_of(healthy, healthy, slice_endpoints), min_size=1, max_size=3).map(tuple),
    copy_mark=st.sampled_from([*[""] * 9, "multicluster.kubernetes.io/source-cluster=b"]),
)
of_one_family = any_slices.map(of_its_family)
slices = st.one_of(of_one_family, of_one_family, of_one_family, any_slices)
"""Some have addresses of the other type, as only a manifest can."""
exports = st.builds(
    ServiceExport, st.just("shop"), names, st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"])
)
facts: st.SearchStrategy[Fact] = st.one_of(services, slices, slices, exports, pods, nodes)


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
    st.sampled_from(CLUSTERS),
    st.one_of(
        facts.map(told),
        facts.map(lambda fact: deleted(fact.ref)),
        st.builds(relisted, st.sampled_from(list(Kind)), st.lists(facts, max_size=2), st.booleans()),
        st.sampled_from(list(Standing)).map(stands),
    ),
)
policies = st.builds(
    ExportPolicy,
    excluded_services=st.sampled_from([*[frozenset[ServiceKey]()] * 4, frozenset({ServiceKey("shop", "cart")})]),
    mode=st.sampled_from([*[ExportMode.ALL] * 3, ExportMode.SERVICE_EXPORT, ExportMode.SELECTOR]),
    selector=st.just((("exported", "yes"),)),
)


def in_both_families(ends: Sequence[SliceEndpoint]) -> tuple[Fact, ...]:
    """As the controller makes them of dual-stack Pods: a slice of each family."""
    slice_ = EndpointSlice("shop", "s4", "echo", AddressType.IPV4, (SlicePort("http", 8080),), tuple(ends))
    return tuple(of_its_family(replace(slice_, name=f"s{family}", address_type=family)) for family in FAMILIES)


FAMILIES = (AddressType.IPV4, AddressType.IPV6)
dual = st.lists(healthy, min_size=1, max_size=3, unique_by=(lambda end: end.address, lambda end: end.pod))
some = st.one_of(slices.map(lambda fact: (fact,)), dual.map(in_both_families))
starts = st.tuples(services, some, st.lists(facts, max_size=6)).map(lambda drawn: (drawn[0], *drawn[1], *drawn[2]))


@dataclass(frozen=True)
class World:
    """What three clusters listed first, None: nothing; and what came then. ``remembered``: the first one's snapshot."""

    policy: ExportPolicy
    remembered: tuple[Fact, ...]
    listed: tuple[tuple[Fact, ...] | None, ...]
    walk: tuple[tuple[ClusterId, Step], ...]

    def index(self) -> Index:
        """The index after all of it."""
        index = Index(self.policy, GuardPolicy(floor=0))
        for cluster in CLUSTERS:
            index.add_cluster(cluster, "" if cluster == A else f"net-{cluster}")
        if self.remembered:
            index.restore(A, {fact.ref: fact for fact in self.remembered}.values())
        for cluster, first in zip(CLUSTERS, self.listed, strict=True):
            for event in () if first is None else listing(*first):
                index.apply(cluster, event)
        for cluster, step in self.walk:
            step(index, cluster)
        index.commit()
        return index


may_be_listed = st.one_of(starts, starts, starts, st.none())
worlds = st.builds(
    World,
    policies,
    st.one_of(st.just(()), starts),
    st.tuples(may_be_listed, may_be_listed, starts),
    st.lists(steps, max_size=6).map(tuple),
)
