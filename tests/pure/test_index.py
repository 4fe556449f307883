"""The merged list by example."""

from __future__ import annotations

import pytest
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import ExportPolicy, Index
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep
from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Fact,
    Namespace,
    Node,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import BASE_KINDS, ClusterId, Kind, Locality, ServiceKey
from registry.model.services import ChangeSet, Endpoint, Health, MergedService, TargetPort


def listed(**clusters: tuple[Fact, ...]) -> Index:
    """An index whose clusters have each listed their facts, committed."""
    index = Index()
    for name, facts in clusters.items():
        index.add_cluster(ClusterId(name))
        for event in listing(*facts):
            index.apply(ClusterId(name), event)
    index.commit()
    return index


def echo(index: Index) -> MergedService:
    service = index.get(ECHO)
    assert service is not None
    return service


def addresses(index: Index) -> list[str]:
    return [endpoint.address for endpoint in echo(index).endpoints]


def only(index: Index) -> Endpoint:
    (endpoint,) = echo(index).endpoints
    return endpoint


def test_same_namespace_and_name_is_one_service_over_clusters() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")), b=(a_service(), a_slice("10.0.1.1")))
    assert echo(index).clusters == (A, B)
    assert [(each.cluster, each.address) for each in echo(index).endpoints] == [(A, "10.0.0.1"), (B, "10.0.1.1")]


def test_ready_is_healthy_serving_and_terminating_is_draining_else_left_out() -> None:
    endpoints = (
        SliceEndpoint("10.0.0.1", ready=True),
        SliceEndpoint("10.0.0.2", ready=False, serving=True, terminating=True),
        SliceEndpoint("10.0.0.3", ready=False, serving=False, terminating=True),
        SliceEndpoint("10.0.0.4", ready=False, serving=False),
        SliceEndpoint("10.0.0.5", ready=False, serving=True),
    )
    service = echo(listed(a=(a_service(), a_slice(*endpoints))))
    assert {each.address: each.health for each in service.endpoints} == {
        "10.0.0.1": Health.HEALTHY,
        "10.0.0.2": Health.DRAINING,
    }
    assert service.unready == 2


def test_endpoint_in_two_slices_at_once_appears_once() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1"), a_slice("10.0.0.1", name="echo-2")))
    assert addresses(index) == ["10.0.0.1"]


def test_of_the_same_endpoint_healthy_and_draining_the_healthy_one_counts() -> None:
    draining = SliceEndpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    index = listed(a=(a_service(), a_slice(draining), a_slice("10.0.0.1", name="echo-2")))
    assert only(index).health is Health.HEALTHY


def test_same_address_on_two_networks_is_two_endpoints() -> None:
    index = Index()
    for name in (A, B):
        index.add_cluster(name, f"net-{name}")
        for event in listing(a_service(), a_slice("10.0.0.1")):
            index.apply(name, event)
    index.commit()
    assert [(each.network, each.address) for each in echo(index).endpoints] == [
        ("net-a", "10.0.0.1"),
        ("net-b", "10.0.0.1"),
    ]


def test_named_target_port_may_differ_by_slice() -> None:
    slices = (
        a_slice("10.0.0.1", ports=(SlicePort("http", 8080),)),
        a_slice("10.0.0.2", name="echo-2", ports=(SlicePort("http", 9090),)),
    )
    index = listed(a=(a_service(), *slices))
    assert {each.address: each.target(80) for each in echo(index).endpoints} == {"10.0.0.1": 8080, "10.0.0.2": 9090}


def test_slice_port_without_a_number_is_the_services_own() -> None:
    assert only(listed(a=(a_service(), a_slice("10.0.0.1", ports=(SlicePort("http", None),))))).target(80) == 80


def test_ports_meet_by_the_name_they_have_in_their_own_cluster() -> None:
    index = listed(
        a=(a_service(), a_slice("10.0.0.1")),
        b=(a_service("echo", ServicePort(80, "web")), a_slice("10.0.1.1", ports=(SlicePort("web", 7070),))),
    )
    assert [each.target(80) for each in echo(index).endpoints] == [8080, 7070]
    assert echo(index).ports == (ServicePort(80, "http"),)


def test_ports_are_the_union_over_clusters() -> None:
    index = listed(a=(a_service(),), b=(a_service("echo", ServicePort(81, "grpc"), ServicePort(80, "http")),))
    assert [port.port for port in echo(index).ports] == [80, 81]


def test_port_of_another_transport_than_the_merged_one_gets_no_traffic() -> None:
    udp = a_service("echo", ServicePort(80, "http", Protocol.UDP))
    index = listed(a=(a_service(), a_slice("10.0.0.1")), b=(udp, a_slice("10.0.1.1")))
    assert addresses(index) == ["10.0.0.1"]


