"""In which order a client is shown a service: by place, by policy, by share, through gateways."""

from __future__ import annotations

from random import Random
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Health, TargetPort
from registry.views.bundles import PortBundles
from registry.views.order import Arrangement, arrange
from registry.views.place import NOWHERE, Place, place_of
from registry.views.policy import NO_POLICY, Distribution, Fallback, Selector, TrafficPolicy
from registry.views.ranks import Nearness, nearness
from registry.views.shares import WEIGHTS, overflow

A_ZONE_1 = Locality("eu", "eu-1", "a")
A_ZONE_2 = Locality("eu", "eu-2", "a")
B_ZONE_1 = Locality("us", "us-1", "b")
HERE = Place("eu", "eu-1", "a", "", "node-1")
ALL_PLACES = [NOWHERE, HERE, Place("eu", "eu-2"), Place("us", "us-1", "b"), Place("asia", "asia-1")]

SAME_ZONE = TrafficPolicy(Distribution.PREFER_SAME_ZONE)
SAME_NODE = TrafficPolicy(Distribution.PREFER_SAME_NODE)
WEIGHTED = TrafficPolicy(Distribution.WEIGHTED)


def endpoint(number: int, locality: Locality, **fields: object) -> Endpoint:
    address = f"10.0.{number >> 8}.{number & 255}"
    return Endpoint(locality, address, (TargetPort(80, 8080),), ClusterId(locality.sub_zone), **fields)  # type: ignore[arg-type]


def several(count: int, locality: Locality, first: int = 1, **fields: object) -> list[Endpoint]:
    return [endpoint(number, locality, **fields) for number in range(first, first + count)]


class Shown:
    """What a client at ``place`` is shown of ``endpoints``."""

    def __init__(
        self,
        endpoints: list[Endpoint],
        place: Place = HERE,
        policy: TrafficPolicy = NO_POLICY,
        expected: dict[Locality, int] | None = None,
        gateways: Gateways | None = None,
    ) -> None:
        self.bundles = PortBundles(80).update(endpoints, policy)
        self.arrangement: Arrangement = arrange(self.bundles, place, policy, expected or {}, gateways or {})

    @property
    def priorities(self) -> list[set[str]]:
        """The addresses of each priority, the gateways' too."""
        found: dict[int, set[str]] = {}
        for slot in self.arrangement.slots:
            addresses = {each.address for bundle in slot.bundles for each in self.bundles[bundle].endpoints}
            addresses |= {gateway.address for gateway, _ in slot.gateways}
            found.setdefault(slot.priority, set()).update(addresses)
        assert sorted(found) == list(range(len(found))), "priorities have gaps"
        return [found[priority] for priority in sorted(found)]

    @property
    def weights(self) -> list[dict[Locality, int]]:
        """The weight of each locality, by priority."""
        count = 1 + max((slot.priority for slot in self.arrangement.slots), default=-1)
        return [
            {each.locality: each.weight for each in self.arrangement.slots if each.priority == p} for p in range(count)
        ]


NEAR, MIDDLE, FAR = (endpoint(1, A_ZONE_1, node="node-1"), endpoint(2, A_ZONE_2), endpoint(3, B_ZONE_1))
THREE = [NEAR, MIDDLE, FAR]


def addresses(*endpoints: Endpoint) -> set[str]:
    return {each.address for each in endpoints}


@pytest.mark.parametrize("place", ALL_PLACES)
def test_without_a_policy_all_are_alike_wherever_the_client_is(place: Place) -> None:
    assert Shown(THREE, place).priorities == [addresses(*THREE)]


def test_same_zone_then_same_region_then_the_rest() -> None:
    assert Shown(THREE, HERE, SAME_ZONE).priorities == [addresses(NEAR), addresses(MIDDLE), addresses(FAR)]


