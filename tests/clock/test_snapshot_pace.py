"""When a snapshot is written, on a clock that the test moves."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.snapshot.pace import Pace, PaceRules

RULES = PaceRules(min_seconds=1, share=0.1, retry_seconds=10)


def test_nothing_changed_nothing_is_due() -> None:
    assert Pace(RULES).due() is None


def test_first_change_is_written_after_the_shortest_time_and_more_changes_do_not_put_it_off() -> None:
    pace = Pace(RULES)
    for now in (100.0, 100.5, 100.9):
        pace.changed(now)
        assert pace.due() == 101


def test_long_write_is_followed_by_nine_times_as_long_a_rest() -> None:
    pace = Pace(RULES)
    pace.changed(100)
    pace.began(101)
    pace.ended(104, succeeded=True)
    assert pace.due() is None
    pace.changed(105)
    assert pace.due() == 101 + 30


def test_large_snapshot_is_written_at_its_rate_while_changes_do_not_end_and_at_once_after_a_rest() -> None:
    pace, now, written = Pace(RULES), 0.0, []
    while now < 100:
        pace.changed(now)
        due = pace.due()
        assert due is not None
        now = max(now, due)
        pace.began(now)
        written.append(now)
        now += 0.13
        pace.ended(now, succeeded=True, size=6_500_000)
    assert [later - earlier for earlier, later in pairwise(written)] == pytest.approx([6.5] * (len(written) - 1))
    pace.changed(200)
    assert pace.due() == 201


def test_what_changes_during_a_write_is_written_again() -> None:
    pace = Pace(RULES)
    pace.changed(100)
    pace.began(101)
    pace.changed(101.01)
    pace.ended(101.02, succeeded=True)
    assert pace.dirty
    assert pace.due() == 102.01


def test_failed_write_is_tried_again_later() -> None:
    pace = Pace(RULES)
    pace.changed(100)
    pace.began(101)
    pace.ended(101.1, succeeded=False)
    assert pace.dirty
    assert pace.due() == 111.1


@given(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0.001, 5), st.booleans()), min_size=1, max_size=30))
def test_writing_never_takes_more_than_its_share_of_the_time(turns: list[tuple[float, float, bool]]) -> None:
    pace, now, began, took = Pace(RULES), 0.0, [], []
    for gap, length, succeeded in turns:
        now += gap
        pace.changed(now)
        due = pace.due()
        assert due is not None
        assert due >= now or began
        now = max(now, due)
        pace.began(now)
        began.append(now)
        took.append(length)
        now += length
        pace.ended(now, succeeded)
    for earlier, later, length in zip(began, began[1:], took, strict=False):
        assert later - earlier >= length / RULES.share - 1e-9
