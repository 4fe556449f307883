"""Small worlds of facts: builders for examples, strategies for properties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st

from registry.model.events import Init, InitApply, InitDone, SourceEvent
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
from registry.model.names import ClusterId, Kind, ServiceKey

A, B, C = ClusterId("a"), ClusterId("b"), ClusterId("c")
ECHO = ServiceKey("shop", "echo")


def a_service(name: str = "echo", *ports: ServicePort, namespace: str = "shop", external_name: str = "") -> Service:
    """By default one port 80 named http."""
    return Service(namespace, name, ports or (ServicePort(80, "http"),), external_name=external_name)


def a_slice(
    *endpoints: SliceEndpoint | str, name: str = "echo-1", service: str = "echo", ports: tuple[SlicePort, ...] = ()
) -> EndpointSlice:
    """By default of ``shop/echo`` and its port http at 8080; a text is the address of a ready endpoint.

    Its type is that of the first address.
    """
    made = tuple(SliceEndpoint(each) if isinstance(each, str) else each for each in endpoints)
    family = AddressType.IPV6 if made and ":" in made[0].address else AddressType.IPV4
    return EndpointSlice("shop", name, service, family, ports or (SlicePort("http", 8080),), made)


def listing(*facts: Fact, kinds: Iterable[Kind] = Kind) -> Iterator[SourceEvent]:
    """A whole list of each kind that holds just these facts."""
    for kind in kinds:
        yield Init(kind)
        yield from (InitApply(fact) for fact in facts if fact.ref.kind is kind)
        yield InitDone(kind)


namespaces = st.sampled_from(["shop", "pay"])
service_names = st.sampled_from(["echo", "cart"])
addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00:0::1", "fd00::2", "not-an-address"])
port_names = st.sampled_from(["http", "grpc", ""])
pod_names = st.sampled_from(["p1", "p2", ""])
node_names = st.sampled_from(["n1", "n2", ""])
zones = st.sampled_from(["", "z1", "z2"])
protocols = st.sampled_from([Protocol.TCP, Protocol.TCP, Protocol.UDP])

services = st.builds(
    Service,
    namespaces,
    service_names,
    st.lists(
        st.builds(ServicePort, st.sampled_from([80, 81]), port_names, protocols, st.sampled_from(["", "http"])),
        max_size=3,
        unique_by=lambda port: port.name,
    ).map(tuple),
    headless=st.booleans(),
    external_name=st.sampled_from(["", "", "", "example.org"]),
    copy_mark=st.sampled_from([*[""] * 7, "owner ServiceImport"]),
    created=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    traffic_distribution=st.sampled_from(["", "PreferSameZone"]),
    affinity_seconds=st.sampled_from([0, 0, 60, 10800]),
    local_only=st.booleans(),
    annotations=st.sampled_from([(), (("a", "1"),), (("a", "2"), ("b", "1"))]),
    ip_families=st.lists(st.sampled_from([AddressType.IPV4, AddressType.IPV6]), unique=True).map(tuple),
)
slice_endpoints = st.builds(
    SliceEndpoint,
    addresses,
    ready=st.booleans(),
    serving=st.booleans(),
    terminating=st.booleans(),
    node=node_names,
    zone=zones,
    pod=pod_names,
    hostname=st.sampled_from(["", "", "h1"]),
)
slices = st.builds(
    EndpointSlice,
    namespaces,
    st.sampled_from(["s1", "s2", "s3"]),
    st.sampled_from(["echo", "cart", ""]),
    st.sampled_from([AddressType.IPV4, AddressType.IPV4, AddressType.IPV6]),
    ports=st.lists(
        st.builds(SlicePort, port_names, st.sampled_from([8080, 8081, None]), protocols),
        max_size=2,
        unique_by=lambda port: port.name,
    ).map(tuple),
    endpoints=st.lists(slice_endpoints, max_size=3).map(tuple),
    copy_mark=st.sampled_from([*[""] * 7, "multicluster.kubernetes.io/source-cluster=b"]),
)
pods = st.builds(
    Pod,
    namespaces,
    st.sampled_from(["p1", "p2"]),
    st.sampled_from([(), (("v", "1"),), (("v", "2"),)]),
    st.sampled_from(["", "sa"]),
)
nodes = st.builds(Node, st.sampled_from(["n1", "n2"]), st.sampled_from(["", "r1", "r2"]), zones)
facts: st.SearchStrategy[Fact] = st.one_of(services, slices, slices, pods, nodes, st.builds(Namespace, namespaces))
