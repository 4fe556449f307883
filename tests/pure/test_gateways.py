"""Gateways between networks: which Services are some, which the configuration names, and how they come and go."""

from __future__ import annotations

import pytest
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import GuardPolicy, Index
from registry.index.gateways import NetworkRule, entrance
from registry.model.events import Apply, Delete, Init, InitApply, InitDone
from registry.model.facts import Fact, Protocol, Service, ServicePort
from registry.model.gateways import Gateway
from registry.model.names import ClusterId, Kind, Locality
from registry.model.standing import Standing

TLS = ServicePort(15443, "tls")
IN_A, IN_B = Locality("", "", "a"), Locality("", "", "b")
CONFIGURED = Gateway("203.0.113.200", 443, Locality("us"))


def a_gateway(
    *external: str,
    network: str = "net-b",
    name: str = "eastwest",
    ports: tuple[ServicePort, ...] = (TLS,),
    **labels: str,
) -> Service:
    """A Service as Istio's east-west gateway has it."""
    named = {"topology.istio.io/network": network, **labels}
    return Service("istio-system", name, ports, labels=tuple(sorted(named.items())), external=external)


class World:
    """An index of clusters a and b."""

    def __init__(self, rules: dict[str, NetworkRule] | None = None) -> None:
        self.now = 0.0
        self.index = Index(guard=GuardPolicy(), clock=lambda: self.now, networks=rules or {})

    def lists(self, cluster: ClusterId, *facts: Fact) -> World:
        self.index.add_cluster(cluster)
        for event in listing(*facts):
            self.index.apply(cluster, event)
        self.index.commit()
        return self

    def relists(self, cluster: ClusterId, *services: Service, rewound: bool = False) -> World:
        self.index.apply(cluster, Init(Kind.SERVICE))
        for each in services:
            self.index.apply(cluster, InitApply(each))
        self.index.apply(cluster, InitDone(Kind.SERVICE, rewound))
        self.index.commit()
        return self

    def after(self, cluster: ClusterId, *events: Apply | Delete) -> set[str]:
        for event in events:
            self.index.apply(cluster, event)
        self.index.commit()
        return self.addresses()

    def addresses(self, network: str = "net-b") -> set[str]:
        return {each.address for each in self.index.gateways().get(network, ())}


class TestWhichServicesAreGateways:
    def test_one_labelled_with_a_network_at_its_outside_addresses_and_port_15443(self) -> None:
        found = entrance(B, a_gateway("203.0.113.2", "2001:DB8::0:1"))
        assert found is not None
        assert found.network == "net-b"
        assert found.gateways == (Gateway("2001:db8::1", 15443, IN_B), Gateway("203.0.113.2", 15443, IN_B))
        assert found.problems == ()

    def test_none_without_the_label(self) -> None:
        assert entrance(B, Service("istio-system", "eastwest", (TLS,), external=("203.0.113.1",))) is None

    @pytest.mark.parametrize(
        ("label", "rule", "port"),
        [
            ({}, None, 15443),
            ({"networking.istio.io/gatewayPort": "8443"}, None, 8443),
            ({"networking.istio.io/gatewayPort": "8443"}, 9443, 9443),
            ({}, 9443, 9443),
        ],
    )
    def test_the_port_is_the_configurations_then_the_labels_then_istios(
        self, label: dict[str, str], rule: int | None, port: int
    ) -> None:
        ports = (TLS, ServicePort(8443, "label"), ServicePort(9443, "rule"))
        found = entrance(B, a_gateway("203.0.113.1", ports=ports, **label), {"net-b": NetworkRule(port=rule)})
        assert found is not None
        assert found.gateways == (Gateway("203.0.113.1", port, IN_B),)

    @pytest.mark.parametrize(
        ("service", "says"),
        [
            (a_gateway("203.0.113.1", ports=(ServicePort(80, "http"),)), "it has no TCP port 15443: add it, or say"),
            (a_gateway("203.0.113.1", ports=(ServicePort(15443, "x", Protocol.UDP),)), "it has no TCP port 15443"),
            (a_gateway("203.0.113.1", **{"networking.istio.io/gatewayPort": "tls"}), "it has no TCP port tls"),
            (a_gateway("lb.example.org"), "lb.example.org is a host name, and host names are not resolved"),
            (a_gateway(), "it has no address yet"),
        ],
    )
    def test_one_that_cannot_be_used_is_none_and_is_said(self, service: Service, says: str) -> None:
        found = entrance(B, service)
        assert found is not None
        assert found.gateways == ()
        (problem,) = found.problems
        assert problem.startswith("istio-system/eastwest: ")
        assert says in problem

    def test_of_a_name_and_an_address_the_address_counts(self) -> None:
        found = entrance(B, a_gateway("lb.example.org", "203.0.113.1"))
        assert found is not None
        assert [each.address for each in found.gateways] == ["203.0.113.1"]
        assert len(found.problems) == 1


