"""KEP-1645 (MCS API v1beta1), rule by rule. The table of the rules is in ``registry/index/conflicts.py``."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
import sys
from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.facts import ECHO, A, B, C, a_service, a_slice, facts, listing

from registry.index import Index, conflicts
from registry.index.export import ExportMode, ExportPolicy
from registry.index.guard import GuardPolicy
from registry.model.events import Apply, Delete
from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Fact,
    Protocol,
    Service,
    ServiceExport,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import Conflict, MergedService, TargetPort
from registry.sources.kubernetes.decode import decode_object
from registry.views.export_status import ExportCondition, export_conditions
from registry.views.names import Names

EXPORT = ObjectRef(Kind.SERVICE_EXPORT, "shop", "echo")
OLD, NEW, NEWEST = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"
TCP, UDP = Protocol.TCP, Protocol.UDP
World = Mapping[ClusterId, Iterable[Fact]]


def indexed(world: World, mode: ExportMode = ExportMode.SERVICE_EXPORT) -> Index:
    index = Index(ExportPolicy(mode=mode))
    for cluster, said in world.items():
        index.add_cluster(cluster)
        for event in listing(*said):
            index.apply(cluster, event)
    index.commit()
    return index


def exported(service: Service, created: str, *more: Fact) -> tuple[Fact, ...]:
    return (service, ServiceExport(service.namespace, service.name, created), *more)


def merged(world: World, mode: ExportMode = ExportMode.SERVICE_EXPORT) -> MergedService:
    service = indexed(world, mode).get(ECHO)
    assert service is not None
    return service


def pair(older: Service, newer: Service, *more: Fact) -> MergedService:
    """``older`` in cluster b, ``newer`` in cluster a: so that age and name do not say the same.

    ``more`` is what ``newer`` has beside; then ``older`` has an endpoint too, which is left out of the result.
    """
    own = [manned(older, "10.1.0.1")] if more else []
    service = merged({A: exported(newer, NEW, *more), B: exported(older, OLD, *own)})
    others = tuple(each for each in service.endpoints if each.cluster != B)
    return dataclasses.replace(service, endpoints=others)


def manned(service: Service, *endpoints: SliceEndpoint | str) -> EndpointSlice:
    """A slice with these endpoints behind all ports of the service."""
    behind = tuple(SlicePort(each.name, 9000, each.protocol) for each in service.ports)
    return dataclasses.replace(a_slice(*endpoints, name="own"), ports=behind)


def with_(**fields: object) -> Service:
    return dataclasses.replace(a_service(), **fields)  # type: ignore[arg-type]


def ports(*said: ServicePort) -> Service:
    return a_service("echo", *said)


def conditions(world: World, cluster: ClusterId) -> dict[str, ExportCondition]:
    index = indexed(world)
    own = index.held_facts(cluster, Kind.SERVICE).get(ObjectRef(Kind.SERVICE, "shop", "echo"))
    said = export_conditions(ECHO, cluster, own if isinstance(own, Service) else None, index.get(ECHO))
    return {each.type: each for each in said}


def addresses(service: MergedService, port: int, protocol: Protocol = TCP) -> set[str]:
    return {each.address for each in service.endpoints if each.target(port, protocol) is not None}


# Exporting Services


def test_same_name_and_namespace_is_one_service() -> None:
    other = dataclasses.replace(a_service(), namespace="pay")
    index = indexed(
        {A: exported(a_service(), OLD, a_slice("10.0.0.1")), B: exported(a_service(), NEW), C: exported(other, OLD)}
    )
    assert [each.key for each in index.services()] == [ServiceKey("pay", "echo"), ECHO]
    assert index.services()[1].clusters == (A, B)


def test_service_without_export_is_not_exported_even_if_other_clusters_export_it() -> None:
    world = {A: exported(a_service(), OLD, a_slice("10.0.0.1")), B: (a_service(), a_slice("10.1.0.1"))}
    assert merged(world).clusters == (A,)
    assert addresses(merged(world), 80) == {"10.0.0.1"}


def test_deleting_the_export_stops_exporting() -> None:
    index = indexed({A: exported(a_service(), OLD, a_slice("10.0.0.1")), B: exported(a_service(), NEW)})
    index.apply(A, Delete(EXPORT))
    (change,) = index.commit()
    assert change.new is not None
    assert (change.new.clusters, change.new.endpoints) == ((B,), ())
    index.apply(B, Delete(EXPORT))
    assert [change.new for change in index.commit()] == [None]


def test_namespace_or_service_that_is_excluded_is_not_exported() -> None:
    system = dataclasses.replace(a_service(), namespace="kube-system")
    assert indexed({A: exported(system, OLD)}).services() == ()


# Precedence


def test_oldest_export_takes_precedence_not_oldest_service() -> None:
    first = with_(headless=True, created=NEWEST)
    second = with_(headless=False, created=OLD)
    assert merged({A: exported(second, NEW), B: exported(first, OLD)}).headless


def test_oldest_service_takes_precedence_without_exports() -> None:
    world = {A: (with_(created=NEW),), B: (with_(created=OLD, headless=True),)}
    assert merged(world, ExportMode.ALL).headless


def test_equal_ages_are_decided_by_cluster_name() -> None:
    world = {B: exported(with_(headless=True), OLD), A: exported(with_(headless=False), OLD)}
    assert merged(world).conflicts[0].winner == A
    assert not merged(world).headless


def test_export_of_unknown_age_comes_last() -> None:
    world = {A: (with_(headless=True),), B: (with_(created=NEWEST),)}
    assert not merged(world, ExportMode.ALL).headless


def test_the_next_oldest_takes_over_when_the_oldest_export_goes() -> None:
    index = indexed({A: exported(with_(headless=True), NEW), B: exported(a_service(), OLD)})
    index.apply(B, Delete(EXPORT))
    (change,) = index.commit()
    assert change.new is not None
    assert (change.new.headless, change.new.conflicts) == (True, ())


# Exports without endpoints decide nothing that takes traffic away

NOT_READY = SliceEndpoint("10.1.0.9", ready=False, serving=False)
GONE = SliceEndpoint("10.1.0.9", ready=False, serving=False, terminating=True)
EMPTY: Mapping[str, Callable[[Service], Iterable[Fact]]] = {
    "no slice": lambda _: (),
    "a slice of nothing": lambda older: (manned(older),),
    "an endpoint that is gone": lambda older: (manned(older, GONE),),
    "no address": lambda older: (manned(older, "not-an-address"),),
    "a special address": lambda older: (manned(older, "169.254.169.254"),),
    "a copy": lambda older: (dataclasses.replace(manned(older, "10.1.0.9"), copy_mark="of another"),),
    "names": lambda older: (dataclasses.replace(manned(older, "10.1.0.9"), address_type=AddressType.FQDN),),
    "other ports": lambda older: (dataclasses.replace(manned(older, "10.1.0.9"), ports=(SlicePort("other", 1),)),),
}
empty = pytest.mark.parametrize("older_has", EMPTY.values(), ids=EMPTY.keys())


@empty
def test_older_export_without_endpoints_decides_no_property(older_has: Callable[[Service], Iterable[Fact]]) -> None:
    older = with_(
        headless=True,
        affinity_seconds=60,
        traffic_distribution="PreferSameNode",
        local_only=True,
        annotations=(("fallback", "None"),),
    )
    newer = with_(annotations=(("fallback", "Any"),))
    service = merged({A: exported(newer, NEW, a_slice("10.0.0.1")), B: exported(older, OLD, *older_has(older))})
    assert (service.headless, service.affinity_seconds, service.local_only) == (False, 0, False)
    assert (service.traffic_distribution, service.annotations) == ("", newer.annotations)
    assert {each.field: (each.winner, each.losers[0][0]) for each in service.conflicts} == dict.fromkeys(
        (
            *("annotations[fallback]", "internalTrafficPolicy", "sessionAffinity"),
            *("trafficDistribution", "type"),
        ),
        (A, B),
    )


@empty
@pytest.mark.parametrize(
    "said",
    [
        ServicePort(80, "http", UDP),
        ServicePort(8080, "http"),
        ServicePort(80, "web"),
        ServicePort(80, "http", app_protocol="grpc"),
    ],
)
def test_older_export_without_endpoints_decides_no_port(
    said: ServicePort, older_has: Callable[[Service], Iterable[Fact]]
) -> None:
    older = ports(said)
    world = {A: exported(a_service(), NEW, a_slice("10.0.0.1")), B: exported(older, OLD, *older_has(older))}
    service = merged(world)
    assert addresses(service, 80) == {"10.0.0.1"}
    assert ServicePort(80, "http") in service.ports
    assert {each.winner for each in service.conflicts} == {A}


def test_older_export_decides_no_port_that_it_has_no_endpoint_of() -> None:
    older = ports(ServicePort(80, "http"), ServicePort(81, "grpc", UDP))
    newer = ports(ServicePort(80, "web"), ServicePort(81, "grpc"))
    targets = (SlicePort("web", 8080), SlicePort("grpc", 8081))
    world = {A: exported(newer, NEW, a_slice("10.0.0.1", ports=targets)), B: exported(older, OLD, a_slice("10.1.0.1"))}
    service = merged(world)
    assert service.ports == (ServicePort(80, "http"), ServicePort(81, "grpc"))
    assert addresses(service, 81) == {"10.0.0.1"}
    assert [(each.field, each.winner) for each in service.conflicts] == [
        ("ports[80].name", B),
        ("ports[81].protocol", A),
    ]


@pytest.mark.parametrize("endpoint", [NOT_READY, SliceEndpoint("10.1.0.9")])
def test_endpoint_that_is_not_ready_keeps_precedence(endpoint: SliceEndpoint) -> None:
    """A Pod that fails its probe and recovers changes nothing that the exports agree on."""
    older = dataclasses.replace(ports(ServicePort(80, "http", app_protocol="grpc")), headless=True)
    world = {
        A: exported(a_service(), NEW, a_slice("10.0.0.1")),
        B: exported(older, OLD, manned(older, endpoint)),
    }
    service = merged(world)
    assert (service.headless, service.ports) == (True, older.ports)


def test_endpoints_that_a_list_lacks_and_that_are_held_keep_precedence() -> None:
    older = dataclasses.replace(a_service(), headless=True)
    index = Index(ExportPolicy(mode=ExportMode.SERVICE_EXPORT), GuardPolicy())
    for cluster, said in ((A, exported(a_service(), NEW, a_slice("10.0.0.1"))), (B, exported(older, OLD))):
        index.add_cluster(cluster)
        for event in listing(*said, *([manned(older, "10.1.0.1")] if cluster == B else [])):
            index.apply(cluster, event)
    index.commit()
    for event in listing(kinds=[Kind.ENDPOINT_SLICE]):
        index.apply(B, event)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert [(each.cluster, each.demoted) for each in service.endpoints] == [(A, False), (B, True)]
    assert service.headless


def test_without_any_endpoints_the_oldest_export_decides() -> None:
    older = dataclasses.replace(ports(ServicePort(80, "http", app_protocol="grpc")), headless=True)
    service = merged({A: exported(a_service(), NEW), B: exported(older, OLD)})
    assert (service.headless, service.ports) == (True, older.ports)


# Service Port


def test_ports_are_the_union() -> None:
    service = pair(
        ports(ServicePort(80, "http")), ports(ServicePort(42, "stcp", Protocol.SCTP), ServicePort(80, "http"))
    )
    assert service.ports == (ServicePort(42, "stcp", Protocol.SCTP), ServicePort(80, "http"))


def test_ports_that_only_one_cluster_has_are_no_conflict() -> None:
    assert pair(ports(ServicePort(80, "http")), ports(ServicePort(81, "grpc"))).conflicts == ()


def test_port_name_with_two_numbers_is_the_oldests() -> None:
    service = pair(ports(ServicePort(42, "tcp")), ports(ServicePort(43, "tcp")))
    assert service.ports == (ServicePort(42, "tcp"),)
    assert service.conflicts == (Conflict("ports[42].port", "42", B, ((A, "43"),)),)


def test_unnamed_ports_are_one_name() -> None:
    service = pair(ports(ServicePort(80)), ports(ServicePort(8080)))
    assert service.ports == (ServicePort(80),)
    assert [each.field for each in service.conflicts] == ["ports[80].port"]


def test_port_number_with_two_names_is_the_oldests() -> None:
    service = pair(ports(ServicePort(80, "http")), ports(ServicePort(80, "web")))
    assert service.ports == (ServicePort(80, "http"),)
    assert service.conflicts == (Conflict("ports[80].name", "http", B, ((A, "web"),)),)


def test_a_port_is_merged_by_name_before_by_number() -> None:
    swapped = ports(ServicePort(81, "http"), ServicePort(80, "admin"))
    targets = (SlicePort("http", 8080), SlicePort("admin", 9090))
    service = pair(ports(ServicePort(80, "http")), swapped, a_slice("10.0.0.1", ports=targets))
    assert service.ports == (ServicePort(80, "http"),)
    assert [each.ports for each in service.endpoints] == [(TargetPort(80, 8080),)]


def test_a_port_that_is_one_by_its_name_is_not_another_by_its_number() -> None:
    targets = (SlicePort("http", 9000),)
    both = ports(ServicePort(80, "http"), ServicePort(8080, "web"))
    service = pair(both, ports(ServicePort(8080, "http")), a_slice("10.0.0.1", ports=targets))
    assert [each.ports for each in service.endpoints] == [(TargetPort(80, 9000),)]
    assert service.unexposed == ((8080, A),)


def test_one_number_over_tcp_and_udp_is_two_ports() -> None:
    service = pair(ports(ServicePort(53, "dns-tcp")), ports(ServicePort(53, "dns", UDP)))
    assert service.ports == (ServicePort(53, "dns-tcp"), ServicePort(53, "dns", UDP))
    assert service.conflicts == ()


def test_app_protocol_is_the_oldests() -> None:
    service = pair(
        ports(ServicePort(80, "api", app_protocol="kubernetes.io/h2c")),
        ports(ServicePort(80, "api", app_protocol="http")),
    )
    assert service.ports == (ServicePort(80, "api", app_protocol="kubernetes.io/h2c"),)
    assert service.conflicts == (Conflict("ports[80].appProtocol", "kubernetes.io/h2c", B, ((A, "http"),)),)


def test_port_routes_only_to_clusters_that_expose_it() -> None:
    world = {
        A: exported(ports(ServicePort(80, "http")), NEW, a_slice("10.0.0.1")),
        B: exported(
            ports(ServicePort(80, "web"), ServicePort(81, "grpc")),
            OLD,
            a_slice("10.1.0.1", ports=(SlicePort("web", 1), SlicePort("grpc", 2))),
        ),
    }
    service = merged(world)
    assert (addresses(service, 80), addresses(service, 81)) == ({"10.0.0.1", "10.1.0.1"}, {"10.1.0.1"})


def test_port_of_another_number_is_reached_by_its_name() -> None:
    service = pair(ports(ServicePort(80, "http")), ports(ServicePort(8080, "http")), a_slice("10.0.0.1"))
    assert (addresses(service, 80), addresses(service, 8080)) == ({"10.0.0.1"}, set())


def test_port_of_another_protocol_gets_no_traffic() -> None:
    over_udp = a_slice("10.0.0.1", ports=(SlicePort("dns", 5353, UDP),))
    service = pair(ports(ServicePort(53, "dns")), ports(ServicePort(53, "dns", UDP)), over_udp)
    assert service.ports == (ServicePort(53, "dns"),)
    assert service.endpoints == ()
    assert service.conflicts == (Conflict("ports[53].protocol", "TCP", B, ((A, "UDP"),)),)


# Headlessness, Session Affinity, and the other global properties


def test_headlessness_is_the_oldests() -> None:
    service = pair(with_(headless=True), with_(headless=False))
    assert service.headless
    assert service.conflicts == (Conflict("type", "Headless", B, ((A, "ClusterSetIP"),)),)


def test_session_affinity_is_the_oldests() -> None:
    service = pair(with_(affinity_seconds=0), with_(affinity_seconds=60))
    assert service.affinity_seconds == 0
    assert service.conflicts == (Conflict("sessionAffinity", "None", B, ((A, "ClientIP"),)),)


def test_session_affinity_config_is_the_oldests() -> None:
    service = pair(with_(affinity_seconds=10800), with_(affinity_seconds=60))
    assert service.affinity_seconds == 10800
    assert service.conflicts == (Conflict("sessionAffinityConfig", "10800", B, ((A, "60"),)),)


def test_traffic_distribution_is_the_oldests() -> None:
    service = pair(with_(traffic_distribution="PreferSameZone"), a_service())
    assert service.traffic_distribution == "PreferSameZone"
    assert service.conflicts == (Conflict("trafficDistribution", "PreferSameZone", B, ((A, ""),)),)


def test_internal_traffic_policy_is_the_oldests() -> None:
    service = pair(with_(local_only=True), a_service())
    assert service.local_only
    assert service.conflicts == (Conflict("internalTrafficPolicy", "Local", B, ((A, "Cluster"),)),)


def test_ip_families_are_the_union_and_a_conflict() -> None:
    four, six = AddressType.IPV4, AddressType.IPV6
    service = pair(with_(ip_families=(six,)), with_(ip_families=(four, six)))
    assert service.ip_families == (six, four)
    assert service.conflicts == (Conflict("ipFamilies", "IPv6", B, ((A, "IPv4,IPv6"),)),)
    assert pair(with_(ip_families=(six, four)), with_(ip_families=(four, six))).conflicts == ()
    assert pair(with_(ip_families=(six, four)), a_service()).conflicts == ()


def test_annotations_are_the_oldests() -> None:
    service = pair(with_(annotations=(("a", "1"),)), with_(annotations=(("a", "2"), ("b", "3"))))
    assert service.annotations == (("a", "1"),)
    assert service.conflicts == (
        Conflict("annotations[a]", "1", B, ((A, "2"),)),
        Conflict("annotations[b]", "", B, ((A, "3"),)),
    )


# Conditions of the ServiceExport

CONFLICTING: World = {
    A: exported(with_(headless=True), NEW),
    B: exported(a_service(), OLD),
    C: exported(a_service(), NEWEST),
}


@pytest.mark.parametrize("cluster", [A, B, C])
def test_every_export_of_the_service_has_the_condition(cluster: ClusterId) -> None:
    said = conditions(CONFLICTING, cluster)
    assert [(each.type, each.status) for each in said.values()] == [
        ("Valid", True),
        ("Ready", True),
        ("Conflict", True),
    ]
    assert said["Conflict"].reason == "TypeConflict"


def test_condition_names_field_winner_and_losers() -> None:
    assert conditions(CONFLICTING, C)["Conflict"].message == (
        'Conflicting type: using "ClusterSetIP" of the oldest export, in cluster b; a says "Headless"; '
        "1 of 3 clusters disagree."
    )


def test_several_reasons_are_joined_by_commas() -> None:
    older = dataclasses.replace(ports(ServicePort(80, "http")), headless=True)
    world = {A: exported(ports(ServicePort(81, "http"), ServicePort(82, "x")), NEW), B: exported(older, OLD)}
    assert conditions(world, A)["Conflict"].reason == "PortConflict,TypeConflict"


def test_condition_is_false_when_the_exports_agree() -> None:
    said = conditions({A: exported(a_service(), NEW), B: exported(a_service(), OLD)}, A)["Conflict"]
    assert (said.status, said.reason) == (False, "NoConflicts")


# Service Types


@pytest.mark.parametrize("type_", ["NodePort", "LoadBalancer"])
def test_node_port_and_load_balancer_are_exported_as_cluster_ip(type_: str) -> None:
    read = {}
    for each in ("ClusterIP", type_):
        spec = {"type": each, "clusterIP": "10.96.0.1", "ports": [{"port": 80, "name": "http", "nodePort": 30080}]}
        document = {"metadata": {"namespace": "shop", "name": "echo"}, "spec": spec}
        fact = decode_object(Kind.SERVICE, document)
        assert isinstance(fact, Service)
        read[each] = merged({A: exported(fact, OLD, a_slice("10.0.0.1"))})
    assert read[type_] == read["ClusterIP"]
    assert addresses(read[type_], 80) == {"10.0.0.1"}


def test_external_name_is_not_exported_and_said_to_be_invalid() -> None:
    external = a_service(external_name="example.org")
    world = {A: exported(external, OLD), B: exported(a_service(), NEW, a_slice("10.1.0.1"))}
    index = indexed(world)
    service = index.get(ECHO)
    assert service is not None
    assert (service.clusters, service.conflicts) == ((B,), ())
    said = conditions(world, A)
    assert (said["Valid"].status, said["Valid"].reason) == (False, "InvalidServiceType")
    assert "Conflict" not in said
    assert [(each.key, each.cluster, each.reason) for each in index.refused()] == [(ECHO, A, "InvalidServiceType")]


def test_external_name_is_said_in_every_mode_of_export() -> None:
    index = indexed({A: (a_service(external_name="example.org"),)}, ExportMode.ALL)
    assert index.services() == ()
    assert [(each.key, each.reason) for each in index.refused()] == [(ECHO, "InvalidServiceType")]


def test_export_without_a_service_is_said_to_be_invalid() -> None:
    world: World = {A: (ServiceExport("shop", "echo", OLD),)}
    said = conditions(world, A)
    assert (said["Valid"].reason, said["Ready"].reason) == ("NoService", "Pending")
    assert [(each.cluster, each.reason) for each in indexed(world).refused()] == [(A, "NoService")]


def test_export_that_the_configuration_excludes_is_valid_and_not_ready() -> None:
    valid, ready = export_conditions(ECHO, A, a_service(), None, excluded=True)
    assert (valid.status, ready.status, ready.reason) == (True, False, "Failed")


# DNS


def test_host_is_in_the_clusterset_domain() -> None:
    assert Names().host(ECHO) == "echo.shop.svc.clusterset.local"


def test_endpoints_of_headless_services_have_their_hostname() -> None:
    world = {A: exported(with_(headless=True), OLD, a_slice(SliceEndpoint("10.0.0.1", hostname="echo-0")))}
    assert [(each.hostname, each.cluster) for each in merged(world).endpoints] == [("echo-0", A)]


# The result depends on nothing but the exports

MANY: World = {
    A: exported(with_(headless=True, affinity_seconds=60), NEW, a_slice("10.0.0.1")),
    B: exported(ports(ServicePort(81, "http"), ServicePort(82, "grpc")), OLD, a_slice("10.1.0.1")),
    C: exported(ports(ServicePort(80, "web", app_protocol="grpc")), OLD, EndpointSlice("shop", "s", "echo")),
}


@pytest.mark.parametrize("order", list(itertools.permutations(MANY)))
def test_merge_does_not_depend_on_order(order: tuple[ClusterId, ...]) -> None:
    assert merged({cluster: MANY[cluster] for cluster in order}) == merged(MANY)


exports = st.builds(
    ServiceExport, st.just("shop"), st.sampled_from(["echo", "cart"]), st.sampled_from(["", OLD, NEW, NEWEST])
)
told = st.lists(st.tuples(st.sampled_from([A, B, C]), st.one_of(facts, facts, exports)), max_size=25)


@given(told, st.randoms(use_true_random=False))
def test_merge_of_any_exports_does_not_depend_on_order(
    said: list[tuple[ClusterId, Fact]], shuffler: random.Random
) -> None:
    last = list({(cluster, fact.ref): (cluster, fact) for cluster, fact in said}.values())
    shuffled = last[:]
    shuffler.shuffle(shuffled)
    results = []
    for order in (last, shuffled):
        index = indexed({A: (), B: (), C: ()})
        for cluster, fact in order:
            index.apply(cluster, Apply(fact))
            index.commit()
        results.append((index.services(), index.refused()))
    assert results[0] == results[1]


@given(told)
def test_merge_is_the_same_after_a_restart(said: list[tuple[ClusterId, Fact]]) -> None:
    """One registry lived through it all, the other only lists what there is in the end."""
    lived = indexed({A: (), B: (), C: ()})
    world: dict[ClusterId, dict[ObjectRef, Fact]] = {A: {}, B: {}, C: {}}
    for cluster, fact in said:
        world[cluster][fact.ref] = fact
        lived.apply(cluster, Apply(fact))
        lived.commit()
    assert indexed({cluster: there.values() for cluster, there in world.items()}).services() == lived.services()


@given(told)
def test_no_two_ports_share_a_name_or_a_number_and_protocol(said: list[tuple[ClusterId, Fact]]) -> None:
    index = indexed({A: (), B: (), C: ()}, ExportMode.ALL)
    for cluster, fact in said:
        index.apply(cluster, Apply(fact))
    index.commit()
    for service in index.services():
        assert len({port.name for port in service.ports}) == len(service.ports)
        assert len({(port.port, port.protocol) for port in service.ports}) == len(service.ports)
        offered = {(port.port, port.protocol) for port in service.ports}
        assert all((pair.port, pair.protocol) in offered for each in service.endpoints for pair in each.ports)


def test_every_rule_of_the_table_has_its_test() -> None:
    rows = [line for line in (conflicts.__doc__ or "").splitlines() if len(line) > 55 and "===" not in line]
    named = {word.strip(",") for line in rows for word in line[55:].split() if line[53:55] == "  "} - {"test"}
    here = {name.removeprefix("test_") for name in dir(sys.modules[__name__]) if name.startswith("test_")}
    assert len(named) > 25
    for name in named:
        assert any(re.fullmatch(name.replace("...", ".*"), each) for each in here), name
