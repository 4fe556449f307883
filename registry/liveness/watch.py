"""The driver: looks at every member cluster once a second, and says what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from registry.liveness.conditions import api_fresh, data_plane_up
from registry.liveness.damping import Damping
from registry.liveness.probes import Prober
from registry.liveness.table import UNKNOWN_BEFORE, Before, ClusterState, DataPlane, Rules, begin, look
from registry.model.conditions import Condition, ConditionType
from registry.model.names import ClusterId
from registry.model.standing import Standing
from registry.supervision import Supervisor

TICK_SECONDS = 1.0

HeardAt = Callable[[], float | None]
"""``Source.heard_at`` of whichever source the cluster has at the time of the call."""


class Believers(Protocol):
    """Who is told what was found. Calls never block and never raise."""

    def set_standing(self, cluster: ClusterId, standing: Standing) -> None: ...

    def condition(self, cluster: ClusterId, condition: Condition) -> None: ...

    def withdraw(self, cluster: ClusterId, kind: ConditionType) -> None: ...


@dataclass(slots=True)
class _Watched:
    heard_at: HeardAt
    state: ClusterState
    prober: Prober | None
    probing: asyncio.Task[None] | None = None


class LivenessWatch:
    """Keeps every member cluster's standing. One look costs what depends on the number of clusters, and on no more.

    Clusters come and go at any time, before ``start`` or after it; probes are sent only between ``start`` and ``stop``.
    """

    def __init__(
        self, rules: Rules, clock: Callable[[], float], believers: Believers, tasks: Supervisor | None = None
    ) -> None:
        """``clock`` is the monotonic clock of ``Source.heard_at``."""
        self.rules = rules
        self._clock = clock
        self._believers = believers
        self._tasks = tasks or Supervisor()
        self._watched: dict[ClusterId, _Watched] = {}
        self._running: asyncio.Task[None] | None = None
        self._soon: asyncio.Handle | None = None

    def add(
        self,
        cluster: ClusterId,
        heard_at: HeardAt,
        prober: Prober | None = None,
        *,
        before: Before = UNKNOWN_BEFORE,
    ) -> None:
        """Follow ``cluster``; ``before`` a restart it was so.

        Raises:
            ValueError: it is followed already.
        """
        if cluster in self._watched:
            raise ValueError(f"cluster {cluster} is watched already")
        state = begin(self.rules, self._clock(), before, probed=prober is not None)
        watched = self._watched[cluster] = _Watched(heard_at, state, prober)
        if state.standing is not Standing.CURRENT:
            self._believers.set_standing(cluster, state.standing)
        if self._running is not None:
            self._start(cluster, watched)

    def remove(self, cluster: ClusterId) -> None:
        """Forget ``cluster``. Nothing is said of it any more, not even that."""
        watched = self._watched.pop(cluster)
        if watched.probing is not None:
            watched.probing.cancel()

    def probe(self, cluster: ClusterId, prober: Prober | None) -> None:
        """Probe ``cluster`` so from now on, or not at all. What the probes before said is forgotten."""
        watched = self._watched[cluster]
        if watched.probing is not None:
            watched.probing.cancel()
            watched.probing = None
        watched.prober = prober
        if self._running is not None:
            self._start(cluster, watched)

    def standing(self, cluster: ClusterId) -> Standing:
        """The cluster's standing as of the last look."""
        return self._watched[cluster].state.standing

    def damping(self, cluster: ClusterId) -> Damping:
        """What the cluster's coming and going cost it, as of the last look; nothing, if it is not watched."""
        watched = self._watched.get(cluster)
        return watched.state.damping if watched is not None else Damping()

    def start(self) -> None:
        """Look once a second from now on."""
        self._running = self._tasks.start("liveness watch", self._run)
        for cluster, watched in self._watched.items():
            self._start(cluster, watched)

    async def stop(self) -> None:
        """Look no more, and ask nobody. What was said last stays."""
        tasks = [each.probing for each in self._watched.values() if each.probing is not None]
        tasks += [self._running] if self._running is not None else []
        self._running = None
        if self._soon is not None:
            self._soon.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self.tick()
            await asyncio.sleep(TICK_SECONDS)

    def look_soon(self) -> None:
        """Something changed that may be good news: look before the second is over. Many calls are one look."""
        if self._running is not None and self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._look_now)

    def _look_now(self) -> None:
        self._soon = None
        self._tasks.attempt("liveness watch", self.tick)

    def tick(self) -> None:
        """Look at every cluster now. One that cannot be looked at keeps its standing, and no other from its own."""
        now = self._clock()
        isolated = not any(each.state.good for each in self._watched.values())
        for cluster, watched in self._watched.items():
            self._tasks.attempt("liveness watch", self._look_at, cluster, watched, now, isolated=isolated)

    def _look_at(self, cluster: ClusterId, watched: _Watched, now: float, *, isolated: bool) -> None:
        before = watched.state
        probed = watched.prober is not None
        data_plane = watched.prober.data_plane if watched.prober else DataPlane.UNKNOWN
        heard_at = watched.heard_at()
        watched.state = look(self.rules, before, now, heard_at, data_plane, isolated=isolated, probed=probed)
        after = watched.state.standing
        if after is not before.standing:
            self._believers.set_standing(cluster, after)
        self._report(cluster, watched)

    def _report(self, cluster: ClusterId, watched: _Watched) -> None:
        self._say(cluster, ConditionType.API_FRESH, api_fresh(self.rules, watched.state))
        said = data_plane_up(watched.prober, watched.state) if watched.prober else None
        self._say(cluster, ConditionType.DATA_PLANE_UP, said)

    def _say(self, cluster: ClusterId, kind: ConditionType, said: Condition | None) -> None:
        if said is None:
            self._believers.withdraw(cluster, kind)
        else:
            self._believers.condition(cluster, said)

    def _start(self, cluster: ClusterId, watched: _Watched) -> None:
        if watched.prober is not None:
            watched.probing = self._tasks.start("probes", watched.prober.run, subject=cluster)
