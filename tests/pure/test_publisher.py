"""What a change of services changes in the store, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from support.facts import ECHO, A, a_service, a_slice, listing

from registry.index import Index
from registry.model.events import Apply, Delete
from registry.model.facts import ServicePort, SliceEndpoint
from registry.model.gateways import Gateway
from registry.servers.publisher import LOOKED_AT, SHOWN, Publisher
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import Distribution, PolicyRule
from registry.views.resources import ASSIGNMENT, CLUSTER, LISTENER, ROUTE
from registry.xds.resources import Entry, ResourceChange
from registry.xds.store import ResourceStore

NAMES = Names()
CLUSTER_NAME = NAMES.cluster(ECHO, 80)
AUTHORITY = NAMES.authority(ECHO, 80)


class RecordingStore:
    """Passes each batch on to a store, and keeps what it named."""

    def __init__(self) -> None:
        self.inner = ResourceStore()
        self.get = self.inner.get
        self.on_demand = self.inner.on_demand
        self.viewers = self.inner.viewers
        self.viewed = self.inner.viewed
        self.batches: list[set[tuple[str, str, bool]]] = []

    def apply(self, changes: Iterable[ResourceChange]) -> None:
        batch = list(changes)
        self.batches.append({(each.type_url, each.name, each.resource is not None) for each in batch})
        self.inner.apply(batch)


class Watcher:
    """Somebody who subscribes."""

    def changed(self, name: str, entry: Entry | None) -> None: ...

    def wake(self) -> None: ...


class Rig:
    """A publisher over one cluster that has ``shop/echo`` and ``shop/other``."""

    def __init__(self) -> None:
        self.store = RecordingStore()
        self.by_nodes: list[bool] = []
        self.publisher = Publisher(self.store, NAMES, ("127.0.0.1", 15001), go_by_nodes=self.by_nodes.append)
        self.index = Index()
        self.watcher = Watcher()
        self.index.add_cluster(A)
        for event in listing(a_service(), a_slice("10.0.0.1"), a_service("other")):
            self.index.apply(A, event)
        self.publisher.publish(self.index.commit())
        for port in (80, 81):
            self.store.inner.partition(ASSIGNMENT).watch(NAMES.cluster(ECHO, port), self.watcher)

    def after(self, *events: Apply | Delete) -> set[tuple[str, str, bool]]:
        """What the batch named that these events led to."""
        for event in events:
            self.index.apply(A, event)
        self.publisher.publish(self.index.commit())
        return self.store.batches[-1]

    def body(self, type_url: str, name: str) -> bytes:
        resource = self.store.get(type_url, name)
        assert resource is not None
        return resource.body


def test_before_any_service_there_are_the_outbound_listener_and_an_empty_route() -> None:
    store = ResourceStore()
    Publisher(store, NAMES, ("127.0.0.1", 15001))
    assert store.get(LISTENER, "outbound_http") is not None
    assert store.get(ROUTE, "outbound_http") is not None


def test_change_of_endpoints_touches_the_assignment_alone() -> None:
    assert Rig().after(Apply(a_slice("10.0.0.2"))) == {(ASSIGNMENT, CLUSTER_NAME, True)}


def test_new_port_brings_its_resources_and_the_route() -> None:
    named = Rig().after(Apply(a_service("echo", ServicePort(80, "http"), ServicePort(81, "x"))))
    other = NAMES.cluster(ECHO, 81)
    assert {(CLUSTER, other, True), (ASSIGNMENT, other, True), (ROUTE, "outbound_http", True)} <= named
    assert not any("other.shop" in name for _, name, _ in named)


def test_new_port_that_no_http_goes_to_leaves_the_route_alone() -> None:
    named = Rig().after(Apply(a_service("echo", ServicePort(80, "http"), ServicePort(81, "tcp"))))
    assert (ROUTE, "outbound_http", True) not in named


def test_port_that_is_gone_takes_its_resources_along() -> None:
    rig = Rig()
    named = rig.after(Apply(a_service("echo", ServicePort(81, "http"))))
    gone = {(type_url, name) for type_url, name, there in named if not there}
    assert gone == {(CLUSTER, CLUSTER_NAME), (ASSIGNMENT, CLUSTER_NAME)}


def test_names_of_grpc_clients_are_there_when_asked_for() -> None:
    rig = Rig()
    for name in NAMES.targets(ECHO, 80, default=True):
        assert AUTHORITY.encode() in rig.body(LISTENER, name)
    assert CLUSTER_NAME.encode() in rig.body(ROUTE, AUTHORITY)
    for name in (
        "echo.shop:81",
        "none.shop",
        "echo",
        "echo.shop.:80",
        f"{NAMES.host(ECHO)}.",
        "echo.shop.svc.elsewhere",
        ".",
    ):
        assert rig.store.get(LISTENER, name) is None
    assert rig.store.get(ROUTE, "echo.shop") is None


def test_names_that_are_subscribed_to_come_change_and_go_with_the_ports() -> None:
    rig = Rig()
    for name in (AUTHORITY, "echo.shop", "new.shop"):
        rig.store.inner.partition(LISTENER).watch(name, Watcher())
    rig.store.inner.partition(ROUTE).watch(AUTHORITY, Watcher())
    named = rig.after(Apply(a_service("echo", ServicePort(81, "http"))))
    asked = {each for each in named if each[0] in (LISTENER, ROUTE)}
    expected = {(LISTENER, AUTHORITY, False), (ROUTE, AUTHORITY, False), (LISTENER, "echo.shop", True)}
    assert asked == {*expected, (ROUTE, "outbound_http", True)}
    assert b":81" in rig.body(LISTENER, "echo.shop")
    assert (LISTENER, "new.shop", True) in rig.after(Apply(a_service("new")))


def test_service_that_is_gone_takes_everything_of_it_along_and_nothing_else() -> None:
    rig = Rig()
    named = rig.after(Delete(a_service().ref))
    gone = {name for _, name, there in named if not there}
    assert gone == {CLUSTER_NAME}
    assert rig.store.get(CLUSTER, CLUSTER_NAME) is None
    assert rig.store.get(LISTENER, AUTHORITY) is None
    assert b"other.shop" in rig.body(ROUTE, "outbound_http")
    assert b"echo.shop" not in rig.body(ROUTE, "outbound_http")


def test_resources_that_come_and_go_leave_the_bytes_they_found() -> None:
    rig = Rig()
    before = rig.body(ROUTE, "outbound_http")
    rig.after(Apply(a_service("third")))
    assert rig.body(ROUTE, "outbound_http") != before
    rig.after(Delete(a_service("third").ref))
    assert rig.body(ROUTE, "outbound_http") == before


REMOTE = Place(network="net-x")


class NetworkRig(Rig):
    """A client of another network subscribes to ``shop/echo``, whose endpoint is on net-a."""

    def __init__(self) -> None:
        super().__init__()
        self.index.set_network(A, "net-a")
        self.store.inner.partition(ASSIGNMENT, REMOTE).watch(CLUSTER_NAME, self.watcher)
        self.publisher.publish(self.index.commit())

    def shown(self) -> dict[str, int]:
        """Address -> port, as that client sees them."""
        resource = self.store.inner.get(ASSIGNMENT, CLUSTER_NAME, REMOTE)
        assert resource is not None
        message = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
        sockets = [end.endpoint.address.socket_address for group in message.endpoints for end in group.lb_endpoints]
        return {each.address: each.port_value for each in sockets}


def test_a_gateway_is_shown_at_once_to_those_who_need_it() -> None:
    rig = NetworkRig()
    assert rig.shown() == {}
    rig.publisher.set_gateways({"net-a": (Gateway("203.0.113.1", 15443),)})
    assert rig.shown() == {"203.0.113.1": 15443}
    rig.publisher.set_gateways({})
    assert rig.shown() == {}


def test_gateways_that_are_the_same_or_of_networks_it_is_not_on_render_nothing() -> None:
    rig = NetworkRig()
    here, there = (Gateway("203.0.113.1", 15443),), (Gateway("203.0.113.2", 15443),)
    rig.publisher.set_gateways({"net-a": here})
    before = sum(map(len, rig.store.batches))
    rig.publisher.set_gateways({"net-a": here})
    rig.publisher.set_gateways({"net-a": here, "net-b": there})
    assert sum(map(len, rig.store.batches)) == before
    rig.index.set_network(A, "net-b")
    rig.publisher.publish(rig.index.commit())
    assert rig.shown() == {"203.0.113.2": 15443}


def test_a_gateway_leaves_with_the_last_ready_endpoint_behind_it() -> None:
    rig = NetworkRig()
    rig.publisher.set_gateways({"net-a": (Gateway("203.0.113.1", 15443),)})
    rig.after(Apply(a_slice(SliceEndpoint("10.0.0.1", ready=False, serving=False))))
    assert rig.shown() == {}
    rig.after(Apply(a_slice("10.0.0.1")))
    assert rig.shown() == {"203.0.113.1": 15443}


def test_what_is_not_understood_of_a_policy_is_kept_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    odd = replace(a_service(), annotations=(("fallback", "maybe"),))
    rig.after(Apply(odd))
    rig.after(Apply(a_slice("10.0.0.2")))
    rig.after(Apply(replace(odd, traffic_distribution="PreferSameZone")))
    assert list(rig.publisher.problems()) == [ECHO]
    assert "expected Any or None, got 'maybe'" in rig.publisher.problems()[ECHO][0]
    assert [record.message for record in caplog.records] == [f"service shop/echo: {rig.publisher.problems()[ECHO][0]}"]
    rig.after(Apply(a_service()))
    assert rig.publisher.problems() == {}


def test_whether_anything_goes_by_nodes_is_told_when_that_changes() -> None:
    rig = Rig()
    assert rig.by_nodes == []
    local, near = (
        replace(a_service(), local_only=True),
        replace(a_service("other"), traffic_distribution="PreferSameNode"),
    )
    rig.after(Apply(local))
    rig.after(Apply(near), Apply(a_slice("10.0.0.2")))
    assert rig.by_nodes == [True]
    rig.after(Apply(a_service()))
    rig.after(Apply(local), Delete(near.ref))
    assert rig.by_nodes == [True]
    rig.after(Delete(local.ref))
    assert rig.by_nodes == [True, False]


def test_what_is_not_understood_goes_with_its_service() -> None:
    rig = Rig()
    odd = replace(a_service(), annotations=(("fallback", "maybe"),))
    rig.after(Apply(odd))
    rig.after(Delete(odd.ref))
    assert rig.publisher.problems() == {}


class TestRulesOfTheConfiguration:
    """They change while the registry runs."""

    def test_what_another_policy_changes_is_shown_anew_and_nothing_else(self) -> None:
        rig = Rig()
        before = len(rig.store.batches)
        weighted = PolicyRule(name="echo", distribution=Distribution.WEIGHTED)
        ((service,),) = list(rig.publisher.set_rules([weighted]))
        assert service.key == ECHO
        (batch,) = rig.store.batches[before:]
        assert batch == {(CLUSTER, CLUSTER_NAME, True), (ASSIGNMENT, CLUSTER_NAME, True)}
        assert cluster_pb2.Cluster.FromString(rig.body(CLUSTER, CLUSTER_NAME)).common_lb_config.HasField(
            "locality_weighted_lb_config"
        )

    def test_the_same_rules_show_nothing_anew(self) -> None:
        rig = Rig()
        rules = [PolicyRule(name="none", distribution=Distribution.WEIGHTED)]
        assert list(rig.publisher.set_rules(rules)) == [[]]
        assert rig.store.batches[-1] == set()

    def test_whether_nodes_matter_is_told_before_anything_is_shown(self) -> None:
        rig = Rig()
        by_node = PolicyRule(name="echo", distribution=Distribution.PREFER_SAME_NODE)
        assert [len(each) for each in rig.publisher.set_rules([by_node])] == [1]
        assert [len(each) for each in rig.publisher.set_rules([])] == [1]
        assert rig.by_nodes == [True, False]

    def test_a_step_looks_at_so_many_services_and_no_more(self) -> None:
        rig = Rig()
        for number in range(LOOKED_AT):
            rig.index.apply(A, Apply(a_service(f"echo-{number}")))
        rig.publisher.publish(rig.index.commit())
        steps = [len(each) for each in rig.publisher.set_rules([PolicyRule(distribution=Distribution.WEIGHTED)])]
        assert steps == [SHOWN] * (LOOKED_AT // SHOWN) + [2]
        assert [len(each) for each in rig.publisher.set_rules([PolicyRule(distribution=Distribution.WEIGHTED)])] == [
            0,
            0,
        ]

    def test_a_service_that_leaves_meanwhile_is_not_shown(self) -> None:
        rig = Rig()
        steps = rig.publisher.set_rules([PolicyRule(distribution=Distribution.WEIGHTED)])
        rig.after(Delete(a_service().ref))
        assert [service.key.name for step in steps for service in step] == ["other"]
