"""The standing of one cluster, from two signals, as one table. Pure: what was seen and the time are passed in.

The signals are the freshness of its API server (``Source.heard_at``) and, where it is probed, whether its data plane
answers. What follows from them is ``TABLE`` and nothing else, but for two things that concern time: a cluster that
comes and goes is held back when it comes (``damping``), and time that this process did not see does not count.
Silence alone moves no traffic: it takes a probe that says that the data plane is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.liveness.damping import Damping, DampingRules
from registry.model.standing import Standing


class Api(StrEnum):
    """What is known of the API server."""

    AWAITED = "Awaited"
    """It was not heard of since this process started to follow it, which was a moment ago."""
    FRESH = "Fresh"
    STALE = "Stale"


class DataPlane(StrEnum):
    """What the probes say. ``UNKNOWN``: there are none, or they have not come to a conclusion."""

    UP = "Up"
    UNKNOWN = "Unknown"
    DOWN = "Down"


@dataclass(frozen=True, slots=True)
class Rules:
    """The times, in seconds.

    ``stale``: an API server not heard of for so long is stale (bookmarks come about every 60 s). ``evict``: so long
    both have to be down. ``grace``: so long a cluster just followed keeps the standing it had before. ``hold``: so long
    the signals of a suppressed flapper have to be good. ``longest_step``: more than this between two looks was not
    the clusters' silence but this process's own (stopped, starved, or its clock jumped), and does not count.

    ``demote_when_silent``: a stale API server is enough to demote a cluster of whose data plane nothing is known.
    """

    stale: float = 150.0
    evict: float = 600.0
    grace: float = 30.0
    hold: float = 60.0
    longest_step: float = 5.0
    demote_when_silent: bool = False
    damping: DampingRules = field(default_factory=DampingRules)


AS_BEFORE = None
"""The standing stays what it was."""

TABLE: Mapping[tuple[Api, DataPlane], tuple[Standing | None, Standing | None]] = {
    # what the two say                    at first            once both were down for ``Rules.evict``
    (Api.FRESH, DataPlane.UP): (Standing.CURRENT, Standing.CURRENT),
    (Api.FRESH, DataPlane.UNKNOWN): (Standing.CURRENT, Standing.CURRENT),
    # The API server's word on who is ready is current; that a gateway is down changes nothing about the endpoints that
    # are reached without it. It is said as a condition.
    (Api.FRESH, DataPlane.DOWN): (Standing.CURRENT, Standing.CURRENT),
    (Api.STALE, DataPlane.UP): (Standing.KEPT, Standing.KEPT),
    (Api.STALE, DataPlane.UNKNOWN): (Standing.KEPT, Standing.KEPT),
    (Api.STALE, DataPlane.DOWN): (Standing.DEMOTED, Standing.EVICTED),
    # After a restart clients are told what they were told before, until there was time to learn more.
    (Api.AWAITED, DataPlane.UP): (Standing.KEPT, Standing.KEPT),
    (Api.AWAITED, DataPlane.UNKNOWN): (AS_BEFORE, AS_BEFORE),
    (Api.AWAITED, DataPlane.DOWN): (AS_BEFORE, AS_BEFORE),
}

DEMOTING_TABLE = {**TABLE, (Api.STALE, DataPlane.UNKNOWN): (Standing.DEMOTED, Standing.DEMOTED)}
"""The same with ``Rules.demote_when_silent``."""

IN_DOUBT = frozenset({Standing.DEMOTED, Standing.EVICTED})
"""The standings that clients notice: their endpoints come later, or not at all."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """One cluster as of the last look, at ``at``.

    ``verdict`` is the table's word and ``standing`` what holds: worse while a flapper is held back. ``quiet`` are the
    seconds since it was heard of (``heard``: ever), ``both_down`` those since both are down (None: they are not), and
    ``good_for`` those since the verdict leaves no doubt; all are counted, so a step of ``longest_step`` at most.
    """

    at: float
    standing: Standing
    verdict: Standing
    api: Api = Api.AWAITED
    data_plane: DataPlane = DataPlane.UNKNOWN
    heard: bool = False
    quiet: float = 0.0
    both_down: float | None = None
    good_for: float = 0.0
    damping: Damping = field(default_factory=Damping)

    @property
    def held_back(self) -> bool:
        """It would stand better, had it not come and gone so often."""
        return self.standing is not self.verdict

    @property
    def good(self) -> bool:
        """One of the two signals is."""
        return self.api is Api.FRESH or self.data_plane is DataPlane.UP


@dataclass(frozen=True, slots=True)
class Before:
    """What a cluster was ``seconds`` ago, before a restart."""

    standing: Standing = Standing.CURRENT
    damping: Damping = field(default_factory=Damping)
    seconds: float = 0.0


UNKNOWN_BEFORE = Before()


def begin(rules: Rules, now: float, before: Before = UNKNOWN_BEFORE, *, probed: bool = True) -> ClusterState:
    """A cluster that is followed from now on. A flapper is none the better for a restart of ours; time forgives it.

    Neither is one that was in doubt, unless it is not ``probed``: then only a silence can have put it there.
    """
    forgiven = before.standing in IN_DOUBT and not probed and not rules.demote_when_silent
    standing = Standing.KEPT if forgiven else before.standing
    both_down = rules.evict if standing is Standing.EVICTED else None
    damping = before.damping.after(rules.damping, max(before.seconds, 0.0))
    return ClusterState(now, standing, standing, both_down=both_down, damping=damping)


def look(
    rules: Rules,
    state: ClusterState,
    now: float,
    heard_at: float | None,
    data_plane: DataPlane,
    *,
    isolated: bool = False,
    probed: bool = True,
) -> ClusterState:
    """The cluster at ``now``, given its two signals; ``probed``: the second one is asked for at all.

    ``heard_at`` is ``Source.heard_at``; None says nothing new. ``isolated``: no cluster at all has a good signal, so
    that it is probably this process that is cut off; nobody is evicted for that.
    """
    passed = min(max(now - state.at, 0.0), rules.longest_step)
    heard = state.heard or heard_at is not None
    quiet = state.quiet + passed
    if heard_at is not None:
        quiet = min(quiet, max(now - heard_at, 0.0))
    api = _api(rules, heard, quiet)
    both_down = _both_down(state, api, data_plane, 0.0 if isolated else passed)
    at_first, at_last = (DEMOTING_TABLE if rules.demote_when_silent else TABLE)[api, data_plane]
    verdict = (at_last if both_down is not None and both_down >= rules.evict else at_first) or state.standing
    if probed and not heard and data_plane is DataPlane.UNKNOWN and state.standing in IN_DOUBT:
        verdict = verdict if verdict in IN_DOUBT else Standing.DEMOTED  # as a probe said before a restart of ours
    doubtful = verdict in IN_DOUBT
    damping = state.damping.after(rules.damping, passed)
    if doubtful and state.verdict not in IN_DOUBT:
        damping = damping.flapped(rules.damping)
    good_for = 0.0 if doubtful or state.verdict in IN_DOUBT else state.good_for + passed
    held = damping.suppressed and state.standing in IN_DOUBT and not doubtful and good_for < rules.hold
    return ClusterState(
        at=now,
        standing=Standing.DEMOTED if held else verdict,
        verdict=verdict,
        api=api,
        data_plane=data_plane,
        heard=heard,
        quiet=quiet,
        both_down=both_down,
        good_for=good_for,
        damping=damping,
    )


def _api(rules: Rules, heard: bool, quiet: float) -> Api:
    if heard:
        return Api.FRESH if quiet < rules.stale else Api.STALE
    return Api.AWAITED if quiet < rules.grace else Api.STALE


def _both_down(state: ClusterState, api: Api, data_plane: DataPlane, passed: float) -> float | None:
    """For how long both have been down; None when they are not."""
    if api is Api.FRESH or data_plane is DataPlane.UP:
        return None
    if data_plane is DataPlane.DOWN:
        return 0.0 if state.both_down is None else state.both_down + passed
    kept = api is Api.AWAITED and state.data_plane is DataPlane.UNKNOWN  # as before a restart of ours
    return state.both_down if kept else None
