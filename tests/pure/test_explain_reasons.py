"""Every rule of the table, in a world where it applies; and, where it can be mended, that the endpoint is back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.facts import ECHO, A, B, a_service, a_slice
from support.told import ECHO_WITH_IT, GATE, HERE, IT, Told, a_slice_of

from registry.index import ExportMode, ExportPolicy, GuardPolicy
from registry.index.refusals import MAX_ENDPOINTS, MAX_PORTS
from registry.model.conditions import Condition, ConditionType, Dated
from registry.model.facts import (
    AddressType,
    Node,
    Pod,
    Protocol,
    Service,
    ServiceExport,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.gateways import Gateway
from registry.model.names import Kind
from registry.model.reasons import Effect, Reason
from registry.model.standing import Standing
from registry.servers.explanation import Explanation, MemberHealth, explanation_document
from registry.views.names import Names
from registry.views.place import NOWHERE, Place
from registry.views.policy import Distribution, Fallback, ResolvedPolicy, Selector, TrafficPolicy

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
SLICE = Kind.ENDPOINT_SLICE
UDP = ServicePort(80, "http", Protocol.UDP)
UDP_TARGET = (SlicePort("http", 1, Protocol.UDP),)
DRAINING = {"serving": True, "terminating": True}
LOCAL = TrafficPolicy(local_only=True)
SAME_ZONE = TrafficPolicy(Distribution.PREFER_SAME_ZONE)


def on_node(zone: str = "eu-1", region: str = "eu", address: str = IT) -> tuple[Service, Any, Node]:
    return a_service(), a_slice(SliceEndpoint(address, node="n1")), Node("n1", region, zone)


def guarded(**policy: Any) -> Told:
    return Told(guard=GuardPolicy(**policy))


def shrunk() -> Told:
    """The list lacks one of two slices of the service."""
    other = a_slice("10.0.0.2", name="echo-2")
    return guarded(floor=0).has(*ECHO_WITH_IT, other).relisted(SLICE, other)


def cluster_shrunk() -> Told:
    """Each of two services loses what a service may lose, and the cluster what it may not."""
    echo = [a_slice(IT, name="echo-0"), a_slice(*(f"10.0.1.{each}" for each in range(9)), name="echo-1")]
    cart = [
        a_slice("10.0.2.1", name="cart-0", service="cart"),
        a_slice(*(f"10.0.3.{each}" for each in range(9)), name="cart-1", service="cart"),
    ]
    return guarded(floor=1, share=0).has(a_service(), a_service("cart"), *echo, *cart).relisted(SLICE, echo[1], cart[1])


def lost_pod() -> Told:
    """The list lacks the only Pod."""
    there = a_service(), a_slice(SliceEndpoint(IT, pod="p"))
    return guarded().has(*there, Pod("shop", "p", (("v", "1"),))).relisted(Kind.POD)


def not_listed() -> Told:
    """Services and slices are listed, Pods and others are not."""
    return Told().relisted(Kind.SERVICE, a_service()).relisted(SLICE, a_slice(IT))


def exported_by_objects() -> Told:
    return Told(ExportPolicy(mode=ExportMode.SERVICE_EXPORT))


def dual_stack(place: Place = HERE) -> Told:
    """A Pod has the address, and one of the family that its service prefers."""
    six = replace(a_slice(SliceEndpoint("fd00::1", pod="p"), name="six"), address_type=AddressType.IPV6)
    preferring = replace(a_service(), ip_families=(AddressType.IPV6, AddressType.IPV4))
    return Told(place=place).has(preferring, a_slice(SliceEndpoint(IT, pod="p")), six)


def gated(**condition: bool) -> Told:
    """On another network than the client, behind a gateway."""
    return Told(network="away", gateways={"away": [GATE]}).has(a_service(), a_slice_of(**condition))


def listed_gateway() -> Told:
    """The address is the gateway of the other network too, behind which the service has an endpoint."""
    gate = Gateway(IT, 8080)
    return Told(network="home", gateways={"away": [gate]}).has().beside(network="away")


SPECIAL = "169.254.169.254"
MANY_PORTS = tuple(ServicePort(1 + each, f"p{each}") for each in range(MAX_PORTS + 1))
MANY = (
    SliceEndpoint(IT, ready=False, **DRAINING),
    *(SliceEndpoint(f"10.1.{each // 250}.{each % 250}") for each in range(MAX_ENDPOINTS)),
)
LAST_TARGET = (SlicePort(MANY_PORTS[-1].name, 8080),)

WORLDS: dict[Reason, Callable[[], Told]] = {
    Reason.READY: lambda: Told().has(),
    Reason.DRAINING: lambda: Told().has(a_service(), a_slice_of(**DRAINING)),
    Reason.FURTHER_ADDRESS: dual_stack,
    Reason.FROM_SNAPSHOT: lambda: Told().restored(),
    Reason.LENT_IN_DOUBT: lost_pod,
    Reason.SERVICE_EMPTIED: lambda: guarded().has().relisted(SLICE),
    Reason.SERVICE_SHRUNK: shrunk,
    Reason.CLUSTER_SHRUNK: cluster_shrunk,
    Reason.REWOUND: lambda: guarded().has().relisted(SLICE, rewound=True),
    Reason.UNVERIFIED: lambda: guarded().restored().relisted(SLICE),
    Reason.DEMOTED: lambda: Told().has().stands(Standing.DEMOTED),
    Reason.LAST_OF_EVICTED: lambda: Told().has().stands(Standing.EVICTED),
    Reason.CLUSTER_NOT_LISTED: not_listed,
    Reason.NAMESPACE_EXCLUDED: lambda: Told(ExportPolicy(excluded_namespaces=frozenset({"shop"}))).has(),
    Reason.SERVICE_EXCLUDED: lambda: Told(ExportPolicy(excluded_services=frozenset({ECHO}))).has(),
    Reason.NO_SERVICE: lambda: Told().has(a_slice(IT)),
    Reason.EXTERNAL_NAME: lambda: Told().has(a_service(external_name="example.org"), a_slice(IT)),
    Reason.SERVICE_COPY: lambda: Told().has(replace(a_service(), copy_mark="owner ServiceImport"), a_slice(IT)),
    Reason.SLICE_COPY: lambda: Told().has(a_service(), replace(a_slice(IT), copy_mark="from b")),
    Reason.NOT_EXPORTED: lambda: exported_by_objects().has(),
    Reason.NOT_SELECTED: lambda: Told(ExportPolicy(mode=ExportMode.SELECTOR, selector=(("shared", "yes"),))).has(),
    Reason.ADDRESS_TYPE_FQDN: lambda: Told().has(a_service(), replace(a_slice(IT), address_type=AddressType.FQDN)),
    Reason.PORT_NOT_OFFERED: lambda: Told().has(a_service(), a_slice(IT, ports=(SlicePort("grpc", 9),))),
    Reason.NO_ADDRESS: lambda: Told().has(a_service(), a_slice("it")),
    Reason.SPECIAL_ADDRESS: lambda: Told().has(a_service(), a_slice(SPECIAL)),
    Reason.TOO_MANY_PORTS: lambda: Told().has(a_service("echo", *MANY_PORTS), a_slice(IT, ports=LAST_TARGET)),
    Reason.TOO_MANY_ENDPOINTS: lambda: Told().has(a_service(), a_slice(*MANY)),
    Reason.NOT_READY: lambda: Told().has(a_service(), a_slice_of()),
    Reason.TERMINATING: lambda: Told().has(a_service(), a_slice_of(terminating=True)),
    Reason.PORT_CONFLICT: lambda: (
        Told()
        .has(replace(a_service("echo", UDP), created=NEW), a_slice(IT, ports=UDP_TARGET))
        .beside(replace(a_service(), created=OLD), a_slice("10.0.1.1"))
    ),
    Reason.DUPLICATE: lambda: Told().has(a_service(), a_slice_of(**DRAINING)).beside(*ECHO_WITH_IT),
    Reason.EVICTED: lambda: Told().has().beside().stands(Standing.EVICTED),
    Reason.UNSUPPORTED_PROTOCOL: lambda: Told().has(a_service("echo", UDP), a_slice(IT, ports=UDP_TARGET)),
    Reason.FAILOVER_NONE: lambda: Told(
        policy=TrafficPolicy(failover=(Selector(cluster="b"),), fallback=Fallback.NONE)
    ).has(),
    Reason.NOT_ON_NODE: lambda: Told(policy=LOCAL, place=HERE._replace(node="n2")).has(*on_node()),
    Reason.SHADOWED: lambda: Told(network="z", place=NOWHERE).has().beside(*ECHO_WITH_IT, network="y"),
    Reason.IS_GATEWAY: listed_gateway,
    Reason.NETWORK_WITHOUT_GATEWAY: lambda: Told(network="away").has(),
    Reason.NOTHING_READY: lambda: gated(**DRAINING).beside(network="home"),
    Reason.NONE_READY: lambda: Told().has(a_service(), a_slice_of(**DRAINING)),
    Reason.NOT_COUNTED: lambda: gated(**DRAINING).tell(a_slice("10.0.0.2", name="echo-2")),
    Reason.OTHER_NETWORK: lambda: gated(ready=True),
    Reason.ON_NODE: lambda: Told(policy=LOCAL).has(*on_node()),
    Reason.NODE_UNKNOWN: lambda: Told(policy=LOCAL, place=NOWHERE).has(*on_node()),
    Reason.OWN_FAMILY_FIRST: lambda: dual_stack(HERE._replace(family="IPv4")),
    Reason.UNORDERED: lambda: Told().has(),
    Reason.FAILOVER_TIER: lambda: Told(policy=TrafficPolicy(failover=(Selector(cluster="a"),))).has(),
    Reason.SAME_NODE: lambda: Told(policy=TrafficPolicy(Distribution.PREFER_SAME_NODE)).has(*on_node()),
    Reason.SAME_ZONE: lambda: Told(policy=SAME_ZONE).has(*on_node()),
    Reason.SAME_REGION: lambda: Told(policy=SAME_ZONE).has(*on_node("eu-2")),
    Reason.ELSEWHERE: lambda: Told(policy=SAME_ZONE).has(*on_node("us-1", "us")),
    Reason.IN_DOUBT: lambda: Told(place=HERE._replace(cluster="b")).has().stands(Standing.DEMOTED),
    Reason.OWN_CLUSTER: lambda: Told(place=HERE).has().stands(Standing.DEMOTED),
    Reason.WEIGHT_SHARE: lambda: Told(policy=TrafficPolicy(Distribution.WEIGHTED)).has(*on_node()),
    Reason.NO_SHARE: lambda: (
        Told(policy=TrafficPolicy(Distribution.WEIGHTED))
        .has(*on_node("us-1", "us"))
        .beside(*on_node(address="10.0.1.1"))
    ),
}
"""``CLUSTER_REFUSED`` is said of clusters alone: nothing of one is read."""


def mended(world: Told) -> Told:
    """Its slice says that it is ready, and nothing else is wrong with the slice."""
    return world.tell(a_slice(IT))


MENDS: dict[Reason, Callable[[Told], object]] = {
    **dict.fromkeys(
        (
            *(Reason.ADDRESS_TYPE_FQDN, Reason.PORT_NOT_OFFERED, Reason.NO_ADDRESS, Reason.NOT_READY),
            Reason.SPECIAL_ADDRESS,
            *(Reason.TERMINATING, Reason.DRAINING, Reason.NONE_READY, Reason.SLICE_COPY),
            *(Reason.SERVICE_EMPTIED, Reason.SERVICE_SHRUNK, Reason.REWOUND, Reason.UNVERIFIED),
        ),
        mended,
    ),
    **dict.fromkeys(
        (Reason.DEMOTED, Reason.LAST_OF_EVICTED, Reason.EVICTED, Reason.IN_DOUBT, Reason.OWN_CLUSTER),
        lambda world: world.stands(Standing.CURRENT),
    ),
    **dict.fromkeys((Reason.CLUSTER_NOT_LISTED, Reason.FROM_SNAPSHOT), Told.has),
    **dict.fromkeys(
        (Reason.NO_SERVICE, Reason.SERVICE_COPY, Reason.EXTERNAL_NAME), lambda world: world.tell(a_service())
    ),
    **dict.fromkeys(
        (Reason.PORT_CONFLICT, Reason.UNSUPPORTED_PROTOCOL, Reason.TOO_MANY_PORTS, Reason.TOO_MANY_ENDPOINTS),
        lambda world: world.tell(*ECHO_WITH_IT),
    ),
    **dict.fromkeys((Reason.DUPLICATE, Reason.SHADOWED), lambda world: world.tell(a_slice("10.0.1.1"), cluster=B)),
    **dict.fromkeys(
        (Reason.NETWORK_WITHOUT_GATEWAY, Reason.NOTHING_READY, Reason.NOT_COUNTED),
        lambda world: world.index.set_network(A, "home") or world.index.commit(),
    ),
    Reason.IS_GATEWAY: lambda world: setattr(world, "gateways", {"away": [GATE]}),
    Reason.CLUSTER_SHRUNK: lambda world: world.tell(a_slice(IT, name="echo-0")),
    Reason.NOT_EXPORTED: lambda world: world.tell(ServiceExport("shop", "echo")),
    Reason.NOT_SELECTED: lambda world: world.tell(replace(a_service(), labels=(("shared", "yes"),))),
    Reason.NOT_ON_NODE: lambda world: world.tell(a_slice(SliceEndpoint(IT, node="n2"))),
    Reason.FAILOVER_NONE: lambda world: setattr(world, "policy", TrafficPolicy()),
    Reason.LENT_IN_DOUBT: lambda world: world.tell(Pod("shop", "p")),
}
UNMENDABLE = {Reason.NAMESPACE_EXCLUDED, Reason.SERVICE_EXCLUDED, Reason.CLUSTER_REFUSED}
"""Only by another configuration, which is another program."""


@pytest.mark.parametrize("rule", sorted(set(Reason) - {Reason.CLUSTER_REFUSED}))
def test_every_rule_comes_up(rule: Reason) -> None:
    world = WORLDS[rule]()
    address = {Reason.NO_ADDRESS: "it", Reason.SPECIAL_ADDRESS: SPECIAL}.get(rule, IT)
    assert rule in world.rules(address)
    if rule.effect is Effect.DROPPED:
        assert not world.shown(address)


@pytest.mark.parametrize("rule", sorted(MENDS))
def test_what_is_mended_is_no_reason_any_more_and_the_endpoint_is_shown(rule: Reason) -> None:
    world = WORLDS[rule]()
    MENDS[rule](world)
    assert rule not in world.rules()
    assert world.shown()


def test_all_that_takes_an_endpoint_away_has_a_mend() -> None:
    assert {each for each in Reason if each.effect in (Effect.DROPPED, Effect.HELD)} - UNMENDABLE <= MENDS.keys()


def test_an_export_that_a_list_lacks_is_why_its_endpoints_are_in_doubt() -> None:
    world = Told(ExportPolicy(mode=ExportMode.SERVICE_EXPORT), GuardPolicy())
    world.has(*ECHO_WITH_IT, ServiceExport("shop", "echo")).relisted(Kind.SERVICE_EXPORT)
    (endpoint,) = world.index.explain(ECHO).endpoints
    assert endpoint.endpoint is not None
    assert endpoint.endpoint.demoted
    doubt = next(step for step in endpoint.steps if step.reason is Reason.SERVICE_EMPTIED)
    assert doubt.detail == "ServiceExport shop/echo is what the list lacks"


def test_a_member_whose_identity_is_refused_is_said_to_be() -> None:
    world = not_listed()
    condition = Dated(Condition(ConditionType.IDENTITY_CONFIRMED, False, "IdentityRefused", "another cluster"), 0.0)
    members = {A: MemberHealth(None, conditions=[condition])}
    explanation = Explanation(world.index.explain(ECHO), ResolvedPolicy(), {}, members)
    document: Any = explanation_document(explanation, Names(), explanation.service.endpoints)
    (cluster,) = document["clusters"]
    assert (cluster["reason"], cluster["conditions"][0]["reason"]) == ("ClusterRefused", "IdentityRefused")