def test_prefer_close_is_the_older_name_of_same_zone() -> None:
    close = TrafficPolicy(Distribution.PREFER_CLOSE)
    assert Shown(THREE, HERE, close).arrangement == Shown(THREE, HERE, SAME_ZONE).arrangement


def test_what_is_missing_nearby_leaves_no_gap() -> None:
    assert Shown([MIDDLE, FAR], HERE, SAME_ZONE).priorities == [addresses(MIDDLE), addresses(FAR)]


def test_same_node_comes_before_the_zone_where_it_is_asked_for() -> None:
    neighbour = endpoint(9, A_ZONE_1, node="node-2")
    ranked = [addresses(NEAR), addresses(neighbour), addresses(MIDDLE), addresses(FAR)]
    assert Shown([*THREE, neighbour], HERE, SAME_NODE).priorities == ranked
    assert Shown([*THREE, neighbour], HERE, SAME_ZONE).priorities == [addresses(NEAR, neighbour), *ranked[2:]]


def test_a_zone_of_the_same_name_in_another_region_is_another_zone() -> None:
    other = endpoint(9, Locality("us", "eu-1", "b"))
    assert Shown([NEAR, other], HERE, SAME_ZONE).priorities == [addresses(NEAR), addresses(other)]


def test_a_client_that_does_not_say_where_it_is_is_shown_all_alike() -> None:
    assert Shown(THREE, NOWHERE, SAME_ZONE).priorities == [addresses(*THREE)]


def test_what_is_in_doubt_comes_after_its_own_kind_and_before_what_is_farther() -> None:
    doubted = endpoint(9, A_ZONE_1, demoted=True)
    assert Shown([*THREE, doubted], HERE, SAME_ZONE).priorities == [
        addresses(NEAR),
        addresses(doubted),
        addresses(MIDDLE),
        addresses(FAR),
    ]
    assert Shown([*THREE, doubted]).priorities == [addresses(*THREE), addresses(doubted)]


def test_failover_goes_by_its_list_and_the_rest_comes_last() -> None:
    policy = TrafficPolicy(failover=(Selector(region="us"), Selector(zone="eu-2")))
    assert Shown(THREE, HERE, policy).priorities == [addresses(FAR), addresses(MIDDLE), addresses(NEAR)]


def test_failover_without_fallback_leaves_the_rest_out() -> None:
    policy = TrafficPolicy(failover=(Selector(cluster="b"),), fallback=Fallback.NONE)
    assert Shown(THREE, HERE, policy).priorities == [addresses(FAR)]


def test_failover_by_labels_takes_those_that_have_them_all() -> None:
    gold = endpoint(9, B_ZONE_1, labels=(("app", "echo"), ("tier", "gold")))
    policy = TrafficPolicy(failover=(Selector(labels=(("tier", "gold"),)),))
    assert Shown([*THREE, gold], HERE, policy).priorities == [addresses(gold), addresses(*THREE)]


def test_within_one_selector_nearness_counts() -> None:
    policy = TrafficPolicy(Distribution.PREFER_SAME_ZONE, (Selector(region="eu"),))
    assert Shown(THREE, HERE, policy).priorities == [addresses(NEAR), addresses(MIDDLE), addresses(FAR)]


