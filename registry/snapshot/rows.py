"""Facts as bytes, and back. Pure.

The kinds of which there are very many are short rows. Texts that many of them share (namespaces, nodes, zones, labels)
are *words*: written once, and named by their number from then on. That makes the file half as long, and what is read
shares its strings as what was written did. A change of a row is a change of the format's version.
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
    copy_mark: str = ""
    """Not in files of earlier programs, which did not know it."""

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
            fact.copy_mark,
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
            namespace=word(self.namespace),
            name=self.name,
            service=self.service,
            address_type=self.address_type,
            ports=tuple([SlicePort(word(name), port, protocol) for name, port, protocol in self.ports]),
            endpoints=tuple(
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
            copy_mark=self.copy_mark,
            resource_version=self.resource_version,
        )


class PodRow(_Row, frozen=True):
    namespace: int
    name: str
    labels: list[int]
    service_account: int
    ready: bool
    terminating: bool
    resource_version: str
    node: int = -1
    """-1 in files of earlier programs, which did not know it."""

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
            number(fact.node),
        )

    def fact(self, word: Word) -> Pod:
        return Pod(
            namespace=word(self.namespace),
            name=self.name,
            labels=_labels(self.labels, word),
            service_account=word(self.service_account),
            ready=self.ready,
            terminating=self.terminating,
            node=word(self.node) if self.node >= 0 else "",
            resource_version=self.resource_version,
        )


FactType = TypeVar("FactType", bound=Fact)


class Codec(Generic[FactType]):
    """One kind's facts as bytes, and back. ``weight`` says how much work a fact is, in endpoints or so.

    ``shape`` is a row, or the fact's own type: then it is written as it is, field by name, and a field that is new or
    gone is no other version of the format.
    """

    def __init__(self, shape: Any, weight: Callable[[FactType], int] = lambda _fact: 3) -> None:
        self._row: Any = shape if issubclass(shape, _Row) else None
        self._decoder = msgspec.msgpack.Decoder(list[shape])
        self.weight = weight

    def encoded(self, facts: Iterable[FactType], number: Number) -> bytes:
        row = self._row
        return msgspec.msgpack.encode(list(facts) if row is None else [row.of(fact, number) for fact in facts])

    def decoded(self, data: bytes | msgspec.Raw, word: Word) -> list[FactType]:
        """
        Raises:
            ValueError, IndexError: these are no such facts (msgspec's errors are ValueErrors).
        """
        found = self._decoder.decode(data)
        return found if self._row is None else [row.fact(word) for row in found]


CODECS: Mapping[Kind, Codec[Any]] = {
    Kind.SERVICE: Codec(Service),
    Kind.ENDPOINT_SLICE: Codec(SliceRow, lambda fact: 2 + len(fact.endpoints)),
    Kind.POD: Codec(PodRow, lambda fact: 1 + len(fact.labels) // 4),
    Kind.NODE: Codec(Node),
    Kind.NAMESPACE: Codec(Namespace),
    Kind.SERVICE_EXPORT: Codec(ServiceExport),
}


def _endpoint(address: str, flags: int, node: str, zone: str, pod: str, hostname: str) -> SliceEndpoint:
    ready, serving, terminating = flags & READY != 0, flags & SERVING != 0, flags & TERMINATING != 0
    return SliceEndpoint(address, ready, serving, terminating, node, zone, pod, hostname)


def _flags(each: SliceEndpoint) -> int:
    return (READY if each.ready else 0) | (SERVING if each.serving else 0) | (TERMINATING if each.terminating else 0)


def _numbers(labels: Labels, number: Number) -> list[int]:
    return [number(text) for pair in labels for text in pair]


def _labels(numbers: Sequence[int], word: Word) -> Labels:
    return tuple(zip(map(word, numbers[::2]), map(word, numbers[1::2]), strict=True))
