"""What a ServiceEntry says, which is one for all clients of a cluster, and what it cannot say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.facts import ECHO, A, a_service, listing

from registry.index import Index
from registry.model.events import Apply
from registry.model.facts import AddressType, Service, ServicePort
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.views.names import Names
from registry.views.policy import NO_POLICY, Distribution, Fallback, Selector, TrafficPolicy
from registry.views.service_entry import service_entries, unsaid

B = ClusterId("b")
LOCAL = TrafficPolicy(local_only=True)
B_ALONE = TrafficPolicy(failover=(Selector(cluster="b"),), fallback=Fallback.NONE)


def an_endpoint(address: str, *further: str, cluster: ClusterId = A, **fields: Any) -> Endpoint:
    ports = (TargetPort(80, 8080),)
    return Endpoint(Locality("", "", cluster), address, ports, cluster, additional_addresses=further, **fields)


def merged(*endpoints: Endpoint) -> MergedService:
    return MergedService(ECHO, (ServicePort(80, "http"),), tuple(sorted(endpoints)), (A, B))


def addresses(service: MergedService, policy: TrafficPolicy = NO_POLICY, family: str = "") -> list[str]:
    documents: Any = service_entries(service, Names(), policy, family).documents
    return [each["address"] for document in documents for each in document["spec"]["endpoints"]]


class TestFamilies:
    BOTH = merged(an_endpoint("10.0.0.1", "2001:db8::1"), an_endpoint("10.0.0.2"), an_endpoint("2001:db8::3"))

    @pytest.mark.parametrize(("family", "first"), [("", "10.0.0.1"), ("IPv4", "10.0.0.1"), ("IPv6", "2001:db8::1")])
    def test_of_two_addresses_it_has_that_of_the_clusters_own_family(self, family: str, first: str) -> None:
        assert addresses(self.BOTH, family=family) == [first, "10.0.0.2", "2001:db8::3"]

    def test_a_clusters_own_family_is_that_of_its_api_servers_service(self) -> None:
        index = Index()
        index.add_cluster(A)
        for event in listing(a_service()):
            index.apply(A, event)
        assert index.family(A) == ""
        index.apply(A, Apply(Service("default", "kubernetes", ip_families=(AddressType.IPV6,))))
        assert index.family(A) == "IPv6"


class TestPolicy:
    def test_what_the_policy_leaves_out_for_everybody_is_not_in_it(self) -> None:
        assert addresses(merged(an_endpoint("10.0.0.1"), an_endpoint("10.1.0.1", cluster=B)), B_ALONE) == ["10.1.0.1"]

    def test_of_what_is_left_draining_endpoints_are_in_it_where_there_are_no_others(self) -> None:
        draining = an_endpoint("10.1.0.1", cluster=B, health=Health.DRAINING)
        assert addresses(merged(an_endpoint("10.0.0.1"), draining), B_ALONE) == ["10.1.0.1"]

    def test_what_a_client_may_need_is_in_it_whatever_the_order(self) -> None:
        anywhere = replace(B_ALONE, fallback=Fallback.ANY)
        there = merged(an_endpoint("10.0.0.1"), an_endpoint("10.1.0.1", cluster=B))
        assert addresses(there, anywhere) == addresses(there, LOCAL) == ["10.0.0.1", "10.1.0.1"]


class TestNetworks:
    def test_an_address_that_everybody_reaches_is_in_it_once(self) -> None:
        assert addresses(merged(an_endpoint("10.0.0.1"), an_endpoint("10.0.0.1", network="net-a"))) == ["10.0.0.1"]

    def test_an_address_on_two_networks_is_in_it_for_each(self) -> None:
        two = [an_endpoint("10.0.0.1", network=network) for network in ("net-a", "net-b")]
        assert addresses(merged(*two)) == ["10.0.0.1", "10.0.0.1"]

    def test_another_port_of_an_address_is_another_place(self) -> None:
        other = an_endpoint("10.0.0.1", network="net-a")._replace(ports=(TargetPort(80, 9090),))
        assert addresses(merged(an_endpoint("10.0.0.1"), other)) == ["10.0.0.1", "10.0.0.1"]


@pytest.mark.parametrize(
    ("service", "policy", "says"),
    [
        (merged(), NO_POLICY, []),
        (merged(), LOCAL, ["internalTrafficPolicy: Local"]),
        (merged(), TrafficPolicy(Distribution.PREFER_SAME_ZONE), []),
        (merged(), TrafficPolicy(Distribution.PREFER_SAME_NODE), ["nodes"]),
        (merged(), TrafficPolicy(Distribution.WEIGHTED), ["the order by place"]),
        (merged(), B_ALONE, ["the order by place"]),
        (replace(merged(), affinity_seconds=10), NO_POLICY, ["sessionAffinity"]),
        (merged(an_endpoint("10.0.0.1", demoted=True)), NO_POLICY, ["that endpoints are in doubt"]),
        (merged(an_endpoint("10.0.0.1", "2001:db8::1")), NO_POLICY, ["further addresses of endpoints"]),
    ],
)
def test_what_it_cannot_say_is_said_to_be_so(service: MergedService, policy: TrafficPolicy, says: list[str]) -> None:
    found = unsaid(service, policy)
    assert len(found) == len(says)
    assert all(each.startswith(begin) for each, begin in zip(found, says, strict=True))
