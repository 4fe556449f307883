"""All that a Service can be: what becomes of each in the merged list and in the views."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import Index
from registry.index.families import paired
from registry.model.events import Apply
from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Fact,
    Node,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Expected, Health, MergedService, TargetPort
from registry.views.cds import encode_cluster
from registry.views.eds import encode_assignment
from registry.views.names import Names
from registry.views.protocol import unsupported
from registry.views.rds import encode_grpc_route, encode_virtual_hosts
from registry.views.resources import served_ports, sticky
from registry.views.service_entry import service_entries

NAMES = Names()
FOUR, SIX = AddressType.IPV4, AddressType.IPV6


def indexed(**clusters: Iterable[Fact]) -> Index:
    index = Index()
    for cluster, facts in clusters.items():
        index.add_cluster(ClusterId(cluster))
        for event in listing(*facts):
            index.apply(ClusterId(cluster), event)
    index.commit()
    return index


def merged(**clusters: Iterable[Fact]) -> MergedService:
    service = indexed(**clusters).get(ECHO)
    assert service is not None
    return service


def with_(**fields: object) -> Service:
    return dataclasses.replace(a_service(), **fields)  # type: ignore[arg-type]


def six(*endpoints: SliceEndpoint | str, name: str = "echo-6") -> EndpointSlice:
    return dataclasses.replace(a_slice(*endpoints, name=name), address_type=SIX)


def on(address: str, pod: str, **fields: object) -> SliceEndpoint:
    return SliceEndpoint(address, pod=pod, **fields)  # type: ignore[arg-type]


# Ports


def test_several_named_ports_each_have_their_own_targets() -> None:
    ports = (ServicePort(80, "http"), ServicePort(90, "grpc-api"), ServicePort(91, "metrics"))
    targets = (SlicePort("http", 8080), SlicePort("grpc-api", 9090))
    (endpoint,) = merged(a=(a_service("echo", *ports), a_slice("10.0.0.1", ports=targets))).endpoints
    assert [endpoint.target(port.port) for port in ports] == [8080, 9090, None]


def test_named_target_port_may_differ_by_pod() -> None:
    old = a_slice("10.0.0.1", name="echo-old", ports=(SlicePort("http", 8080),))
    new = a_slice("10.0.0.2", name="echo-new", ports=(SlicePort("http", 9090),))
    service = merged(a=(a_service(), old, new))
    message = endpoint_pb2.ClusterLoadAssignment.FromString(encode_assignment(service, 80, NAMES))
    sockets = [each.endpoint.address.socket_address for group in message.endpoints for each in group.lb_endpoints]
    assert [(each.address, each.port_value) for each in sockets] == [("10.0.0.1", 8080), ("10.0.0.2", 9090)]


def test_udp_and_sctp_are_listed_and_said_to_be_unsupported() -> None:
    ports = (ServicePort(53, "dns", Protocol.UDP), ServicePort(53, "dns-tcp"), ServicePort(70, "s", Protocol.SCTP))
    targets = tuple(SlicePort(port.name, 5300, port.protocol) for port in ports)
    service = merged(a=(a_service("echo", *ports), a_slice("10.0.0.1", ports=targets)))
    said = {(port.port, port.protocol): unsupported(port) for port in service.ports}
    assert said[53, Protocol.TCP] == ""
    assert "xDS" in said[53, Protocol.UDP]
    assert "ServiceEntry" in said[70, Protocol.SCTP]
    assert service.endpoints[0].ports == (
        TargetPort(53, 5300),
        TargetPort(53, 5300, Protocol.UDP),
        TargetPort(70, 5300, Protocol.SCTP),
    )
    assert served_ports(service) == (53,)


# Headless, without a selector


def test_headless_service_without_ports_has_its_endpoints() -> None:
    service = with_(headless=True, ports=())
    (endpoint,) = merged(a=(service, dataclasses.replace(a_slice("10.0.0.1"), ports=()))).endpoints
    assert (endpoint.address, endpoint.ports) == ("10.0.0.1", ())


def test_headless_service_is_balanced_over_its_endpoints_in_xds_and_static_in_the_service_entry() -> None:
    """Our listeners route by host and know no address the client chose, which is what ORIGINAL_DST would need."""
    service = merged(a=(with_(headless=True), a_slice(on("10.0.0.1", "echo-0", hostname="echo-0"))))
    cluster = cluster_pb2.Cluster.FromString(encode_cluster(ECHO, service.ports[0], NAMES))
    assert (cluster.type, cluster.lb_policy) == (cluster_pb2.Cluster.EDS, cluster_pb2.Cluster.ROUND_ROBIN)
    (entry,) = service_entries(service, NAMES, tcp=True).documents
    assert entry["spec"]["resolution"] == "STATIC"  # type: ignore[index]
    assert service.endpoints[0].hostname == "echo-0"


def test_endpoints_made_by_hand_need_no_pod_and_no_node() -> None:
    (endpoint,) = merged(a=(a_service(), a_slice("192.0.2.7"))).endpoints
    assert (endpoint.address, endpoint.pod, endpoint.locality) == ("192.0.2.7", "", Locality("", "", A))


# Dual-stack


def test_pod_with_both_families_is_one_endpoint_with_two_addresses() -> None:
    facts = (a_slice(on("10.0.0.1", "p1"), on("10.0.0.2", "p2")), six(on("fd00::1", "p1"), on("fd00::2", "p2")))
    service = merged(a=(with_(ip_families=(FOUR, SIX)), *facts))
    assert [(each.address, each.additional_addresses) for each in service.endpoints] == [
        ("10.0.0.1", ("fd00::1",)),
        ("10.0.0.2", ("fd00::2",)),
    ]
    assert service.ip_families == (FOUR, SIX)
    assert service.expected == (Expected(Locality("", "", A), 2),)


@pytest.mark.parametrize(("families", "first"), [((), "10.0.0.1"), ((FOUR, SIX), "10.0.0.1"), ((SIX, FOUR), "fd00::1")])
def test_first_address_is_of_the_family_the_service_prefers(families: tuple[AddressType, ...], first: str) -> None:
    service = merged(a=(with_(ip_families=families), a_slice(on("10.0.0.1", "p1")), six(on("fd00::1", "p1"))))
    (endpoint,) = service.endpoints
    assert endpoint.address == first


def test_slices_that_disagree_about_a_pod_leave_its_addresses_apart() -> None:
    draining = on("fd00::1", "p1", ready=False, serving=True, terminating=True)
    service = merged(a=(a_service(), a_slice(on("10.0.0.1", "p1")), six(draining)))
    assert [(each.address, each.health, each.additional_addresses) for each in service.endpoints] == [
        ("10.0.0.1", Health.HEALTHY, ()),
        ("fd00::1", Health.DRAINING, ()),
    ]


def test_family_in_which_a_pod_is_not_ready_is_left_out() -> None:
    service = merged(
        a=(a_service(), a_slice(on("10.0.0.1", "p1")), six(on("fd00::1", "p1", ready=False, serving=False)))
    )
    assert [(each.address, each.additional_addresses) for each in service.endpoints] == [("10.0.0.1", ())]
    assert service.unready == 0


def test_endpoints_without_a_pod_are_never_paired() -> None:
    service = merged(a=(a_service(), a_slice("10.0.0.1"), six("fd00::1")))
    assert [each.address for each in service.endpoints] == ["10.0.0.1", "fd00::1"]


def test_address_that_is_not_of_its_slices_type_is_none() -> None:
    """No API server takes such a slice."""
    mixed = a_slice(on("10.0.0.1", "p1"), on("fd00::1", "p1"), on("fd00::2", "p2"))
    service = merged(a=(a_service(), mixed))
    assert [(each.address, each.additional_addresses) for each in service.endpoints] == [("10.0.0.1", ())]


def test_pairing_does_not_depend_on_order() -> None:
    ends = [
        Endpoint(Locality(), address, (TargetPort(80, 8080),), A, pod=pod)
        for address, pod in (
            ("10.0.0.1", "p"),
            ("fd00::1", "p"),
            ("10.0.0.2", "q"),
            ("10.0.0.3", "q"),
            ("fd00::3", "q"),
        )
    ]
    assert sorted(paired(ends, (SIX,))) == sorted(paired(ends[::-1], (SIX,)))
    assert [(each.address, each.additional_addresses) for each in sorted(paired(ends, (SIX,)))] == [
        ("10.0.0.2", ()),
        ("10.0.0.3", ()),
        ("fd00::1", ("10.0.0.1",)),
        ("fd00::3", ()),
    ]


def test_address_that_is_another_endpoints_own_is_no_further_address() -> None:
    """Two clusters on one network name the same place: it is listed once."""
    both = (a_slice(on("10.0.0.1", "p1")), six(on("fd00::1", "p1")))
    service = merged(a=(a_service(), *both), b=(a_service(), six("fd00::1")))
    assert [(each.address, each.additional_addresses, each.cluster) for each in service.endpoints] == [
        ("10.0.0.1", ("fd00::1",), A)
    ]


# Readiness, place, size


def test_publish_not_ready_addresses_are_healthy_since_the_slices_say_so() -> None:
    """The controller makes them ``ready`` and leaves ``serving`` as it is (discovery.k8s.io/v1 EndpointConditions)."""
    unready = SliceEndpoint("10.0.0.1", ready=True, serving=False)
    going = SliceEndpoint("10.0.0.2", ready=True, serving=False, terminating=True)
    service = merged(a=(with_(publish_not_ready=True), a_slice(unready, going)))
    assert [each.health for each in service.endpoints] == [Health.HEALTHY, Health.HEALTHY]


def test_pod_without_its_node_is_listed_and_placed_when_the_node_comes() -> None:
    index = indexed(a=(a_service(), a_slice(on("10.0.0.1", "p1", node="n1", zone="z1")), Pod("shop", "p1")))
    before = index.get(ECHO)
    assert before is not None
    assert before.endpoints[0].locality == Locality("", "z1", A)
    index.apply(A, Apply(Node("n1", "r1", "z1")))
    (change,) = index.commit()
    assert change.new is not None
    assert change.new.endpoints[0].locality == Locality("r1", "z1", A)
    assert change.new.expected == (Expected(Locality("r1", "z1", A), 1),)


def test_thousands_of_endpoints_in_many_slices_are_one_service() -> None:
    slices = [
        a_slice(*(f"10.{cluster}.{number}.{host}" for host in range(1, 101)), name=f"echo-{number}")
        for cluster in (0, 1)
        for number in range(25)
    ]
    service = merged(a=(a_service(), *slices[:25]), b=(a_service(), *slices[25:]))
    assert len(service.endpoints) == 5000
    assert [each.endpoints for each in service.expected] == [2500, 2500]
    message = endpoint_pb2.ClusterLoadAssignment.FromString(encode_assignment(service, 80, NAMES))
    assert sum(len(group.lb_endpoints) for group in message.endpoints) == 5000


def test_expected_counts_ready_draining_and_unready_by_locality() -> None:
    ends = (
        on("10.0.0.1", "p1", zone="z1"),
        on("10.0.0.2", "p2", zone="z1", ready=False, serving=True, terminating=True),
        on("10.0.0.3", "p3", zone="z1", ready=False, serving=False),
        on("10.0.0.4", "p4", zone="z2", ready=False, serving=False),
        on("10.0.0.5", "p5", zone="z2", ready=False, serving=False, terminating=True),
    )
    service = merged(a=(a_service(), a_slice(*ends)), b=(a_service(), a_slice("10.1.0.1")))
    assert service.expected == (
        Expected(Locality("", "", B), 1),
        Expected(Locality("", "z1", A), 3),
        Expected(Locality("", "z2", A), 1),
    )
    assert (service.unready, len(service.endpoints)) == (2, 3)


def test_endpoint_in_two_slices_is_expected_once() -> None:
    moved = (a_slice(on("10.0.0.1", "p1")), a_slice(on("10.0.0.1", "p1"), on("10.0.0.2", "p2"), name="echo-2"))
    assert [each.endpoints for each in merged(a=(a_service(), *moved)).expected] == [2]


# Session affinity, internalTrafficPolicy


def test_session_affinity_is_a_ring_of_source_addresses_in_envoy_and_of_channels_in_grpc() -> None:
    service = merged(a=(with_(affinity_seconds=10800), a_slice("10.0.0.1")))
    assert sticky(service)
    cluster = cluster_pb2.Cluster.FromString(encode_cluster(ECHO, service.ports[0], NAMES, sticky=True))
    assert cluster.lb_policy == cluster_pb2.Cluster.RING_HASH
    hosts = route_pb2.RouteConfiguration.FromString(encode_virtual_hosts(ECHO, service.ports, NAMES, sticky=True))
    (policy,) = hosts.virtual_hosts[0].routes[0].route.hash_policy
    assert policy.connection_properties.source_ip
    route = route_pb2.RouteConfiguration.FromString(encode_grpc_route(ECHO, 80, service.ports, NAMES, sticky=True))
    (policy,) = route.virtual_hosts[0].routes[0].route.hash_policy
    assert policy.filter_state.key == "io.grpc.channel_id"


def test_headless_service_has_no_affinity() -> None:
    assert not sticky(merged(a=(with_(affinity_seconds=60, headless=True),)))


def test_internal_traffic_policy_local_is_known_of_the_merged_service() -> None:
    assert merged(a=(with_(local_only=True),)).local_only
