"""What exists once for each member apart from its source: how much it is believed."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Protocol, cast

from registry.index import Index
from registry.liveness.plan import ProbePlan
from registry.liveness.probes import Ask, Prober
from registry.liveness.sample import Target, sample
from registry.liveness.table import UNKNOWN_BEFORE, Before
from registry.liveness.watch import LivenessWatch
from registry.membership.spec import MemberSpec
from registry.model.facts import EndpointSlice
from registry.model.names import ClusterId, Kind
from registry.model.status import Source
from registry.sources.kubernetes.reflector import Connect


class Roll(Protocol):
    """The members, as far as they are asked about here."""

    def clusters(self) -> Iterable[ClusterId]: ...

    def spec(self, cluster: ClusterId) -> MemberSpec: ...

    def source(self, cluster: ClusterId) -> Source | None: ...

    def expect(self, cluster: ClusterId, uid: str) -> bool: ...

    def uid(self, cluster: ClusterId) -> str: ...


class Standings:
    """Has each member watched, and probed as its spec says, or else as ``probe`` says."""

    def __init__(
        self,
        watch: LivenessWatch,
        index: Index,
        roll: Callable[[], Roll],
        probe: ProbePlan | None = None,
        ask: Ask | None = None,
    ) -> None:
        """``ask`` takes the place of real probes."""
        self._watch = watch
        self._index = index
        self._roll = roll
        self._probe = probe
        self._ask = ask
        self._plans: dict[ClusterId, ProbePlan | None] = {}
        self.remembered: Mapping[ClusterId, Before] = {}
        """How they stood before a restart."""

    def joined(self, cluster: ClusterId) -> None:
        plan = self._plans[cluster] = self._plan(cluster)
        before = self.remembered.get(cluster, UNKNOWN_BEFORE)
        self._watch.add(cluster, partial(self._heard_at, cluster), self._prober(cluster, plan), before=before)

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """The source is asked for each time."""

    def changed(self, cluster: ClusterId) -> None:
        plan = self._plan(cluster)
        if plan != self._plans[cluster]:
            self._plans[cluster] = plan
            self._watch.probe(cluster, self._prober(cluster, plan))

    def left(self, cluster: ClusterId) -> None:
        del self._plans[cluster]
        self._watch.remove(cluster)

    def set_probe(self, probe: ProbePlan | None) -> None:
        """Members whose spec says nothing are probed so from now on."""
        self._probe = probe
        for cluster in tuple(self._plans):
            self.changed(cluster)

    def _plan(self, cluster: ClusterId) -> ProbePlan | None:
        return self._roll().spec(cluster).probe or self._probe

    def _heard_at(self, cluster: ClusterId) -> float | None:
        source = self._roll().source(cluster)
        return source.heard_at if source is not None else None

    def _prober(self, cluster: ClusterId, plan: ProbePlan | None) -> Prober | None:
        if plan is None:
            return None
        return Prober(plan, partial(self._sample, cluster, plan.endpoints), random.random, self._ask)

    def _sample(self, cluster: ClusterId, count: int, turn: int) -> tuple[Target, ...]:
        slices = self._index.held_facts(cluster, Kind.ENDPOINT_SLICE).values()
        return sample(cast("Collection[EndpointSlice]", slices), count, turn)
