"""Every view of a few services, as it is sent. The merged services are made by the index, from facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from support import golden, placed
from support.facts import A, B, a_service, a_slice, listing

from registry.index import Index
from registry.model.facts import AddressType, Fact, Node, Pod, Protocol, ServicePort, SliceEndpoint, SlicePort
from registry.model.services import MergedService
from registry.protos import registry_pb2 as pb
from registry.views.bootstrap import Node as BootstrapNode
from registry.views.bootstrap import envoy_bootstrap, grpc_bootstrap
from registry.views.lookup import ServiceViews, encode_update
from registry.views.names import Names
from registry.views.policy import resolve
from registry.views.rds import assemble_routes, encode_virtual_hosts
from registry.views.resources import ASSIGNMENT, CLUSTER, LISTENER, ROUTE, assignments, outbound_listener, shape, sticky
from registry.views.service_entry import service_entries
from registry.views.summary import service_document

NAMES = Names()
MESSAGES = {
    LISTENER: (listener_pb2.Listener, Listener),
    ROUTE: (route_pb2.RouteConfiguration, RouteConfiguration),
    CLUSTER: (cluster_pb2.Cluster, Cluster),
    ASSIGNMENT: (endpoint_pb2.ClusterLoadAssignment, ClusterLoadAssignment),
}


def node(name: str, region: str, zone: str) -> Node:
    return Node(name, region, zone)


def on(address: str, pod: str, node_name: str, **conditions: bool) -> SliceEndpoint:
    return SliceEndpoint(address, pod=pod, node=node_name, **conditions)


DRAINING = {"ready": False, "serving": True, "terminating": True}
MANY_PORTS = (
    SlicePort("http", 8080),
    SlicePort("grpc-api", 9090),
    SlicePort("dns", 5353, Protocol.UDP),
    SlicePort("", 9),
)
WORLDS: Mapping[str, tuple[tuple[Fact, ...], tuple[Fact, ...]]] = {
    "two-clusters": (
        (
            a_service(),
            a_slice(on("10.0.0.2", "p2", "n1"), on("10.0.0.1", "p1", "n2")),
            Pod("shop", "p1", (("app", "echo"), ("version", "v1")), "echo"),
            Pod("shop", "p2", (("app", "echo"),), "echo"),
            node("n1", "eu", "eu-1"),
            node("n2", "eu", "eu-2"),
        ),
        (a_service(), a_slice(on("10.1.0.1", "p3", "n3")), node("n3", "us", "us-1")),
    ),
    "draining": (
        (a_service(), a_slice(on("10.0.0.1", "p1", ""), on("10.0.0.2", "p2", "", **DRAINING))),
        (),
    ),
    "only-draining": ((a_service(), a_slice(on("10.0.0.2", "p2", "", **DRAINING))), ()),
    "no-endpoints": ((a_service(),), ()),
    "many-ports": (
        (
            a_service(
                "echo",
                ServicePort(80, "http"),
                ServicePort(90, "grpc-api"),
                ServicePort(91, "api", app_protocol="kubernetes.io/h2c"),
                ServicePort(3306, "mysql"),
                ServicePort(443, "https"),
                ServicePort(53, "dns", Protocol.UDP),
                ServicePort(70, "sctp", Protocol.SCTP),
                ServicePort(9999, ""),
            ),
            a_slice("10.0.0.1", ports=MANY_PORTS),
            a_slice("fd00::1", ports=MANY_PORTS, name="echo-6"),
        ),
        (),
    ),
    "same-port-name": (
        (a_service("echo", ServicePort(80, "http")), a_slice("10.0.0.1")),
        (a_service("echo", ServicePort(8080, "http")), a_slice("10.1.0.1")),
    ),
    "dual-stack": (
        (
            replace(a_service(), ip_families=(AddressType.IPV6, AddressType.IPV4)),
            a_slice(on("10.0.0.1", "p1", "n1"), on("10.0.0.2", "p2", "n1")),
            replace(a_slice(on("fd00::1", "p1", "n1"), name="echo-6"), address_type=AddressType.IPV6),
            node("n1", "eu", "eu-1"),
        ),
        (replace(a_service(), ip_families=(AddressType.IPV4,)), a_slice("10.1.0.1")),
    ),
    "sticky": ((replace(a_service(), affinity_seconds=10800), a_slice("10.0.0.1", "10.0.0.2")), ()),
    "headless": (
        (
            replace(a_service("echo", ServicePort(53, "dns", Protocol.UDP), ServicePort(53, "dns-tcp")), headless=True),
            a_slice(
                SliceEndpoint("10.0.0.1", pod="echo-0", hostname="echo-0"),
                SliceEndpoint("10.0.0.2", ready=False, pod="echo-1", hostname="echo-1"),
                ports=(SlicePort("dns", 5300, Protocol.UDP), SlicePort("dns-tcp", 5301)),
            ),
        ),
        (),
    ),
}
VIEWS = ("xds", "service-entry", "lookup", "summary")
BOOTSTRAPS = ("bootstrap-envoy.yaml", "bootstrap-grpc.json")


def merged(world: str) -> MergedService:
    index = Index()
    for cluster, facts in zip((A, B), WORLDS[world], strict=True):
        index.add_cluster(cluster, "net-b" if cluster == B else "")
        for event in listing(*facts):
            index.apply(cluster, event)
    index.commit()
    (service,) = index.services()
    return service


def as_yaml(document: object) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def plain(message: Message) -> dict[str, object]:
    """The message as JSON has it, keys in order: protobuf gives maps in no order."""
    document: dict[str, object] = json.loads(MessageToJson(message, preserving_proto_field_name=True, sort_keys=True))
    return document


def resources(service: MergedService) -> list[tuple[str, str, bytes]]:
    """Every xDS resource of a service, and the outbound route it has its part in."""
    found = [
        (each.type_url, each.name, each.encode()) for each in (*assignments(service, NAMES), *shape(service, NAMES))
    ]
    routes = assemble_routes([encode_virtual_hosts(service.key, service.ports, NAMES, sticky=sticky(service))])
    listener = outbound_listener("127.0.0.1", 15001)
    return [*found, (ROUTE, "outbound_http", routes), (LISTENER, listener.name, listener.encode())]


@pytest.mark.parametrize("world", WORLDS)
def test_xds_resources(world: str) -> None:
    documents = [
        {"resource": f"{type_url.rpartition('.')[2]} {name}", **plain(MESSAGES[type_url][0].FromString(body))}
        for type_url, name, body in resources(merged(world))
    ]
    golden.check(f"{world}.xds.yaml", "---\n".join(map(as_yaml, documents)))


@pytest.mark.parametrize("world", WORLDS)
def test_an_independent_decoder_reads_every_resource_and_writes_the_same_bytes(world: str) -> None:
    for type_url, name, body in resources(merged(world)):
        ours, theirs = MESSAGES[type_url]
        again = bytes(theirs.parse(body))
        assert ours.FromString(again) == ours.FromString(body), name
        assert len(again) == len(body), name


@pytest.mark.parametrize("world", WORLDS)
def test_service_entry(world: str) -> None:
    golden.check(
        f"{world}.service-entry.yaml", "---\n".join(map(as_yaml, service_entries(merged(world), NAMES).documents))
    )


@pytest.mark.parametrize("world", WORLDS)
def test_lookup(world: str) -> None:
    service = merged(world)
    update = pb.WatchResponse.FromString(encode_update(ServiceViews(service, NAMES).message()))
    golden.check(f"{world}.lookup.yaml", as_yaml(plain(update)))


@pytest.mark.parametrize("world", WORLDS)
def test_summary(world: str) -> None:
    service = merged(world)
    golden.check(f"{world}.summary.yaml", as_yaml(service_document(service, NAMES, resolve(service, []))))


def test_bootstraps() -> None:
    client = BootstrapNode("sidecar~10.0.0.1~p1.shop~shop.svc.cluster.local", "a", "eu", "eu-1", "net-a", "node-1")
    envoy = envoy_bootstrap(client, ("registry.example.org", 15010), ("127.0.0.1", 15000))
    golden.check("bootstrap-envoy.yaml", as_yaml(envoy))
    grpc = grpc_bootstrap(client, ("fd00::1", 15010))
    golden.check("bootstrap-grpc.json", json.dumps(grpc, indent=2) + "\n")


def test_no_golden_file_is_stale() -> None:
    views = {f"{world}.{view}.yaml" for world in WORLDS for view in VIEWS}
    assert golden.stale(views | set(BOOTSTRAPS) | set(placed.GOLDEN)) == set()