class TestTheyComeAndGo:
    def test_from_a_namespace_that_is_not_exported(self) -> None:
        world = World().lists(B, a_gateway("203.0.113.1"))
        assert world.index.services() == ()
        assert world.index.gateways() == {"net-b": (Gateway("203.0.113.1", 15443, IN_B),)}

    def test_with_the_word_of_a_watch(self) -> None:
        world = World().lists(B)
        assert world.after(B, Apply(a_gateway("203.0.113.1"))) == {"203.0.113.1"}
        assert world.after(B, Apply(a_gateway("203.0.113.2"))) == {"203.0.113.2"}
        assert world.after(B, Apply(a_gateway("203.0.113.2", network="net-c"))) == set()
        assert world.after(B, Delete(a_gateway().ref)) == set()
        assert world.index.gateways() == {}

    def test_nothing_of_a_cluster_counts_before_all_of_it_was_listed(self) -> None:
        world = World()
        world.index.add_cluster(B)
        for event in listing(a_gateway("203.0.113.1"), kinds=[Kind.SERVICE]):
            world.index.apply(B, event)
        world.index.commit()
        assert world.addresses() == set()

    def test_with_their_cluster(self) -> None:
        world = World().lists(A, a_gateway("203.0.113.1")).lists(B, a_gateway("203.0.113.2"))
        world.index.remove_cluster(B)
        world.index.commit()
        assert world.addresses() == {"203.0.113.1"}

    def test_what_did_not_change_is_the_same_object(self) -> None:
        world = World().lists(B, a_gateway("203.0.113.1"), a_service(), a_slice("10.0.0.1"))
        before = world.index.gateways()
        world.after(B, Apply(a_slice("10.0.0.2")), Apply(a_service("other")), Apply(a_gateway("203.0.113.1")))
        assert world.index.gateways() is before

    def test_several_of_a_network_are_ordered_and_each_is_there_once(self) -> None:
        again = a_gateway("203.0.113.2", "203.0.113.1", name="again")
        world = World().lists(A, a_gateway("203.0.113.1")).lists(B, again)
        assert world.index.gateways() == {
            "net-b": (Gateway("203.0.113.1", 15443, IN_A), Gateway("203.0.113.2", 15443, IN_B))
        }

    def test_the_configurations_are_all_a_network_has(self) -> None:
        rules = {"net-b": NetworkRule((CONFIGURED,)), "net-c": NetworkRule(port=1)}
        world = World(rules).lists(B, a_gateway("203.0.113.1"))
        assert world.index.gateways() == {"net-b": (CONFIGURED,)}

    def test_the_configurations_are_there_before_any_cluster_is(self) -> None:
        assert World({"net-b": NetworkRule((CONFIGURED,))}).index.gateways() == {"net-b": (CONFIGURED,)}

    def test_problems_are_those_of_now(self) -> None:
        world = World().lists(B, a_gateway("lb.example.org"))
        assert list(world.index.gateway_problems()) == [B]
        world.after(B, Apply(a_gateway("203.0.113.1")))
        assert world.index.gateway_problems() == {}


class TestAFaultIsNotADeletion:
    @pytest.mark.parametrize("standing", [Standing.KEPT, Standing.DEMOTED])
    def test_an_api_server_that_is_not_heard_of_says_nothing_of_gateways(self, standing: Standing) -> None:
        world = World().lists(A, a_gateway("203.0.113.1")).lists(B, a_gateway("203.0.113.2"))
        world.index.set_standing(B, standing)
        world.index.commit()
        assert world.addresses() == {"203.0.113.1", "203.0.113.2"}

    def test_those_of_a_cluster_that_is_down_leave_and_come_back(self) -> None:
        world = World().lists(A, a_gateway("203.0.113.1")).lists(B, a_gateway("203.0.113.2"))
        for standing, found in (
            (Standing.EVICTED, {"203.0.113.1"}),
            (Standing.CURRENT, {"203.0.113.1", "203.0.113.2"}),
        ):
            world.index.set_standing(B, standing)
            world.index.commit()
            assert world.addresses() == found

    def test_those_of_a_cluster_that_is_down_stay_where_they_are_the_last(self) -> None:
        world = World().lists(B, a_gateway("203.0.113.2"))
        world.index.set_standing(B, Standing.EVICTED)
        world.index.commit()
        assert world.addresses() == {"203.0.113.2"}

    def test_a_list_that_lacks_the_last_one_is_doubted_like_one_that_empties_a_service(self) -> None:
        world = World().lists(B, a_gateway("203.0.113.2")).relists(B)
        assert world.addresses() == {"203.0.113.2"}
        (held,) = world.index.held()
        assert (str(held.key), held.reason, held.endpoints) == (
            "istio-system/eastwest",
            "ServiceEmptied",
            ("203.0.113.2",),
        )
        world.now = 31
        assert world.relists(B).addresses() == set()

    def test_a_list_that_lacks_one_of_two_is_believed(self) -> None:
        second = a_gateway("203.0.113.3", name="second")
        world = World().lists(B, a_gateway("203.0.113.2"), second).relists(B, second)
        assert world.addresses() == {"203.0.113.3"}

    @pytest.mark.parametrize("rewound", [False, True])
    def test_a_list_that_is_doubted_takes_no_gateway(self, rewound: bool) -> None:
        services = [a_service(f"s{number}") for number in range(10)]
        slices = [a_slice(f"10.0.0.{number}", name=f"s{number}-1", service=f"s{number}") for number in range(10)]
        second = a_gateway("203.0.113.3", name="second")
        world = World().lists(B, a_gateway("203.0.113.2"), second, *services, *slices)
        kept = services if rewound else services[:2]
        assert world.relists(B, second, *kept, rewound=rewound).addresses() == {"203.0.113.2", "203.0.113.3"}

    def test_what_a_snapshot_knows_counts_until_the_first_list(self) -> None:
        world = World()
        world.index.add_cluster(B)
        world.index.restore(B, [a_gateway("203.0.113.2"), a_service(), a_slice("10.0.0.1")])
        world.index.commit()
        assert world.addresses() == {"203.0.113.2"}
        for event in listing(a_gateway("203.0.113.9"), a_service(), a_slice("10.0.0.1")):
            world.index.apply(B, event)
        world.index.commit()
        assert world.addresses() == {"203.0.113.9"}
        assert world.index.get(ECHO) is not None
