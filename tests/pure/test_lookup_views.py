"""What the lookup API tells a client of a place is what xDS tells one of that place, and why is what explain says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from hypothesis import given, settings
from hypothesis import strategies as st
from support.placed import GOLDEN, NETWORKS, PLACES, POLICIES, shown
from support.worlds import KEYS, World, worlds

from registry.model.facts import Protocol
from registry.model.gateways import Gateway, Gateways
from registry.model.services import MergedService
from registry.protos import registry_pb2 as pb
from registry.views.eds import encode_assignment
from registry.views.explain import explain_ports
from registry.views.lookup import ServiceViews, View, place_of_client
from registry.views.names import Names
from registry.views.place import NOWHERE, Place, place_of
from registry.views.policy import Distribution, Selector, TrafficPolicy

NAMES = Names()
HEALTH = {pb.HEALTH_HEALTHY: 1, pb.HEALTH_DRAINING: 3}
"""Envoy's numbers of HEALTHY and DRAINING."""
Group = tuple[int, tuple[str, str, str], int, list[tuple[list[tuple[str, int]], int, int]]]
"""Priority, locality, weight; and of each target its addresses and port, its health and weight."""


def told(assignment: pb.Assignment) -> list[Group]:
    groups: list[Group] = []
    for group in assignment.groups:
        targets = []
        for each in group.targets:
            addresses = [(address, each.port) for address in (each.address, *each.additional_addresses)]
            targets.append((addresses, HEALTH[each.health], each.weight))
        at = (group.locality.region, group.locality.zone, group.locality.sub_zone)
        groups.append((group.priority, at, group.weight, targets))
    return groups


def sent(body: bytes) -> list[Group]:
    groups: list[Group] = []
    for group in ClusterLoadAssignment.FromString(body).endpoints:
        targets = []
        for each in group.lb_endpoints:
            end = each.endpoint
            sockets = [
                end.address.socket_address,
                *(other.address.socket_address for other in end.additional_addresses),
            ]
            addresses = [(socket.address, socket.port_value) for socket in sockets]
            targets.append((addresses, each.health_status, each.load_balancing_weight.value))
        at = (group.locality.region, group.locality.zone, group.locality.sub_zone)
        groups.append((group.priority, at, group.load_balancing_weight.value, targets))
    return groups


def assignments(
    service: MergedService, place: Place, policy: TrafficPolicy, gateways: Gateways, *, reasons: bool = False
) -> Mapping[int, pb.Assignment]:
    message = ServiceViews(service, NAMES, policy, gateways).message(View(place, reasons))
    return {port.number: port.assignment for port in message.ports if port.HasField("assignment")}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_place_is_told_over_the_lookup_api_what_it_is_sent_over_xds(network: str, policy: str) -> None:
    service, traffic, gateways = shown(network, policy)
    for place in PLACES.values():
        (assignment,) = assignments(service, place, traffic, gateways).values()
        assert told(assignment) == sent(encode_assignment(service, 80, NAMES, place, traffic, gateways))
    assert len(GOLDEN) == len(NETWORKS) * len(POLICIES), "so it is sent"


places = st.sampled_from(
    [
        NOWHERE,
        Place("r1", "z1", "a", "", "n1", "IPv6"),
        Place("r1", "z2", "c", "elsewhere", "n1"),
        Place("r2", "z2", "b", "net-b", "n2", "IPv4"),
    ]
)
policies = st.builds(
    TrafficPolicy,
    st.sampled_from(Distribution),
    st.sampled_from([(), (Selector(region="r1"), Selector(zone="z2"))]),
    local_only=st.sampled_from([False, False, True]),
)
GATES: Gateways = {"net-b": [Gateway("203.0.113.1", 15443)], "net-c": [Gateway("203.0.113.1", 15443)]}


@settings(max_examples=100, deadline=None)
@given(worlds, places, policies, st.sampled_from([{}, GATES]))
def test_order_weights_and_reasons_are_those_of_an_xds_client_in_whatever_world(
    world: World, place: Place, policy: TrafficPolicy, gateways: Gateways
) -> None:
    index = world.index()
    for service in filter(None, map(index.get, KEYS)):
        found = assignments(service, place, policy, gateways, reasons=True)
        ports = explain_ports(service, NAMES, place, policy, gateways)
        explained = {each.port.port: each for each in ports if each.port.protocol is Protocol.TCP}
        assert set(found) == {port.port for port in service.ports if port.protocol is Protocol.TCP}
        for number, assignment in found.items():
            body = encode_assignment(service, number, NAMES, place, policy, gateways)
            assert told(assignment) == sent(body)
            assert assignment.version == explained[number].version
            assert [[step.code for step in each.reasons] for each in assignment.reasons] == [
                [str(step.reason) for step in explained[number].endpoints[id(end)].steps] for end in service.endpoints
            ]
            here = {target.address for group in assignment.groups for target in group.targets if not target.gateway}
            for end, each in zip(service.endpoints, assignment.reasons, strict=True):
                through = explained[number].endpoints[id(end)].gateways
                shown_itself = bool({end.address, *end.additional_addresses} & here)
                assert each.shown <= (shown_itself or bool(through))


def test_a_place_is_understood_as_of_an_xds_node() -> None:
    said = {"CLUSTER_ID": "a", "NETWORK": "net-a", "NODE_NAME": "n1", "INSTANCE_IPS": "2001:db8::1,10.0.0.1"}
    client = pb.Client(
        cluster="a",
        region="eu",
        zone="eu-1",
        network="net-a",
        node="n1",
        addresses=["2001:db8::1", "10.0.0.1"],
    )
    assert place_of_client(client) == place_of(("eu", "eu-1", ""), said)
    assert place_of_client(pb.Client()) == NOWHERE


def test_who_does_not_say_who_he_is_is_told_the_endpoints_alone() -> None:
    service, policy, gateways = shown("two-networks", "weighted")
    views = ServiceViews(service, NAMES, policy, gateways)
    plain, placed = views.message(), views.message(View(NOWHERE))
    assert not any(port.HasField("assignment") for port in plain.ports)
    assert plain.endpoints == placed.endpoints
    assert plain.version != placed.version
