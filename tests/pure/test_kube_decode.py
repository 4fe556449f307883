"""From the API's JSON to facts: defaults, nulls, wrong types with their path, lists and watch events."""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.decode import (
    Broken,
    DecodeError,
    Page,
    decode_event,
    decode_names,
    decode_object,
    decode_page,
    decode_status_message,
)

META = {"name": "echo", "namespace": "shop", "resourceVersion": "7"}


def a_service(spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": META | metadata, "spec": spec if spec is not None else {}}


def a_slice(**fields: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": "echo"}
    return {"metadata": META | {"name": "echo-1", "labels": labels}, "addressType": "IPv4", **fields}


def page(*items: Any, kind: Kind = Kind.SERVICE, token: str = "") -> bytes:
    metadata = {"resourceVersion": "9"} | ({"continue": token, "remainingItemCount": 3} if token else {})
    return json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items}).encode()


def event(type_: str, document: Any) -> bytes:
    return json.dumps({"type": type_, "object": document}).encode()


def test_service_with_all_that_is_used() -> None:
    ports = [
        {"name": "web", "port": 80, "protocol": "TCP", "appProtocol": "http", "targetPort": "x", "nodePort": 30000},
        {"port": 53, "protocol": "UDP"},
    ]
    document = a_service({"ports": ports, "clusterIP": "None", "type": "ClusterIP"}, labels={"b": "2", "a": "1"})
    fact = decode_object(Kind.SERVICE, document)
    assert fact == Service(
        "shop",
        "echo",
        (ServicePort(80, "web", Protocol.TCP, "http"), ServicePort(53, "", Protocol.UDP)),
        labels=(("a", "1"), ("b", "2")),
        headless=True,
    )
    assert fact.resource_version == "7"


def test_external_name_is_marked_and_a_left_over_one_is_not() -> None:
    named = decode_object(Kind.SERVICE, a_service({"type": "ExternalName", "externalName": "db.example"}))
    left_over = decode_object(Kind.SERVICE, a_service({"type": "ClusterIP", "externalName": "db.example"}))
    assert isinstance(named, Service)
    assert named.external_name == "db.example"
    assert isinstance(left_over, Service)
    assert left_over.external_name == ""


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        (None, True, True, False),
        ({}, True, True, False),
        ({"ready": None, "serving": None, "terminating": None}, True, True, False),
        ({"ready": True}, True, True, False),
        ({"ready": False}, False, False, False),
        ({"ready": False, "serving": True, "terminating": True}, False, True, True),
        ({"ready": True, "serving": False}, True, False, False),
        ({"terminating": True}, True, True, True),
    ],
)
def test_each_unset_condition_has_its_own_meaning(
    conditions: Any, ready: bool, serving: bool, terminating: bool
) -> None:
    fact = decode_object(
        Kind.ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": ["10.0.0.1"], "conditions": conditions}])
    )
    assert isinstance(fact, EndpointSlice)
    assert fact.endpoints == (SliceEndpoint("10.0.0.1", ready, serving, terminating),)


