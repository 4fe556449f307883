"""What a client is shown, against rules told again endpoint by endpoint: no bundles, nothing kept, no code shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support.facts import ECHO

from registry.index.merge import distinct_endpoints
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, MergedService, TargetPort
from registry.model.standing import Standing
from registry.views.eds import encode_assignment
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import Distribution, Fallback, Selector, TrafficPolicy

PORT = 80
NETWORKS = ["", "net-a", "net-b", "net-c"]
FAMILIES = ["", "IPv4", "IPv6"]
ZONES = [Locality("eu", "eu-1", "a"), Locality("eu", "eu-2", "a"), Locality("eu", "eu-1", "b"), Locality("", "", "b")]
UNWEIGHTED = [each for each in Distribution if each is not Distribution.WEIGHTED]
FOURS = [f"10.0.0.{number}" for number in range(1, 7)]
SIXES = [f"2001:db8::{number}" for number in range(1, 7)]


class Doubt(Enum):
    """Whose doubt it is: that of the endpoint's cluster is not shared by clients in it."""

    NONE = 0
    OWN = 1
    OF_CLUSTER = 2


def an_endpoint(zone: Locality, both: tuple[str, str], shape: str, node: str, network: str, doubt: Doubt) -> Endpoint:
    four, six = both
    addresses = {"4": (four,), "6": (six,), "46": (four, six), "64": (six, four)}[shape]
    return Endpoint(
        zone,
        addresses[0],
        (TargetPort(PORT, 8080),),
        ClusterId(zone.sub_zone),
        node=node,
        network=network,
        demoted=doubt is not Doubt.NONE,
        standing=Standing.DEMOTED if doubt is Doubt.OF_CLUSTER else Standing.CURRENT,
        additional_addresses=addresses[1:],
    )