class TestOverflow:
    """Golden vectors of ``share = min(remaining, 1.4 x ready / expected)``, nearest first."""

    @pytest.mark.parametrize(
        ("pools", "shares"),
        [
            ([(10, 10), (10, 10)], [1.0, 0.0]),
            ([(8, 10), (10, 10)], [1.0, 0.0]),
            ([(5, 10), (10, 10)], [0.7, 0.3]),
            ([(1, 10), (10, 10)], [0.14, 0.86]),
            ([(0, 10), (10, 10)], [0.0, 1.0]),
            ([(5, 10), (1, 10), (10, 10)], [0.7, 0.14, 0.16]),
            ([(2, 10), (2, 10)], [0.5, 0.5]),
            ([(1, 10), (3, 10)], [0.25, 0.75]),
            ([(0, 10), (0, 10)], [0.0, 0.0]),
            ([(0, 0), (3, 3)], [0.0, 1.0]),
        ],
    )
    def test_golden_vectors(self, pools: list[tuple[int, int]], shares: list[float]) -> None:
        assert overflow(pools) == pytest.approx(shares)

    def test_a_zone_that_is_half_there_takes_seven_tenths(self) -> None:
        endpoints = [*several(5, A_ZONE_1), *several(10, B_ZONE_1, first=20)]
        shown = Shown(endpoints, HERE, WEIGHTED, {A_ZONE_1: 10, B_ZONE_1: 10})
        assert shown.weights == [{A_ZONE_1: 7000, B_ZONE_1: 3000}]

    def test_a_zone_that_is_all_there_takes_everything_and_the_rest_waits(self) -> None:
        endpoints = [*several(10, A_ZONE_1), *several(10, B_ZONE_1, first=20)]
        shown = Shown(endpoints, HERE, WEIGHTED)
        assert shown.weights[0] == {A_ZONE_1: WEIGHTS}
        assert set(shown.weights[1]) == {B_ZONE_1}

    def test_a_zone_of_which_nothing_is_ready_still_counts_in_what_its_region_should_have(self) -> None:
        other = Locality("eu", "eu-3", "a")
        endpoints = [*several(1, A_ZONE_1), *several(1, A_ZONE_2, first=20), *several(10, B_ZONE_1, first=30)]
        expected = {A_ZONE_1: 10, A_ZONE_2: 6, other: 4, B_ZONE_1: 10}
        shown = Shown(endpoints, HERE, WEIGHTED, expected)
        assert shown.weights == [{A_ZONE_1: 1400, A_ZONE_2: 1400, B_ZONE_1: 7200}]

    def test_a_zone_that_the_policy_leaves_out_does_not(self) -> None:
        policy = TrafficPolicy(Distribution.WEIGHTED, (Selector(cluster="a"),), Fallback.NONE)
        expected = {A_ZONE_1: 10, Locality("eu", "eu-1", "c"): 10}
        endpoints = [*several(5, A_ZONE_1), *several(10, Locality("us", "us-1", "a"), first=20)]
        shown = Shown(endpoints, HERE, policy, expected)
        assert shown.weights == [{A_ZONE_1: 7000, Locality("us", "us-1", "a"): 3000}]

    def test_what_gets_no_share_waits_in_the_order_of_nearness(self) -> None:
        endpoints = [*several(10, A_ZONE_1), *several(2, A_ZONE_2, first=20), *several(5, B_ZONE_1, first=30)]
        assert Shown(endpoints, HERE, WEIGHTED).weights == [{A_ZONE_1: WEIGHTS}, {A_ZONE_2: 2}, {B_ZONE_1: 5}]

    def test_localities_alike_share_by_how_many_are_ready(self) -> None:
        endpoints = [*several(3, A_ZONE_1), *several(1, B_ZONE_1, first=20)]
        assert Shown(endpoints, NOWHERE, WEIGHTED).weights == [{A_ZONE_1: 7500, B_ZONE_1: 2500}]

    def test_draining_endpoints_and_those_in_doubt_are_not_ready(self) -> None:
        endpoints = [
            *several(4, A_ZONE_1),
            *several(3, A_ZONE_1, first=5, health=Health.DRAINING),
            *several(1, A_ZONE_1, first=8, demoted=True),
            *several(8, B_ZONE_1, first=20),
        ]
        shown = Shown(endpoints, HERE, WEIGHTED, {A_ZONE_1: 8, B_ZONE_1: 8})
        assert shown.weights[0] == {A_ZONE_1: 7000, B_ZONE_1: 3000}
        assert shown.priorities[1] == {"10.0.0.8"}


