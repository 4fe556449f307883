"""What is kept between changes changes nothing: a view's bytes are those made from nothing, whatever came before."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
from envoy.config.core.v3 import address_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from hypothesis import given
from hypothesis import strategies as st
from support.facts import ECHO

from registry.index.merge import distinct_endpoints
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Expected, Health, MergedService, TargetPort
from registry.views.eds import ServiceAssignments, encode_assignment
from registry.views.names import Names
from registry.views.order import Gateway, Gateways
from registry.views.place import NOWHERE, Place
from registry.views.policy import Distribution, Fallback, Selector, TrafficPolicy

NAMES = Names()
ZONES = [Locality("eu", "eu-1", "a"), Locality("eu", "eu-2", "a"), Locality("us", "us-1", "b")]
PLACES = [
    NOWHERE,
    Place("eu", "eu-1", "a", "net-a", "node-1"),
    Place("eu", "eu-1", "a", "net-a", "node-2"),
    Place("us", "us-1", "b", "net-b"),
    Place("asia", "asia-1", family="IPv4"),
    Place("eu", "eu-1", "a", "net-a", "node-1", "IPv6"),
]
POLICIES = [TrafficPolicy(each, local_only=local) for each in Distribution for local in (False, True)] + [
    TrafficPolicy(Distribution.PREFER_SAME_ZONE, (Selector(cluster="b"),), Fallback.NONE),
]
GATEWAYS: list[Gateways] = [{}, {"net-b": [Gateway("203.0.113.1", 15443, Locality("us"))]}]

endpoints = st.builds(
    Endpoint,
    st.sampled_from(ZONES),
    st.sampled_from([f"10.0.0.{number}" for number in range(1, 9)]),
    st.sampled_from([(TargetPort(80, 8080),), (TargetPort(80, 8080), TargetPort(81, 8081))]),
    st.just(ClusterId("a")),
    st.sampled_from(Health),
    node=st.sampled_from(["node-1", "node-2"]),
    network=st.sampled_from(["", "net-a", "net-a", "net-b"]),
    demoted=st.booleans(),
    weight=st.integers(1, 3),
    pod=st.just(""),
    labels=st.just(()),
    service_account=st.just(""),
    hostname=st.just(""),
    additional_addresses=st.sampled_from([(), ("2001:db8::1",), ("2001:db8::1", "10.0.1.1", "2001:db8::2")]),
)
pools = st.lists(endpoints, min_size=4, max_size=16)


@st.composite
def histories(draw: st.DrawFn) -> list[MergedService]:
    """States of one service, which have many endpoints in common, as the same objects."""
    pool = draw(pools)
    expected = tuple(Expected(zone, draw(st.integers(0, 6))) for zone in sorted(ZONES))
    return [
        MergedService(
            ECHO,
            (ServicePort(80, "http"), ServicePort(81, "admin")),
            distinct_endpoints(draw(st.lists(st.sampled_from(pool), unique_by=id))),
            (ClusterId("a"),),
            expected=expected,
        )
        for _ in range(draw(st.integers(1, 4)))
    ]


@given(histories(), st.data())
def test_a_view_is_what_it_would_be_made_from_nothing(history: list[MergedService], data: st.DataObject) -> None:
    assignments = ServiceAssignments(ECHO, NAMES)
    policy, gateways = POLICIES[0], GATEWAYS[0]
    for service in history:
        if data.draw(st.booleans(), "other policy"):
            policy, gateways = data.draw(st.sampled_from(POLICIES)), data.draw(st.sampled_from(GATEWAYS))
        assignments.update(service, policy, gateways)
        for place in data.draw(st.lists(st.sampled_from(PLACES), unique=True)):
            for port in (80, 81):
                shown = assignments.show(port, place)
                assert shown.encode() == encode_assignment(service, port, NAMES, place, policy, gateways)


@given(histories())
def test_the_version_is_that_of_the_bytes(history: list[MergedService]) -> None:
    versions: dict[str, bytes] = {}
    bodies: dict[bytes, str] = {}
    for policy in POLICIES:
        assignments = ServiceAssignments(ECHO, NAMES)
        for service in history:
            assignments.update(service, policy)
            for place in PLACES:
                shown = assignments.show(80, place)
                body = shown.encode()
                assert versions.setdefault(shown.version, body) == body
                assert bodies.setdefault(body, shown.version) == shown.version


def test_places_that_are_shown_the_same_share_one_assignment() -> None:
    assignments = ServiceAssignments(ECHO, NAMES)
    members = tuple(
        Endpoint(zone, f"10.0.0.{number}", (TargetPort(80, 1),), ClusterId("a")) for number, zone in enumerate(ZONES)
    )
    service = MergedService(ECHO, (ServicePort(80, "http"),), members, (ClusterId("a"),))
    assignments.update(service, TrafficPolicy(Distribution.PREFER_SAME_ZONE))
    here = assignments.show(80, Place("eu", "eu-1", "a", "", "node-1"))
    assert assignments.show(80, Place("eu", "eu-1", "a", "", "node-2")) is here
    assert assignments.show(80, Place("eu", "eu-2")) is not here


class TestOfTheClientsFamily:
    BOTH = Endpoint(ZONES[0], "10.0.0.1", (TargetPort(80, 1),), ClusterId("a"), additional_addresses=("2001:db8::1",))
    ONE = Endpoint(ZONES[1], "10.0.0.2", (TargetPort(80, 1),), ClusterId("a"))
    V6_FIRST = BOTH._replace(address="2001:db8::2", additional_addresses=("10.0.0.3",))

    def addresses(self, family: str, *members: Endpoint) -> list[list[str]]:
        service = MergedService(ECHO, (ServicePort(80, "http"),), members, (ClusterId("a"),))
        assignment = ClusterLoadAssignment.FromString(encode_assignment(service, 80, NAMES, Place(family=family)))
        return [
            [each.socket_address.address for each in (end.endpoint.address, *further(end.endpoint))]
            for group in assignment.endpoints
            for end in group.lb_endpoints
        ]

    def test_its_address_comes_first_where_there_is_one(self) -> None:
        for family, first in (("", "10.0.0.1"), ("IPv4", "10.0.0.1"), ("IPv6", "2001:db8::1")):
            found = self.addresses(family, self.BOTH, self.ONE)
            assert [found[0][0], found[1]] == [first, ["10.0.0.2"]]
            assert sorted(found[0]) == ["10.0.0.1", "2001:db8::1"]

    def test_each_endpoint_is_turned_for_itself(self) -> None:
        both = (self.BOTH, self.V6_FIRST)
        assert [each[0] for each in self.addresses("IPv4", *both)] == ["10.0.0.1", "10.0.0.3"]
        assert [each[0] for each in self.addresses("IPv6", *both)] == ["2001:db8::1", "2001:db8::2"]

    def test_only_where_it_makes_a_difference_are_there_other_bytes(self) -> None:
        assignments = ServiceAssignments(ECHO, NAMES)
        service = MergedService(ECHO, (ServicePort(80, "http"),), (self.ONE,), (ClusterId("a"),))
        assignments.update(service, POLICIES[0])
        shown = [assignments.show(80, Place(family=family)) for family in ("", "IPv4", "IPv6")]
        assert shown[0] is shown[1] is shown[2]
        assignments.update(replace(service, endpoints=(self.ONE, self.BOTH)), POLICIES[0])
        shown = [assignments.show(80, Place(family=family)) for family in ("", "IPv4", "IPv6")]
        assert shown[0] is shown[1] is not shown[2]


def further(endpoint: endpoint_components_pb2.Endpoint) -> list[address_pb2.Address]:
    return [each.address for each in endpoint.additional_addresses]


def test_what_was_shown_before_is_not_kept() -> None:
    assignments = ServiceAssignments(ECHO, NAMES)
    service = MergedService(ECHO, (ServicePort(80, "http"),), (), (ClusterId("a"),))
    assignments.update(service, POLICIES[0])
    before = weakref.ref(assignments.show(80, NOWHERE).encode)
    assignments.update(service, POLICIES[0])
    gc.collect()
    assert before() is None


@pytest.mark.parametrize("distribution", [Distribution.PREFER_SAME_NODE, Distribution.WEIGHTED])
@pytest.mark.parametrize("family", ["", "IPv6"])
def test_a_view_is_dropped_with_the_last_place_that_has_it(distribution: Distribution, family: str) -> None:
    both = ("2001:db8::1",)
    near = Endpoint(ZONES[0], "10.0.0.1", (TargetPort(80, 8080),), ClusterId("a"), additional_addresses=both)
    far = Endpoint(ZONES[2], "10.0.0.2", (TargetPort(80, 8080),), ClusterId("b"))
    assignments = ServiceAssignments(ECHO, NAMES)
    service = MergedService(ECHO, (ServicePort(80, "http"),), (near, far), (ClusterId("a"), ClusterId("b")))
    assignments.update(service, TrafficPolicy(distribution))
    one, same = (Place("us", "us-1", "b", node=node, family=family) for node in ("node-1", "node-2"))
    assignments.show(80, NOWHERE)
    shown = assignments.show(80, one)
    assert assignments.show(80, same) is shown
    assert assignments.forget(80, one) == []
    assert assignments.show(80, same) is shown
    dropped = weakref.ref(shown.encode)
    assert assignments.forget(80, same) == [shown]
    del shown
    gc.collect()
    assert dropped() is None
    assert assignments.show(80, one).encode() == assignments.show(80, same).encode()
