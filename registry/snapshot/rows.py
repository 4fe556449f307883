"""Facts as short rows, and back. Pure.

Texts that many facts share (namespaces, nodes, zones, labels) are *words*: written once, and named by their number from
then on. That makes the file half as long, and what is read shares its strings as what was written did. A change of any
row is a change of the format's version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from registry.model.facts import (
    AddressType,
    EndpointSlice,
    Fact,
    Labels,
    Namespace,
    Node,
    Pod,
    Protocol,
    Service,
    ServiceExport,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import Kind

READY, SERVING, TERMINATING = 1, 2, 4
Number = Callable[[str], int]
"""The number of a word, given to it the first time it is asked for."""
Word = Callable[[int], str]
"""The word of that number. Raises IndexError when there is none."""


class _Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An array; ``gc=False``: a row is no part of a cycle."""


class ServiceRow(_Row, frozen=True):
    namespace: int
    name: str
    ports: list[tuple[int, int, Protocol, int]]
    labels: list[int]
    headless: bool
    external_name: str
    selector: list[int]
    created: str
    traffic_distribution: int
    affinity_seconds: int
    publish_not_ready: bool
    local_only: bool
    annotations: list[int]
    ip_families: list[AddressType]
    resource_version: str

    @classmethod
    def of(cls, fact: Service, number: Number) -> ServiceRow:
        return cls(
            number(fact.namespace),
            fact.name,
            [(each.port, number(each.name), each.protocol, number(each.app_protocol)) for each in fact.ports],
            _numbers(fact.labels, number),
            fact.headless,
            fact.external_name,
            _numbers(fact.selector, number),
            fact.created,
            number(fact.traffic_distribution),
            fact.affinity_seconds,
            fact.publish_not_ready,
            fact.local_only,
            _numbers(fact.annotations, number),
            list(fact.ip_families),
            fact.resource_version,
        )

    def fact(self, word: Word) -> Service:
        return Service(
            word(self.namespace),
            self.name,
            tuple(ServicePort(port, word(name), protocol, word(app)) for port, name, protocol, app in self.ports),
            _labels(self.labels, word),
            self.headless,
            self.external_name,
            _labels(self.selector, word),
            self.created,
            word(self.traffic_distribution),
            self.affinity_seconds,
            self.publish_not_ready,
            self.local_only,
            _labels(self.annotations, word),
            tuple(self.ip_families),
            self.resource_version,
        )


class SliceRow(_Row, frozen=True):
    """The endpoints by column; ``hostnames`` is empty when none has one."""

    namespace: int
    name: str
    service: str
    address_type: AddressType
    ports: list[tuple[int, int | None, Protocol]]
    addresses: list[str]
    flags: bytes
    nodes: list[int]
    zones: list[int]
    pods: list[str]
    hostnames: list[str]
    resource_version: str

    @classmethod
    def of(cls, fact: EndpointSlice, number: Number) -> SliceRow:
        ends = fact.endpoints
        return cls(
            number(fact.namespace),
            fact.name,
            fact.service,
            fact.address_type,
            [(number(each.name), each.port, each.protocol) for each in fact.ports],
            [each.address for each in ends],
            bytes([_flags(each) for each in ends]),
            [number(each.node) for each in ends],
            [number(each.zone) for each in ends],
            [each.pod for each in ends],
            [each.hostname for each in ends] if any(each.hostname for each in ends) else [],
            fact.resource_version,
        )

    def fact(self, word: Word) -> EndpointSlice:
        columns = zip(
            self.addresses,
            self.flags,
            map(word, self.nodes),
            map(word, self.zones),
            self.pods,
            self.hostnames or [""] * len(self.addresses),
            strict=True,
        )
        return EndpointSlice(
            word(self.namespace),
            self.name,
            self.service,
            self.address_type,
            tuple([SlicePort(word(name), port, protocol) for name, port, protocol in self.ports]),
            tuple(
                [
                    SliceEndpoint(
                        address,
                        flags & READY != 0,
                        flags & SERVING != 0,
                        flags & TERMINATING != 0,
                        node,
                        zone,
                        pod,
                        host,
                    )
                    for address, flags, node, zone, pod, host in columns
                ]
            ),
            self.resource_version,
        )


