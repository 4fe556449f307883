"""Members that a place names no more: when they are gone, and when that is doubted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.membership.absence import MEMBERS_MISSING, NOBODY_NAMED, AbsencePolicy, Absences
from registry.membership.spec import Manifests, MemberSpec

POLICY = AbsencePolicy(share=0.3, confirm_seconds=30, doubt_seconds=600)


def specs(names: str) -> list[MemberSpec]:
    return [MemberSpec(name, f"folder /x ({name})", Manifests(f"/{name}")) for name in names]


def place(names: str = "", **options: float) -> Absences:
    it = Absences(
        POLICY,
        "folder /x",
        few_seconds=options.get("few_seconds", 0.0),
        last_is_much=bool(options.get("last_is_much", True)),
    )
    if names:
        it.listed(specs(names), 0)
    return it


def members(it: Absences) -> str:
    return "".join(spec.name for spec in it.specs)


def doubted(it: Absences) -> str:
    return "".join(spec.name for spec in it.specs if spec.doubt)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("ab", "a", ""),
        ("abc", "ab", ""),
        ("abc", "a", "bc"),
        ("abcdefghij", "abcdefg", ""),
        ("abcdefghij", "abcdef", "ghij"),
        ("abc", "", "abc"),
        ("a", "", "a"),
        ("abc", "xyz", ""),
        ("abcde", "x", "abcde"),
    ],
)
def test_few_are_gone_at_once_and_many_are_doubted(before: str, after: str, kept: str) -> None:
    it = place(before)
    it.listed(specs(after), 1)
    assert doubted(it) == kept
    assert members(it) == after + kept
    assert it.doubtful == bool(kept)


def test_the_only_file_of_a_folder_may_be_removed() -> None:
    it = place("a", last_is_much=False)
    it.listed([], 1)
    assert (members(it), it.trouble) == ("", None)
    it = place("ab", last_is_much=False)
    it.listed([], 1)
    assert doubted(it) == "ab"


def test_what_stays_so_long_enough_is_believed_and_what_is_named_again_never_left() -> None:
    it = place("abcde")
    it.listed(specs("a"), 100)
    it.listed(specs("ab"), 699)
    assert members(it) == "abcde"
    assert doubted(it) == "cde"
    trouble = it.trouble
    assert trouble is not None
    assert (trouble.reason, trouble.unsure) == (MEMBERS_MISSING, False)
    assert "3 of its 5 members are named no more (c, d, e)" in trouble.message
    assert "for 600 s" in trouble.message
    assert "folder /x names it no more" in it.specs[-1].doubt
    it.listed(specs("ab"), 700)
    assert (members(it), it.trouble, it.doubtful) == ("ab", None, False)


def test_what_came_into_doubt_later_stays_longer() -> None:
    it = place("abcdef")
    it.listed(specs("ab"), 0)
    it.listed(specs("a"), 300)
    it.listed(specs("a"), 600)
    assert members(it) == "ab"
    it.listed(specs("a"), 900)
    assert members(it) == "a"


def test_few_of_a_list_need_another_one_and_many_need_the_whole_time() -> None:
    it = place("abcdefgh", few_seconds=30)
    it.listed(specs("abcdefg"), 10)
    it.listed(specs("abcdefg"), 39)
    assert doubted(it) == "h"
    it.listed(specs("a"), 40)
    assert doubted(it) == "bcdefgh", "all of it is one short list"
    for now in (41, 609):
        it.listed(specs("abcdefg"), now)
        assert doubted(it) == "h", "the others came back, as it may yet"
    it.listed(specs("abcdefg"), 610)
    assert members(it) == "abcdefg"


def test_word_that_counts_ends_the_doubt() -> None:
    it = place("abcde")
    it.listed([], 1)
    it.told(specs("b"), gone=it.absent("folder /x (a"))
    assert (members(it), doubted(it)) == ("bcde", "cde")
    it.told([])
    assert members(it) == "cde", "b was deleted"
    assert it.release("d")
    assert not it.release("b")
    assert members(it) == "ce"


def test_named_member_is_let_go_by_hand_only_where_its_place_is_away() -> None:
    it = place("ab")
    assert not it.release("a")
    assert it.release("a", named=True)
    assert members(it) == "b"


def test_place_that_names_nobody_from_the_start_is_not_sure_of_it() -> None:
    it = place()
    it.listed([], 5)
    trouble = it.trouble
    assert trouble is not None
    assert (trouble.reason, trouble.unsure) == (NOBODY_NAMED, True)
    it.listed([], 34)
    assert it.trouble == trouble
    it.listed([], 35)
    assert it.trouble is None
    it = place()
    it.listed([], 5)
    it.listed(specs("a"), 6)
    it.listed(specs("b"), 7)
    assert it.trouble is None


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.integers(0, 400)), max_size=20))
def test_nobody_goes_before_time_unless_few_go_and_nobody_stays_for_ever(
    walk: Sequence[tuple[set[str], int]],
) -> None:
    it, now = place(), 0
    seen: dict[str, int] = {}
    for named, seconds in walk:
        now += seconds
        before = set(members(it))
        it.listed(specs("".join(sorted(named))), now)
        after = set(members(it))
        assert named <= after <= before | named
        assert set(doubted(it)) == after - named
        for name in before - after:
            waited = now - seen[name] >= POLICY.doubt_seconds
            assert waited or not POLICY.doubts(len(before), len(named))
        for name in after:
            seen[name] = now if name in named else seen.setdefault(name, now)
    it.listed(specs("f"), now)
    it.listed(specs("f"), now + 600)
    assert members(it) == "f"