class TestSharesInDoubt:
    """Endpoints whose removal is held, and clusters that are not heard of, under ``WeightedByLocality``."""

    EXPECTED: ClassVar[dict[Locality, int]] = {A_ZONE_1: 10, A_ZONE_2: 10, B_ZONE_1: 10}
    BESIDE = Locality("eu", "eu-1", "c")

    def shown(self, *endpoints: Endpoint, expected: dict[Locality, int] | None = None) -> list[dict[Locality, int]]:
        return Shown(list(endpoints), HERE, WEIGHTED, expected or self.EXPECTED).weights

    def test_where_only_such_are_left_their_weights_are_shares_as_ever(self) -> None:
        near, far = several(5, A_ZONE_1, demoted=True), several(10, B_ZONE_1, 20, demoted=True)
        assert self.shown(*near, *far, expected={A_ZONE_1: 10, B_ZONE_1: 10}) == [{A_ZONE_1: 7000, B_ZONE_1: 3000}]

    def test_a_near_cluster_that_is_not_heard_of_keeps_its_share(self) -> None:
        near, far = several(10, A_ZONE_1, demoted=True), several(10, B_ZONE_1, 20)
        assert self.shown(*near, *far) == [{A_ZONE_1: WEIGHTS}, {B_ZONE_1: 10}]

    def test_a_zone_in_doubt_takes_what_one_that_is_not_leaves_and_nothing_goes_farther(self) -> None:
        doubted, sure = several(10, A_ZONE_1, demoted=True), several(1, self.BESIDE, 20)
        far = several(10, B_ZONE_1, 30)
        expected = {A_ZONE_1: 10, self.BESIDE: 1, B_ZONE_1: 10}
        assert self.shown(*doubted, *sure, *far, expected=expected)[0] == {self.BESIDE: 1273, A_ZONE_1: 8727}

    def test_one_of_several_in_its_zone_waits_before_what_is_farther(self) -> None:
        sure, held, far = several(8, A_ZONE_1), several(2, A_ZONE_1, 9, demoted=True), several(10, B_ZONE_1, 20)
        shown = Shown([*sure, *held, *far], HERE, WEIGHTED, self.EXPECTED)
        assert shown.priorities == [addresses(*sure), addresses(*held), addresses(*far)]

    def test_what_is_behind_a_gateway_counts_by_the_same_rule(self) -> None:
        place = HERE._replace(network="net-a")
        near = several(5, A_ZONE_1, network="net-a", demoted=True)
        behind = several(10, B_ZONE_1, 20, network="net-b", demoted=True)
        gateways = {"net-b": [Gateway("203.0.113.1", 15443)]}
        shown = Shown([*near, *behind], place, WEIGHTED, {A_ZONE_1: 10, B_ZONE_1: 10}, gateways)
        assert shown.weights == [{A_ZONE_1: 7000, B_ZONE_1: 3000}]


