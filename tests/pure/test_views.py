"""The views' rules by example and as properties."""

from __future__ import annotations

from itertools import pairwise

import pytest
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from hypothesis import given
from hypothesis import strategies as st
from support.facts import ECHO

from registry.index.merge import distinct_endpoints
from registry.model.facts import Protocol, ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.views.eds import encode_assignment
from registry.views.entry_ports import unique_port_names
from registry.views.names import Names
from registry.views.protocol import AppProtocol, app_protocol, default_port, routes_http, speaks_http2
from registry.views.rds import assemble_routes, encode_virtual_hosts
from registry.views.service_entry import service_entries

NAMES = Names()


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (ServicePort(80, "http"), AppProtocol.HTTP),
        (ServicePort(80, "http-web"), AppProtocol.HTTP),
        (ServicePort(80, "HTTP2-x"), AppProtocol.HTTP2),
        (ServicePort(80, "grpc"), AppProtocol.GRPC),
        (ServicePort(80, "grpc-web"), AppProtocol.GRPC_WEB),
        (ServicePort(80, "grpc-web-x"), AppProtocol.GRPC_WEB),
        (ServicePort(80, "web"), AppProtocol.UNKNOWN),
        (ServicePort(80, ""), AppProtocol.UNKNOWN),
        (ServicePort(3306, ""), AppProtocol.TCP),
        (ServicePort(3306, "mysql"), AppProtocol.MYSQL),
        (ServicePort(80, "tcp-x"), AppProtocol.TCP),
        (ServicePort(80, "udp-x"), AppProtocol.TCP),
        (ServicePort(80, "tls"), AppProtocol.TLS),
        (ServicePort(80, "https"), AppProtocol.HTTPS),
        (ServicePort(80, "mongo"), AppProtocol.MONGO),
        (ServicePort(80, "redis"), AppProtocol.REDIS),
        (ServicePort(80, "http", Protocol.UDP), AppProtocol.UDP),
        (ServicePort(80, "http", app_protocol="tcp"), AppProtocol.TCP),
        (ServicePort(80, "tcp", app_protocol="http"), AppProtocol.HTTP),
        (ServicePort(80, "x", app_protocol="kubernetes.io/h2c"), AppProtocol.HTTP2),
        (ServicePort(80, "x", app_protocol="kubernetes.io/ws"), AppProtocol.HTTP),
        (ServicePort(80, "x", app_protocol="kubernetes.io/wss"), AppProtocol.HTTPS),
        (ServicePort(80, "http", app_protocol="example.org/own"), AppProtocol.UNKNOWN),
    ],
)
def test_protocol_is_chosen_as_istio_chooses_it(port: ServicePort, expected: AppProtocol) -> None:
    assert app_protocol(port) is expected


def test_http_listener_routes_to_what_speaks_http_or_does_not_say() -> None:
    assert routes_http(ServicePort(80, "web"))
    assert not routes_http(ServicePort(80, "tcp"))
    assert not routes_http(ServicePort(443, "https"))
    assert not routes_http(ServicePort(80, "x", Protocol.SCTP))
    assert speaks_http2(ServicePort(80, "grpc"))
    assert not speaks_http2(ServicePort(80, "http"))


def test_name_without_a_port_is_port_80_or_else_the_lowest() -> None:
    assert default_port([ServicePort(79), ServicePort(80), ServicePort(81)]) == 80
    assert default_port([ServicePort(9090), ServicePort(8080)]) == 8080
    assert default_port([]) is None


def endpoint(address: str, locality: Locality, target: int = 8080, **fields: object) -> Endpoint:
    return Endpoint(locality, address, (TargetPort(80, target),), ClusterId(locality.sub_zone or "a"), **fields)  # type: ignore[arg-type]


def a_merged(*endpoints: Endpoint, ports: tuple[ServicePort, ...] = (ServicePort(80, "http"),)) -> MergedService:
    return MergedService(ECHO, ports, distinct_endpoints(endpoints), (ClusterId("a"),))


def assignment(service: MergedService, port: int = 80) -> endpoint_pb2.ClusterLoadAssignment:
    return endpoint_pb2.ClusterLoadAssignment.FromString(encode_assignment(service, port, NAMES))


def test_weight_of_a_locality_is_the_sum_of_its_endpoints() -> None:
    west = Locality("eu", "w", "a")
    (group,) = assignment(a_merged(endpoint("10.0.0.1", west, weight=3), endpoint("10.0.0.2", west))).endpoints
    assert group.load_balancing_weight.value == 4
    assert [each.load_balancing_weight.value for each in group.lb_endpoints] == [3, 1]


def test_assignment_has_only_endpoints_that_offer_the_port() -> None:
    ports = (ServicePort(80, "http"), ServicePort(81, "x"))
    assert not assignment(a_merged(endpoint("10.0.0.1", Locality()), ports=ports), 81).endpoints


def test_address_that_two_networks_use_is_named_once() -> None:
    one = endpoint("10.0.0.1", Locality("r", "z", "a"), network="net-a")
    two = endpoint("10.0.0.1", Locality("r", "z", "b"), network="net-b")
    (group,) = assignment(a_merged(one, two)).endpoints
    assert len(group.lb_endpoints) == 1


