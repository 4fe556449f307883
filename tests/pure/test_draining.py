"""New requests are for healthy endpoints; where nobody is, for those that drain, who are told as healthy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import Index
from registry.model.events import Apply
from registry.model.facts import AddressType, Fact, ServicePort, SliceEndpoint, SlicePort
from registry.model.gateways import Gateway, Gateways
from registry.model.services import MergedService
from registry.protos import registry_pb2 as pb
from registry.views.eds import ServiceAssignments
from registry.views.lookup import ServiceViews, View
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import Distribution, Fallback, Selector, TrafficPolicy
from registry.views.service_entry import service_entries

HERE = Place("", "z1", "a", "home")
GATEWAYS: Gateways = {"away": (Gateway("203.0.113.1", 15443),)}
ZONE = TrafficPolicy(Distribution.PREFER_SAME_ZONE)
WEIGHTED = TrafficPolicy(Distribution.WEIGHTED)
H, D = "HEALTHY", "DRAINING"


def end(number: int, *, drains: bool = False, zone: str = "z1", pod: str = "", node: str = "") -> SliceEndpoint:
    return SliceEndpoint(
        f"10.0.0.{number}", ready=not drains, serving=True, terminating=drains, zone=zone, pod=pod, node=node
    )


def an_index(*ours: SliceEndpoint, theirs: tuple[SliceEndpoint, ...] = (), network: str = "") -> Index:
    index = Index()
    for cluster, ends, on in ((A, ours, "home"), (B, theirs, network or "home")):
        index.add_cluster(cluster, on)
        for event in listing(a_service(), *([a_slice(*ends)] if ends else ())):
            index.apply(cluster, event)
    index.commit()
    return index


def the(index: Index) -> MergedService:
    found = index.get(ECHO)
    assert found is not None
    return found


class Shown:
    """What a client is shown, time and again, by the same assignments."""

    def __init__(self, policy: TrafficPolicy = ZONE, gateways: Gateways = GATEWAYS, place: Place = HERE) -> None:
        self._assignments = ServiceAssignments(ECHO, Names())
        self._view = policy, gateways
        self._place = place
        self.message = endpoint_pb2.ClusterLoadAssignment()

    def of(self, index: Index) -> list[tuple[int, str, str]]:
        """Priority, last part of the address, and health of each."""
        self._assignments.update(the(index), *self._view)
        shown = self._assignments.show(80, self._place)
        self.message = endpoint_pb2.ClusterLoadAssignment.FromString(shown.encode())
        return [
            (
                group.priority,
                each.endpoint.address.socket_address.address.rpartition(".")[2],
                health_check_pb2.HealthStatus.Name(each.health_status),
            )
            for group in self.message.endpoints
            for each in group.lb_endpoints
        ]

    @property
    def weights(self) -> list[int]:
        return [group.load_balancing_weight.value for group in self.message.endpoints]


def shown(index: Index, policy: TrafficPolicy = ZONE, place: Place = HERE) -> list[tuple[int, str, str]]:
    return Shown(policy, place=place).of(index)


@pytest.mark.parametrize("policy", [ZONE, TrafficPolicy(), WEIGHTED, TrafficPolicy(failover=(Selector(zone="z1"),))])
def test_where_nobody_is_healthy_all_that_drain_are_told_so(policy: TrafficPolicy) -> None:
    index = an_index(end(1, drains=True), end(2, drains=True, zone="z2"))
    assert [health for _, _, health in shown(index, policy)] == [H, H]


@pytest.mark.parametrize("near_drains", [True, False])
def test_one_that_is_healthy_in_whichever_priority_takes_the_new_requests(near_drains: bool) -> None:
    index = an_index(end(1, drains=near_drains), end(2, drains=not near_drains, zone="z2"))
    assert shown(index) == [(0, "1", D if near_drains else H), (1, "2", H if near_drains else D)]


def test_it_is_what_the_client_is_shown_that_counts() -> None:
    """Elsewhere somebody is healthy, whom the policy leaves out for this client."""
    index = an_index(end(1, drains=True), theirs=(end(2),))
    only_ours = TrafficPolicy(failover=(Selector(cluster="a"),), fallback=Fallback.NONE)
    assert shown(index, only_ours) == [(0, "1", H)]
    on_node = an_index(end(1, drains=True, node="n1"), end(2, node="n2"))
    assert shown(on_node, TrafficPolicy(local_only=True), HERE._replace(node="n1")) == [(0, "1", H)]


def test_it_is_each_port_that_counts() -> None:
    index = Index()
    index.add_cluster(A)
    two = a_service("echo", ServicePort(80, "http"), ServicePort(81, "grpc"))
    only = a_slice(end(1, drains=True))
    other = a_slice(end(2), name="echo-2", ports=(SlicePort("grpc", 8081),))
    for event in listing(two, only, other):
        index.apply(A, event)
    index.commit()
    assert shown(index) == [(0, "1", H)]
    specs: list[Any] = [each["spec"] for each in service_entries(the(index), Names()).documents]
    assert sorted(each["address"] for spec in specs for each in spec["endpoints"]) == ["10.0.0.1", "10.0.0.2"]


def test_they_drain_again_when_somebody_is_healthy_and_not_when_nobody_is() -> None:
    """The place keeps its arrangement while endpoints come and go."""
    index, view = an_index(end(1, drains=True), end(2, drains=True)), Shown()
    for healthy in (None, 3, None, 4):
        ends = [end(1, drains=True), end(2, drains=True), *([end(healthy)] if healthy else [])]
        index.apply(A, Apply(a_slice(*ends)))
        index.commit()
        expected = [(0, "1", D), (0, "2", D), (0, str(healthy), H)] if healthy else [(0, "1", H), (0, "2", H)]
        assert view.of(index) == expected


@pytest.mark.parametrize("policy", [ZONE, WEIGHTED])
def test_behind_gateways_too(policy: TrafficPolicy) -> None:
    drained = an_index(theirs=(end(1, drains=True),), network="away")
    assert shown(drained, policy) == [(0, "1", H)]  # the gateway, 203.0.113.1
    ours_too = an_index(end(2, drains=True), theirs=(end(3, drains=True),), network="away")
    assert sorted(each[1:] for each in shown(ours_too, policy)) == [("1", H), ("2", H)]
    theirs_healthy = an_index(end(2, drains=True), theirs=(end(3),), network="away")
    assert sorted(each[1:] for each in shown(theirs_healthy, policy)) == [("1", H), ("2", D)]
    ours_healthy = an_index(end(2), theirs=(end(3, drains=True),), network="away")
    assert [each[1:] for each in shown(ours_healthy, policy)] == [("2", H)]


def test_a_localitys_weight_is_that_of_what_takes_new_requests() -> None:
    """Else the neighbour of one that drains gets twice its share: gRPC goes by these weights."""
    view = Shown(TrafficPolicy())
    view.of(an_index(end(1), end(2, drains=True), end(3, zone="z2"), end(4, zone="z2")))
    assert view.weights == [1, 2]
    view.of(an_index(end(1, drains=True), end(2, drains=True), end(3, zone="z2")))
    assert view.weights == [2, 1]  # nobody in z1 takes any, but 0 is no weight
    view.of(an_index(end(1, drains=True), end(2, drains=True), end(3, drains=True, zone="z2")))
    assert view.weights == [2, 1]


def test_shares_are_of_those_that_drain_where_nobody_is_healthy() -> None:
    view = Shown(WEIGHTED)
    assert view.of(an_index(end(1, drains=True), end(2, drains=True, zone="z2"))) == [(0, "1", H), (1, "2", H)]
    assert view.weights == [10_000, 1]


def test_both_families_of_one_that_drains() -> None:
    index = Index()
    index.add_cluster(A)
    six = SliceEndpoint("fd00::1", ready=False, terminating=True, pod="p")
    preferring = replace(a_service(), ip_families=(AddressType.IPV4, AddressType.IPV6))
    facts: list[Fact] = [preferring, a_slice(end(1, drains=True, zone="", pod="p")), a_slice(six, name="six")]
    for event in listing(*facts):
        index.apply(A, event)
    index.commit()
    assert [each[1:] for each in shown(index)] == [("1", H)]
    assert [each[1:] for each in shown(index, place=HERE._replace(family="IPv6"))] == [("fd00::1", H)]


def test_lookup_tells_what_to_use_as_xds_does_and_what_there_is_as_it_is() -> None:
    for ends, health in (((end(1, drains=True),), pb.HEALTH_HEALTHY), ((end(1, drains=True), end(2)), 2)):
        index = an_index(*ends)
        message = ServiceViews(the(index), Names(), ZONE).message(View(HERE))
        assert message.endpoints[0].health == pb.HEALTH_DRAINING
        (group,) = message.ports[0].assignment.groups
        assert group.targets[0].health == health
        assert group.weight == 1
