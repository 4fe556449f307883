"""The pipeline on a virtual clock: when it commits, who is told, and what is logged."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from support.clock import VirtualClock
from support.facts import listing

from registry.coalesce import Coalescer
from registry.index import GuardPolicy, Index
from registry.model.conditions import ConditionType
from registry.model.events import Apply, Delete
from registry.model.facts import EndpointSlice, Fact, Pod, Service, ServicePort, SliceEndpoint, SlicePort
from registry.model.gateways import Gateways
from registry.model.names import BASE_KINDS, ClusterId, Kind, ServiceKey
from registry.model.services import ChangeSet
from registry.model.status import SourceState, SourceStatus
from registry.pipeline import Pipeline
from registry.supervision import Supervisor
from registry.telemetry import Metrics

A, B = ClusterId("a"), ClusterId("b")
ECHO = Service("shop", "echo", (ServicePort(80, "http"),))
GATEWAY = Service(
    "istio-system",
    "eastwest",
    (ServicePort(15443, "tls"),),
    labels=(("topology.istio.io/network", "net-a"),),
    external=("203.0.113.1",),
)
ALL = BASE_KINDS


def slice_of(*addresses: str) -> EndpointSlice:
    endpoints = tuple(SliceEndpoint(address) for address in addresses)
    return EndpointSlice("shop", "echo-1", "echo", ports=(SlicePort("http", 8080),), endpoints=endpoints)


class Rig:
    """A pipeline over one or two clusters, and what its audience was told when."""

    def __init__(self, *clusters: ClusterId, guard: GuardPolicy | None = None) -> None:
        self.clock = VirtualClock()
        self.told: list[tuple[float, ChangeSet]] = []
        self.gateways: Gateways = {}
        self.order: list[str] = []
        self.index = Index(guard=guard, clock=self.clock.time)
        self.metrics = Metrics()
        self.pipeline = Pipeline(
            self.index,
            Coalescer(0.010, 0.100),
            self.clock,
            audiences=[self._hear],
            gateway_audiences=[self._hear_gateways],
            metrics=self.metrics,
        )
        for cluster in clusters:
            self.pipeline.add_cluster(cluster, "")

    def _hear(self, changes: ChangeSet) -> None:
        self.told.append((self.clock.time(), changes))
        self.order.append("changes")

    def _hear_gateways(self, gateways: Gateways) -> None:
        self.gateways = gateways
        self.order.append("gateways")

    def list_all(self, cluster: ClusterId, *facts: Fact, kinds: Iterable[Kind] = tuple(Kind)) -> None:
        for event in listing(*facts, kinds=kinds):
            self.pipeline.event(cluster, event)

    def addresses(self) -> list[str]:
        service = self.index.get(ServiceKey("shop", "echo"))
        return [endpoint.address for endpoint in service.endpoints] if service else []


def test_first_change_is_committed_in_the_same_instant() -> None:
    rig = Rig(A)
    rig.list_all(A, ECHO, slice_of("10.0.0.1"))
    rig.clock.advance(0)
    assert [when for when, _ in rig.told] == [0.0]
    assert rig.addresses() == ["10.0.0.1"]


def test_burst_is_committed_once_after_it_went_quiet() -> None:
    rig = Rig(A)
    rig.list_all(A, ECHO, slice_of("10.0.0.1"))
    rig.clock.advance(0.001)
    for last in range(2, 7):
        rig.pipeline.event(A, Apply(slice_of(f"10.0.0.{last}")))
        rig.clock.advance(0.005)
    assert len(rig.told) == 1
    rig.clock.advance(0.006)
    assert len(rig.told) == 2
    assert rig.addresses() == ["10.0.0.6"]


def test_endless_burst_is_committed_at_least_every_longest_wait() -> None:
    rig = Rig(A)
    rig.list_all(A, ECHO, slice_of("10.0.0.1"))
    rig.clock.advance(0.001)
    for step in range(200):
        rig.pipeline.event(A, Apply(slice_of(f"10.0.{step}.1")))
        rig.clock.advance(0.005)
    times = [when for when, _ in rig.told]
    assert len(times) >= 10
    assert max(after - before for before, after in pairwise(times)) <= 0.106


def test_event_that_changes_no_service_tells_nobody() -> None:
    rig = Rig(A)
    rig.list_all(A, ECHO)
    rig.clock.advance(1)
    rig.pipeline.event(A, Delete(slice_of().ref))
    rig.clock.advance(1)
    assert len(rig.told) == 1


def test_a_failing_source_changes_no_endpoint() -> None:
    rig = Rig(A)
    rig.list_all(A, ECHO, slice_of("10.0.0.1"))
    rig.clock.advance(1)
    rig.pipeline.status(A, SourceStatus(SourceState.FAILING, "Unreachable", "no route", ALL))
    rig.clock.advance(1)
    assert len(rig.told) == 1
    assert rig.addresses() == ["10.0.0.1"]


def test_a_fault_is_logged_and_counted_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="registry")
    rig = Rig(A)
    failing = SourceStatus(SourceState.FAILING, "Forbidden", "list pods: forbidden")
    for _ in range(3):
        rig.pipeline.status(A, failing)
    rig.pipeline.status(A, SourceStatus(SourceState.SYNCED, listed=ALL))
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["cluster a: Forbidden: list pods: forbidden", "cluster a: Synced"]
    assert b'mesh_registry_cluster_faults_total{cluster="a",reason="Forbidden"} 1.0' in rig.metrics.exposition()


def test_gateways_are_told_before_the_services_behind_them_and_only_when_they_are_others() -> None:
    rig = Rig(A)
    rig.list_all(A, ECHO, slice_of("10.0.0.1"), GATEWAY)
    rig.clock.advance(1)
    assert rig.order == ["gateways", "changes"]
    assert [each.address for each in rig.gateways["net-a"]] == ["203.0.113.1"]
    rig.pipeline.event(A, Apply(slice_of("10.0.0.2")))
    rig.clock.advance(1)
    rig.pipeline.event(A, Delete(GATEWAY.ref))
    rig.clock.advance(1)
    assert rig.order == ["gateways", "changes", "changes", "gateways"]
    assert rig.gateways == {}


def test_the_gateways_of_a_cluster_that_is_taken_out_go_at_once() -> None:
    rig = Rig(A)
    rig.list_all(A, GATEWAY)
    rig.clock.advance(1)
    rig.pipeline.remove_cluster(A)
    assert rig.gateways == {}


def test_what_is_held_is_said_as_it_comes_to_more_and_to_less() -> None:
    rig = Rig(A, guard=GuardPolicy())
    pods = [Pod("shop", f"cart-{number}") for number in range(4)]

    def said() -> tuple[bool, str, str]:
        rig.clock.advance(1)
        dated = rig.pipeline.conditions.get(A, ConditionType.LISTS_BELIEVED)
        assert dated is not None
        return dated.condition.status, dated.condition.reason, dated.condition.message.split(";")[0]

    rig.list_all(A, ECHO, slice_of("10.0.0.1", "10.0.0.2"), *pods)
    rig.clock.advance(1)
    assert rig.pipeline.conditions.get(A, ConditionType.LISTS_BELIEVED) is None
    rig.list_all(A, kinds=[Kind.POD])
    assert said() == (False, "ObjectsShrunk", "a list lacks 4 of kind Pod, and they are kept")
    rig.list_all(A, kinds=[Kind.ENDPOINT_SLICE])
    lacks = "a list lacks 2 endpoints of 1 services, shop/echo among them, {} of kind Pod, and they are kept"
    assert said() == (False, "ServiceEmptied", lacks.format(4))
    rig.pipeline.event(A, Delete(pods[0].ref))
    assert said() == (False, "ServiceEmptied", lacks.format(3))
    rig.pipeline.release(A, ServiceKey("shop", "echo"))
    assert said() == (False, "ObjectsShrunk", "a list lacks 3 of kind Pod, and they are kept")
    rig.pipeline.release(None, None)
    assert said() == (True, "NothingHeld", "")
    rig.list_all(A, kinds=[Kind.SERVICE])
    assert rig.pipeline.conditions.of(A)[0].condition.reason == "NothingHeld", "no endpoint was lost by it"


def broken(*_args: object) -> None:
    raise ZeroDivisionError("a bug")


def test_one_that_listens_and_raises_takes_a_commit_from_no_other() -> None:
    """Each of those that are called, as the one that fails and beside one that does not."""
    heard: list[str] = []
    counted: Counter[str] = Counter()
    clock = VirtualClock()
    pipeline = Pipeline(
        Index(clock=clock.time),
        Coalescer(0.010, 0.100),
        clock,
        audiences=[broken, lambda _: heard.append("changes")],
        gateway_audiences=[broken, lambda _: heard.append("gateways")],
        bystanders=[broken, lambda: heard.append("bystander")],
        observers={Kind.SERVICE: broken, Kind.ENDPOINT_SLICE: lambda *_: heard.append("observer")},
        metrics=Metrics(),
        tasks=Supervisor(lambda task: counted.update([task]), clock=clock.time),
    )
    pipeline.on_known = broken
    pipeline.add_cluster(A, "")
    for event in listing(ECHO, slice_of("10.0.0.1")):
        pipeline.event(A, event)
    clock.advance(0)
    assert {"changes", "gateways", "bystander"} <= set(heard)
    heard.clear()
    for fact in (replace(ECHO, ports=(ServicePort(81, "http"),)), slice_of("10.0.0.2")):
        pipeline.event(A, Apply(fact))
        clock.advance(1)
    assert {"changes", "observer"} <= set(heard)
    pipeline.status(A, SourceStatus(SourceState.SYNCED, listed=BASE_KINDS))
    assert pipeline.statuses[A].state is SourceState.SYNCED
    assert set(counted) == {"audience", "observer", "startup"}


def test_service_that_cannot_be_joined_by_a_bug_stays_as_it_was_and_keeps_no_other_from_being_seen() -> None:
    """A value of a type that no decoder lets through, as a bug in one would."""
    rig = Rig(A)
    other = replace(ECHO, name="another")
    rig.list_all(A, ECHO, other, slice_of("10.0.0.1"))
    rig.clock.advance(0)
    wrong = replace(slice_of("10.0.0.9"), ports=None)  # type: ignore[arg-type]
    rig.pipeline.event(A, Apply(wrong))
    rig.pipeline.event(A, Apply(replace(other, ports=(ServicePort(81, "http"),))))
    rig.clock.advance(1)
    assert rig.addresses() == ["10.0.0.1"]
    later = rig.index.get(ServiceKey("shop", "another"))
    assert later is not None
    assert [port.port for port in later.ports] == [81]
    rig.pipeline.event(A, Apply(slice_of("10.0.0.3")))
    rig.clock.advance(1)
    assert rig.addresses() == ["10.0.0.3"]
