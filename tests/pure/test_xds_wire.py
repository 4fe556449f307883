"""Bytes joined by hand are the bytes protobuf writes."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from registry.xds import wire
from registry.xds.resources import Entry, Resource

TYPE_URL = "type.googleapis.com/example.Thing"
resources = st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=300)), max_size=5)


@given(version=st.text(), resources=resources, type_url=st.text(), nonce=st.text(), identifier=st.text())
def test_sotw_response_equals_protobufs_own_serialisation(
    version: str, resources: list[tuple[str, bytes]], type_url: str, nonce: str, identifier: str
) -> None:
    expected = discovery_pb2.DiscoveryResponse(
        version_info=version,
        resources=[any_pb2.Any(type_url=TYPE_URL, value=body) for _, body in resources],
        type_url=type_url,
        nonce=nonce,
    )
    expected.control_plane.identifier = identifier
    fields = [wire.sotw_resource(TYPE_URL, body) for _, body in resources]
    written = wire.sotw_response(version, fields, type_url, nonce, wire.control_plane(identifier))
    assert written == expected.SerializeToString(deterministic=True)


@given(
    version=st.text(), resources=resources, removed=st.lists(st.text(min_size=1)), nonce=st.text(), identifier=st.text()
)
def test_delta_response_equals_protobufs_own_serialisation(
    version: str, resources: list[tuple[str, bytes]], removed: list[str], nonce: str, identifier: str
) -> None:
    expected = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=version,
        resources=[
            discovery_pb2.Resource(name=name, version=version, resource=any_pb2.Any(type_url=TYPE_URL, value=body))
            for name, body in resources
        ],
        removed_resources=removed,
        type_url=TYPE_URL,
        nonce=nonce,
    )
    expected.control_plane.identifier = identifier
    fields = [wire.delta_resource(TYPE_URL, name, version, body) for name, body in resources]
    server = wire.control_plane(identifier)
    written = wire.delta_response(version, fields, TYPE_URL, nonce, server, removed=removed)
    assert written == expected.SerializeToString(deterministic=True)


@given(st.integers(min_value=0, max_value=2**63))
def test_varint_reads_back_as_the_number_it_was_made_of(number: int) -> None:
    assert UInt64Value.FromString(b"\x08" + wire.varint(number)).value == number


def test_a_resource_is_encoded_once_for_both_variants() -> None:
    calls: list[None] = []

    def encode() -> bytes:
        calls.append(None)
        return b"body"

    entry = Entry(TYPE_URL, "a", Resource(encode))
    assert not calls
    assert entry.sotw is entry.sotw
    assert entry.delta is entry.delta
    assert entry.version == Resource(lambda: b"body").version
    assert len(calls) == 1


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 15, 16, 99]), st.binary(max_size=300)), max_size=20),
    st.integers(1, 20),
)
def test_fields_are_counted_and_measured_as_they_are(said: list[tuple[int, bytes]], most: int) -> None:
    message = b"".join(wire.field(number, value) for number, value in said)
    found: dict[int, tuple[int, int]] = {}
    at = pieces = 0
    while at < len(message):
        at = wire.count_fields(message, at, most, found)
        pieces += 1
    sizes = {number: [len(value) for each, value in said if each == number] for number, _ in said}
    assert found == {number: (len(each), max(each)) for number, each in sizes.items()}
    assert pieces == -(-len(said) // most)


@given(st.binary(max_size=200))
def test_fields_of_what_is_no_protobuf_are_counted_without_an_error(message: bytes) -> None:
    found: dict[int, tuple[int, int]] = {}
    at = 0
    while at < len(message):
        at = wire.count_fields(message, at, 10, found)
    assert sum(count for count, _ in found.values()) <= len(message)