localities = st.builds(Locality, st.sampled_from(["", "r1", "r2"]), st.sampled_from(["", "z1"]), st.sampled_from("ab"))
endpoints = st.builds(
    endpoint,
    st.ip_addresses().map(str),
    localities,
    st.integers(1, 65535),
    health=st.sampled_from(list(Health)),
    weight=st.integers(1, 100),
    network=st.sampled_from(["", "n"]),
)


@given(st.lists(endpoints, max_size=8))
def test_assignment_names_each_address_and_port_once_in_ordered_localities_with_weights(listed: list[Endpoint]) -> None:
    message = assignment(a_merged(*listed))
    pairs = [
        (each.endpoint.address.socket_address.address, each.endpoint.address.socket_address.port_value)
        for group in message.endpoints
        for each in group.lb_endpoints
    ]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {(each.address, each.ports[0].target) for each in listed}
    places = [(group.locality.region, group.locality.zone, group.locality.sub_zone) for group in message.endpoints]
    assert all(before < after for before, after in pairwise(places))
    for group in message.endpoints:
        weights = [(each.health_status, each.load_balancing_weight.value) for each in group.lb_endpoints]
        healthy = [weight for health, weight in weights if health == health_check_pb2.HEALTHY]
        assert group.load_balancing_weight.value == sum(healthy or [weight for _, weight in weights]) > 0
    assert not listed or health_check_pb2.HEALTHY in {
        each.health_status for group in message.endpoints for each in group.lb_endpoints
    }


ports = st.lists(
    st.builds(
        ServicePort,
        st.integers(1, 65535),
        st.sampled_from(["", "http", "http-2", "grpc", "tcp", "web", "tcp-80", "http-80"]),
        st.sampled_from(list(Protocol)),
    ),
    max_size=6,
    unique_by=lambda port: port.port,
).map(lambda found: tuple(sorted(found)))
Services = dict[ServiceKey, tuple[ServicePort, ...]]
keys = st.builds(ServiceKey, st.sampled_from(["a", "b", "svc"]), st.sampled_from(["a", "b", "svc"]))


@given(st.dictionaries(keys, ports, max_size=6))
def test_no_domain_of_the_outbound_route_belongs_to_two_virtual_hosts(
    services: dict[ServiceKey, tuple[ServicePort, ...]],
) -> None:
    parts = [encode_virtual_hosts(key, services[key], NAMES) for key in sorted(services)]
    route = route_pb2.RouteConfiguration.FromString(assemble_routes(parts))
    domains = [domain for host in route.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains))
    assert len({host.name for host in route.virtual_hosts}) == len(route.virtual_hosts)


@given(st.dictionaries(keys, ports, max_size=6))
def test_assembled_route_is_the_message_built_field_by_field(
    services: dict[ServiceKey, tuple[ServicePort, ...]],
) -> None:
    parts = [encode_virtual_hosts(key, services[key], NAMES) for key in sorted(services)]
    whole = route_pb2.RouteConfiguration(name="outbound_http")
    for part in parts:
        whole.virtual_hosts.extend(route_pb2.RouteConfiguration.FromString(part).virtual_hosts)
    assert assemble_routes(parts) == whole.SerializeToString(deterministic=True)


@given(ports)
def test_port_names_of_a_service_entry_are_unique_and_valid(found: tuple[ServicePort, ...]) -> None:
    names = unique_port_names(found)
    assert set(names) == {port.port for port in found}
    assert len(set(names.values())) == len(names)
    assert all(0 < len(name) < 63 for name in names.values())


def test_service_entry_leaves_draining_endpoints_out_unless_there_are_no_others() -> None:
    draining = endpoint("10.0.0.2", Locality(), health=Health.DRAINING)
    (both,) = service_entries(a_merged(endpoint("10.0.0.1", Locality()), draining), NAMES).documents
    (alone,) = service_entries(a_merged(draining), NAMES).documents
    assert [each["address"] for each in both["spec"]["endpoints"]] == ["10.0.0.1"]  # type: ignore[index]
    assert [each["address"] for each in alone["spec"]["endpoints"]] == ["10.0.0.2"]  # type: ignore[index]


def test_names_follow_the_domain() -> None:
    assert Names("example.org").host(ECHO) == "echo.shop.svc.example.org"
    assert NAMES.cluster(ECHO, 80) == "outbound|80||echo.shop.svc.clusterset.local"
    assert NAMES.authority(ECHO, 80) == "echo.shop.svc.clusterset.local:80"
    assert NAMES.domains(ECHO, 80, default=True) == (
        "echo.shop.svc.clusterset.local:80",
        "echo.shop:80",
        "echo.shop.svc.clusterset.local",
        "echo.shop",
    )
    absolute = "echo.shop.svc.clusterset.local.:80"
    for default in (True, False):
        assert NAMES.targets(ECHO, 80, default=default) == (*NAMES.domains(ECHO, 80, default=default), absolute)
    assert NAMES.parse(absolute) == ECHO
