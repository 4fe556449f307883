"""A client of which more becomes known while it is connected is shown what its new group sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.xds_client import resource
from support.xds_session import Dialogue

from registry.xds.session import SessionOptions
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, MAKE_ORDER

both_variants = pytest.mark.parametrize("delta", [False, True])


class World:
    """A client of the group ``before``, until it is of the group ``after``. Assignments alone are by group."""

    def __init__(self, delta: bool, store: ResourceStore | None = None) -> None:
        self.store = store or ResourceStore()
        self.group = "before"
        options = SessionOptions(group=lambda _, kind: self.group if kind is EDS else "")
        self.client = Dialogue(self.store, delta, MAKE_ORDER, options)

    def put(self, group: str, **versions: str) -> None:
        for name, version in versions.items():
            self.store.set(EDS.url, name, resource(EDS, name, version), group)

    def regroup(self) -> None:
        self.group = "after"
        self.client.session.regroup()


@both_variants
def test_what_differs_is_sent_and_nothing_else(delta: bool) -> None:
    world = World(delta)
    world.put("before", same="1", other="1")
    world.put("after", same="1", other="2")
    world.client.subscribe(EDS, "same", "other")
    world.client.take()
    woken = world.client.wakes
    world.regroup()
    assert world.client.wakes > woken
    assert world.client.take().resources == {"other": "2"}
    assert world.client.pull() is None


@both_variants
def test_it_follows_the_new_group_and_no_longer_the_old_one(delta: bool) -> None:
    world = World(delta)
    world.put("before", a="1")
    world.put("after", a="1")
    world.client.subscribe(EDS, "a")
    world.client.take()
    world.regroup()
    world.put("before", a="2")
    assert world.client.pull() is None
    world.put("after", a="3")
    assert world.client.take().resources == {"a": "3"}


@both_variants
def test_before_anything_was_sent_it_is_as_if_it_had_asked_so(delta: bool) -> None:
    world = World(delta)
    world.put("before", a="1", b="1")
    world.put("after", a="2")
    world.client.subscribe(EDS, "a", "b")
    world.regroup()
    assert world.client.take().resources == {"a": "2"}


@both_variants
def test_while_a_response_waits_nothing_is_sent(delta: bool) -> None:
    world = World(delta)
    world.put("before", a="1")
    world.put("after", a="2")
    world.client.subscribe(EDS, "a")
    reply = world.client.expect()
    world.regroup()
    assert world.client.pull() is None
    world.client.ack(reply)
    assert world.client.take().resources == {"a": "2"}


@both_variants
def test_types_whose_group_is_the_same_are_left_alone(delta: bool) -> None:
    world = World(delta)
    world.store.set(CDS.url, "c", resource(CDS, "c"))
    world.client.subscribe(CDS)
    world.client.take()
    world.regroup()
    assert world.client.pull() is None
    world.store.set(CDS.url, "d", resource(CDS, "d"))
    assert world.client.expect().resources.get("d") == "1"


def test_what_a_client_has_and_nobody_knows_is_not_said_to_be_gone_before_everything_is_known() -> None:
    store = ResourceStore(complete=False)
    world = World(True, store)
    world.put("before", a="1")
    world.put("after", a="2")
    world.client.subscribe(EDS, "a", "unknown", known={"a": "1", "unknown": "1"})
    world.regroup()
    reply = world.client.take()
    assert (reply.resources, reply.removed) == ({"a": "2"}, ())
    assert world.client.pull() is None
    store.completed()
    assert world.client.take().removed == ("unknown",)


@both_variants
def test_the_group_that_nobody_is_of_any_more_is_dropped(delta: bool) -> None:
    found: list[tuple[str, object]] = []
    forgotten: list[tuple[object, str]] = []
    store = ResourceStore()
    store.on_demand(
        EDS.url,
        lambda _type, group, name: found.append((name, group)) or resource(EDS, name, str(group)),  # type: ignore[func-returns-value]
        lambda group, name: forgotten.append((group, name)),
    )
    world = World(delta, store)
    world.client.subscribe(EDS, "a")
    assert world.client.take().resources == {"a": "before"}
    world.regroup()
    assert forgotten == [("before", "a")]
    assert list(store.viewers(EDS.url, "a")) == ["after"]
    assert world.client.take().resources == {"a": "after"}
    assert world.client.session.group(EDS.url) == "after"


names = st.sampled_from(["a", "b", "c"])
versions = st.dictionaries(names, st.sampled_from(["1", "2"]))


@given(st.booleans(), versions, versions, st.lists(names, min_size=1, unique=True), st.booleans())
def test_in_the_end_a_client_has_what_its_group_has(
    delta: bool, before: dict[str, str], after: dict[str, str], wanted: list[str], answered: bool
) -> None:
    world = World(delta)
    world.put("before", **before)
    world.put("after", **after)
    world.client.subscribe(EDS, *wanted)
    if answered:
        world.client.settle()
    world.regroup()
    world.client.settle()
    expected = {name: version for name, version in after.items() if name in wanted}
    held = world.client.held(EDS)
    if not delta:  # State of the World has no word for what is gone
        held = {name: version for name, version in held.items() if name in after}
    assert held == expected
