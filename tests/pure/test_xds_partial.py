"""A store whose resources may lack a part: a client that comes with versions keeps what it has; others get what is."""

from __future__ import annotations

import pytest
from support.xds_client import resource
from support.xds_session import Dialogue

from registry.xds.resources import ResourceChange
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, LDS, RDS, ResourceType

both_variants = pytest.mark.parametrize("delta", [False, True], ids=["SotW", "Delta"])


def a_store(*, partial: bool, **versions: str) -> ResourceStore:
    """One with these resources of each type."""
    store = ResourceStore(complete=not partial, partial=partial)
    for kind in (CDS, EDS, LDS, RDS):
        put(store, kind, **versions)
    return store


def put(store: ResourceStore, kind: ResourceType, **versions: str) -> None:
    store.apply([ResourceChange(kind.url, name, resource(kind, name, each)) for name, each in versions.items()])


def came(delta: bool, before: ResourceStore, after: ResourceStore, kind: ResourceType, *names: str) -> Dialogue:
    """A client that was served from ``before``, and comes to ``after`` with what it has."""
    first, again = Dialogue(before, delta), Dialogue(after, delta)
    first.subscribe(kind, *names)
    first.settle()
    had, has = first.client.belief(kind), again.client.belief(kind)
    has.version, has.resources, has.versions = had.version, dict(had.resources), dict(had.versions)
    again.subscribe(kind, *names, known=dict(had.versions) if delta else None)
    return again


@both_variants
@pytest.mark.parametrize("kind", [CDS, EDS, LDS, RDS], ids=lambda kind: kind.short)
def test_client_keeps_what_the_store_has_otherwise_until_it_is_whole(delta: bool, kind: ResourceType) -> None:
    store = a_store(partial=True, a="a", both="a")
    names = () if kind.whole else ("a", "b", "both")
    client = came(delta, a_store(partial=False, a="a", b="b", both="a+b"), store, kind, *names)
    client.settle()
    put(store, kind, both="a2")
    client.settle()
    assert client.held(kind) == {"a": "a", "b": "b", "both": "a+b"}
    put(store, kind, both="a2+b", b="b")
    client.settle()
    assert client.held(kind)["both"] == "a+b", "it is not known that this is all"
    store.completed()
    client.settle()
    assert client.held(kind) == {"a": "a", "b": "b", "both": "a2+b"}


@both_variants
@pytest.mark.parametrize("kind", [CDS, EDS, LDS, RDS], ids=lambda kind: kind.short)
def test_client_that_comes_with_nothing_gets_what_there_is(delta: bool, kind: ResourceType) -> None:
    store = a_store(partial=True, a="a", both="a")
    client = Dialogue(store, delta)
    client.subscribe(kind, *(() if kind.whole else ("a", "b", "both")))
    client.settle()
    assert client.held(kind) == {"a": "a", "both": "a"}
    put(store, kind, both="a2")
    client.settle()
    assert client.held(kind)["both"] == "a2"


@both_variants
@pytest.mark.parametrize("kind", [CDS, EDS, LDS, RDS], ids=lambda kind: kind.short)
def test_client_that_has_just_what_the_store_has_misses_no_change(delta: bool, kind: ResourceType) -> None:
    store = a_store(partial=True, a="a")
    client = came(delta, a_store(partial=False, a="a"), store, kind, *(() if kind.whole else ("a",)))
    client.settle()
    put(store, kind, a="a2")
    client.settle()
    assert client.held(kind) == {"a": "a2"}


@both_variants
def test_bound_ends_what_is_kept_and_what_is_not_there_is_gone(delta: bool) -> None:
    store = a_store(partial=True, a="a")
    client = came(delta, a_store(partial=False, a="a1", b="b"), store, CDS)
    client.settle()
    store.remove(CDS.url, "a")
    client.settle()
    assert client.held(CDS) == {"a": "a1", "b": "b"}, "another cluster may have it"
    store.completed()
    client.settle()
    assert client.held(CDS) == {}


def test_delta_client_keeps_what_is_missing_when_resources_are_whole_but_not_all_are_there() -> None:
    store = a_store(partial=True, both="a")
    client = came(True, a_store(partial=False, b="b", both="a+b"), store, EDS, "b", "both")
    put(store, EDS, both="a+b2")
    store.cover(complete=False, partial=False)
    client.settle()
    assert client.held(EDS) == {"b": "b", "both": "a+b2"}


@both_variants
def test_name_that_the_client_adds_later_is_answered(delta: bool) -> None:
    store = a_store(partial=True, both="a", new="n")
    client = came(delta, a_store(partial=False, both="a+b"), store, EDS, "both")
    assert client.settle() == []
    client.subscribe(EDS, "new")
    client.settle()
    assert client.held(EDS) == {"both": "a+b", "new": "n"}


@both_variants
def test_named_listeners_that_are_all_there_are_answered_and_a_missing_one_holds_back_a_list_that_would_delete_it(
    delta: bool,
) -> None:
    before = a_store(partial=False, a="a", b="b")
    there, lacking = a_store(partial=True, a="a2", b="b2"), a_store(partial=True, a="a2")
    if not delta:
        client = came(delta, before, there, LDS, "a", "b")
        client.settle()
        assert client.held(LDS) == {"a": "a2", "b": "b2"}
    client = came(delta, before, lacking, LDS, "a", "b")
    client.settle()
    assert client.held(LDS) == {"a": "a", "b": "b"}


@both_variants
def test_cluster_that_warms_gets_its_endpoints(delta: bool) -> None:
    store = a_store(partial=True, both="a")
    before = a_store(partial=False, both="a+b")
    put(before, CDS, both="a")
    client = came(delta, before, store, EDS, "both")
    client.subscribe(CDS)
    client.settle()
    assert client.held(EDS) == {"both": "a"}, "Envoy would wait for them, and then go on without any"


@both_variants
def test_order_of_types_is_not_held_up_by_what_is_kept(delta: bool) -> None:
    store = a_store(partial=True, a="a")
    client = came(delta, a_store(partial=False, a="a", b="b"), store, CDS)
    client.subscribe(LDS)
    client.subscribe(RDS, "a")
    client.settle()
    assert client.held(LDS) == client.held(RDS) == {"a": "a"}


@both_variants
def test_client_that_waited_while_the_store_filled_is_told_only_what_differs(delta: bool) -> None:
    store = ResourceStore(complete=False, partial=True)
    client = came(delta, a_store(partial=False, a="a", b="b"), store, EDS, "a", "b")
    put(store, EDS, a="a", b="b")
    client.session.reconsider()
    assert client.settle() == [], "it has just that, though not all is known"
    put(store, EDS, a="a2")
    client.settle()
    assert client.held(EDS) == {"a": "a2", "b": "b"}