def test_tcp_and_udp_on_one_number_are_two_ports_tcp_first() -> None:
    service = a_service("echo", ServicePort(53, "dns", Protocol.UDP), ServicePort(53, "dns-tcp"))
    targets = (SlicePort("dns", 5300, Protocol.UDP), SlicePort("dns-tcp", 5301))
    index = listed(a=(service, a_slice("10.0.0.1", ports=targets)))
    assert echo(index).ports == (ServicePort(53, "dns-tcp"), ServicePort(53, "dns", Protocol.UDP))
    assert only(index).ports == (TargetPort(53, 5301), TargetPort(53, 5300, Protocol.UDP))
    assert (only(index).target(53), only(index).target(53, Protocol.UDP)) == (5301, 5300)


def test_slice_port_of_another_protocol_is_not_behind_the_service_port() -> None:
    udp = SlicePort("http", 8080, Protocol.UDP)
    assert addresses(listed(a=(a_service(), a_slice("10.0.0.1", ports=(udp,))))) == []


def test_ipv4_and_ipv6_addresses_are_listed_in_canonical_form() -> None:
    six = EndpointSlice(
        "shop",
        "echo-6",
        "echo",
        AddressType.IPV6,
        (SlicePort("http", 8080),),
        (SliceEndpoint("FD00:0:0::1"),),
    )
    assert addresses(listed(a=(a_service(), a_slice("10.0.0.1"), six))) == ["10.0.0.1", "fd00::1"]


def test_names_and_nonsense_are_no_addresses() -> None:
    fqdn = EndpointSlice(
        "shop", "echo-f", "echo", AddressType.FQDN, (SlicePort("http", 1),), (SliceEndpoint("example.org"),)
    )
    assert addresses(listed(a=(a_service(), a_slice("10.0.0.999"), fqdn))) == []


def test_pod_gives_labels_and_service_account_and_node_gives_region_and_zone() -> None:
    endpoint = SliceEndpoint("10.0.0.1", pod="p1", node="n1")
    facts = (Pod("shop", "p1", (("app", "echo"),), "echo-sa"), Node("n1", "r1", "z1"))
    found = only(listed(a=(a_service(), a_slice(endpoint), *facts)))
    assert (found.labels, found.service_account) == ((("app", "echo"),), "echo-sa")
    assert found.locality == Locality("r1", "z1", "a")


def test_zone_of_the_slice_comes_before_the_nodes() -> None:
    endpoint = SliceEndpoint("10.0.0.1", node="n1", zone="z9")
    assert only(listed(a=(a_service(), a_slice(endpoint), Node("n1", "r1", "z1")))).locality == Locality(
        "r1", "z9", "a"
    )


def test_pod_or_node_that_comes_later_is_joined_then() -> None:
    index = listed(a=(a_service(), a_slice(SliceEndpoint("10.0.0.1", pod="p1", node="n1"))))
    index.apply(A, Apply(Node("n1", "r1", "z1")))
    index.apply(A, Apply(Pod("shop", "p1", (("app", "echo"),))))
    (change,) = index.commit()
    assert change.new is not None
    assert change.new.endpoints[0].locality.region == "r1"
    assert change.new.endpoints[0].labels == (("app", "echo"),)


def test_object_nobody_uses_changes_nothing() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")))
    index.apply(A, Apply(Pod("shop", "stranger")))
    index.apply(A, Apply(Node("stranger")))
    index.apply(A, Apply(a_slice("10.0.0.9", name="orphan", service="nobody")))
    assert index.commit() == ()


def test_object_rewritten_without_a_change_is_no_news() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")))
    index.apply(A, Apply(Service("shop", "echo", (ServicePort(80, "http"),), resource_version="99")))
    assert index.commit() == ()


def test_service_of_type_external_name_is_not_listed() -> None:
    assert listed(a=(a_service(external_name="example.org"),)).services() == ()


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "istio-system"])
def test_system_namespaces_are_not_exported(namespace: str) -> None:
    assert listed(a=(a_service(namespace=namespace),)).services() == ()


def test_default_kubernetes_is_not_exported_and_the_policy_can_be_changed() -> None:
    kubernetes = a_service("kubernetes", namespace="default")
    assert listed(a=(kubernetes,)).services() == ()
    index = Index(ExportPolicy(frozenset({"shop"}), frozenset()))
    index.add_cluster(A)
    for event in listing(kubernetes, a_service()):
        index.apply(A, event)
    assert [change.key for change in index.commit()] == [ServiceKey("default", "kubernetes")]