class PodRow(_Row, frozen=True):
    namespace: int
    name: str
    labels: list[int]
    service_account: int
    ready: bool
    terminating: bool
    resource_version: str

    @classmethod
    def of(cls, fact: Pod, number: Number) -> PodRow:
        return cls(
            number(fact.namespace),
            fact.name,
            _numbers(fact.labels, number),
            number(fact.service_account),
            fact.ready,
            fact.terminating,
            fact.resource_version,
        )

    def fact(self, word: Word) -> Pod:
        return Pod(
            word(self.namespace),
            self.name,
            _labels(self.labels, word),
            word(self.service_account),
            self.ready,
            self.terminating,
            self.resource_version,
        )


class NodeRow(_Row, frozen=True):
    name: str
    region: int
    zone: int
    resource_version: str

    @classmethod
    def of(cls, fact: Node, number: Number) -> NodeRow:
        return cls(fact.name, number(fact.region), number(fact.zone), fact.resource_version)

    def fact(self, word: Word) -> Node:
        return Node(self.name, word(self.region), word(self.zone), self.resource_version)


class NamespaceRow(_Row, frozen=True):
    name: str
    labels: list[int]
    uid: str
    resource_version: str

    @classmethod
    def of(cls, fact: Namespace, number: Number) -> NamespaceRow:
        return cls(fact.name, _numbers(fact.labels, number), fact.uid, fact.resource_version)

    def fact(self, word: Word) -> Namespace:
        return Namespace(self.name, _labels(self.labels, word), self.uid, self.resource_version)


class ServiceExportRow(_Row, frozen=True):
    namespace: int
    name: str
    created: str
    resource_version: str

    @classmethod
    def of(cls, fact: ServiceExport, number: Number) -> ServiceExportRow:
        return cls(number(fact.namespace), fact.name, fact.created, fact.resource_version)

    def fact(self, word: Word) -> ServiceExport:
        return ServiceExport(word(self.namespace), self.name, self.created, self.resource_version)


FactType = TypeVar("FactType", bound=Fact)


class Codec(Generic[FactType]):
    """Rows of one kind. ``weight`` says how much work a fact is, in endpoints or so."""

    def __init__(self, row: Any, weight: Callable[[FactType], int] = lambda _fact: 1) -> None:
        self._row = row
        self._decoder = msgspec.msgpack.Decoder(list[row])
        self.weight = weight

    def encoded(self, facts: Iterable[FactType], number: Number) -> bytes:
        of = self._row.of
        return msgspec.msgpack.encode([of(fact, number) for fact in facts])

    def decoded(self, rows: bytes | msgspec.Raw, word: Word) -> list[FactType]:
        """
        Raises:
            ValueError, IndexError: these are no such rows (msgspec's errors are ValueErrors).
        """
        return [row.fact(word) for row in self._decoder.decode(rows)]


CODECS: Mapping[Kind, Codec[Any]] = {
    Kind.SERVICE: Codec(ServiceRow, lambda fact: 2 + len(fact.ports)),
    Kind.ENDPOINT_SLICE: Codec(SliceRow, lambda fact: 2 + len(fact.endpoints)),
    Kind.POD: Codec(PodRow, lambda fact: 1 + len(fact.labels) // 4),
    Kind.NODE: Codec(NodeRow),
    Kind.NAMESPACE: Codec(NamespaceRow),
    Kind.SERVICE_EXPORT: Codec(ServiceExportRow),
}


def _flags(each: SliceEndpoint) -> int:
    return (READY if each.ready else 0) | (SERVING if each.serving else 0) | (TERMINATING if each.terminating else 0)


def _numbers(labels: Labels, number: Number) -> list[int]:
    return [number(text) for pair in labels for text in pair]


def _labels(numbers: Sequence[int], word: Word) -> Labels:
    return tuple(zip(map(word, numbers[::2]), map(word, numbers[1::2]), strict=True))