class TestGateways:
    """Endpoints of another network than the client's."""

    LOCAL = tuple(several(2, A_ZONE_1, network="net-a"))
    REMOTE = (
        *several(3, B_ZONE_1, first=20, network="net-b"),
        *several(2, Locality("us", "us-2", "b"), 30, network="net-b"),
    )
    PLACE = Place("eu", "eu-1", "a", "net-a")
    GATEWAY = Gateway("203.0.113.1", 15443, Locality("us"))

    def test_they_are_their_gateways_with_the_weight_of_all_zones(self) -> None:
        shown = Shown([*self.LOCAL, *self.REMOTE], self.PLACE, gateways={"net-b": [self.GATEWAY]})
        assert shown.priorities == [{"10.0.0.1", "10.0.0.2", "203.0.113.1"}]
        assert shown.weights == [{A_ZONE_1: 2, Locality("us"): 5}]

    def test_several_gateways_divide_the_weight(self) -> None:
        gateways = {"net-b": [self.GATEWAY, Gateway("203.0.113.2", 15443, Locality("us"))]}
        (slot,) = Shown(list(self.REMOTE), self.PLACE, gateways=gateways).arrangement.slots
        assert [weight for _, weight in slot.gateways] == [3, 2]

    def test_a_gateway_with_nothing_ready_behind_it_is_left_out(self) -> None:
        draining = several(3, B_ZONE_1, first=20, network="net-b", health=Health.DRAINING)
        shown = Shown([*self.LOCAL, *draining], self.PLACE, gateways={"net-b": [self.GATEWAY]})
        assert shown.priorities == [{"10.0.0.1", "10.0.0.2"}]
        assert shown.arrangement.unreachable == ()

    def test_a_network_without_a_gateway_is_said_to_be_unreachable(self) -> None:
        shown = Shown([*self.LOCAL, *self.REMOTE], self.PLACE)
        assert shown.priorities == [{"10.0.0.1", "10.0.0.2"}]
        assert shown.arrangement.unreachable == ("net-b",)

    def test_a_client_without_a_network_reaches_everything(self) -> None:
        shown = Shown([*self.LOCAL, *self.REMOTE], NOWHERE, gateways={"net-b": [self.GATEWAY]})
        assert shown.priorities == [addresses(*self.LOCAL, *self.REMOTE)]

    def test_an_endpoint_without_a_network_is_reached_by_everybody(self) -> None:
        assert Shown(THREE, self.PLACE).priorities == [addresses(*THREE)]

    def test_the_gateways_place_is_its_own(self) -> None:
        shown = Shown([*self.LOCAL, *self.REMOTE], self.PLACE, SAME_ZONE, gateways={"net-b": [self.GATEWAY]})
        assert shown.priorities == [{"10.0.0.1", "10.0.0.2"}, {"203.0.113.1"}]

    def test_a_gateway_that_says_no_place_is_where_all_behind_it_is(self) -> None:
        gateways = {"net-b": [Gateway("203.0.113.1", 15443, Locality("", "", "b"))]}
        near = several(2, Locality("eu", "eu-1", "b"), 20, network="net-b")
        also = several(1, Locality("eu", "eu-2", "b"), 30, network="net-b")
        far = several(1, B_ZONE_1, 40, network="net-b")
        for behind, locality, priority in (
            (near, Locality("eu", "eu-1", "b"), 0),
            (near + also, Locality("eu"), 1),
            (near + far, Locality(), 1),
        ):
            shown = Shown([*self.LOCAL, *behind], self.PLACE, SAME_ZONE, gateways=gateways)
            (slot,) = [slot for slot in shown.arrangement.slots if slot.gateways]
            assert (slot.locality, slot.priority) == (locality, priority)

    def test_endpoints_in_doubt_stay_reachable_one_priority_later(self) -> None:
        doubted = several(3, B_ZONE_1, first=20, network="net-b", demoted=True)
        shown = Shown([*self.LOCAL, *doubted], self.PLACE, gateways={"net-b": [self.GATEWAY]})
        assert shown.priorities == [{"10.0.0.1", "10.0.0.2"}, {"203.0.113.1"}]
        assert shown.weights[1] == {Locality("us"): 3}

    def test_endpoints_in_doubt_add_no_weight_to_those_that_are_not(self) -> None:
        doubted = several(3, B_ZONE_1, first=40, network="net-b", demoted=True)
        shown = Shown([*self.LOCAL, *self.REMOTE, *doubted], self.PLACE, gateways={"net-b": [self.GATEWAY]})
        assert shown.weights == [{A_ZONE_1: 2, Locality("us"): 5}]

    def test_in_shares_a_gateway_counts_as_much_as_is_ready_of_what_should_be_behind_it(self) -> None:
        near = several(2, A_ZONE_1, network="net-a")
        far = several(5, B_ZONE_1, 40, network="net-a")
        expected = {A_ZONE_1: 4, A_ZONE_2: 10, B_ZONE_1: 5}
        gateways = {"net-b": [Gateway("203.0.113.1", 15443)]}
        for ready, weights in (
            (3, [{A_ZONE_1: 7000, A_ZONE_2: 3000}, {B_ZONE_1: 5}]),
            (1, [{A_ZONE_1: 7000, A_ZONE_2: 1400, B_ZONE_1: 1600}]),
        ):
            behind = several(ready, A_ZONE_2, 20, network="net-b")
            shown = Shown([*near, *behind, *far], self.PLACE, WEIGHTED, expected, gateways)
            assert shown.weights == weights

    def test_a_gateway_of_two_networks_is_there_once_with_the_weight_of_both(self) -> None:
        third = several(1, Locality("eu", "eu-3", "c"), 50, network="net-c")
        gateways = {"net-b": [self.GATEWAY], "net-c": [self.GATEWAY._replace(locality=Locality("eu"))]}
        shown = Shown([*self.REMOTE, *third], self.PLACE, SAME_ZONE, gateways=gateways)
        assert shown.weights == [{Locality("eu"): 6}]
        assert sum(len(slot.gateways) for slot in shown.arrangement.slots) == 1

    def test_of_two_networks_behind_a_gateway_one_in_doubt_adds_no_weight(self) -> None:
        doubted = several(2, Locality("eu", "eu-3", "c"), 50, network="net-c", demoted=True)
        gateways = {"net-b": [self.GATEWAY], "net-c": [self.GATEWAY]}
        shown = Shown([*self.LOCAL, *self.REMOTE, *doubted], self.PLACE, gateways=gateways)
        assert shown.weights == [{A_ZONE_1: 2, Locality("us"): 5}]

    def test_one_address_in_two_networks_is_shown_to_each_client_once(self) -> None:
        both = [endpoint(1, A_ZONE_1, network="net-a"), endpoint(1, B_ZONE_1, network="net-b")]
        for place, zone in ((NOWHERE, A_ZONE_1), (self.PLACE, A_ZONE_1), (Place(network="net-b"), B_ZONE_1)):
            shown = Shown(both, place)
            assert [slot.locality for slot in shown.arrangement.slots] == [zone]


