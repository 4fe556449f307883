from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.coalesce import Coalescer

QUIET, LONGEST = 0.010, 0.100


def test_first_change_is_due_at_once() -> None:
    assert Coalescer(QUIET, LONGEST).changed(5.0) == 5.0


def test_change_after_a_quiet_time_is_due_at_once() -> None:
    coalescer = Coalescer(QUIET, LONGEST)
    coalescer.changed(5.0)
    coalescer.sent()
    assert coalescer.changed(5.011) == 5.011


def test_changes_in_the_same_instant_as_the_first_go_with_it() -> None:
    coalescer = Coalescer(QUIET, LONGEST)
    assert coalescer.changed(5.0) == 5.0
    assert coalescer.changed(5.0) == 5.0


def test_change_that_follows_closely_waits_for_quiet() -> None:
    coalescer = Coalescer(QUIET, LONGEST)
    coalescer.changed(5.0)
    coalescer.sent()
    assert coalescer.changed(5.004) == pytest.approx(5.014)
    assert coalescer.changed(5.012) == pytest.approx(5.022)


def test_burst_without_a_pause_is_due_at_the_longest_wait_after_its_first_change() -> None:
    coalescer = Coalescer(QUIET, LONGEST)
    coalescer.changed(5.0)
    coalescer.sent()
    due = [coalescer.changed(5.001 + step * 0.005) for step in range(40)]
    assert max(due) == pytest.approx(5.101)


@pytest.mark.parametrize(("quiet", "longest"), [(-1, 1), (0.2, 0.1)])
def test_times_that_make_no_sense_are_refused(quiet: float, longest: float) -> None:
    with pytest.raises(ValueError, match="quiet"):
        Coalescer(quiet, longest)


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=60))
def test_no_change_waits_longer_than_the_longest_wait(gaps: list[float]) -> None:
    coalescer = Coalescer(QUIET, LONGEST)
    now, due, oldest = 100.0, None, None
    for gap in gaps:
        now += gap
        if due is not None and due <= now:
            assert oldest is not None
            assert due - oldest <= LONGEST + 1e-9
            coalescer.sent()
            due = oldest = None
        oldest = now if oldest is None else oldest
        due = coalescer.changed(now)
