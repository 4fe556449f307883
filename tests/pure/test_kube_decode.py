"""Kubernetes JSON as facts: what is used, what defaults mean, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.decode import (
    DecodeError,
    decode_event,
    decode_object,
    decode_page,
    decode_status_message,
)

META = {"name": "echo", "namespace": "shop", "resourceVersion": "7", "uid": "x", "labels": {"b": "2", "a": "1"}}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def a_slice(**fields: Any) -> dict[str, Any]:
    metadata = {**META, "labels": {"kubernetes.io/service-name": "echo"}}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": [], **fields}


def endpoint_of(**fields: Any) -> SliceEndpoint:
    fact = decode_object(Kind.ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": ["10.0.0.1", "10.0.0.2"], **fields}]))
    assert isinstance(fact, EndpointSlice)
    return fact.endpoints[0]


def test_service_is_its_ports_labels_and_type() -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "kubernetes.io/h2c", "nodePort": 30000},
        {"port": 53, "protocol": "UDP"},
    ]
    document = {"metadata": META, "spec": {"ports": ports, "clusterIP": "10.96.0.1", "selector": {"a": "b"}}}
    assert decode_object(Kind.SERVICE, encoded(document)) == Service(
        "shop",
        "echo",
        (ServicePort(80, "http", Protocol.TCP, "kubernetes.io/h2c"), ServicePort(53, "", Protocol.UDP)),
        (("a", "1"), ("b", "2")),
    )


def test_headless_and_external_name_services_are_told_apart() -> None:
    headless = decode_object(Kind.SERVICE, {"metadata": META, "spec": {"clusterIP": "None"}})
    assert isinstance(headless, Service)
    assert headless.headless
    external = {"type": "ExternalName", "externalName": "example.org"}
    assert decode_object(Kind.SERVICE, {"metadata": META, "spec": external}).external_name == "example.org"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        (None, True, True, False),
        ({}, True, True, False),
        ({"ready": True}, True, True, False),
        ({"ready": False}, False, False, False),
        ({"ready": None, "serving": None, "terminating": None}, True, True, False),
        ({"ready": False, "serving": True, "terminating": True}, False, True, True),
        ({"ready": False, "serving": False, "terminating": True}, False, False, True),
    ],
)
def test_unset_conditions_mean_what_the_api_says(
    conditions: object, ready: bool, serving: bool, terminating: bool
) -> None:
    found = endpoint_of(conditions=conditions)
    assert (found.ready, found.serving, found.terminating) == (ready, serving, terminating)


def test_endpoint_is_its_first_address_pod_node_and_zone() -> None:
    target = {"kind": "Pod", "name": "p1", "namespace": "shop"}
    assert endpoint_of(
        targetRef=target, nodeName="n1", zone="z1", hostname="h", deprecatedTopology={}
    ) == SliceEndpoint("10.0.0.1", node="n1", zone="z1", pod="p1", hostname="h")


def test_endpoint_that_targets_no_pod_has_none() -> None:
    assert endpoint_of(targetRef={"kind": "VirtualMachine", "name": "vm"}).pod == ""


def test_slice_names_its_service_and_ports() -> None:
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": None, "port": None, "protocol": None}]
    assert decode_object(Kind.ENDPOINT_SLICE, encoded(a_slice(ports=ports, addressType="IPv6"))) == EndpointSlice(
        "shop", "echo", "echo", AddressType.IPV6, (SlicePort("http", 8080), SlicePort("", None))
    )


def test_slice_of_no_service_has_none_and_nulls_are_empty() -> None:
    fact = decode_object(Kind.ENDPOINT_SLICE, a_slice(metadata=META, endpoints=None, ports=None))
    assert isinstance(fact, EndpointSlice)
    assert (fact.service, fact.endpoints, fact.ports) == ("", (), ())


def test_pod_node_and_namespace_are_what_endpoints_borrow_of_them() -> None:
    pod = {"metadata": META, "spec": {"serviceAccountName": "sa", "containers": [{}]}, "status": {}}
    assert decode_object(Kind.POD, encoded(pod)) == Pod("shop", "echo", (("a", "1"), ("b", "2")), "sa")
    labels = {"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1"}
    assert decode_object(Kind.NODE, {"metadata": {"name": "n1", "labels": labels}}) == Node("n1", "r1", "z1")
    assert decode_object(Kind.NAMESPACE, {"metadata": {"name": "shop"}}) == Namespace("shop")


@pytest.mark.parametrize(
    ("kind", "document", "where"),
    [
        (Kind.SERVICE, {"metadata": META, "spec": {"ports": [{"port": 0}]}}, "$.spec.ports[0].port"),
        (Kind.SERVICE, {"metadata": META, "spec": {"ports": [{"port": 70000}]}}, "$.spec.ports[0].port"),
        (Kind.SERVICE, {"metadata": META, "spec": {"ports": [{"port": "80"}]}}, "$.spec.ports[0].port"),
        (Kind.SERVICE, {"metadata": {**META, "name": "a.b"}}, "$.metadata.name"),
        (Kind.SERVICE, {"metadata": {**META, "name": ""}}, "$.metadata.name"),
        (Kind.SERVICE, {"metadata": {**META, "namespace": "Shop/x"}}, "$.metadata.namespace"),
        (Kind.SERVICE, {"spec": {}}, "metadata"),
        (Kind.ENDPOINT_SLICE, a_slice(addressType="IPX"), "$.addressType"),
        (Kind.ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": []}]), "$.endpoints[0].addresses"),
        (Kind.ENDPOINT_SLICE, a_slice(ports=[{"port": -1}]), "$.ports[0].port"),
        (Kind.POD, {"metadata": {**META, "labels": {"a": 1}}}, "$.metadata.labels"),
    ],
)
@pytest.mark.parametrize("form", [encoded, dict], ids=["json", "mapping"])
def test_impossible_object_is_refused_with_the_field(kind: Kind, document: Any, where: str, form: Any) -> None:
    with pytest.raises(DecodeError) as error:
        decode_object(kind, form(document))
    assert where in str(error.value)


def test_page_has_its_objects_version_and_token_and_one_broken_object_spoils_no_other() -> None:
    broken = {"metadata": {**META, "name": "bad"}, "spec": {"ports": [{"port": 0}]}}
    page = decode_page(
        Kind.SERVICE,
        encoded(
            {
                "kind": "ServiceList",
                "metadata": {"resourceVersion": "12", "continue": "tok", "remainingItemCount": 3},
                "items": [{"metadata": META}, broken],
            }
        ),
    )
    assert [fact.name for fact in page.facts] == ["echo"]
    ((ref, error),) = page.broken
    assert ref == ObjectRef(Kind.SERVICE, "shop", "bad")
    assert "$.spec.ports[0].port" in error
    assert (page.resource_version, page.continue_token) == ("12", "tok")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"items":[]}', b'{"metadata":{},"items":\xff}'])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_page(Kind.POD, body)


def test_empty_list_may_be_null() -> None:
    assert decode_page(Kind.POD, b'{"metadata":{"resourceVersion":"1"},"items":null}').facts == ()


def test_events_are_told_apart() -> None:
    service = {"metadata": META}
    added = decode_event(Kind.SERVICE, encoded({"type": "ADDED", "object": service}))
    assert (added.type, added.resource_version) == ("ADDED", "7")
    assert added.fact == decode_object(Kind.SERVICE, service)
    deleted = decode_event(Kind.SERVICE, encoded({"type": "DELETED", "object": service}))
    assert (deleted.ref, deleted.fact) == (ObjectRef(Kind.SERVICE, "shop", "echo"), None)
    bookmark = decode_event(
        Kind.SERVICE, encoded({"type": "BOOKMARK", "object": {"kind": "Service", "metadata": {"resourceVersion": "9"}}})
    )
    assert (bookmark.resource_version, bookmark.fact) == ("9", None)
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    error = decode_event(Kind.SERVICE, encoded({"type": "ERROR", "object": status}))
    assert (error.code, error.reason, error.error) == (410, "Expired", "too old")


def test_event_whose_object_cannot_be_read_still_names_it() -> None:
    broken = {"metadata": META, "spec": {"ports": [{"port": 0}]}}
    event = decode_event(Kind.SERVICE, encoded({"type": "MODIFIED", "object": broken}))
    assert event.fact is None
    assert event.ref == ObjectRef(Kind.SERVICE, "shop", "echo")
    assert "$.spec.ports[0].port" in event.error


@pytest.mark.parametrize("line", [b"", b"{}", b'{"type":"ADDED"}', b"not json", b'{"type":"ADDED","object":\xff}'])
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_event(Kind.SERVICE, line)


def test_message_of_a_status_or_what_there_is_of_the_text() -> None:
    assert decode_status_message(b'{"kind":"Status","message":"no"}') == "no"
    assert decode_status_message(b"<html>Bad Gateway</html>") == "<html>Bad Gateway</html>"
    assert decode_status_message(b"\xff") == "�"
