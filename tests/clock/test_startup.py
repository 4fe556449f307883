"""When a replica that starts answers clients, on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from support.clock import VirtualClock
from support.facts import listing

from registry.coalesce import Coalescer
from registry.index import Index
from registry.membership.spec import Trouble
from registry.model.conditions import ConditionType
from registry.model.facts import EndpointSlice, Fact, Service, ServicePort, SliceEndpoint, SlicePort
from registry.model.names import BASE_KINDS, ClusterId, Kind, ServiceKey
from registry.model.status import SourceState, SourceStatus
from registry.pipeline import Pipeline
from registry.startup import StartRules, Startup
from registry.telemetry import Metrics
from registry.xds.store import ResourceStore

A, B, C = ClusterId("a"), ClusterId("b"), ClusterId("c")
ECHO = Service("shop", "echo", (ServicePort(80, "http"),))
SLICE = EndpointSlice(
    "shop", "echo-1", "echo", ports=(SlicePort("http", 8080),), endpoints=(SliceEndpoint("10.0.0.1"),)
)
SYNCED = SourceStatus(SourceState.SYNCED, listed=BASE_KINDS)
REFUSED = SourceStatus(SourceState.FAILING, "Unauthorized", "401")


@dataclass
class FakeHearing:
    unheard: Sequence[tuple[str, Trouble | None]] = ()


@dataclass
class FakeRoll:
    """Members that are what the test says."""

    members: list[ClusterId]
    hearing: FakeHearing = field(default_factory=FakeHearing)
    duplicates: set[ClusterId] = field(default_factory=set)

    @property
    def known(self) -> bool:
        return not self.hearing.unheard

    def clusters(self) -> Sequence[ClusterId]:
        return self.members

    def duplicate(self, cluster: ClusterId) -> bool:
        return cluster in self.duplicates


class Rig:
    """A start of a replica with these members."""

    def __init__(self, *members: ClusterId, max_wait: float = 120, hold: float = 600, remembers: bool = False) -> None:
        self.clock = VirtualClock()
        self.index = Index(clock=self.clock.time)
        self.store = ResourceStore(complete=False, partial=True)
        self.roll = FakeRoll(list(members))
        self.pipeline = Pipeline(
            self.index, Coalescer(0.010, 0.100), self.clock, audiences=[], metrics=Metrics(), bystanders=[]
        )
        self.opened: list[tuple[float, list[str]]] = []
        self.startup = Startup(
            StartRules(max_wait, hold),
            self.clock,
            pipeline=self.pipeline,
            index=self.index,
            store=self.store,
            roll=lambda: self.roll,
            opened=lambda: self.opened.append((self.clock.time(), self.addresses())),
        )
        for each in members:
            self.pipeline.add_cluster(each, "")
        self.startup.begin(remembers)

    def list_all(self, cluster: ClusterId, *facts: Fact, kinds: Iterable[Kind] = tuple(Kind)) -> None:
        for event in listing(*facts, kinds=kinds):
            self.pipeline.event(cluster, event)
        self.pipeline.status(cluster, SYNCED)

    def addresses(self) -> list[str]:
        service = self.index.get(ServiceKey("shop", "echo"))
        return [endpoint.address for endpoint in service.endpoints] if service else []

    def known(self, cluster: ClusterId) -> tuple[bool, str] | None:
        dated = self.pipeline.conditions.get(cluster, ConditionType.KNOWN)
        return None if dated is None else (dated.condition.status, dated.condition.reason)

    def waiting(self) -> list[str]:
        return [each.name for each in self.startup.report().unknown]


def test_clients_are_answered_once_every_member_has_listed_and_that_is_committed() -> None:
    rig = Rig(A, B)
    rig.startup.told()
    rig.list_all(A, ECHO, SLICE)
    rig.clock.advance(1)
    assert rig.opened == []
    assert rig.waiting() == ["b"]
    rig.list_all(B)
    assert rig.opened == [(1.0, ["10.0.0.1"])]
    rig.clock.advance(1)
    rig.startup.look()
    assert (rig.store.partial, rig.store.complete) == (False, True)
    assert rig.known(A) is rig.known(B) is None, "nothing was ever wrong"


@pytest.mark.parametrize("status", [REFUSED, SourceStatus(SourceState.FAILING, "Timeout", "silence"), None])
def test_neither_a_refusal_nor_silence_makes_a_member_known(
    status: SourceStatus | None, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(A, B)
    rig.startup.told()
    rig.list_all(A, ECHO, SLICE)
    if status is not None:
        rig.pipeline.status(B, status)
        assert rig.known(B) == (False, "NothingKnown")
    rig.clock.advance(119)
    assert rig.opened == []
    report = rig.startup.report()
    assert (report.ready, [each.name for each in report.unknown], report.seconds) == (False, ["b"], 1.0)
    assert any("waiting for b (" in record.getMessage() for record in caplog.records)
    caplog.clear()
    rig.clock.advance(2)
    assert len(rig.opened) == 1
    assert "without knowing b (" in caplog.text
    assert rig.known(B) == (False, "ServedWithout")
    assert rig.waiting() == ["b"], "it is still said of whom nothing is known"
    assert (rig.store.partial, rig.store.complete) == (True, False)
    rig.list_all(B)
    rig.clock.advance(1)
    rig.startup.look()
    assert (rig.store.partial, rig.store.complete) == (False, True)
    assert rig.known(B) == (True, "Known")


def test_what_clients_keep_for_a_member_that_never_lists_they_keep_for_a_bounded_time() -> None:
    rig = Rig(A, B, max_wait=10, hold=60)
    rig.startup.told()
    rig.list_all(A)
    rig.pipeline.status(B, REFUSED)
    rig.clock.advance(69)
    assert rig.store.partial
    rig.clock.advance(2)
    assert (rig.store.partial, rig.store.complete) == (False, True)


def test_member_that_a_snapshot_or_a_peer_knows_is_not_waited_for() -> None:
    rig = Rig(A, B)
    rig.startup.told()
    rig.list_all(A)
    rig.pipeline.status(B, REFUSED)
    rig.clock.advance(30)
    assert rig.opened == []
    rig.pipeline.restore(B, [ECHO, SLICE], "peer 10.0.0.2:15010")
    assert rig.opened == [(30.0, ["10.0.0.1"])]
    assert (rig.store.partial, rig.store.complete) == (False, False), "b may have more than the peer knew"
    verified = rig.pipeline.conditions.get(B, ConditionType.VERIFIED)
    assert verified is not None
    assert verified.condition.reason == "FromPeer"


def test_member_whose_cluster_another_member_is_holds_up_nobody() -> None:
    rig = Rig(A, B)
    rig.roll.duplicates.add(B)
    rig.startup.told()
    rig.pipeline.status(B, SourceStatus(SourceState.FAILING, "IdentityRefused", "that is a"))
    rig.list_all(A)
    assert len(rig.opened) == 1


def test_removed_member_is_not_waited_for_any_more() -> None:
    rig = Rig(A, B)
    rig.startup.told()
    rig.list_all(A)
    rig.roll.members.remove(B)
    rig.pipeline.remove_cluster(B)
    assert len(rig.opened) == 1


@pytest.mark.parametrize("trouble", [Trouble("Unreachable", "no route"), Trouble("NobodyNamed", "", unsure=True), None])
def test_place_that_does_not_say_who_its_members_are_is_waited_for(trouble: Trouble | None) -> None:
    rig = Rig(A)
    rig.roll.hearing.unheard = [("Secrets in istio-system", trouble)]
    if trouble is not None:
        rig.startup.told()
    rig.list_all(A)
    assert rig.opened == []
    assert rig.waiting() == ["Secrets in istio-system"]
    rig.clock.advance(121)
    assert len(rig.opened) == 1
    assert rig.store.partial, "it may name members that clients know"
    rig.roll.hearing.unheard = ()
    rig.startup.look()
    assert not rig.store.partial


def test_place_that_does_not_say_it_is_not_waited_for_where_an_earlier_run_or_a_peer_knew_the_members() -> None:
    rig = Rig(A, remembers=True)
    rig.roll.hearing.unheard = [("Secrets in istio-system", Trouble("Unreachable", "no route"))]
    rig.startup.told()
    rig.list_all(A)
    assert len(rig.opened) == 1
    assert not rig.store.partial


def test_without_a_wait_a_fault_is_enough_and_silence_is_not() -> None:
    rig = Rig(A, B, C, max_wait=0)
    rig.startup.told()
    rig.list_all(A)
    rig.pipeline.status(B, REFUSED)
    rig.clock.advance(3600)
    assert rig.opened == []
    rig.pipeline.status(C, SourceStatus(SourceState.FAILING, "Timeout", "silence"))
    assert len(rig.opened) == 1
    assert rig.store.partial


def test_member_that_is_named_later_holds_back_nothing_and_makes_nobody_unready() -> None:
    rig = Rig(A)
    rig.startup.told()
    rig.list_all(A)
    rig.clock.advance(1)
    rig.startup.look()
    assert rig.store.complete
    rig.roll.members.append(B)
    rig.pipeline.add_cluster(B, "")
    rig.pipeline.status(B, REFUSED)
    assert rig.startup.is_open
    assert (rig.store.partial, rig.store.complete) == (False, True)
    assert rig.known(B) == (False, "ServedWithout")


def test_member_that_is_named_once_a_place_is_heard_counts_as_one_of_the_start() -> None:
    rig = Rig(A, hold=60)
    rig.roll.hearing.unheard = [("Secrets in istio-system", Trouble("Unreachable", "no route"))]
    rig.startup.told()
    rig.list_all(A)
    rig.clock.advance(121)
    rig.roll.hearing.unheard = ()
    rig.roll.members.append(B)
    rig.pipeline.add_cluster(B, "")
    rig.pipeline.status(B, REFUSED)
    assert (rig.store.partial, rig.store.complete) == (True, False)
    rig.clock.advance(60)
    assert (rig.store.partial, rig.store.complete) == (False, True)


def test_list_that_is_late_restored_keeps_what_was_listed_already() -> None:
    rig = Rig(A)
    rig.startup.told()
    rig.list_all(A, ECHO, kinds=[Kind.SERVICE])
    rig.pipeline.status(A, REFUSED)
    older = Service("shop", "gone", (ServicePort(80, "http"),))
    rig.pipeline.restore(A, [older, SLICE], "peer 10.0.0.2:15010")
    rig.clock.advance(1)
    assert rig.addresses() == ["10.0.0.1"]
    assert rig.index.get(ServiceKey("shop", "gone")) is None
