"""What is held against a listing of names and versions."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kube_wire import a_page, a_page_of_names, a_service

from registry.model.facts import Fact, Service
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.audit import Doubt, Listing, drift
from registry.sources.kubernetes.decode import DecodeError


def ref(name: str) -> ObjectRef:
    return ObjectRef(Kind.SERVICE, "shop", name)


def held(**versions: str) -> Mapping[ObjectRef, Fact]:
    return {ref(name): Service("shop", name, resource_version=version) for name, version in versions.items()}


def listing(version: str = "10", **versions: str) -> Listing:
    made = Listing(Kind.SERVICE)
    items = [a_service(name, version=each) for name, each in versions.items()]
    assert made.page(a_page_of_names(items, version=version)) == ""
    return made


def test_what_is_the_same_is_not_doubted() -> None:
    assert listing(one="3", two="9").doubts(held(one="3", two="9")) == {}


def test_pages_are_one_listing() -> None:
    made = Listing(Kind.SERVICE)
    assert made.page(a_page_of_names([a_service("one", version="3")], token="more")) == "more"
    assert made.page(a_page_of_names([a_service("two", version="4")])) == ""
    assert made.doubts(held(one="3", two="4")) == {}


def test_missing_left_over_and_old_objects_are_doubted() -> None:
    found = listing(new="5", old="6").doubts(held(old="4", gone="2"))
    assert found == {ref("new"): Doubt("", "5"), ref("old"): Doubt("4", "6"), ref("gone"): Doubt("2", "")}


def test_what_is_newer_than_the_listing_is_not_doubted() -> None:
    assert listing("10", one="3").doubts(held(one="11", added="12")) == {}


def test_what_is_held_without_a_version_cannot_be_judged() -> None:
    assert listing(one="3").doubts(held(one="")) == {}


def test_object_that_cannot_be_read_is_not_doubted() -> None:
    assert listing(bad="7").doubts(held(bad="3"), {ref("bad")}) == {}


def test_watch_that_was_behind_is_no_drift() -> None:
    first = listing("10", one="9").doubts(held(one="3"))
    assert first
    assert drift(first, listing("20", one="15").doubts(held(one="9"))) == {}, "it moved on, and is behind anew"
    assert drift(first, listing("20", one="9").doubts(held(one="9"))) == {}


@pytest.mark.parametrize("told", ["9", "15"])
def test_what_stays_as_it_was_and_differs_is_drift(told: str) -> None:
    first = listing("10", one="9").doubts(held(one="3"))
    assert drift(first, listing("20", one=told).doubts(held(one="3"))) == {ref("one"): Doubt("3", told)}


def test_object_that_comes_and_goes_between_looks_is_no_drift() -> None:
    first = listing("10", one="9").doubts(held())
    assert drift(first, listing("20", one="19").doubts(held())) == {}
    assert drift(first, listing("20", one="9").doubts(held())) == {ref("one"): Doubt("", "9")}


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", a_page([a_service("one")])])
def test_answer_that_is_no_listing_of_names_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        Listing(Kind.SERVICE).page(body)


versions = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20).map(str))


@given(versions, versions, versions, versions)
def test_drift_is_only_what_was_doubted_twice(
    a: dict[str, str], b: dict[str, str], c: dict[str, str], d: dict[str, str]
) -> None:
    first, second = listing("20", **a).doubts(held(**b)), listing("20", **c).doubts(held(**d))
    found = drift(first, second)
    assert found.keys() <= first.keys() & second.keys()
    assert all(b.get(each.name) == d.get(each.name) for each in found)
