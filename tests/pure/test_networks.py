"""What is said of networks that clients of others do not get to, and of gateways that cannot be used."""

from __future__ import annotations

from registry.model.conditions import Condition, ConditionType
from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService
from registry.networks import CLIENT_NETWORKS, Networks
from registry.servers.reports import NetworkReport

A, B = ClusterId("a"), ClusterId("b")
ECHO, CART = ServiceKey("shop", "echo"), ServiceKey("shop", "cart")
GATEWAY = Gateway("203.0.113.1", 15443)


class Board:
    """What is said of whom now, and how often anything was."""

    def __init__(self) -> None:
        self.now: dict[tuple[ClusterId, ConditionType], Condition] = {}
        self.calls = 0

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        self.calls += 1
        self.now[cluster, condition.type] = condition

    def withdraw(self, cluster: ClusterId, kind: ConditionType) -> None:
        self.calls += 1
        del self.now[cluster, kind]


class World:
    def __init__(self) -> None:
        self.board = Board()
        self.networks = Networks(self.board)
        self._held: dict[ServiceKey, MergedService] = {}

    def shows(self, key: ServiceKey, *places: tuple[ClusterId, str]) -> World:
        """The service has an endpoint of each of these clusters on each of these networks; none: it is gone."""
        endpoints = tuple(
            Endpoint(Locality(), f"10.0.0.{number}", (), cluster, network=network)
            for number, (cluster, network) in enumerate(places, 1)
        )
        new = MergedService(key, (), endpoints, ()) if places else None
        self.networks.publish((Change(key, self._held.get(key), new),))
        if new is not None:
            self._held[key] = new
        return self

    def gateways(self, gateways: Gateways, **problems: tuple[str, ...]) -> World:
        self.networks.set_gateways(gateways, {ClusterId(name): said for name, said in problems.items()})
        return self

    @property
    def unreachable(self) -> dict[ClusterId, bool]:
        """The clusters of which something is said, and whether it is that nobody gets there."""
        kind = ConditionType.NETWORK_REACHABLE
        return {cluster: not said.status for (cluster, type_), said in self.board.now.items() if type_ is kind}


def test_of_two_networks_without_gateways_both_are_said() -> None:
    world = World().shows(ECHO, (A, "net-a"), (B, "net-b"))
    assert world.unreachable == {A: True, B: True}
    said = world.board.now[B, ConditionType.NETWORK_REACHABLE]
    assert said.reason == "NoGateway"
    assert "topology.istio.io/network=net-b" in said.message


def test_one_network_alone_needs_no_gateway() -> None:
    assert World().shows(ECHO, (A, "net-a"), (B, "net-a"), (B, "")).unreachable == {}


def test_networks_without_a_name_are_nobodys() -> None:
    assert World().shows(ECHO, (A, ""), (B, "")).board.calls == 0


def test_clients_cannot_fill_the_reports_with_networks() -> None:
    world = World().shows(ECHO, (A, "net-a"))
    for number in range(10 * CLIENT_NETWORKS):
        world.networks.client_of(f"net-{number}")
    assert len(world.networks.report()) == CLIENT_NETWORKS + 1
    assert world.unreachable == {A: True}


def test_a_client_of_another_network_makes_two() -> None:
    world = World().shows(ECHO, (A, "net-a"))
    world.networks.client_of("")
    world.networks.client_of("net-a")
    assert world.unreachable == {}
    world.networks.client_of("net-x")
    assert world.unreachable == {A: True}


def test_a_gateway_makes_it_good_and_its_loss_bad_again() -> None:
    world = World().shows(ECHO, (A, "net-a"), (B, "net-b")).gateways({"net-b": (GATEWAY,)})
    assert world.unreachable == {A: True, B: False}
    assert world.gateways({}).unreachable == {A: True, B: True}


def test_a_cluster_on_two_networks_is_good_when_both_are() -> None:
    world = World().shows(ECHO, (A, "net-a"), (A, "net-b")).gateways({"net-b": (GATEWAY,)})
    assert world.unreachable == {A: True}
    assert "on net-a," in world.board.now[A, ConditionType.NETWORK_REACHABLE].message


def test_with_the_last_endpoint_there_nothing_is_said_any_more() -> None:
    world = World().shows(ECHO, (A, "net-a"), (B, "net-b")).shows(CART, (B, "net-b"))
    world.shows(ECHO, (A, "net-a"))
    assert world.unreachable == {A: True, B: True}
    world.shows(CART)
    assert world.unreachable == {}


def test_another_endpoint_on_the_same_networks_is_no_news() -> None:
    world = World().shows(ECHO, (A, "net-a"), (B, "net-b"))
    before = world.board.calls
    world.shows(ECHO, (A, "net-a"), (A, "net-a"), (B, "net-b")).shows(CART, (A, "net-a"))
    assert world.board.calls == before


def test_gateways_that_cannot_be_used_are_said_while_there_are_some() -> None:
    world = World().gateways({}, b=("istio-system/gw: it has no TCP port 15443",))
    said = world.board.now[B, ConditionType.GATEWAYS_USABLE]
    assert (said.status, said.message) == (False, "istio-system/gw: it has no TCP port 15443")
    assert world.gateways({}).board.now == {}


def test_the_report_has_every_network_that_is_known_of() -> None:
    world = World().shows(ECHO, (A, "net-a"), (B, "net-b"))
    world.gateways({"net-b": (GATEWAY, Gateway("2001:db8::1", 443)), "net-c": (GATEWAY,)})
    world.networks.client_of("net-x")
    assert world.networks.report() == (
        NetworkReport("net-a", (), (A,)),
        NetworkReport("net-b", ("203.0.113.1:15443", "[2001:db8::1]:443"), (B,)),
        NetworkReport("net-c", ("203.0.113.1:15443",), ()),
        NetworkReport("net-x", (), ()),
    )
