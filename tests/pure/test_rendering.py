"""JSON piece by piece says what JSON in one piece says; and lists in pages are the whole list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.servers.paging import Page, PageError, page_of
from registry.servers.rendering import BREATH, Items, pieces

TEXTS = st.text(st.characters())
"""With halves of surrogate pairs."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=4)


def lazily(document: dict[str, Any]) -> dict[str, Any]:
    """``Items`` at the top, and in the mappings that are items there."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, list):
            inner = [
                {name: Items(part) if isinstance(part, list) else part for name, part in each.items()}
                if isinstance(each, dict)
                else each
                for each in value
            ]
            found[key] = Items([BREATH, *inner, BREATH])
        else:
            found[key] = value
    return found


@given(DOCUMENTS)
def test_pieces_are_the_document(document: dict[str, Any]) -> None:
    text = b"".join(pieces(lazily(document)))
    assert json.loads(text) == document
    assert text.isascii()
    assert text.endswith(b"\n")


def test_items_are_made_when_they_are_asked_for_and_each_begins_a_line() -> None:
    made: list[int] = []

    def items() -> Iterator[object]:
        for number in range(1000):
            made.append(number)
            yield {"number": number}

    found = pieces({"first": 1, "numbers": Items(items()), "last": 2})
    head = [next(found) for _ in range(8)]
    assert len(made) <= 4
    lines = b"".join([*head, *found]).splitlines()
    assert lines[:4] == [b"{", b'  "first": 1,', b'  "numbers": [', b'    {"number":0},']
    assert len(lines) == 1006


def the_pages(keys: list[tuple[str, str]], limit: int) -> Iterator[tuple[list[tuple[str, str]], Any]]:
    token = ""
    while True:
        page = page_of({"limit": str(limit), **({"continue": token} if token else {})})
        found, metadata = page.of(keys, lambda key: key)
        assert metadata is not None
        yield list(found), metadata
        if "continue" not in metadata:
            return
        token = str(metadata["continue"])


@given(st.sets(st.tuples(st.text(), st.text()), max_size=30).map(sorted), st.integers(1, 12))
def test_pages_one_after_the_other_are_the_list(keys: list[tuple[str, str]], limit: int) -> None:
    seen: list[tuple[str, str]] = []
    for found, metadata in the_pages(keys, limit):
        assert len(found) <= limit
        seen += found
        assert metadata.get("remainingItemCount", 0) == len(keys) - len(seen)
    assert seen == keys


def test_a_token_is_a_place_so_what_came_and_went_before_it_moves_nothing() -> None:
    keys = [("a", str(number)) for number in range(6)]
    _, metadata = Page(3).of(keys, lambda key: key)
    assert metadata is not None
    later = [("a", "0"), ("a", "00"), ("a", "4"), ("a", "5"), ("b", "0")]  # also the one at the place is gone
    page = page_of({"limit": "2", "continue": str(metadata["continue"])})
    assert page.of(later, lambda key: key)[0] == [("a", "4"), ("a", "5")]


def test_without_a_limit_it_is_the_whole_list_without_metadata() -> None:
    assert page_of({}).of([1, 2, 3], lambda key: key) == ([1, 2, 3], None)
    assert page_of({"limit": "0"}).of([1, 2, 3], lambda key: key) == ([1, 2, 3], None)


@pytest.mark.parametrize("limit", ["-1", "x", "", "1e3", "٣", "9" * 30, " 1", "0x10"])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    with pytest.raises(PageError, match="limit: expected a number"):
        page_of({"limit": limit})


@pytest.mark.parametrize(
    "token", ["x", "=", "e30", "bnVsbA", "W10_", "\N{SNOWMAN}", "A" * 5000, "WzEsMl0", "MS41", "Wwo" * 300]
)
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(PageError, match="continue: this is no token"):
        page_of({"continue": token}).of([("a", "b")], lambda key: key)


def test_a_token_of_another_list_is_refused() -> None:
    _, metadata = Page(1).of([1, 2], lambda key: key)
    assert metadata is not None
    with pytest.raises(PageError, match="of this list"):
        page_of({"continue": str(metadata["continue"])}).of([("a", "b")], lambda key: key)
