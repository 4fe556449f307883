"""What a Service says of its traffic, read from JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.model.facts import AddressType, Service
from registry.model.names import Kind
from registry.sources.kubernetes.decode import decode_object


def decoded(spec: dict[str, Any], status: Any = None, **metadata: Any) -> Service:
    document = {"metadata": {"namespace": "shop", "name": "echo", **metadata}, "spec": spec, "status": status}
    fact = decode_object(Kind.SERVICE, json.dumps(document).encode())
    assert isinstance(fact, Service)
    return fact


def test_service_without_a_word_on_traffic_has_the_defaults() -> None:
    fact = decoded({"ports": [{"port": 80}], "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"})
    assert (fact.affinity_seconds, fact.traffic_distribution, fact.local_only) == (0, "", False)
    assert (fact.publish_not_ready, fact.annotations, fact.ip_families) == (False, (), ())


@pytest.mark.parametrize(
    ("config", "seconds"),
    [(None, 10800), ({}, 10800), ({"clientIP": {}}, 10800), ({"clientIP": {"timeoutSeconds": 60}}, 60)],
)
def test_affinity_to_client_ip_has_the_time_given_or_the_api_default(config: Any, seconds: int) -> None:
    assert decoded({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}).affinity_seconds == seconds


def test_affinity_config_without_affinity_is_none() -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    assert decoded({"sessionAffinity": "None", "sessionAffinityConfig": config}).affinity_seconds == 0


def test_traffic_fields_are_read() -> None:
    fact = decoded(
        {"trafficDistribution": "PreferSameZone", "internalTrafficPolicy": "Local", "publishNotReadyAddresses": True},
        creationTimestamp="2026-01-02T03:04:05Z",
    )
    assert (fact.traffic_distribution, fact.local_only, fact.publish_not_ready) == ("PreferSameZone", True, True)
    assert fact.created == "2026-01-02T03:04:05Z"


def test_families_keep_their_order_and_unknown_ones_are_skipped() -> None:
    fact = decoded({"ipFamilies": ["IPv6", "IPv7", "IPv4"]})
    assert fact.ip_families == (AddressType.IPV6, AddressType.IPV4)


def test_only_the_registrys_own_annotations_are_kept_without_their_prefix() -> None:
    annotations = {"mesh-registry.io/b": "2", "mesh-registry.io/a": "1", "kubectl.kubernetes.io/last": "{}"}
    assert decoded({}, annotations=annotations).annotations == (("a", "1"), ("b", "2"))


INGRESS = {
    "loadBalancer": {"ingress": [{"ip": "203.0.113.2", "hostname": "x.example.org"}, {"hostname": "lb.example"}]}
}
NETWORK = {"topology.istio.io/network": "net-b"}


def test_where_a_gateway_is_reached_from_outside_is_read_in_order_and_once() -> None:
    spec = {"externalIPs": ["203.0.113.9", "203.0.113.2"]}
    fact = decoded(spec, labels=NETWORK, status=INGRESS)
    assert fact.external == ("203.0.113.2", "203.0.113.9", "lb.example")


def test_of_other_services_it_is_not_kept() -> None:
    assert decoded({"externalIPs": ["203.0.113.9"]}, labels={"app": "echo"}, status=INGRESS).external == ()


@pytest.mark.parametrize("status", [None, {}, {"loadBalancer": None}, {"loadBalancer": {"ingress": [{}]}}])
def test_a_gateway_without_an_address_yet_has_none(status: Any) -> None:
    assert decoded({"externalIPs": None}, labels=NETWORK, status=status).external == ()