endpoints = st.builds(
    an_endpoint,
    st.sampled_from(ZONES),
    st.sampled_from(list(zip(FOURS, SIXES, strict=True))),
    st.sampled_from(["4", "6", "46", "64"]),
    st.sampled_from(["", "n1", "n2"]),
    st.sampled_from(NETWORKS),
    st.sampled_from(Doubt),
)
places = st.builds(
    Place,
    st.sampled_from(["", "eu", "us"]),
    st.sampled_from(["", "eu-1", "eu-2"]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(NETWORKS),
    st.sampled_from(["", "n1", "n2"]),
    st.sampled_from(FAMILIES),
)
policies = st.builds(
    TrafficPolicy,
    st.sampled_from(UNWEIGHTED),
    st.sampled_from([(), (Selector(cluster="b"),), (Selector(zone="eu-2"), Selector(cluster="a"))]),
    st.sampled_from(Fallback),
    st.booleans(),
)


@st.composite
def services(draw: st.DrawFn) -> MergedService:
    """No address stands twice on one network."""
    found = draw(st.lists(endpoints, max_size=6, unique_by=lambda each: (each.network, each.address[-1])))
    return MergedService(ECHO, (ServicePort(PORT, "http"),), distinct_endpoints(found), (ClusterId("a"),))


def shown(service: MergedService, place: Place, policy: TrafficPolicy) -> list[set[tuple[str, ...]]]:
    """By priority the addresses of each endpoint, in their order."""
    message = ClusterLoadAssignment.FromString(encode_assignment(service, PORT, Names(), place, policy))
    found: dict[int, set[tuple[str, ...]]] = {}
    for group in message.endpoints:
        for each in group.lb_endpoints:
            end = each.endpoint
            further = [other.address.socket_address.address for other in end.additional_addresses]
            addresses = (end.address.socket_address.address, *further)
            assert addresses not in found.setdefault(group.priority, set())
            found[group.priority].add(addresses)
    assert sorted(found) == list(range(len(found))), "priorities have no gaps"
    return [found[priority] for priority in sorted(found)]


def expected(members: Sequence[Endpoint], place: Place, policy: TrafficPolicy) -> list[set[tuple[str, ...]]]:
    ranked: dict[tuple[int, int, bool], set[tuple[str, ...]]] = {}
    taken: set[str] = set()
    candidates = [each for each in members if is_candidate(each, place, policy)]
    for each in sorted(candidates, key=lambda each: each.network):
        if not taken.isdisjoint(addresses_of(each)):
            continue
        taken.update(addresses_of(each))
        tier = tier_of(each, policy)
        assert tier is not None
        ranked.setdefault((tier, distance(each, place, policy), doubted(each, place)), set()).add(
            turned(each, place.family)
        )
    return [ranked[rank] for rank in sorted(ranked)]


def is_candidate(endpoint: Endpoint, place: Place, policy: TrafficPolicy) -> bool:
    """Whether the client may be shown it, for all that is known; there are no gateways."""
    if tier_of(endpoint, policy) is None:
        return False
    if place.network != endpoint.network and "" not in (place.network, endpoint.network):
        return False
    return not policy.local_only or place.node == "" or same_node(endpoint, place)


def tier_of(endpoint: Endpoint, policy: TrafficPolicy) -> int | None:
    for position, selector in enumerate(policy.failover):
        wanted = {(endpoint.cluster, selector.cluster), (endpoint.locality.zone, selector.zone)}
        if all(asked in ("", there) for there, asked in wanted):
            return position
    return None if policy.failover and policy.fallback is Fallback.NONE else len(policy.failover)


def same_node(endpoint: Endpoint, place: Place) -> bool:
    return (endpoint.node, endpoint.cluster) == (place.node, place.cluster or endpoint.cluster)


def doubted(each: Endpoint, place: Place) -> bool:
    return each.demoted and not (each.standing is Standing.DEMOTED and each.cluster == place.cluster)


def distance(endpoint: Endpoint, place: Place, policy: TrafficPolicy) -> int:
    if policy.distribution is Distribution.ANY:
        return 0
    if policy.distribution is Distribution.PREFER_SAME_NODE and place.node and same_node(endpoint, place):
        return 0
    at = endpoint.locality
    if place.zone and at.zone == place.zone and (at.region == place.region or "" in (at.region, place.region)):
        return 1
    return 2 if place.region and at.region == place.region else 3


def turned(endpoint: Endpoint, family: str) -> tuple[str, ...]:
    """The client's family first, each family in its order."""
    own = [each for each in addresses_of(endpoint) if (":" in each) is (family == "IPv6")]
    others = [each for each in addresses_of(endpoint) if each not in own]
    return (*own, *others) if family else addresses_of(endpoint)


def addresses_of(endpoint: Endpoint) -> tuple[str, ...]:
    return (endpoint.address, *endpoint.additional_addresses)


@settings(max_examples=400, deadline=None)
@given(services(), places, policies)
def test_a_client_is_shown_what_the_rules_say(service: MergedService, place: Place, policy: TrafficPolicy) -> None:
    assert shown(service, place, policy) == expected(service.endpoints, place, policy)


@settings(max_examples=200, deadline=None)
@given(services(), places, policies)
def test_the_family_of_a_client_changes_the_order_of_addresses_and_nothing_else(
    service: MergedService, place: Place, policy: TrafficPolicy
) -> None:
    def in_no_order(family: str) -> list[list[list[str]]]:
        found = shown(service, place._replace(family=family), policy)
        return [sorted(map(sorted, priority)) for priority in found]

    assert in_no_order("") == in_no_order("IPv4") == in_no_order("IPv6")


class Seen(NamedTuple):
    """What a world has in it."""

    dropped_by_node: bool
    turned: bool
    ranks: int


def seen(service: MergedService, place: Place, policy: TrafficPolicy) -> Seen:
    there = expected(service.endpoints, place, policy)
    firsts = {addresses_of(each) for each in service.endpoints}
    everywhere = expected(service.endpoints, place._replace(node=""), policy)
    return Seen(
        policy.local_only and 0 < size(there) < size(everywhere),
        any(each not in firsts for priority in there for each in priority),
        len(there),
    )


def size(priorities: Iterable[set[tuple[str, ...]]]) -> int:
    return sum(map(len, priorities))


def test_the_worlds_have_what_the_rules_are_about() -> None:
    worlds = st.tuples(services(), places, policies)
    bounded = settings(max_examples=3000, database=None, phases=[Phase.generate])
    for wanted in (
        lambda world: seen(*world).dropped_by_node and seen(*world).turned,
        lambda world: seen(*world).ranks > 2,
    ):
        assert find(worlds, wanted, settings=bounded)