class TestForTheClientsNodeOnly:
    """``internalTrafficPolicy: Local`` (KEP-2086)."""

    LOCAL = TrafficPolicy(local_only=True)
    OTHER_CLUSTER = endpoint(4, B_ZONE_1, node="node-1")
    ALL = (NEAR, endpoint(5, A_ZONE_1, node="node-2"), MIDDLE, FAR, OTHER_CLUSTER)

    @pytest.mark.parametrize("how", Distribution)
    def test_a_client_is_shown_what_is_on_its_node_and_nothing_else(self, how: Distribution) -> None:
        assert Shown([*self.ALL], HERE, TrafficPolicy(how, local_only=True)).priorities == [addresses(NEAR)]

    def test_nothing_there_is_nothing_shown(self) -> None:
        assert Shown([*self.ALL], HERE._replace(node="node-9"), self.LOCAL).priorities == []

    def test_another_clusters_node_of_the_same_name_is_another_node(self) -> None:
        assert Shown([*self.ALL], HERE._replace(cluster="b"), self.LOCAL).priorities == [addresses(self.OTHER_CLUSTER)]

    def test_a_client_that_does_not_say_its_cluster_is_shown_both(self) -> None:
        both = addresses(NEAR, self.OTHER_CLUSTER)
        assert Shown([*self.ALL], HERE._replace(cluster=""), self.LOCAL).priorities == [both]

    @pytest.mark.parametrize("how", Distribution)
    def test_a_client_that_does_not_say_its_node_is_shown_all(self, how: Distribution) -> None:
        shown = Shown([*self.ALL], HERE._replace(node=""), TrafficPolicy(how, local_only=True))
        assert set().union(*shown.priorities) == addresses(*self.ALL)

    def test_what_is_in_doubt_on_the_node_comes_second(self) -> None:
        doubted = endpoint(6, A_ZONE_1, node="node-1", demoted=True)
        assert Shown([*self.ALL, doubted], HERE, self.LOCAL).priorities == [addresses(NEAR), addresses(doubted)]

    def test_no_gateway_leads_to_the_own_node(self) -> None:
        far = endpoint(7, B_ZONE_1, node="node-1", network="net-b")
        place = HERE._replace(cluster="", network="net-a")
        shown = Shown([NEAR, far], place, self.LOCAL, gateways={"net-b": [Gateway("203.0.113.1", 15443)]})
        assert shown.priorities == [addresses(NEAR)]
        assert shown.arrangement.unreachable == ()

    def test_failover_chooses_among_those_on_the_node(self) -> None:
        beside = endpoint(8, A_ZONE_1, node="node-1", labels=(("tier", "gold"),))
        policy = TrafficPolicy(failover=(Selector(labels=(("tier", "gold"),)),), local_only=True)
        assert Shown([*self.ALL, beside], HERE, policy).priorities == [addresses(beside), addresses(NEAR)]

    def test_one_address_on_two_networks_is_shown_once(self) -> None:
        both = [endpoint(1, zone, node="node-1", network=net) for zone, net in ((A_ZONE_1, "x"), (B_ZONE_1, "y"))]
        shown = Shown(both, Place(node="node-1"), self.LOCAL)
        assert [slot.locality for slot in shown.arrangement.slots] == [A_ZONE_1]

    def test_what_another_node_has_at_the_address_on_another_network_takes_nothing_away(self) -> None:
        mine = endpoint(1, A_ZONE_1, node="node-1", network="y")
        beside = endpoint(2, A_ZONE_1, node="node-1", network="x")
        elsewhere = endpoint(1, A_ZONE_2, node="node-2", network="x")
        shown = Shown([mine, beside, elsewhere], Place(cluster="a", node="node-1"), self.LOCAL)
        assert shown.priorities == [addresses(mine, beside)]


