"""What is explained is what is: every endpoint once, the present ones those that are shown, the others with why."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from support.facts import A, B, C
from support.worlds import KEYS, World, worlds

from registry.index import ExplainedEndpoint, Index
from registry.model.facts import EndpointSlice
from registry.model.names import Kind, ServiceKey
from registry.model.reasons import Effect


def slices(index: Index, key: ServiceKey) -> Counter[tuple[object, ...]]:
    """Every endpoint of every slice that names the service, held ones too."""
    return Counter(
        (cluster, fact.name, raw)
        for cluster in (A, B, C)
        for fact in index.facts(cluster)[Kind.ENDPOINT_SLICE]
        if isinstance(fact, EndpointSlice) and ServiceKey(fact.namespace, fact.service) == key
        for raw in fact.endpoints
    )


def told(endpoint: ExplainedEndpoint) -> tuple[object, ...]:
    return endpoint.cluster, endpoint.fact.name, endpoint.fact.endpoints[endpoint.position]


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_every_endpoint_of_every_slice_is_explained_once(world: World) -> None:
    index = world.index()
    for key in KEYS:
        assert Counter(map(told, index.explain(key).endpoints)) == slices(index, key)


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_what_is_explained_as_present_is_the_merged_service(world: World) -> None:
    index = world.index()
    for key in KEYS:
        explained = index.explain(key)
        assert explained.service == index.get(key)
        listed = explained.service.endpoints if explained.service is not None else ()
        present = [each for each in explained.endpoints if each.endpoint is not None]
        assert {id(each.endpoint) for each in present} == set(map(id, listed))
        for endpoint in listed:
            addresses = {each.address for each in present if each.endpoint is endpoint}
            assert addresses == {endpoint.address, *endpoint.additional_addresses}


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_steps_say_what_became_of_an_endpoint(world: World) -> None:
    index = world.index()
    for key in KEYS:
        explained = index.explain(key)
        parts = {each.cluster: each for each in explained.clusters}
        assert list(parts) == [A, B, C]
        given_by = () if explained.service is None else explained.service.clusters
        assert given_by == tuple(each.cluster for each in explained.clusters if each.reason is None)
        for each in explained.endpoints:
            if each.endpoint is None:
                assert each.steps[-1].reason.effect is Effect.DROPPED
            else:
                assert each.steps[0].reason.effect is Effect.KEPT
                held = any(step.reason.effect is Effect.HELD for step in each.steps)
                assert each.endpoint.demoted is held
                assert each.endpoint.cluster == each.cluster


@settings(max_examples=50, deadline=None)
@given(worlds)
def test_an_explanation_changes_nothing(world: World) -> None:
    index = world.index()
    before = index.services()
    for key in KEYS:
        assert index.explain(key) == index.explain(key)
    assert index.commit() == ()
    assert index.services() == before
