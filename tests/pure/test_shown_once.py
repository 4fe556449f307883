"""No client is shown an address and port twice, whoever has it: gRPC refuses such a list, Envoy counts it double."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support.facts import ECHO

from registry.index.merge import distinct_endpoints
from registry.model.facts import ServicePort
from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Expected, Health, MergedService, TargetPort
from registry.views.eds import ServiceAssignments, encode_assignment
from registry.views.names import Names
from registry.views.place import NOWHERE, Place
from registry.views.policy import NO_POLICY, Distribution, Fallback, Selector, TrafficPolicy

Use = tuple[str, int]

PORT, TARGET = 80, 8080
NAMES = Names()
NETWORKS = ["", "net-a", "net-b", "net-c"]
ZONES = [Locality("eu", "eu-1", "a"), Locality("us", "us-1", "b")]
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2"]


def an_endpoint(
    addresses: Sequence[str], network: str, zone: Locality = ZONES[0], *, node: str = "", target: int = TARGET
) -> Endpoint:
    return Endpoint(
        zone,
        addresses[0],
        (TargetPort(PORT, target),),
        ClusterId(zone.sub_zone),
        node=node,
        network=network,
        additional_addresses=tuple(addresses[1:]),
    )


def a_service(*endpoints: Endpoint) -> MergedService:
    expected = tuple(Expected(zone, count) for zone, count in sorted(Counter(e.locality for e in endpoints).items()))
    listed = distinct_endpoints(endpoints)
    return MergedService(ECHO, (ServicePort(PORT, "http"),), listed, (ClusterId("a"),), expected=expected)


endpoints = st.builds(
    lambda end, demoted, health: end._replace(demoted=demoted, health=health),
    st.builds(
        an_endpoint,
        st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2, unique=True),
        st.sampled_from(NETWORKS),
        st.sampled_from(ZONES),
        node=st.sampled_from(["", "n1", "n2"]),
        target=st.sampled_from([TARGET, TARGET, TARGET, 9090]),
    ),
    st.booleans(),
    st.sampled_from([Health.HEALTHY, Health.HEALTHY, Health.DRAINING]),
)
services = st.lists(endpoints, max_size=8).map(lambda listed: a_service(*listed))
gates = st.builds(Gateway, st.sampled_from(ADDRESSES), st.sampled_from([TARGET, TARGET, 15443]))
all_gateways: st.SearchStrategy[Gateways] = st.dictionaries(
    st.sampled_from(NETWORKS[1:]), st.lists(gates, min_size=1, max_size=2, unique=True).map(sorted)
)
places = st.builds(
    Place,
    st.sampled_from(["", "eu"]),
    st.just(""),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(NETWORKS),
    st.sampled_from(["", "n1"]),
    st.sampled_from(["", "IPv6"]),
)
policies = st.builds(
    TrafficPolicy,
    st.sampled_from(Distribution),
    st.sampled_from([(), (Selector(cluster="b"),)]),
    st.sampled_from(Fallback),
    st.booleans(),
)


def uses(body: bytes) -> list[set[Use]]:
    """Of each endpoint in the assignment all its addresses and ports."""
    return [
        {
            (each.socket_address.address, each.socket_address.port_value)
            for each in (member.endpoint.address, *(other.address for other in member.endpoint.additional_addresses))
        }
        for group in ClusterLoadAssignment.FromString(body).endpoints
        for member in group.lb_endpoints
    ]


def uses_of(endpoint: Endpoint) -> set[Use]:
    target = endpoint.target(PORT)
    assert target is not None
    return {(address, target) for address in (endpoint.address, *endpoint.additional_addresses)}


def is_candidate(endpoint: Endpoint, place: Place, policy: TrafficPolicy) -> bool:
    """Whether the client may be shown it itself."""
    if policy.failover and policy.fallback is Fallback.NONE and endpoint.cluster != "b":
        return False
    on_node = (endpoint.node, endpoint.cluster) == (place.node, place.cluster or endpoint.cluster)
    if policy.local_only and place.node and not on_node:
        return False
    return place.network == endpoint.network or "" in (place.network, endpoint.network)


@settings(max_examples=500, deadline=None)
@given(services, places, policies, all_gateways)
def test_nobody_is_shown_an_address_twice_and_nothing_is_hidden_but_by_what_is_shown(
    service: MergedService, place: Place, policy: TrafficPolicy, gateways: Gateways
) -> None:
    shown = uses(encode_assignment(service, PORT, NAMES, place, policy, gateways))
    everything = set().union(*shown)
    assert len(everything) == sum(map(len, shown))
    for endpoint in service.endpoints:
        if is_candidate(endpoint, place, policy):
            assert not everything.isdisjoint(uses_of(endpoint))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(services, all_gateways), min_size=2, max_size=4), st.lists(places, max_size=3), policies)
def test_a_view_is_what_there_is_now_whatever_was_there_before(
    history: list[tuple[MergedService, Gateways]], looking: list[Place], policy: TrafficPolicy
) -> None:
    kept = ServiceAssignments(ECHO, NAMES)
    for service, gateways in history:
        kept.update(service, policy, gateways)
        for place in looking:
            fresh = encode_assignment(service, PORT, NAMES, place, policy, gateways)
            assert kept.show(PORT, place).encode() == fresh


def test_the_worlds_have_gateways_that_are_endpoints_and_chains_of_three_networks() -> None:
    bounded = settings(max_examples=3000, database=None, phases=[Phase.generate])

    def is_gateway(world: tuple[MergedService, Place, Gateways]) -> bool:
        service, place, gateways = world
        direct = [each for each in service.endpoints if is_candidate(each, place, NO_POLICY)]
        shown = uses(encode_assignment(service, PORT, NAMES, place, NO_POLICY, gateways))
        return any(uses_of(each) not in shown for each in direct) and bool(place.network)

    def is_chain(service: MergedService) -> bool:
        shown = uses(encode_assignment(service, PORT, NAMES))
        third = [each for each in service.endpoints if each.network == "net-c" and uses_of(each) in shown]
        second = [each for each in service.endpoints if each.network == "net-b" and uses_of(each) not in shown]
        return any(not uses_of(one).isdisjoint(uses_of(other)) for one in third for other in second)

    assert find(st.tuples(services, places, all_gateways), is_gateway, settings=bounded)
    assert find(services, is_chain, settings=bounded)


class TestChains:
    """Networks whose dual-stack endpoints share one address each with the next: the middle one hides nobody."""

    FIRST = an_endpoint(["10.0.0.1", "2001:db8::1"], "net-a")
    SECOND = an_endpoint(["10.0.0.2", "2001:db8::1"], "net-b")
    THIRD = an_endpoint(["10.0.0.2", "2001:db8::2"], "net-c")

    def shown(self, *endpoints: Endpoint, place: Place = NOWHERE, policy: TrafficPolicy = NO_POLICY) -> list[set[Use]]:
        return uses(encode_assignment(a_service(*endpoints), PORT, NAMES, place, policy))

    def test_the_third_is_shown_where_the_second_is_hidden_by_the_first(self) -> None:
        assert self.shown(self.FIRST, self.SECOND, self.THIRD) == [uses_of(self.FIRST), uses_of(self.THIRD)]

    def test_without_the_first_the_second_hides_the_third(self) -> None:
        assert self.shown(self.SECOND, self.THIRD) == [uses_of(self.SECOND)]

    def test_it_follows_the_first_as_that_comes_and_goes(self) -> None:
        kept = ServiceAssignments(ECHO, NAMES)
        for listed, seen in (
            ([self.SECOND, self.THIRD], [self.SECOND]),
            ([self.FIRST, self.SECOND, self.THIRD], [self.FIRST, self.THIRD]),
            ([self.SECOND, self.THIRD], [self.SECOND]),
        ):
            kept.update(a_service(*listed), NO_POLICY)
            assert uses(kept.show(PORT, NOWHERE).encode()) == [uses_of(each) for each in seen]

    def test_who_is_on_the_third_network_is_shown_the_third(self) -> None:
        shown = self.shown(self.FIRST, self.SECOND, self.THIRD, place=Place(network="net-c"))
        assert shown == [uses_of(self.THIRD)]

    def test_a_chain_over_several_nodes_hides_nobody_from_a_node(self) -> None:
        first, second, third = (
            each._replace(node=node) for each, node in ((self.FIRST, "n2"), (self.SECOND, "n1"), (self.THIRD, "n1"))
        )
        local = TrafficPolicy(local_only=True)
        assert self.shown(first, second, third, place=Place(node="n1"), policy=local) == [uses_of(second)]
        assert self.shown(first, second, third, policy=local) == [uses_of(first), uses_of(third)]


class TestGateways:
    """A gateway that is an endpoint of the service itself, as where a slice made by hand names it."""

    HERE = Place(network="net-a")
    GATE = Gateway("203.0.113.1", TARGET)
    LISTED = an_endpoint(["203.0.113.1"], "net-a")
    BEHIND = (an_endpoint(["10.0.0.1"], "net-b"), an_endpoint(["10.0.0.2"], "net-b"))

    def weights(self, *endpoints: Endpoint, place: Place = HERE) -> dict[str, int]:
        body = encode_assignment(a_service(*endpoints), PORT, NAMES, place, gateways={"net-b": [self.GATE]})
        found = [
            (each.endpoint.address.socket_address.address, each.load_balancing_weight.value)
            for group in ClusterLoadAssignment.FromString(body).endpoints
            for each in group.lb_endpoints
        ]
        assert len(found) == len(dict(found))
        return dict(found)

    def test_it_is_there_once_with_the_weight_of_what_is_behind_it(self) -> None:
        assert self.weights(self.LISTED, *self.BEHIND) == {"203.0.113.1": 2}

    def test_it_is_an_endpoint_like_others_where_nothing_is_behind_it(self) -> None:
        draining = self.BEHIND[0]._replace(health=Health.DRAINING)
        assert self.weights(self.LISTED, draining) == {"203.0.113.1": 1}

    def test_it_is_an_endpoint_like_others_to_who_needs_no_gateway(self) -> None:
        assert self.weights(self.LISTED, *self.BEHIND, place=NOWHERE) == {
            "10.0.0.1": 1,
            "10.0.0.2": 1,
            "203.0.113.1": 1,
        }

    def test_another_port_of_its_address_is_another_place(self) -> None:
        other = an_endpoint(["203.0.113.1"], "net-a", target=9090)
        gateways = {"net-b": [self.GATE]}
        shown = uses(encode_assignment(a_service(other, *self.BEHIND), PORT, NAMES, self.HERE, gateways=gateways))
        assert sorted(map(sorted, shown)) == [[("203.0.113.1", TARGET)], [("203.0.113.1", 9090)]]

    def test_what_it_would_hide_as_an_endpoint_is_shown(self) -> None:
        nobody_knows = an_endpoint(["203.0.113.1", "2001:db8::1"], "")
        beside = an_endpoint(["10.0.0.9", "2001:db8::1"], "net-a")
        assert self.weights(nobody_knows, beside, *self.BEHIND) == {"203.0.113.1": 2, "10.0.0.9": 1}