def test_the_same_node_is_one_of_the_same_cluster() -> None:
    namesake = endpoint(4, A_ZONE_1._replace(sub_zone="b"), node="node-1")
    assert Shown([NEAR, namesake], HERE, SAME_NODE).priorities == [addresses(NEAR), addresses(namesake)]


def test_the_place_of_a_node_is_what_istio_says_of_nodes() -> None:
    metadata = {"CLUSTER_ID": "a", "NETWORK": "net-a", "NODE_NAME": "node-1", "NAMESPACE": "shop"}
    assert place_of(("eu", "eu-1", "sub"), metadata) == Place("eu", "eu-1", "a", "net-a", "node-1")
    assert place_of(("", "", ""), {}) == NOWHERE


@pytest.mark.parametrize(
    ("instance_ips", "node_id", "family"),
    [
        ("10.0.0.1,2001:db8::1", "", "IPv4"),
        ("2001:db8::1,10.0.0.1", "sidecar~10.0.0.1~a.b~c", "IPv6"),
        (" 2001:DB8::1", "", "IPv6"),
        ("", "sidecar~2001:db8::1~a.b~b.svc.cluster.local", "IPv6"),
        ("", "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "IPv4"),
        ("", "router~", ""),
        ("", "sidecar~127.0.0.1~client.default~default.svc.cluster.local", ""),
        ("::1", "sidecar~10.0.0.1~a.b~c", ""),
        ("here", "my-node", ""),
    ],
)
def test_the_family_of_a_client_is_that_of_its_first_address(instance_ips: str, node_id: str, family: str) -> None:
    assert place_of(("", "", ""), {"INSTANCE_IPS": instance_ips}, node_id).family == family


zones = st.sampled_from([A_ZONE_1, A_ZONE_2, B_ZONE_1, Locality("asia", "asia-1", "c")])
anywhere = st.sampled_from(ALL_PLACES)
distributions = st.sampled_from(Distribution)
endpoints = st.lists(
    st.tuples(zones, st.sampled_from(Health), st.booleans(), st.sampled_from(["node-1", "node-2"])), max_size=30
).map(
    lambda made: [
        endpoint(number, zone, health=health, demoted=demoted, node=node)
        for number, (zone, health, demoted, node) in enumerate(made, start=1)
    ]
)


@given(endpoints, anywhere, distributions)
def test_everybody_is_shown_once_and_everybody(listed: list[Endpoint], place: Place, how: Distribution) -> None:
    shown = Shown(listed, place, TrafficPolicy(how))
    positions = [bundle for slot in shown.arrangement.slots for bundle in slot.bundles]
    assert sorted(positions) == list(range(len(shown.bundles)))
    assert set().union(*shown.priorities) == addresses(*listed)


@given(endpoints, anywhere, distributions, st.randoms())
def test_the_order_of_the_facts_does_not_matter(
    listed: list[Endpoint],
    place: Place,
    how: Distribution,
    random: Random,
) -> None:
    shuffled = sorted(listed)
    before = Shown(shuffled, place, TrafficPolicy(how)).arrangement
    random.shuffle(shuffled)
    assert Shown(sorted(shuffled), place, TrafficPolicy(how)).arrangement == before


@given(endpoints, anywhere)
def test_shares_add_up_to_one(listed: list[Endpoint], place: Place) -> None:
    for weights in Shown(listed, place, WEIGHTED).weights[:1]:
        if any(each.health is Health.HEALTHY for each in listed):
            assert sum(weights.values()) == WEIGHTS
            assert all(weights.values())


@given(endpoints, anywhere)
def test_where_all_are_in_doubt_shares_are_as_where_none_is(listed: list[Endpoint], place: Place) -> None:
    sure, doubted = (Shown(demoted_all(listed, demoted=each), place, WEIGHTED).weights for each in (False, True))
    assert sure == doubted


@given(endpoints, anywhere, zones)
def test_doubt_of_a_whole_locality_moves_nothing_nearer_or_farther(
    listed: list[Endpoint], place: Place, zone: Locality
) -> None:
    before = demoted_all(listed, demoted=False)
    after = [each._replace(demoted=each.locality == zone) for each in before]
    sums = [by_nearness(Shown(each, place, WEIGHTED).weights[:1], place) for each in (before, after)]
    if any(each.health is Health.HEALTHY for each in listed):
        assert sums[0] == pytest.approx(sums[1], abs=2)


def demoted_all(listed: list[Endpoint], *, demoted: bool) -> list[Endpoint]:
    return [each._replace(demoted=demoted) for each in listed]


def by_nearness(weights: list[dict[Locality, int]], place: Place) -> dict[Nearness, int]:
    found = dict.fromkeys(Nearness, 0)
    for locality, weight in weights[0].items() if weights else ():
        found[nearness(locality, "", place, Distribution.WEIGHTED)] += weight
    return found


pools = st.lists(
    st.integers(0, 20).flatmap(lambda should: st.tuples(st.integers(0, should), st.just(should))), max_size=5
)


@given(pools)
def test_shares_of_pools_add_up_to_one_or_nothing(listed: list[tuple[int, int]]) -> None:
    total = sum(overflow(listed))
    assert total == pytest.approx(1.0 if any(ready for ready, _ in listed) else 0.0)


@given(pools, st.integers(0, 4))
def test_one_more_ready_never_lowers_its_own_share(listed: list[tuple[int, int]], position: int) -> None:
    if position < len(listed) and listed[position][0] < listed[position][1]:
        ready, should = listed[position]
        more = [*listed[:position], (ready + 1, should), *listed[position + 1 :]]
        assert overflow(more)[position] >= overflow(listed)[position] - 1e-9
