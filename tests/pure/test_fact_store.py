"""What one cluster says, against the plainest account of it: two dicts, one of them for the list that is coming."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.index.store import FactStore
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact, Pod
from registry.model.names import Kind, ObjectRef

pods = st.builds(Pod, st.just("shop"), st.sampled_from("abc"), resource_version=st.sampled_from("12"))
refs = st.builds(ObjectRef, st.just(Kind.POD), st.just("shop"), st.sampled_from("abc"))
events = st.one_of(
    st.just(Init(Kind.POD)),
    st.builds(InitApply, pods),
    st.builds(InitKeep, refs),
    st.just(InitDone(Kind.POD)),
    st.builds(Apply, pods),
    st.builds(Delete, refs),
)


@settings(max_examples=400)
@given(st.lists(events, max_size=30))
def test_list_and_what_is_told_while_it_comes_are_what_two_dicts_would_have(walk: list[object]) -> None:
    store, held, coming = FactStore(), dict[ObjectRef, Fact](), None
    for event in walk:
        before = dict(held)
        match event:
            case Init():
                coming = {}
            case InitApply() | InitKeep() | InitDone() if coming is None:
                continue
            case InitApply(fact):
                coming[fact.ref] = fact
            case InitKeep(ref):
                coming.update({ref: held[ref]} if ref in held else {})
            case InitDone():
                held, coming = coming, None
            case Apply(fact):
                held[fact.ref] = fact
                coming = None if coming is None else coming | {fact.ref: fact}
            case Delete(ref):
                held.pop(ref, None)
                coming = None if coming is None else {other: each for other, each in coming.items() if other != ref}
        changed = {(each.old or each.new).ref: each for each in store.apply(event)}
        assert dict(store.held(Kind.POD)) == held
        assert {ref: each.old for ref, each in changed.items()} == {
            ref: before.get(ref) for ref in before | held if before.get(ref) != held.get(ref)
        }


@pytest.mark.parametrize(
    "meanwhile",
    [
        [Delete(Pod("shop", "a").ref)],
        [Apply(Pod("shop", "a", resource_version="2")), InitApply(Pod("shop", "a", resource_version="2"))],
    ],
)
def test_list_that_lacks_as_many_as_went_meanwhile_is_not_what_is_held(meanwhile: list[SourceEvent]) -> None:
    store = FactStore()
    a, b = (Pod("shop", name, resource_version="1") for name in "ab")
    for event in (Apply(a), Apply(b), Init(Kind.POD), InitApply(a), *meanwhile, InitDone(Kind.POD)):
        list(store.apply(event))
    assert b.ref not in store.held(Kind.POD)
