"""What ServiceEntries hold of a service: its endpoints at the ports that they offer, within Istio's limits."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.entries import joins, listed
from support.facts import ECHO, A, a_service, a_slice, listing

from registry.index import Index
from registry.index.merge import distinct_endpoints
from registry.model.facts import Fact, Pod, Protocol, ServicePort, SliceEndpoint, SlicePort
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.views.attribution import CLUSTER_LABEL
from registry.views.entry_ports import MAX_NAME, unique_port_names
from registry.views.names import Names
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy
from registry.views.service_entry import entry_service, service_entries

B = ClusterId("b")
HTTP, GRPC = ServicePort(80, "http"), ServicePort(9090, "grpc")
LABEL = "security.istio.io/tlsMode"
EXPORT_TO, NEAR = "networking.istio.io/exportTo", "networking.istio.io/traffic-distribution"


def merged(*facts: tuple[Fact, ...]) -> MergedService:
    """The one service of clusters with these facts, the first ``a``."""
    index = Index()
    for cluster, theirs in zip((A, B), facts, strict=False):
        index.add_cluster(cluster)
        for event in listing(*theirs):
            index.apply(cluster, event)
    index.commit()
    (service,) = index.services()
    return service


def an_endpoint(address: str, *targets: tuple[int, int], **fields: Any) -> Endpoint:
    return Endpoint(Locality(), address, tuple(TargetPort(*each) for each in targets), A, **fields)


def a_merged(*endpoints: Endpoint, ports: tuple[ServicePort, ...] = (HTTP, GRPC), **fields: Any) -> MergedService:
    return MergedService(ECHO, ports, tuple(sorted(endpoints)), (A, B), **fields)


def entries(service: MergedService, policy: TrafficPolicy = NO_POLICY, *, tcp: bool = False) -> list[Any]:
    return list(service_entries(service, Names(), policy, tcp=tcp).documents)


def reasons(service: MergedService, *, tcp: bool = False) -> list[str]:
    return [each.reason for each in service_entries(service, Names(), tcp=tcp).omissions]


def at(service: MergedService) -> dict[int, set[tuple[str, int]]]:
    """By port, the addresses and ports where Istio sends traffic."""
    return {port: {where[1:] for where in found} for port, found in listed(entries(service)).items()}


numbers = st.lists(st.sampled_from([80, 81, 8080, 9090]), unique=True, min_size=1)
targets = st.dictionaries(st.sampled_from([80, 81, 8080, 9090]), st.sampled_from([80, 8080, 9090]))
endpoints = st.lists(
    st.builds(
        lambda address, targets, health, network: an_endpoint(
            address, *sorted(targets.items()), health=health, network=network
        ),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"]),
        targets,
        st.sampled_from([Health.HEALTHY, Health.HEALTHY, Health.DRAINING]),
        st.sampled_from(["", "", "net-a", "net-b"]),
    ),
    max_size=6,
).map(distinct_endpoints)


class TestPorts:
    @given(numbers, endpoints)
    def test_every_port_has_those_that_offer_it_once_and_nobody_else(
        self, numbers: list[int], endpoints: tuple[Endpoint, ...]
    ) -> None:
        ports = tuple(ServicePort(number, f"http-{number}") for number in sorted(numbers))
        found = entries(a_merged(*endpoints, ports=ports))
        for number, there in listed(found).items():
            offering = [each for each in endpoints if each.target(number) is not None]
            healthy = [each for each in offering if each.health is Health.HEALTHY]
            uses = {(each.network, each.address, each.target(number)) for each in healthy or offering}
            everywhere = {(address, target) for network, address, target in uses if not network}
            expected = {
                (n, address, target) for n, address, target in uses if not n or (address, target) not in everywhere
            }
            assert there == Counter(expected)
        assert set(listed(found)) == set(numbers)
        assert joins(found)
        assert len({each["metadata"]["name"] for each in found}) == len(found)
        assert {entry_service(each["metadata"]["name"]) for each in found} == {"echo"}

    def test_all_that_offer_the_same_stand_in_one_entry(self) -> None:
        here, there = an_endpoint("10.0.0.1", (80, 8080), (9090, 9090)), an_endpoint("10.1.0.1", (80, 80), (9090, 90))
        (entry,) = entries(a_merged(here, there))
        assert [each.get("ports") for each in entry["spec"]["endpoints"]] == [{"http": 8080}, {"grpc": 90}]

    def test_a_port_of_one_cluster_has_the_endpoints_of_that_cluster(self) -> None:
        service = merged(
            (a_service("echo", HTTP), a_slice("10.0.0.1")),
            (
                a_service("echo", HTTP, GRPC),
                a_slice("10.1.0.1", ports=(SlicePort("http", 80), SlicePort("grpc", 9091))),
            ),
        )
        assert at(service) == {80: {("10.0.0.1", 8080), ("10.1.0.1", 80)}, 9090: {("10.1.0.1", 9091)}}
        assert [each["metadata"]["name"] for each in entries(service)] == [
            "mesh-registry-echo",
            "mesh-registry-echo.80",
        ]

    def test_a_pod_in_two_slices_with_a_port_each_is_one_endpoint(self) -> None:
        pod = SliceEndpoint("10.0.0.1", pod="p1")
        service = merged(
            (
                a_service("echo", HTTP, GRPC),
                a_slice(pod, name="echo-1", ports=(SlicePort("http", 8080),)),
                a_slice(pod, name="echo-2", ports=(SlicePort("grpc", 9091),)),
            )
        )
        (entry,) = entries(service)
        assert [each["ports"] for each in entry["spec"]["endpoints"]] == [{"http": 8080, "grpc": 9091}]

    def test_a_pod_with_two_targets_of_one_port_is_at_both(self) -> None:
        two = (an_endpoint("10.0.0.1", (80, 8080)), an_endpoint("10.0.0.1", (80, 8081)))
        assert at(a_merged(*two, ports=(HTTP,))) == {80: {("10.0.0.1", 8080), ("10.0.0.1", 8081)}}

    def test_a_port_that_nobody_offers_has_an_entry_without_endpoints(self) -> None:
        found = entries(a_merged(an_endpoint("10.0.0.1", (80, 8080))))
        assert [(each["metadata"]["name"], len(each["spec"]["endpoints"])) for each in found] == [
            ("mesh-registry-echo", 1),
            ("mesh-registry-echo.9090", 0),
        ]

    def test_without_endpoints_one_entry_has_all_ports(self) -> None:
        (entry,) = entries(a_merged())
        assert [each["number"] for each in entry["spec"]["ports"]] == [80, 9090]

    def test_a_draining_endpoint_stays_at_a_port_that_no_other_offers(self) -> None:
        healthy = an_endpoint("10.0.0.1", (80, 8080))
        draining = an_endpoint("10.0.0.2", (80, 8080), (9090, 9090), health=Health.DRAINING)
        assert at(a_merged(healthy, draining)) == {80: {("10.0.0.1", 8080)}, 9090: {("10.0.0.2", 9090)}}

    def test_one_number_over_tcp_and_udp_is_tcp_with_the_targets_of_tcp(self) -> None:
        both = (ServicePort(443, "https"), ServicePort(443, "h3", Protocol.UDP))
        endpoint = Endpoint(Locality(), "10.0.0.1", (TargetPort(443, 8443), TargetPort(443, 9443, Protocol.UDP)), A)
        assert at(a_merged(endpoint, ports=both)) == {443: {("10.0.0.1", 8443)}}


class TestTls:
    @pytest.mark.parametrize(
        ("labels", "mode"), [((), "disabled"), (((LABEL, "istio"),), "istio"), (((LABEL, "disabled"),), "disabled")]
    )
    @pytest.mark.parametrize("account", ["", "echo"])
    def test_an_endpoint_says_whether_its_pod_speaks_mtls(
        self, labels: tuple[tuple[str, str], ...], mode: str, account: str
    ) -> None:
        slices = a_slice(SliceEndpoint("10.0.0.1", pod="p1"))
        (entry,) = entries(merged((a_service(), slices, Pod("shop", "p1", (("app", "echo"), *labels), account))))
        (endpoint,) = entry["spec"]["endpoints"]
        assert endpoint["labels"] == {"app": "echo", LABEL: mode, CLUSTER_LABEL: "a"}

    def test_an_endpoint_without_a_known_pod_speaks_none(self) -> None:
        (entry,) = entries(merged((a_service(), a_slice("10.0.0.1"))))
        assert [each["labels"] for each in entry["spec"]["endpoints"]] == [{LABEL: "disabled", CLUSTER_LABEL: "a"}]


class TestTcp:
    @pytest.mark.parametrize(
        "port",
        [
            ServicePort(5432, "tcp-db"),
            ServicePort(5432, "db"),
            ServicePort(5432, ""),
            ServicePort(5432, "db", app_protocol="example.org/db"),
            ServicePort(3306, "mysql"),
            ServicePort(6379, "redis-main"),
            ServicePort(27017, "x", app_protocol="mongo"),
            ServicePort(25, "smtp"),
            ServicePort(80, "udp-web"),
        ],
    )
    def test_a_port_that_takes_all_traffic_is_left_out_and_reported(self, port: ServicePort) -> None:
        service = a_merged(an_endpoint("10.0.0.1", (port.port, 1), (8443, 2)), ports=(port, ServicePort(8443, "https")))
        assert at(service) == {8443: {("10.0.0.1", 2)}}
        assert reasons(service) == ["TCPPortsLeftOut"]
        assert set(listed(entries(service, tcp=True))) == {port.port, 8443}
        assert reasons(service, tcp=True) == []

    @pytest.mark.parametrize("name", ["http", "http2", "grpc", "grpc-web", "https", "tls", "HTTP", "Https-x"])
    def test_a_port_that_tells_its_requests_apart_stays(self, name: str) -> None:
        service = a_merged(an_endpoint("10.0.0.1", (7000, 1)), ports=(ServicePort(7000, "", app_protocol=name),))
        assert (set(at(service)), reasons(service)) == ({7000}, [])

    def test_a_service_of_such_ports_alone_has_no_entry(self) -> None:
        service = a_merged(an_endpoint("10.0.0.1", (3306, 3306)), ports=(ServicePort(3306, "mysql"),))
        found = service_entries(service, Names())
        assert (found.documents, len(found.omissions)) == ((), 1)
        assert found.omissions[0].message.startswith("no entry, since left out: 3306 (MySQL).")

    def test_a_service_without_ports_has_no_entry(self) -> None:
        assert service_entries(a_merged(ports=()), Names()).documents == ()


class TestLimits:
    LONG = "http-" + 57 * "a" + "z"

    @given(
        st.lists(
            st.tuples(st.integers(1, 65535), st.sampled_from(["", "http", LONG, LONG[:62], "http-80", "A_b", "é"]))
        )
    )
    def test_port_names_are_unique_labels_that_the_definition_allows(self, given: list[tuple[int, str]]) -> None:
        ports = [ServicePort(number, name) for number, name in dict(given).items()]
        names = unique_port_names(ports)
        assert names.keys() == {each.port for each in ports}
        assert len(set(names.values())) == len(names)
        assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for name in names.values())
        assert all(len(name) <= MAX_NAME for name in names.values())
        assert unique_port_names(ports[::-1]) == names

    def test_a_name_that_is_short_enough_is_left_alone(self) -> None:
        assert unique_port_names([ServicePort(80, self.LONG[:62])]) == {80: self.LONG[:62]}
        assert unique_port_names([ServicePort(80, self.LONG)]) == {80: self.LONG[:59] + "-80"}

    @pytest.mark.parametrize(("count", "shift"), [(128, 1), (129, 0), (129, 1), (256, 1), (300, 0), (300, 1)])
    def test_many_ports_are_within_the_limits(self, count: int, shift: int) -> None:
        ports = tuple(ServicePort(1000 + number, f"http-{number}") for number in range(count))
        pairs = [(port.port, port.port + shift) for port in ports]
        service = a_merged(an_endpoint("10.0.0.1", *pairs), an_endpoint("10.0.0.2", *pairs[:-1]), ports=ports)
        for entry in entries(service):
            assert len(entry["spec"]["ports"]) <= 256
            assert all(len(each.get("ports", ())) <= 128 for each in entry["spec"]["endpoints"])
        assert listed(entries(service)) == {
            port: Counter(
                {("", "10.0.0.1", target): 1} | ({("", "10.0.0.2", target): 1} if port != pairs[-1][0] else {})
            )
            for port, target in pairs
        }
        assert all(len(each["metadata"]["name"]) <= 253 for each in entries(service))

    def test_many_ports_at_one_shift_are_one_entry(self) -> None:
        ports = tuple(ServicePort(1000 + number, f"http-{number}") for number in range(200))
        (entry,) = entries(
            a_merged(an_endpoint("10.0.0.1", *[(each.port, each.port + 1) for each in ports]), ports=ports)
        )
        assert "ports" not in entry["spec"]["endpoints"][0]

    def test_many_endpoints_are_in_several_entries(self) -> None:
        many = [an_endpoint(f"10.{n // 62500}.{n // 250 % 250}.{n % 250}", (80, 8080)) for n in range(9000)]
        found = entries(a_merged(*many, ports=(HTTP,)))
        assert [len(each["spec"]["endpoints"]) for each in found] == [4096, 4096, 808]
        assert sum(listed(found)[80].values()) == 9000

    def test_large_endpoints_are_in_several_entries(self) -> None:
        labels = tuple((f"label-{number}", 60 * "x") for number in range(100))
        many = [an_endpoint(f"10.0.{n // 250}.{n % 250}", (80, 8080), labels=labels) for n in range(500)]
        found = entries(a_merged(*many, ports=(HTTP,)))
        assert len(found) == 4
        assert all(len(json.dumps(each)) < 1_100_000 for each in found)
        assert sum(listed(found)[80].values()) == 500

    def test_an_endpoint_keeps_as_many_labels_as_the_definition_allows(self) -> None:
        labels = tuple((f"label-{number:03}", "") for number in range(300))
        service = a_merged(an_endpoint("10.0.0.1", (80, 80), (9090, 9090), labels=labels, pod="p1"))
        (entry,) = entries(service)
        kept = entry["spec"]["endpoints"][0]["labels"]
        assert (len(kept), kept[LABEL]) == (256, "disabled")
        assert reasons(service) == ["LabelsLeftOut"]


class TestCarried:
    @pytest.mark.parametrize(
        ("said", "carried", "problems"),
        [
            ("", None, 0),
            ("*", ["*"], 0),
            (".", ["."], 0),
            ("~", ["~"], 0),
            ("pay, web ,pay", ["pay", "web"], 0),
            (".,shop,pay", [".", "pay"], 0),
            ("pay,*", ["*"], 0),
            ("~,pay", ["~"], 0),
            ("pay,Not_A_Namespace", ["pay"], 1),
            ("Not_A_Namespace", ["."], 1),
            (" , ", None, 0),
            ("a" * 64, ["."], 1),
        ],
    )
    def test_export_to(self, said: str, carried: list[str] | None, problems: int) -> None:
        service = a_merged(annotations=((EXPORT_TO, said),))
        (entry,) = entries(service)
        assert entry["spec"].get("exportTo") == carried
        assert reasons(service) == ["InvalidExportTo"] * problems

    @pytest.mark.parametrize(
        ("distribution", "said", "carried", "problems"),
        [
            (Distribution.ANY, "", None, 0),
            (Distribution.ANY, "PreferClose", "PreferClose", 0),
            (Distribution.ANY, "preferclose", "PreferClose", 0),
            (Distribution.ANY, "PreferSameNode", "PreferSameNode", 0),
            (Distribution.ANY, "Near", None, 1),
            (Distribution.PREFER_SAME_ZONE, "", "PreferSameZone", 0),
            (Distribution.PREFER_SAME_ZONE, "PreferSameNode", "PreferSameZone", 0),
            (Distribution.WEIGHTED, "PreferClose", None, 0),
        ],
    )
    def test_traffic_distribution(self, distribution: Distribution, said: str, carried: str, problems: int) -> None:
        service = a_merged(annotations=((NEAR, said),) if said else ())
        (entry,) = entries(service, TrafficPolicy(distribution))
        assert entry["metadata"].get("annotations") == ({NEAR: carried} if carried else None)
        assert reasons(service) == ["InvalidTrafficDistribution"] * (problems and 1)

    def test_of_exports_that_differ_the_oldest_counts(self) -> None:
        old = replace(a_service(), created="2026-01-01T00:00:00Z", annotations=((EXPORT_TO, "pay"),))
        new = replace(a_service(), created="2026-01-02T00:00:00Z", annotations=((EXPORT_TO, "web"),))
        (entry,) = entries(merged((new,), (old,)))
        assert entry["spec"]["exportTo"] == ["pay"]

    def test_further_entries_carry_the_same(self) -> None:
        service = a_merged(an_endpoint("10.0.0.1", (80, 80)), annotations=((EXPORT_TO, "pay"), (NEAR, "PreferClose")))
        assert len(entries(service)) == 2
        assert joins(entries(service))
