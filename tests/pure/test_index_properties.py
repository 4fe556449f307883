"""What holds for every history: the oracle agrees, the order does not matter, a relist is one step."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.facts import A, B, C, listing
from support.oracle import merged
from support.worlds import facts, starts

from registry.index import Index
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, SourceEvent
from registry.model.facts import Fact
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import MergedService
from registry.views.names import Names
from registry.views.resources import assignments, shape

clusters = st.sampled_from([A, B, C])
World = dict[ClusterId, dict[ObjectRef, Fact]]
steps = st.tuples(clusters, st.one_of(facts, facts.map(lambda fact: fact.ref)), st.booleans())
beginnings = st.tuples(starts, starts, starts).map(
    lambda first: [(cluster, fact) for cluster, own in zip((A, B, C), first, strict=True) for fact in own]
)
"""A service in each cluster, so that rules meet."""
walks = st.tuples(beginnings, st.lists(steps, max_size=15)).map(
    lambda drawn: [*((cluster, fact, False) for cluster, fact in drawn[0]), *drawn[1]]
)
tellings = st.tuples(beginnings, st.lists(st.tuples(clusters, facts), max_size=8)).map(
    lambda drawn: [*drawn[0], *drawn[1]]
)


def new_index() -> Index:
    index = Index()
    for cluster in (A, B, C):
        index.add_cluster(cluster)
        for event in listing():
            index.apply(cluster, event)
    return index


def play(index: Index, world: World, cluster: ClusterId, step: Fact | ObjectRef) -> None:
    """One event, to the index and to the plain record of facts."""
    if isinstance(step, ObjectRef):
        world[cluster].pop(step, None)
        index.apply(cluster, Delete(step))
    else:
        world[cluster][step.ref] = step
        index.apply(cluster, Apply(step))


def rendered(services: tuple[MergedService, ...]) -> list[tuple[str, str, bytes]]:
    """Every xDS resource of the services, in bytes."""
    return [
        (each.type_url, each.name, each.encode())
        for service in services
        for each in (*assignments(service, Names()), *shape(service, Names()))
    ]


@settings(max_examples=200)
@given(walks)
def test_random_walk_agrees_with_the_oracle_after_every_commit(
    walk: list[tuple[ClusterId, Fact | ObjectRef, bool]],
) -> None:
    index = new_index()
    world: World = {cluster: {} for cluster in (A, B, C)}
    told: dict[ServiceKey, MergedService] = {}
    for cluster, step, commit in [*walk, (A, ObjectRef(Kind.POD, "shop", "none"), True)]:
        play(index, world, cluster, step)
        if not commit:
            continue
        changes = index.commit()
        assert [change.key for change in changes] == sorted(change.key for change in changes)
        for change in changes:
            assert change.old != change.new
            assert told.get(change.key) == change.old
            told.pop(change.key, None)
            if change.new is not None:
                told[change.key] = change.new
        assert told == merged(world)
        assert index.services() == tuple(told[key] for key in sorted(told))


@given(tellings, st.randoms(use_true_random=False))
def test_any_order_of_the_same_facts_gives_the_same_bytes(
    told: list[tuple[ClusterId, Fact]], shuffler: random.Random
) -> None:
    last = {(cluster, fact.ref): (cluster, fact) for cluster, fact in told}
    other = list(last.values())
    shuffler.shuffle(other)
    results = []
    for order in (list(last.values()), other):
        index = new_index()
        for cluster, fact in order:
            index.apply(cluster, Apply(fact))
        index.commit()
        results.append(rendered(index.services()))
    assert results[0] == results[1]


@given(tellings, st.randoms(use_true_random=False))
def test_kinds_and_clusters_may_be_listed_in_any_order(
    told: list[tuple[ClusterId, Fact]], shuffler: random.Random
) -> None:
    world: World = {cluster: {} for cluster in (A, B, C)}
    for cluster, fact in told:
        world[cluster][fact.ref] = fact
    lists: list[tuple[ClusterId, list[SourceEvent]]] = [
        (cluster, list(listing(*world[cluster].values(), kinds=[kind]))) for cluster in world for kind in Kind
    ]
    shuffler.shuffle(lists)
    index = Index()
    for cluster in (A, B, C):
        index.add_cluster(cluster)
    for cluster, events in lists:
        for event in events:
            index.apply(cluster, event)
        index.commit()
    assert {service.key: service for service in index.services()} == merged(world)


@given(
    starts,
    starts,
    st.sampled_from(list(Kind)),
)
def test_relist_is_one_step_from_the_old_list_to_the_new(
    before: tuple[Fact, ...], after: tuple[Fact, ...], kind: Kind
) -> None:
    index = new_index()
    world: World = {cluster: {} for cluster in (A, B, C)}
    for fact in before:
        play(index, world, A, fact)
    index.commit()
    shown = index.services()
    fresh = {fact.ref: fact for fact in after if fact.ref.kind is kind}
    index.apply(A, Init(kind))
    for fact in fresh.values():
        index.apply(A, InitApply(fact))
        assert index.commit() == ()
        assert index.services() == shown
    index.apply(A, InitDone(kind))
    changes = index.commit()
    world[A] = {ref: fact for ref, fact in world[A].items() if ref.kind is not kind} | fresh
    assert {service.key: service for service in index.services()} == merged(world)
    assert {change.key for change in changes} == {
        key
        for key in {service.key for service in (*shown, *index.services())}
        if {service.key: service for service in shown}.get(key) != index.get(key)
    }


@given(tellings)
def test_no_address_and_port_is_listed_twice(told: list[tuple[ClusterId, Fact]]) -> None:
    index = new_index()
    for cluster, fact in told:
        index.apply(cluster, Apply(fact))
    index.commit()
    for service in index.services():
        pairs = [(each.address, pair) for each in service.endpoints for pair in each.ports]
        assert len(pairs) == len(set(pairs))
        assert list(service.endpoints) == sorted(service.endpoints)
