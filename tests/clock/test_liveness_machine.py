"""Whatever two signals do, and whenever they are looked at: what a cluster's standing never is, and always becomes."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from registry.liveness.damping import DampingRules
from registry.liveness.table import IN_DOUBT, Api, Before, ClusterState, DataPlane, Rules, begin, look
from registry.model.standing import Standing

RULES = Rules(stale=30, evict=50, grace=8, hold=12, longest_step=5, damping=DampingRules(half_life_seconds=120))


class Cluster(RuleBasedStateMachine):
    """One cluster with an API server and probes that do what they like."""

    @initialize(start=st.sampled_from(list(Standing)))
    def follow(self, start: Standing) -> None:
        self.now = 5000.0
        self.began = self.now
        self.start = start
        self.speaks = False
        self.heard_at: float | None = None
        self.data_plane = DataPlane.UNKNOWN
        self.isolated = False
        self.said_down = False
        self.both_down = 0.0
        """Real seconds since a signal was last good or unknown: never less than what is counted."""
        self.good_looks = 0.0
        self.state: ClusterState = begin(RULES, self.now, Before(start))

    @rule(speaks=st.booleans())
    def api(self, speaks: bool) -> None:
        self.speaks = speaks

    @rule(data_plane=st.sampled_from(list(DataPlane)))
    def probes(self, data_plane: DataPlane) -> None:
        self.data_plane = data_plane

    @rule(isolated=st.booleans())
    def isolate(self, isolated: bool) -> None:
        self.isolated = isolated

    @rule()
    def replace_the_source(self) -> None:
        self.heard_at = None

    @rule(step=st.floats(0.1, 5), looks=st.integers(1, 60))
    def pass_time(self, step: float, looks: int) -> None:
        for _ in range(looks):
            self.look(step)

    @rule(seconds=st.floats(6, 100_000))
    def sleep(self, seconds: float) -> None:
        """The process was stopped: one step, however long, can take away what was in order by its bound at most."""
        before = self.state
        self.look(seconds)
        if before.api is not Api.STALE and before.quiet + RULES.longest_step < RULES.grace:
            assert self.state.api is not Api.STALE

    def look(self, step: float) -> None:
        before = self.state
        self.now += step
        if self.speaks:
            self.heard_at = self.now
        self.state = look(RULES, before, self.now, self.heard_at, self.data_plane, isolated=self.isolated)
        self.said_down = self.said_down or self.data_plane is DataPlane.DOWN
        both = self.state.api is not Api.FRESH and self.data_plane is DataPlane.DOWN
        self.both_down = self.both_down + step if both else 0.0
        self.good_looks = self.good_looks + min(step, 5) if self.state.api is Api.FRESH else 0.0
        self.check(before)

    def check(self, before: ClusterState) -> None:
        now = self.state
        if now.standing is Standing.EVICTED:
            assert now.api is not Api.FRESH
            assert self.data_plane is not DataPlane.UP
            carried_over = self.start is Standing.EVICTED and not now.heard
            assert carried_over or (self.data_plane is DataPlane.DOWN and self.both_down >= RULES.evict)
            assert before.standing is Standing.EVICTED or not self.isolated or carried_over
        if now.verdict is Standing.DEMOTED and self.data_plane is not DataPlane.DOWN:
            assert self.start in IN_DOUBT or self.said_down, "silence alone moves nothing"
            assert not now.heard
        if self.speaks:
            assert now.api is Api.FRESH
        if self.good_looks > RULES.hold + 2 * 5:
            assert now.standing is Standing.CURRENT, "bounded: good for long enough is current"
        if now.api is Api.FRESH and not now.damping.suppressed:
            assert now.standing is Standing.CURRENT, "at once, unless it flapped"
        if now.held_back:
            assert now.standing is Standing.DEMOTED
            assert now.verdict not in IN_DOUBT

    @invariant()
    def counted_time_is_no_more_than_real_time(self) -> None:
        if hasattr(self, "state"):
            assert self.state.quiet <= self.now - self.began + 1e-6
            assert 0 <= self.state.damping.penalty <= RULES.damping.ceiling


@pytest.mark.timeout(300)
class TestCluster(Cluster.TestCase):
    settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
