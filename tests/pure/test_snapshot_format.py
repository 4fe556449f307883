"""Facts as a snapshot's bytes and back, and bytes that are no good."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.facts import A, B, a_service, a_slice

from registry.model.facts import (
    EndpointSlice,
    Fact,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceExport,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import ClusterId, Kind
from registry.model.standing import Standing
from registry.snapshot.format import (
    BATCH,
    MAGIC,
    ClusterFacts,
    CorruptError,
    ForeignError,
    NewerError,
    Snapshot,
    SnapshotError,
    decode,
    encode,
)
from registry.snapshot.rows import CODECS

DOMAIN = "clusterset.local"
TYPES: dict[Kind, type] = {
    Kind.SERVICE: Service,
    Kind.ENDPOINT_SLICE: EndpointSlice,
    Kind.POD: Pod,
    Kind.NODE: Node,
    Kind.NAMESPACE: Namespace,
    Kind.SERVICE_EXPORT: ServiceExport,
}


def whole(type_: type, **given: st.SearchStrategy) -> st.SearchStrategy:
    """Values with something in every field, also in those that have a default."""
    return st.builds(type_, **(dict.fromkeys(fields(type_), ...) | given))


def fields(type_: type) -> list[str]:
    return list(getattr(type_, "_fields", ())) or [field.name for field in dataclasses.fields(type_)]


ports = st.integers(1, 65535)
st.register_type_strategy(SliceEndpoint, whole(SliceEndpoint))
st.register_type_strategy(SlicePort, whole(SlicePort, port=st.none() | ports))
st.register_type_strategy(ServicePort, whole(ServicePort, port=ports))


SIZES = {Service: {"affinity_seconds": st.integers(0, 86400)}}


def of_kind(kind: Kind) -> st.SearchStrategy[tuple[Fact, ...]]:
    return st.lists(whole(TYPES[kind], **SIZES.get(TYPES[kind], {})), max_size=3).map(tuple)


cluster_facts = st.builds(
    ClusterFacts,
    st.sampled_from([A, B, ClusterId("c")]),
    st.fixed_dictionaries({}, optional={kind: of_kind(kind) for kind in Kind}),
    st.text(),
    st.text(),
    st.sampled_from(Standing),
    st.floats(0, 4),
    st.booleans(),
)


def everything(fact: object) -> object:
    """The value, its types, and the fields that equality leaves out."""
    if dataclasses.is_dataclass(fact) or hasattr(fact, "_fields"):
        return (type(fact), [everything(getattr(fact, field)) for field in fields(type(fact))])
    return [everything(each) for each in fact] if isinstance(fact, tuple) else (type(fact), fact)


def written(*clusters: ClusterFacts, domain: str = DOMAIN) -> bytes:
    return b"".join(encode(domain, 1700000000.5, clusters))


def example() -> bytes:
    facts: dict[Kind, tuple[Fact, ...]] = {
        Kind.SERVICE: (a_service(),),
        Kind.ENDPOINT_SLICE: (a_slice(SliceEndpoint("10.0.0.1", node="n1", zone="z1", pod="p1"), "fd00::2"),),
        Kind.NODE: (Node("n1", "r1", "z1"),),
    }
    return written(ClusterFacts(A, facts, "uid-a"), ClusterFacts(B, {}, "uid-b", "net-b", Standing.DEMOTED))


@given(st.lists(cluster_facts, max_size=3))
def test_what_is_written_is_read(clusters: list[ClusterFacts]) -> None:
    """Every field of every fact: a new field that the rows do not have fails here."""
    snapshot = decode(written(*clusters), DOMAIN)
    assert snapshot == Snapshot(DOMAIN, 1700000000.5, tuple(clusters))
    for read, wrote in zip(snapshot.clusters, clusters, strict=True):
        assert read.facts.keys() == wrote.facts.keys()
        for kind in wrote.facts:
            assert [everything(each) for each in read.facts[kind]] == [everything(each) for each in wrote.facts[kind]]


def test_field_that_is_new_or_gone_is_no_other_version() -> None:
    """Of the kinds that are written as they are: an older file lacks it, a newer one has one that nobody knows."""
    codec = CODECS[Kind.SERVICE]
    older = msgspec.msgpack.encode([{"namespace": "shop", "name": "echo"}])
    newer = msgspec.msgpack.encode([{"namespace": "shop", "name": "echo", "mood": "good"}])
    for data in (older, newer):
        assert codec.decoded(data, lambda number: "") == [Service("shop", "echo")]


def test_a_pod_of_an_older_file_is_on_no_node_that_is_known() -> None:
    codec = CODECS[Kind.POD]
    texts: list[str] = []
    pod = Pod("shop", "p", node="n1")
    (row,) = msgspec.msgpack.decode(codec.encoded([pod], lambda text: texts.append(text) or len(texts) - 1))  # type: ignore[func-returns-value]
    older = msgspec.msgpack.encode([row[:-1]])
    assert codec.decoded(older, texts.__getitem__) == [dataclasses.replace(pod, node="")]


def test_facts_of_many_batches_are_read_in_their_order() -> None:
    slices = [a_slice(*(f"10.0.{number}.{each}" for each in range(100)), name=f"s{number}") for number in range(250)]
    pods = [Pod("shop", f"p{number}", (("app", "echo"),), "sa") for number in range(2500)]
    pieces = list(encode(DOMAIN, 0, [ClusterFacts(A, {Kind.ENDPOINT_SLICE: slices, Kind.POD: pods})]))
    assert len(pieces) > 250 * 100 / BATCH
    (read,) = decode(b"".join(pieces), DOMAIN).clusters
    assert list(read.facts[Kind.ENDPOINT_SLICE]) == slices
    assert list(read.facts[Kind.POD]) == pods


def test_texts_that_facts_share_are_one_string_when_read() -> None:
    slices = [a_slice(*(SliceEndpoint(f"10.0.0.{each}", node="n1", zone="z1") for each in range(9)), name="s1")]
    (read,) = decode(written(ClusterFacts(A, {Kind.ENDPOINT_SLICE: slices})), DOMAIN).clusters
    (fact,) = read.facts[Kind.ENDPOINT_SLICE]
    assert isinstance(fact, EndpointSlice)
    assert len({id(each.node) for each in fact.endpoints}) == 1
    assert len({id(each.zone) for each in fact.endpoints}) == 1


def test_clusters_are_asked_for_one_by_one() -> None:
    asked: list[ClusterId] = []

    def clusters() -> Iterable[ClusterFacts]:
        for each in (A, B):
            asked.append(each)
            yield ClusterFacts(each, {Kind.SERVICE: [a_service()]})

    pieces = encode(DOMAIN, 0, clusters())
    next(pieces)
    next(pieces)
    assert asked == []
    next(pieces)
    assert asked == [A]


def test_every_file_that_was_cut_off_is_known() -> None:
    data = example()
    for length in range(len(data)):
        with pytest.raises(ForeignError if length < len(MAGIC) else CorruptError):
            decode(data[:length], DOMAIN)


def test_every_byte_that_was_changed_is_noticed() -> None:
    data = example()
    for position in range(len(data)):
        for change in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[position] ^= change
            with pytest.raises(ForeignError if position < len(MAGIC) else CorruptError):
                decode(bytes(damaged), DOMAIN)


def test_bytes_behind_the_end_are_noticed() -> None:
    with pytest.raises(CorruptError, match="1 bytes come after its end"):
        decode(example() + b"x", DOMAIN)


def test_damage_is_said_with_its_place() -> None:
    data = bytearray(example())
    data[data.index(b"10.0.0.1")] ^= 1
    with pytest.raises(CorruptError, match=r"after byte \d+ of \d+, in the facts of cluster a: the checksum differs"):
        decode(bytes(data), DOMAIN)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_other_bytes_are_refused(data: bytes, begins_right: bool) -> None:
    with pytest.raises(SnapshotError):
        decode(MAGIC + data if begins_right else data, DOMAIN)


def resealed(data: bytes, position: int, new: bytes) -> bytes:
    """The file with other bytes in its first piece, its checksum made right."""
    import hashlib

    prefix = bytearray(data[:10])
    prefix[position : position + len(new)] = new
    return bytes(prefix) + hashlib.blake2b(prefix, digest_size=16).digest() + data[26:]


def test_file_of_a_newer_version_is_not_taken_for_a_damaged_one() -> None:
    with pytest.raises(NewerError, match="version 2"):
        decode(resealed(example(), 8, b"\x00\x02"), DOMAIN)
    with pytest.raises(CorruptError, match="never a version 0"):
        decode(resealed(example(), 8, b"\x00\x00"), DOMAIN)


def test_file_of_another_registry_is_foreign() -> None:
    with pytest.raises(ForeignError, match=r"'other\.example'"):
        decode(written(domain="other.example"), DOMAIN)
    with pytest.raises(ForeignError, match="no snapshot"):
        decode(b"%PDF-1.7 and so on", DOMAIN)


def test_no_step_of_encoding_holds_the_loop_for_long() -> None:
    """100,000 endpoints in 2,000 slices. The clock is this thread's own; the best of three, others have the machine."""
    slices = tuple(
        EndpointSlice(
            "shop",
            f"svc-{number}-abcde",
            f"svc-{number}",
            endpoints=tuple(
                SliceEndpoint(f"10.{number // 250}.{number % 250}.{each}", node=f"n{each}", zone="z", pod=f"p-{each}")
                for each in range(50)
            ),
        )
        for number in range(2000)
    )
    longest = []
    for _ in range(3):
        steps, last = [], time.thread_time()
        for _piece in encode(DOMAIN, 0, [ClusterFacts(A, {Kind.ENDPOINT_SLICE: slices})]):
            now = time.thread_time()
            steps.append(now - last)
            last = now
        longest.append(max(steps))
    assert min(longest) < 0.010
