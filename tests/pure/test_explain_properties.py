"""What is explained is what is: every endpoint once, the present ones those that are shown, the others with why."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support.facts import A, B, C, listing
from support.worlds import HTTP, KEYS, World, worlds

from registry.index import ExplainedEndpoint, Index
from registry.model.events import Apply
from registry.model.facts import AddressType, EndpointSlice, Service, ServiceExport, SliceEndpoint, SlicePort
from registry.model.names import ClusterId, Kind, ServiceKey
from registry.model.reasons import Effect, Reason
from registry.model.standing import Standing


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


CERTAIN = settings(max_examples=10_000, derandomize=True, database=None, deadline=None, phases=[Phase.generate])
OFTEN = (
    *(Reason.READY, Reason.DRAINING, Reason.FROM_SNAPSHOT, Reason.DEMOTED, Reason.SERVICE_EMPTIED),
    *(Reason.NO_SERVICE, Reason.NOT_EXPORTED, Reason.NOT_SELECTED, Reason.ADDRESS_TYPE_FQDN, Reason.PORT_NOT_OFFERED),
    *(Reason.NO_ADDRESS, Reason.NOT_READY, Reason.TERMINATING, Reason.PORT_CONFLICT, Reason.DUPLICATE),
)


@pytest.mark.parametrize("rule", OFTEN)
def test_the_worlds_have_what_the_properties_are_about(rule: Reason) -> None:
    def comes_up(world: World) -> bool:
        index = world.index()
        return any(
            rule in {step.reason for step in each.steps} for key in KEYS for each in index.explain(key).endpoints
        )

    find(worlds, comes_up, settings=CERTAIN)


def mend(index: Index, each: ExplainedEndpoint) -> None:
    """Do away with the rule that leaves the endpoint out, in the way its meaning says."""
    fact, key = each.fact, ServiceKey(each.fact.namespace, each.fact.service)
    service = next((one for one in index.facts(each.cluster)[Kind.SERVICE] if one.ref[1:] == key), None)
    assert service is None or isinstance(service, Service)
    match each.steps[-1].reason:
        case Reason.CLUSTER_NOT_LISTED:
            told = index.facts(each.cluster)
            for event in listing(*(one for facts in told.values() for one in facts)):
                index.apply(each.cluster, event)
        case (
            Reason.NO_SERVICE | Reason.SERVICE_COPY | Reason.EXTERNAL_NAME | Reason.NOT_SELECTED | Reason.PORT_CONFLICT
        ):
            labels = (("exported", "yes"),)
            index.apply(each.cluster, Apply(Service(*key, (HTTP,), created="2025", labels=labels)))
        case Reason.PORT_NOT_OFFERED if service is not None and not service.ports:
            index.apply(each.cluster, Apply(replace(service, ports=(HTTP,))))
        case Reason.NOT_EXPORTED:
            index.apply(each.cluster, Apply(ServiceExport(*key, "2025")))
        case Reason.EVICTED:
            index.set_standing(each.cluster, Standing.CURRENT)
        case _:
            # The slice itself is what is wrong, or that another has the address.
            own = SliceEndpoint(f"10.9.{'abc'.index(each.cluster)}.{each.position + 1}", pod=f"new-{each.position}")
            ends = tuple(own if at == each.position else end for at, end in enumerate(fact.endpoints))
            ports = tuple(SlicePort(port.name, 8080, port.protocol) for port in service.ports) if service else ()
            mended = replace(fact, address_type=AddressType.IPV4, ports=ports, endpoints=ends, copy_mark="")
            index.apply(each.cluster, Apply(mended))
    index.commit()


@settings(max_examples=150, deadline=None)
@given(worlds, st.data())
def test_an_endpoint_whose_reasons_are_mended_one_by_one_comes_back(world: World, data: st.DataObject) -> None:
    index = world.index()
    absent = [
        each
        for key in KEYS
        for each in index.explain(key).endpoints
        if each.endpoint is None and each.hold is None and each.steps[-1].reason is not Reason.SERVICE_EXCLUDED
    ]
    if not absent:
        return
    chosen = data.draw(st.sampled_from(absent))
    for _ in range(8):
        explained = index.explain(ServiceKey(chosen.fact.namespace, chosen.fact.service))
        (now,) = (each for each in explained.endpoints if where(each) == where(chosen))
        if now.endpoint is not None or now.steps[-1].reason is Reason.SERVICE_EXCLUDED:
            return
        mend(index, now)
    raise AssertionError(f"still out: {now.steps}")


def where(each: ExplainedEndpoint) -> tuple[ClusterId, str, int, bool]:
    return each.cluster, each.fact.name, each.position, each.hold is not None
