"""The standing of a cluster from its two signals: the whole matrix, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from registry.liveness.table import TABLE, Api, Before, ClusterState, DataPlane, Rules, begin, look
from registry.model.standing import Standing

CURRENT, KEPT, DEMOTED, EVICTED = Standing.CURRENT, Standing.KEPT, Standing.DEMOTED, Standing.EVICTED
UP, UNKNOWN, DOWN = DataPlane.UP, DataPlane.UNKNOWN, DataPlane.DOWN
RULES = Rules()


@dataclass
class Story:
    """One cluster, looked at every second. ``heard``: its API server is heard of in each of them."""

    heard: bool = False
    data_plane: DataPlane = UNKNOWN
    isolated: bool = False
    start: Standing = CURRENT
    probed: bool = True
    rules: Rules = RULES
    now: float = 1000.0
    heard_at: float | None = None
    state: ClusterState = field(init=False)

    def __post_init__(self) -> None:
        self.state = begin(self.rules, self.now, Before(self.start), probed=self.probed)

    def go(self, seconds: float, *, heard: bool | None = None, data_plane: DataPlane | None = None) -> Standing:
        """Let time pass under the given signals, or the same ones as before."""
        self.heard = self.heard if heard is None else heard
        self.data_plane = data_plane or self.data_plane
        end = self.now + seconds
        while self.now < end:
            self.look(self.now + 1)
        return self.state.standing

    def look(self, now: float) -> Standing:
        self.now = now
        if self.heard:
            self.heard_at = now
        self.state = look(
            self.rules,
            self.state,
            now,
            self.heard_at,
            self.data_plane,
            isolated=self.isolated,
            probed=self.probed,
        )
        return self.state.standing


def stale(data_plane: DataPlane = UNKNOWN) -> Story:
    """A cluster that was heard of once and has just become stale."""
    story = Story(heard=True, data_plane=data_plane)
    story.go(10)
    story.go(RULES.stale, heard=False)
    assert story.state.api is Api.STALE
    return story


@pytest.mark.parametrize(
    ("api", "data_plane", "long", "expected"),
    [
        (Api.FRESH, UP, False, CURRENT),
        (Api.FRESH, UP, True, CURRENT),
        (Api.FRESH, UNKNOWN, False, CURRENT),
        (Api.FRESH, UNKNOWN, True, CURRENT),
        (Api.FRESH, DOWN, False, CURRENT),
        (Api.FRESH, DOWN, True, CURRENT),
        (Api.STALE, UP, False, KEPT),
        (Api.STALE, UP, True, KEPT),
        (Api.STALE, UNKNOWN, False, KEPT),
        (Api.STALE, UNKNOWN, True, KEPT),
        (Api.STALE, DOWN, False, DEMOTED),
        (Api.STALE, DOWN, True, EVICTED),
    ],
)
def test_every_cell_of_the_table(api: Api, data_plane: DataPlane, long: bool, expected: Standing) -> None:
    story = Story(heard=True, data_plane=data_plane) if api is Api.FRESH else stale(data_plane)
    assert story.go(RULES.evict + 1 if long else RULES.evict - 2) is expected
    assert story.state.api is api


@pytest.mark.parametrize("data_plane", [UP, UNKNOWN, DOWN])
@pytest.mark.parametrize("start", [CURRENT, DEMOTED, EVICTED])
def test_every_cell_of_a_cluster_not_heard_of_yet(data_plane: DataPlane, start: Standing) -> None:
    story = Story(start=start, data_plane=data_plane)
    assert story.go(RULES.grace - 1) is (KEPT if data_plane is UP else start)
    assert story.state.api is Api.AWAITED


def test_table_has_a_row_for_each_pair_of_signals() -> None:
    assert set(TABLE) == {(api, data_plane) for api in Api for data_plane in DataPlane}


def test_time_makes_a_difference_only_where_both_are_down() -> None:
    assert [pair for pair, (first, last) in TABLE.items() if first is not last] == [(Api.STALE, DOWN)]


@pytest.mark.parametrize("before", [(False, UP), (False, UNKNOWN), (False, DOWN), (True, UP), (True, DOWN)])
@pytest.mark.parametrize("after", [(False, UP), (False, UNKNOWN), (False, DOWN), (True, UP), (True, DOWN)])
def test_every_transition_ends_where_its_last_signals_say(
    before: tuple[bool, DataPlane], after: tuple[bool, DataPlane]
) -> None:
    """From each state, long held, to each other: what was before leaves nothing behind."""
    story = Story(heard=True)
    story.go(10)
    story.go(RULES.stale + RULES.evict + 2, heard=before[0], data_plane=before[1])
    left = story.state.standing
    came = story.go(1, heard=after[0], data_plane=after[1])
    if after[0]:
        assert came is CURRENT
    elif not before[0]:
        long_down = left is EVICTED and after[1] is DOWN
        assert came is {UP: KEPT, UNKNOWN: KEPT, DOWN: EVICTED if long_down else DEMOTED}[after[1]]
    assert story.go(RULES.stale + RULES.evict + 2) is _final(*after)


def _final(heard: bool, data_plane: DataPlane) -> Standing:
    return CURRENT if heard else {UP: KEPT, UNKNOWN: KEPT, DOWN: EVICTED}[data_plane]


def test_api_is_stale_after_stale_seconds_and_not_before() -> None:
    story = Story(heard=True)
    story.go(5)
    assert story.go(RULES.stale - 1, heard=False) is CURRENT
    assert story.go(1) is KEPT


@pytest.mark.parametrize("data_plane", [UP, UNKNOWN])
def test_silence_moves_nothing_however_long(data_plane: DataPlane) -> None:
    story = stale(data_plane)
    for _ in range(24):
        assert story.go(3600) is KEPT
    assert story.state.damping.penalty == 0
    assert story.go(1, heard=True) is CURRENT


def test_silence_demotes_where_the_configuration_says_so_and_no_probe_answers() -> None:
    rules = Rules(demote_when_silent=True)
    story = Story(heard=True, rules=rules)
    story.go(10)
    assert story.go(rules.stale, heard=False) is DEMOTED
    assert story.go(2 * rules.evict) is DEMOTED, "out it goes only by a probe"
    assert story.go(1, data_plane=UP) is KEPT
    assert story.go(1, data_plane=DOWN) is DEMOTED
    assert Story(rules=rules).go(rules.grace) is DEMOTED


def test_eviction_counts_from_when_both_were_down() -> None:
    story = stale(UP)
    assert story.go(2 * RULES.evict) is KEPT
    assert story.go(RULES.evict, data_plane=DOWN) is DEMOTED
    assert story.go(1) is EVICTED


@pytest.mark.parametrize("data_plane", [UP, UNKNOWN])
def test_one_good_or_unknown_look_starts_the_time_to_eviction_anew(data_plane: DataPlane) -> None:
    story = stale(DOWN)
    story.go(RULES.evict - 10)
    story.go(1, data_plane=data_plane)
    assert story.go(RULES.evict, data_plane=DOWN) is DEMOTED
    assert story.go(1) is EVICTED


def test_coming_back_is_at_once() -> None:
    story = stale(DOWN)
    assert story.go(RULES.evict + 1) is EVICTED
    assert story.go(1, heard=True) is CURRENT


def test_cluster_not_heard_of_after_the_grace_is_kept() -> None:
    story = Story()
    assert story.go(RULES.grace - 1) is CURRENT
    assert story.go(1) is KEPT
    assert story.go(1, heard=True) is CURRENT


def test_cluster_evicted_before_a_restart_stays_so_when_its_probes_still_fail() -> None:
    story = Story(start=EVICTED)
    assert story.go(15) is EVICTED
    assert story.go(60, data_plane=DOWN) is EVICTED


@pytest.mark.parametrize("start", [DEMOTED, EVICTED])
def test_what_a_probe_said_before_a_restart_counts_until_something_newer_is_known(start: Standing) -> None:
    story = Story(start=start)
    assert story.go(RULES.grace) is DEMOTED
    assert story.go(3600) is DEMOTED
    assert story.go(1, data_plane=UP) is KEPT
    assert story.go(1, data_plane=UNKNOWN) is KEPT
    assert story.go(1, heard=True) is CURRENT
    assert story.go(RULES.stale + 1, heard=False) is KEPT


@pytest.mark.parametrize("start", [DEMOTED, EVICTED])
def test_cluster_that_no_probe_is_sent_to_is_not_in_doubt_after_a_restart(start: Standing) -> None:
    story = Story(start=start, probed=False)
    assert story.state.standing is KEPT
    assert story.go(3600) is KEPT


def test_probe_that_is_taken_away_is_no_reason_for_doubt_any_more() -> None:
    story = Story(start=DEMOTED)
    assert story.go(3600) is DEMOTED
    story.probed = False
    assert story.go(1) is KEPT


def test_source_that_was_replaced_and_has_not_listed_yet_is_as_quiet_as_the_one_before() -> None:
    story = Story(heard=True)
    story.go(10)
    story.go(100, heard=False)
    story.heard_at = None
    assert story.go(RULES.stale - 101) is CURRENT
    assert story.go(1) is KEPT


def test_time_this_process_was_stopped_is_nobodys_silence() -> None:
    story = Story(heard=True, data_plane=DOWN)
    story.go(10)
    story.heard = False
    assert story.look(story.now + 3600) is CURRENT
    assert story.go(RULES.stale - RULES.longest_step - 1) is CURRENT
    assert story.go(1) is DEMOTED
    assert story.look(story.now + 3600) is DEMOTED
    assert story.go(RULES.evict + 1) is EVICTED


def test_clock_that_goes_back_harms_nobody() -> None:
    story = Story(heard=True)
    story.go(10)
    story.heard = False
    assert story.look(story.now - 500) is CURRENT
    assert story.go(RULES.stale - 1) is CURRENT


def test_nobody_is_evicted_while_this_process_may_be_what_is_cut_off() -> None:
    story = stale(DOWN)
    story.isolated = True
    assert story.go(10 * RULES.evict) is DEMOTED
    story.isolated = False
    assert story.go(RULES.evict + 1) is EVICTED
    story.isolated = True
    assert story.go(10) is EVICTED


def flap(story: Story, times: int) -> None:
    """Fresh for a moment, then silent until it is stale, so many times; the story says what its probes say."""
    for _ in range(times):
        story.go(5, heard=True)
        story.go(RULES.stale, heard=False)


def test_flapper_is_held_back_until_it_was_good_for_the_hold_time() -> None:
    story = Story(heard=True, data_plane=DOWN)
    flap(story, 3)
    assert story.state.damping.suppressed
    assert story.go(RULES.hold, heard=True) is DEMOTED
    assert story.state.api is Api.FRESH
    assert story.state.held_back
    assert story.go(1) is CURRENT
    assert not story.state.held_back


@pytest.mark.parametrize(("away", "held"), [(30.0, True), (3 * RULES.damping.half_life_seconds, False), (-60.0, True)])
def test_flapper_is_none_the_better_for_a_restart_but_for_the_time_that_passed(away: float, held: bool) -> None:
    story = Story(heard=True, data_plane=DOWN)
    flap(story, 3)
    before = Before(story.state.standing, story.state.damping, away)
    story.state = begin(RULES, story.now, before)
    assert story.state.damping.suppressed is held
    assert story.state.damping.penalty <= before.damping.penalty
    assert (story.go(1, heard=True) is DEMOTED) is held
    assert story.go(RULES.hold) is CURRENT


def test_two_outages_in_a_while_are_no_flapping() -> None:
    story = Story(heard=True, data_plane=DOWN)
    flap(story, 2)
    assert story.go(1, heard=True) is CURRENT


def test_flapper_is_forgiven_with_time() -> None:
    story = Story(heard=True, data_plane=DOWN)
    flap(story, 20)
    assert story.state.damping.penalty <= RULES.damping.ceiling
    story.go(3 * RULES.damping.half_life_seconds, heard=True)
    assert not story.state.damping.suppressed
    flap(story, 1)
    assert story.go(1, heard=True) is CURRENT


def test_flapper_that_was_evicted_comes_back_at_once_one_priority_lower() -> None:
    story = Story(heard=True, data_plane=DOWN)
    flap(story, 6)
    story.go(RULES.evict + 1, data_plane=DOWN)
    assert story.state.standing is EVICTED
    assert story.state.damping.suppressed
    assert story.go(1, heard=True) is DEMOTED
    assert story.go(RULES.hold) is CURRENT


@pytest.mark.parametrize("data_plane", [UP, UNKNOWN])
def test_flapping_that_no_client_sees_earns_nothing(data_plane: DataPlane) -> None:
    """While no probe says that its data plane is down, a stale API server changes nothing about the endpoints."""
    story = Story(heard=True, data_plane=data_plane)
    flap(story, 10)
    assert story.state.damping.penalty == 0
    assert story.state.standing is KEPT