def test_service_without_endpoints_is_listed() -> None:
    assert echo(listed(a=(a_service(),))).endpoints == ()


def test_cluster_is_invisible_until_every_kind_was_listed() -> None:
    index = Index()
    index.add_cluster(A)
    *most, last = (kind for kind in Kind if kind in BASE_KINDS)
    for event in listing(a_service(), a_slice("10.0.0.1"), kinds=most):
        index.apply(A, event)
    assert index.commit() == ()
    assert not index.synced(A)
    for event in listing(kinds=[last]):
        index.apply(A, event)
    assert [change.key for change in index.commit()] == [ECHO]
    assert index.synced(A)


def test_nothing_of_a_relist_is_visible_before_it_is_done() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1"), a_slice("10.0.0.2", name="echo-2")))
    index.apply(A, Init(Kind.ENDPOINT_SLICE))
    assert index.commit() == ()
    index.apply(A, InitApply(a_slice("10.0.0.3")))
    assert index.commit() == ()
    index.apply(A, InitDone(Kind.ENDPOINT_SLICE))
    assert len(index.commit()) == 1
    assert addresses(index) == ["10.0.0.3"]


def test_relist_removes_what_the_list_lacks() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")))
    for event in listing(kinds=[Kind.SERVICE]):
        index.apply(A, event)
    (change,) = index.commit()
    assert (change.key, change.new) == (ECHO, None)


def test_abandoned_list_counts_for_nothing() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")))
    index.apply(A, Init(Kind.ENDPOINT_SLICE))
    index.apply(A, InitApply(a_slice("10.0.0.9", name="echo-9")))
    for event in listing(a_slice("10.0.0.1"), kinds=[Kind.ENDPOINT_SLICE]):
        index.apply(A, event)
    assert index.commit() == ()


def test_object_the_list_has_but_could_not_read_stays_as_it_was() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")))
    index.apply(A, Init(Kind.ENDPOINT_SLICE))
    index.apply(A, InitKeep(a_slice().ref))
    index.apply(A, InitKeep(a_slice(name="never-seen").ref))
    index.apply(A, InitDone(Kind.ENDPOINT_SLICE))
    assert index.commit() == ()


def test_change_during_a_list_counts_for_both() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")))
    index.apply(A, Init(Kind.ENDPOINT_SLICE))
    index.apply(A, InitApply(a_slice("10.0.0.1")))
    index.apply(A, Delete(a_slice().ref))
    index.commit()
    assert addresses(index) == []
    index.apply(A, InitDone(Kind.ENDPOINT_SLICE))
    assert index.commit() == ()


def test_item_outside_a_list_is_refused() -> None:
    index = Index()
    index.add_cluster(A)
    with pytest.raises(ValueError, match="Init comes before"):
        index.apply(A, InitApply(a_service()))


def test_removed_cluster_takes_only_its_own_endpoints() -> None:
    index = listed(a=(a_service(), a_slice("10.0.0.1")), b=(a_service(), a_slice("10.0.1.1")))
    index.remove_cluster(A)
    changes: ChangeSet = index.commit()
    assert len(changes) == 1
    assert addresses(index) == ["10.0.1.1"]
    with pytest.raises(KeyError):
        index.apply(A, Apply(a_service()))


def test_cluster_cannot_be_added_twice() -> None:
    with pytest.raises(ValueError, match="member already"):
        listed(a=()).add_cluster(A)


def test_namespaces_of_a_cluster_are_those_it_lists() -> None:
    index = listed(a=(Namespace("shop"), Namespace("pay")))
    assert index.namespaces(A) == {"shop", "pay"}


def test_change_sets_say_before_and_after_in_the_order_of_keys() -> None:
    index = listed(a=(a_service("b"), a_service("a")))
    index.apply(A, Delete(a_service("a").ref))
    index.apply(A, Apply(a_service("b", ServicePort(90, "x"))))
    index.apply(A, Apply(a_service("c")))
    changes = index.commit()
    assert [(change.key.name, change.old is None, change.new is None) for change in changes] == [
        ("a", False, True),
        ("b", False, False),
        ("c", True, False),
    ]


def test_a_cluster_is_in_the_merged_list_with_the_commit_after_its_last_first_list() -> None:
    index = Index()
    index.add_cluster(A)
    for event in listing(a_service(), a_slice("10.0.0.1")):
        assert not index.merged(A)
        index.apply(A, event)
    assert index.synced(A)
    assert not index.merged(A), "nobody can see it yet"
    index.commit()
    assert index.merged(A)
