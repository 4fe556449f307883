"""An aggregated stream makes before it breaks, and waits for no answer for ever."""

from __future__ import annotations

import pytest
from support.xds_client import drop, put
from support.xds_session import Dialogue

from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, LDS, RDS

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["SotW", "Delta"])


@pytest.fixture
def store() -> ResourceStore:
    store = ResourceStore()
    store.apply([put(CDS, "old"), put(EDS, "old"), put(LDS, "l"), put(RDS, "r")])
    return store


def envoy(store: ResourceStore, delta: bool) -> Dialogue:
    """A client that has everything, as Envoy comes to have it."""
    client = Dialogue(store, delta)
    client.subscribe(CDS)
    client.take()
    client.subscribe(EDS, "old")
    client.take()
    client.subscribe(LDS)
    client.take()
    client.subscribe(RDS, "r")
    client.take()
    assert client.pull() is None
    return client


@BOTH
def test_a_service_replaced_is_made_before_the_old_one_is_broken(store: ResourceStore, delta: bool) -> None:
    client = envoy(store, delta)
    client.subscribe(EDS, "new")
    client.settle()
    store.apply([drop(CDS, "old"), drop(EDS, "old"), put(RDS, "r", "2"), put(EDS, "new"), put(CDS, "new")])

    clusters = client.take()
    assert clusters.kind is CDS
    assert clusters.resources["new"] == "1"
    assert set(client.held(CDS)) == {"new", "old"}
    endpoints = client.take()
    assert (endpoints.kind, dict(endpoints.resources)) == (EDS, {"new": "1"})
    route = client.expect()
    assert (route.kind, dict(route.resources)) == (RDS, {"r": "2"})
    assert client.pull() is None, "the old cluster may be missed while the route is unanswered"
    client.ack(route)
    rest = [client.take() for _ in range(2 if delta else 1)]
    assert [each.kind for each in rest] == ([EDS, CDS] if delta else [CDS])
    assert set(client.held(CDS)) == {"new"}
    assert client.pull() is None


@BOTH
def test_additions_go_out_in_order(store: ResourceStore, delta: bool) -> None:
    client = envoy(store, delta)
    store.apply([put(RDS, "r", "2"), put(LDS, "l", "2"), put(EDS, "old", "2"), put(CDS, "old", "2")])
    assert [client.take().kind for _ in range(4)] == [CDS, EDS, LDS, RDS]
    assert client.pull() is None


@BOTH
def test_removals_go_out_the_other_way(store: ResourceStore, delta: bool) -> None:
    client = envoy(store, delta)
    store.apply([drop(CDS, "old"), drop(EDS, "old"), drop(LDS, "l"), drop(RDS, "r")])
    order = [RDS, LDS, EDS, CDS] if delta else [LDS, CDS]
    assert [client.take().kind for _ in order] == order
    assert client.pull() is None


@BOTH
def test_routes_wait_for_the_answer_to_clusters_and_endpoints(store: ResourceStore, delta: bool) -> None:
    client = envoy(store, delta)
    store.apply([put(CDS, "old", "2"), put(RDS, "r", "2")])
    clusters, endpoints = client.expect(), client.expect()
    assert (clusters.kind, endpoints.kind) == (CDS, EDS)
    assert client.pull() is None
    client.ack(endpoints)
    assert client.pull() is None
    client.ack(clusters)
    assert client.take().kind is RDS


@BOTH
def test_a_nack_opens_the_way_as_an_ack_does(store: ResourceStore, delta: bool) -> None:
    client = envoy(store, delta)
    store.apply([put(CDS, "new"), put(RDS, "r", "2"), drop(CDS, "old")])
    client.nack(client.expect())
    assert client.nack(client.expect()).kind is RDS
    last = client.take()
    assert last.kind is CDS
    assert "old" not in last.resources
    assert client.pull() is None


@BOTH
def test_a_request_is_answered_though_clusters_are_unanswered(store: ResourceStore, delta: bool) -> None:
    client = envoy(store, delta)
    store.apply([put(CDS, "new"), put(RDS, "r2"), put(RDS, "r", "2"), put(EDS, "new")])
    clusters = client.expect()
    client.subscribe(EDS, "new")
    client.subscribe(RDS, "r2")
    assert client.take().resources == {"new": "1"}
    assert client.take().resources == {"r2": "1"}, "what was asked for, and not the change that waits"
    assert client.pull() is None
    client.ack(clusters)
    assert client.take().resources == {"r": "2"}


@BOTH
def test_a_changed_cluster_is_followed_by_its_endpoints_though_they_are_the_same(
    store: ResourceStore, delta: bool
) -> None:
    store.apply([put(CDS, "other"), put(EDS, "other")])
    client = envoy(store, delta)
    client.subscribe(EDS, "other")
    client.take()
    store.apply([put(CDS, "old", "2")])
    assert client.take().kind is CDS
    endpoints = client.take()
    assert (endpoints.kind, dict(endpoints.resources)) == (EDS, {"old": "1"})
    assert client.pull() is None


@BOTH
def test_all_endpoints_follow_a_changed_cluster_whose_endpoints_have_another_name(
    store: ResourceStore, delta: bool
) -> None:
    store.apply([put(CDS, "renamed"), put(EDS, "service-name"), put(EDS, "unwanted")])
    client = envoy(store, delta)
    client.subscribe(EDS, "service-name")
    client.take()
    store.apply([put(CDS, "renamed", "2")])
    assert client.take().kind is CDS
    assert client.take().resources == {"old": "1", "service-name": "1"}
    assert client.pull() is None


@BOTH
def test_a_single_type_stream_orders_nothing(store: ResourceStore, delta: bool) -> None:
    client = Dialogue(store, delta, types=(CDS,))
    client.subscribe(CDS)
    client.take()
    store.apply([put(CDS, "new"), drop(CDS, "old"), put(RDS, "r", "2")])
    client.take()
    assert client.held(CDS) == {"new": "1"}
    assert client.pull() is None


@BOTH
def test_a_client_that_answers_nothing_holds_names_not_messages(store: ResourceStore, delta: bool) -> None:
    client = Dialogue(store, delta)
    client.subscribe(EDS, "old")
    unanswered = client.expect()
    for number in range(100):
        store.apply([put(EDS, "old", str(number))])
        assert client.pull() is None
    client.ack(unanswered)
    assert client.take().resources == {"old": "99"}
    assert client.pull() is None
