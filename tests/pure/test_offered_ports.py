"""Nothing is listed at a port that it does not offer, whichever way ports, slices and clusters differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given, settings
from support.facts import ECHO, A, B, a_service, a_slice, listing
from support.worlds import KEYS, World, worlds

from registry.index import Index
from registry.model.facts import EndpointSlice, Fact, Protocol, Service, ServicePort, SliceEndpoint, SlicePort
from registry.model.reasons import Reason
from registry.model.services import MergedService
from registry.views.eds import ServiceAssignments
from registry.views.lookup import ServiceViews
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import NO_POLICY, ResolvedPolicy
from registry.views.resources import served_ports
from registry.views.summary import service_document

HTTP, METRICS = ServicePort(80, "http"), ServicePort(9090, "metrics")
TCP_53, UDP_53 = ServicePort(53, "dns-tcp"), ServicePort(53, "dns", Protocol.UDP)


def merged(*clusters: Iterable[Fact]) -> MergedService:
    index = Index()
    for cluster, facts in zip((A, B), clusters, strict=False):
        index.add_cluster(cluster)
        for event in listing(*facts):
            index.apply(cluster, event)
    index.commit()
    found = index.get(ECHO)
    assert found is not None
    return found


def listed(service: MergedService) -> dict[int, set[str]]:
    """What EDS has, by port."""
    assignments = ServiceAssignments(service.key, Names())
    assignments.update(service, NO_POLICY)
    found = {}
    for port in served_ports(service):
        message = endpoint_pb2.ClusterLoadAssignment.FromString(assignments.show(port, Place()).encode())
        sockets = [each.endpoint.address.socket_address for group in message.endpoints for each in group.lb_endpoints]
        found[port] = {f"{each.address}:{each.port_value}" for each in sockets}
        assert len(sockets) == len(found[port])
    return found


def told(service: MergedService) -> dict[int, set[str]]:
    """What lookup has, by port: of one number TCP, where the service has that."""
    message = ServiceViews(service, Names()).message()
    found: dict[int, set[str]] = {port.number: set() for port in message.ports}
    for each in message.endpoints:
        for port, target in each.ports.items():
            found[port].add(f"{each.address}:{target}")
    return found


def of(*endpoints: str, name: str = "echo-1", ports: tuple[SlicePort, ...]) -> EndpointSlice:
    made = a_slice(*(SliceEndpoint(each, pod=f"pod-{each}") for each in endpoints), name=name)
    return replace(made, ports=ports)


def test_a_port_that_one_cluster_alone_offers_has_its_endpoints_alone() -> None:
    both = (SlicePort("http", 8080), SlicePort("metrics", 9100))
    service = merged(
        [a_service("echo", HTTP, METRICS), of("10.0.0.1", ports=both)],
        [a_service("echo", HTTP), of("10.1.0.1", ports=both)],
    )
    assert listed(service) == told(service) == {80: {"10.0.0.1:8080", "10.1.0.1:8080"}, 9090: {"10.0.0.1:9100"}}


def test_a_pod_in_slices_of_a_port_each_is_one_endpoint_with_both() -> None:
    service = merged(
        [
            a_service("echo", HTTP, METRICS),
            of("10.0.0.1", "10.0.0.2", name="web", ports=(SlicePort("http", 8080),)),
            of("10.0.0.1", name="metrics", ports=(SlicePort("metrics", 9100),)),
        ]
    )
    assert {each.address: len(each.ports) for each in service.endpoints} == {"10.0.0.1": 2, "10.0.0.2": 1}
    assert listed(service) == told(service) == {80: {"10.0.0.1:8080", "10.0.0.2:8080"}, 9090: {"10.0.0.1:9100"}}
    assert sum(each.endpoints for each in service.expected) == 2


def test_a_pod_in_slices_of_a_port_each_is_told_as_kept_in_both() -> None:
    index = Index()
    index.add_cluster(A)
    web = of("10.0.0.1", name="web", ports=(SlicePort("http", 8080),))
    metrics = of("10.0.0.1", name="metrics", ports=(SlicePort("metrics", 9100),))
    for event in listing(a_service("echo", HTTP, METRICS), web, metrics):
        index.apply(A, event)
    index.commit()
    (endpoint,) = index.explain(ECHO).service.endpoints  # type: ignore[union-attr]
    assert [each.endpoint for each in index.explain(ECHO).endpoints] == [endpoint, endpoint]


def test_a_pod_whose_port_is_being_renumbered_is_at_both_until_the_old_slice_is_gone() -> None:
    old = of("10.0.0.1", name="old", ports=(SlicePort("http", 8080),))
    new = of("10.0.0.1", name="new", ports=(SlicePort("http", 9090),))
    assert listed(merged([a_service(), old, new])) == {80: {"10.0.0.1:8080", "10.0.0.1:9090"}}


def test_target_ports_that_pods_call_alike_and_number_otherwise() -> None:
    one = of("10.0.0.1", name="one", ports=(SlicePort("http", 8080), SlicePort("metrics", 1)))
    other = of("10.0.0.2", name="other", ports=(SlicePort("http", 8081),))
    assert listed(merged([a_service("echo", HTTP, METRICS), one, other])) == {
        80: {"10.0.0.1:8080", "10.0.0.2:8081"},
        9090: {"10.0.0.1:1"},
    }


def test_a_port_that_a_cluster_renumbered_is_at_its_own_targets() -> None:
    old = replace(a_service("echo", HTTP), created="2026-01-01T00:00:00Z")
    new = replace(
        a_service("echo", ServicePort(8000, "http"), ServicePort(80, "other")), created="2026-02-01T00:00:00Z"
    )
    theirs = of("10.1.0.1", ports=(SlicePort("http", 7000), SlicePort("other", 6000)))
    service = merged([old, of("10.0.0.1", ports=(SlicePort("http", 8080),))], [new, theirs])
    assert listed(service) == told(service) == {80: {"10.0.0.1:8080", "10.1.0.1:7000"}}


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ((), {80: set(), 9090: set()}),
        ((SlicePort("http", None),), {80: {"10.0.0.1:80"}, 9090: set()}),
        ((SlicePort("", None),), {80: {"10.0.0.1:80"}, 9090: {"10.0.0.1:9090"}}),
        ((SlicePort("", None, Protocol.UDP),), {80: set(), 9090: set()}),
        ((SlicePort("", None), SlicePort("http", 8080)), {80: {"10.0.0.1:8080"}, 9090: {"10.0.0.1:9090"}}),
        ((SlicePort("", 8080),), {80: set(), 9090: set()}),
        ((SlicePort("HTTP", 8080),), {80: set(), 9090: set()}),
    ],
)
def test_ports_without_a_number_and_slices_without_ports(
    ports: tuple[SlicePort, ...], found: dict[int, set[str]]
) -> None:
    assert listed(merged([a_service("echo", HTTP, METRICS), of("10.0.0.1", ports=ports)])) == found


def test_a_service_without_ports_is_listed_at_none() -> None:
    portless = Service("shop", "echo", headless=True)
    own = of("10.0.0.1", ports=(SlicePort("http", 8080),))
    alone = merged([portless, own])
    assert listed(alone) == told(alone) == {}
    assert [each.address for each in alone.endpoints] == ["10.0.0.1"]
    beside = merged([portless, own], [a_service(), of("10.1.0.1", ports=(SlicePort("http", 8080),))])
    assert listed(beside) == told(beside) == {80: {"10.1.0.1:8080"}}
    assert [each.address for each in beside.endpoints] == ["10.1.0.1"]


def test_what_offers_no_port_that_the_service_has_is_said_not_to() -> None:
    index = Index()
    for cluster, facts in ((A, [Service("shop", "echo", headless=True), a_slice("10.0.0.1")]), (B, [a_service()])):
        index.add_cluster(cluster)
        for event in listing(*facts):
            index.apply(cluster, event)
    index.commit()
    (endpoint,) = index.explain(ECHO).endpoints
    assert endpoint.steps[-1].reason is Reason.PORT_NOT_OFFERED


def test_one_number_over_two_protocols() -> None:
    udp_only = of("10.0.0.1", name="udp", ports=(SlicePort("dns", 5353, Protocol.UDP),))
    both = of("10.0.0.2", name="both", ports=(SlicePort("dns", 5353, Protocol.UDP), SlicePort("dns-tcp", 5300)))
    service = merged([a_service("echo", TCP_53, UDP_53), udp_only, both])
    assert listed(service) == told(service) == {53: {"10.0.0.2:5300"}}
    udp = merged([a_service("echo", UDP_53), udp_only])
    assert told(udp) == {53: {"10.0.0.1:5353"}}


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_all_that_is_listed_is_in_a_slice_that_has_the_port(world: World) -> None:
    index = world.index()
    for key in KEYS:
        service = index.get(key)
        if service is None:
            continue
        offered = offers(index, service)
        document = service_document(service, Names(), ResolvedPolicy())
        assert isinstance(document["endpoints"], list)
        rows = {
            (each["address"], pair["port"], pair["protocol"], pair["target"])
            for each in document["endpoints"]
            for pair in each["ports"]
        }
        assert {row for row in rows if ":" not in row[0]} <= offered
        for port, sockets in listed(service).items():
            four = {each.rpartition(":")[::2] for each in sockets if each.count(":") == 1}
            assert {(address, port, "TCP", int(target)) for address, target in four} <= offered


def offers(index: Index, service: MergedService) -> set[tuple[str, int, str, int]]:
    """IPv4 address, port of the service, protocol and target of all that slices of the clusters say."""
    explained = index.explain(service.key)
    parts = {each.cluster: each.service for each in explained.clusters if each.service is not None}
    found = set()
    for each in explained.endpoints:
        own = parts.get(each.cluster)
        for port in own.ports if own is not None else ():
            for there in each.fact.ports:
                every = there == SlicePort("", None, port.protocol)
                if every or (there.name, there.protocol) == (port.name, port.protocol):
                    for number in {merged_port.port for merged_port in service.ports}:
                        target = there.port or port.port
                        found.add((each.address, number, str(port.protocol), target))
    return found