def test_endpoint_slice_with_all_that_is_used() -> None:
    endpoint = {
        "addresses": ["fd00::1", "fd00::2"],
        "conditions": {"ready": True},
        "hostname": "echo-0",
        "nodeName": "n1",
        "zone": "z1",
        "targetRef": {"kind": "Pod", "name": "echo-0", "namespace": "shop"},
    }
    ports = [{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": None, "port": None, "protocol": None}]
    document = a_slice(endpoints=[endpoint], ports=ports) | {"addressType": "IPv6"}
    assert decode_object(Kind.ENDPOINT_SLICE, document) == EndpointSlice(
        "shop",
        "echo-1",
        "echo",
        AddressType.IPV6,
        (SlicePort("web", 8080), SlicePort("", None)),
        (SliceEndpoint("fd00::1", node="n1", zone="z1", pod="echo-0", hostname="echo-0"),),
    )


def test_target_that_is_no_pod_is_not_taken_for_one() -> None:
    endpoint = {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Node", "name": "n1"}}
    fact = decode_object(Kind.ENDPOINT_SLICE, a_slice(endpoints=[endpoint]))
    assert isinstance(fact, EndpointSlice)
    assert fact.endpoints[0].pod == ""


def test_pod_node_and_namespace() -> None:
    meta = {"name": "n", "labels": {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}}
    labels = tuple(sorted(meta["labels"].items()))
    assert decode_object(Kind.NODE, {"metadata": meta}) == Node("n", "r", "z")
    assert decode_object(Kind.NAMESPACE, {"metadata": meta}) == Namespace("n", labels)
    spec: dict[str, Any] = {"serviceAccountName": "cart", "containers": []}
    pod = {"metadata": meta | {"namespace": "shop"}, "spec": spec}
    assert decode_object(Kind.POD, pod) == Pod("shop", "n", labels, "cart")
    scheduled = {**pod, "spec": spec | {"nodeName": "node-1"}}
    assert decode_object(Kind.POD, scheduled) == Pod("shop", "n", labels, "cart", node="node-1")


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        (None, True),
        ({}, True),
        ({"phase": "Pending"}, False),
        ({"phase": "Running", "conditions": []}, False),
        ({"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]}, False),
        ({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}, False),
        ({"phase": "Running", "conditions": [{"type": "Ready", "status": "Unknown"}]}, False),
        ({"conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]}, True),
        ({"conditions": [{"type": None, "status": None}]}, False),
    ],
)
def test_pod_is_ready_when_its_condition_says_so_or_nothing_says_anything(status: Any, ready: bool) -> None:
    fact = decode_object(Kind.POD, {"metadata": META, "status": status})
    assert isinstance(fact, Pod)
    assert fact.ready is ready
    assert not fact.terminating


def test_pod_with_a_deletion_timestamp_is_terminating() -> None:
    fact = decode_object(Kind.POD, {"metadata": META | {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert isinstance(fact, Pod)
    assert fact.terminating


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (Kind.SERVICE, {"metadata": META | {"labels": None}, "spec": None}),
        (Kind.SERVICE, a_service({"ports": None, "clusterIP": None, "type": None, "externalName": None})),
        (Kind.ENDPOINT_SLICE, a_slice(endpoints=None, ports=None)),
        (Kind.ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": ["10.0.0.1"], "targetRef": None, "nodeName": None}])),
        (Kind.ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": ["10.0.0.1"], "targetRef": {"kind": None}}])),
        (Kind.POD, {"metadata": META | {"labels": None}, "spec": None}),
        (Kind.POD, {"metadata": META | {"deletionTimestamp": None}, "status": {"phase": None, "conditions": None}}),
        (Kind.NODE, {"metadata": {"name": "n", "namespace": None, "labels": None, "resourceVersion": None}}),
    ],
)
def test_null_says_the_same_as_leaving_out(kind: Kind, document: dict[str, Any]) -> None:
    assert decode_object(kind, document) == decode_object(kind, without_nulls(document))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


BROKEN = [
    (Kind.SERVICE, a_service({"ports": [{"port": 80}, {"port": 0}]}), "$.spec.ports[1].port"),
    (Kind.SERVICE, a_service({"ports": [{"port": 65536}]}), "$.spec.ports[0].port"),
    (Kind.SERVICE, a_service({"ports": [{"port": "80"}]}), "$.spec.ports[0].port"),
    (Kind.SERVICE, a_service({"ports": [{"port": True}]}), "$.spec.ports[0].port"),
    (Kind.SERVICE, a_service({"ports": [{"name": "web"}]}), "$.spec.ports[0]"),
    (Kind.SERVICE, a_service({"ports": [{"port": 80, "protocol": "QUIC"}]}), "$.spec.ports[0].protocol"),
    (Kind.SERVICE, a_service({"ports": {}}), "$.spec.ports"),
    (Kind.SERVICE, a_service(name="web.shop"), "$.metadata.name"),
    (Kind.SERVICE, a_service(name="web\n"), "$.metadata.name"),
    (Kind.SERVICE, a_service(name=""), "$.metadata.name"),
    (Kind.SERVICE, a_service(namespace="../x"), "$.metadata.namespace"),
    (Kind.SERVICE, a_service(labels={"a": 1}), "$.metadata.labels[...]"),
    (Kind.SERVICE, {"spec": {}}, "metadata"),
    (Kind.ENDPOINT_SLICE, a_slice(addressType="IPv5"), "$.addressType"),
    (Kind.ENDPOINT_SLICE, a_slice(endpoints=[{"addresses": []}]), "$.endpoints[0].addresses"),
    (Kind.ENDPOINT_SLICE, a_slice(endpoints=[{}]), "$.endpoints[0]"),
    (
        Kind.ENDPOINT_SLICE,
        a_slice(endpoints=[{"addresses": ["10.0.0.1"], "conditions": {"ready": "yes"}}]),
        "$.endpoints[0].conditions.ready",
    ),
    (Kind.ENDPOINT_SLICE, a_slice(ports=[{"port": 70000}]), "$.ports[0].port"),
    (Kind.POD, {"metadata": META, "spec": {"serviceAccountName": 5}}, "$.spec.serviceAccountName"),
]


@pytest.mark.parametrize(
    ("kind", "document", "path"), BROKEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_field_is_named_by_its_path(kind: Kind, document: dict[str, Any], path: str) -> None:
    for form in (document, json.dumps(document).encode()):
        with pytest.raises(DecodeError) as caught:
            decode_object(kind, form)
        assert path in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b'{"metadata":', b'{"metadata":{"name":"\xff"}}', b'{"x":' + b"[" * 100_000 + b"}"],
    ids=["empty", "text", "array", "truncated", "not UTF-8", "deep"],
)
def test_bytes_that_are_no_object_are_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_object(Kind.SERVICE, body)


def facts(found: Page) -> list[Fact]:
    return [each for each in found.objects() if not isinstance(each, Broken)]


def broken(found: Page) -> list[Broken]:
    return [each for each in found.objects() if isinstance(each, Broken)]


def test_page_of_a_list() -> None:
    found = decode_page(Kind.SERVICE, page(a_service(), a_service(name="cart"), token="next"))
    assert [fact.ref.name for fact in facts(found)] == ["echo", "cart"]
    assert (broken(found), found.resource_version, found.continue_token) == ([], "9", "next")
    assert decode_page(Kind.SERVICE, page()).continue_token == ""


def test_object_that_cannot_be_read_does_not_spoil_the_others() -> None:
    bad = a_service({"ports": [{"port": -1}]}, name="bad")
    found = decode_page(Kind.SERVICE, page(a_service(), bad, 7, {"metadata": {}}, a_service(name="cart")))
    assert [fact.ref.name for fact in facts(found)] == ["echo", "cart"]
    assert [ref for ref, _ in broken(found)] == [ObjectRef(Kind.SERVICE, "shop", "bad"), None, None]
    assert "$.spec.ports[0].port" in broken(found)[0].reason


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"ok":true}',
        b'{"kind":"ServiceList","metadata":{},"items":[]}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":""},"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}',
        b'{"kind":"Status","metadata":{"resourceVersion":"1"},"status":"Failure"}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[',
        b"<html>sign in</html>",
    ],
)
def test_json_that_is_no_such_list_does_not_pass_for_an_empty_one(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_page(Kind.SERVICE, body)


@pytest.mark.parametrize("kind", Kind)
def test_empty_list_of_every_kind_is_one(kind: Kind) -> None:
    assert facts(decode_page(kind, page(kind=kind))) == []
    null = json.dumps({"kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": None}).encode()
    assert facts(decode_page(kind, null)) == []


def test_watch_events() -> None:
    added = decode_event(Kind.SERVICE, event("ADDED", a_service()))
    assert (added.fact, added.resource_version) == (decode_object(Kind.SERVICE, a_service()), "7")
    deleted = decode_event(Kind.SERVICE, event("DELETED", a_service()))
    assert (deleted.fact, deleted.ref) == (None, ObjectRef(Kind.SERVICE, "shop", "echo"))
    bookmark = decode_event(Kind.SERVICE, event("BOOKMARK", {"kind": "Service", "metadata": {"resourceVersion": "12"}}))
    assert (bookmark.type, bookmark.resource_version, bookmark.fact, bookmark.ref) == ("BOOKMARK", "12", None, None)
    status = {"kind": "Status", "metadata": {}, "code": 410, "reason": "Expired", "message": "too old"}
    error = decode_event(Kind.SERVICE, event("ERROR", status))
    assert (error.code, error.reason, error.error) == (410, "Expired", "too old")


def test_deletion_of_an_object_that_cannot_be_read_is_a_deletion() -> None:
    found = decode_event(Kind.SERVICE, event("DELETED", a_service({"ports": 5})))
    assert (found.ref, found.error) == (ObjectRef(Kind.SERVICE, "shop", "echo"), "")


def test_event_whose_object_cannot_be_read_still_has_its_version() -> None:
    found = decode_event(Kind.SERVICE, event("MODIFIED", a_service({"ports": 5})))
    assert (found.fact, found.ref, found.resource_version) == (None, ObjectRef(Kind.SERVICE, "shop", "echo"), "7")
    assert "$.spec.ports" in found.error


def test_event_of_an_unknown_type_says_so() -> None:
    found = decode_event(Kind.SERVICE, event("RENAMED", a_service()))
    assert found.fact is None
    assert found.error == "an event of an unknown type"


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b'{"type":"ADDED"}', b'{"object":{}}', b'{"type":"ADDED","object":{"metadata":{}}}', b'"x"', b"\xff"],
)
def test_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_event(Kind.SERVICE, line)


def test_object_of_too_many_bytes_is_not_read_and_keeps_its_name() -> None:
    large = a_service() | {"more": "x" * 1000}
    found = decode_page(Kind.SERVICE, page(a_service(name="cart"), large))
    (left,) = (each for each in found.objects(500) if isinstance(each, Broken))
    assert left.ref == ObjectRef(Kind.SERVICE, "shop", "echo")
    assert "more than 500 (follow.maxObjectBytes)" in left.reason
    told = decode_event(Kind.SERVICE, event("MODIFIED", large), 500)
    assert (told.fact, told.ref, told.resource_version) == (None, left.ref, "7")
    assert "more than 500" in told.error
    assert decode_event(Kind.SERVICE, event("DELETED", large), 500).error == ""


def test_page_of_very_many_values_that_are_no_objects_is_refused_before_they_are_made() -> None:
    body = b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[' + b"0," * 300_000 + b"0]}"
    with pytest.raises(DecodeError, match="Expected `object`"):
        decode_page(Kind.SERVICE, body, random=Random(1).random)


@pytest.mark.parametrize("item", [b"{}", b'{"metadata":{"name":"a"}}'])
def test_page_of_too_many_objects_is_refused_before_they_are_made(item: bytes) -> None:
    body = b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[' + b",".join([item] * 300_000) + b"]}"
    with pytest.raises(DecodeError, match="more than 20000 objects"):
        decode_page(Kind.SERVICE, body)
    with pytest.raises(DecodeError, match="more than 20000 objects"):
        decode_page(Kind.SERVICE, body, random=Random(1).random)
    with pytest.raises(DecodeError, match="more than 20000 objects"):
        decode_names(Kind.SERVICE, body.replace(b"ServiceList", b"PartialObjectMetadataList"))


def test_message_is_that_of_a_status_and_nothing_else() -> None:
    assert decode_status_message(b'{"kind":"Status","message":"no"}') == "no"
    assert decode_status_message(b'{"message":"from somewhere else"}') == ""
    assert decode_status_message(b"<html>\n  bad\xff gateway</html>") == ""


field_names = st.sampled_from(
    ["metadata", "name", "namespace", "labels", "spec", "ports", "port", "endpoints", "addresses", "conditions", "zone"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(field_names, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(list(Kind)), json_values)
def test_any_json_is_a_fact_or_a_decode_error(kind: Kind, value: Any) -> None:
    for form in (value, msgspec.json.encode(value)):
        with suppress(DecodeError):
            assert decode_object(kind, form).ref.kind is kind
