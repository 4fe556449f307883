"""Which services of one cluster an object matters to: the inverted indices behind "cost follows the change"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from registry.index.store import Difference
from registry.model.facts import EndpointSlice, Fact, Namespace, Node, Pod, Service, ServiceExport
from registry.model.names import Kind, ObjectRef, ServiceKey

Outer = TypeVar("Outer")
Value = TypeVar("Value")

NO_SLICES: Mapping[ObjectRef, EndpointSlice] = {}


class ServiceLookup:
    """From EndpointSlices, Pods and Nodes to the services they have a part in."""

    def __init__(self) -> None:
        self._slices: dict[ServiceKey, dict[ObjectRef, EndpointSlice]] = {}
        self._users: dict[ObjectRef, dict[ObjectRef, ServiceKey]] = {}
        """Pod or Node -> the slices with an endpoint on it -> the service of each."""

    def slices(self, key: ServiceKey) -> Iterable[EndpointSlice]:
        """The slices that name the service, in no order."""
        return self._slices.get(key, NO_SLICES).values()

    def touched(self, difference: Difference) -> set[ServiceKey]:
        """Take in one difference; returns the services that have to be joined anew."""
        fact = difference.new or difference.old
        match fact:
            case Service() | ServiceExport():
                return {fact.key}
            case EndpointSlice():
                return self._remove(difference.old) | self._add(difference.new)
            case Pod() | Node():
                return set(self._users.get(fact.ref, {}).values())
            case Namespace() | None:
                return set()

    def _add(self, fact: Fact | None) -> set[ServiceKey]:
        if not isinstance(fact, EndpointSlice) or not fact.service:
            return set()
        key = ServiceKey(fact.namespace, fact.service)
        self._slices.setdefault(key, {})[fact.ref] = fact
        for used in _used(fact):
            self._users.setdefault(used, {})[fact.ref] = key
        return {key}

    def _remove(self, fact: Fact | None) -> set[ServiceKey]:
        if not isinstance(fact, EndpointSlice) or not fact.service:
            return set()
        key = ServiceKey(fact.namespace, fact.service)
        _discard(self._slices, key, fact.ref)
        for used in _used(fact):
            _discard(self._users, used, fact.ref)
        return {key}


def pod_ref(fact: EndpointSlice, pod: str) -> ObjectRef:
    """The Pod an endpoint of the slice targets: always in the slice's namespace."""
    return ObjectRef(Kind.POD, fact.namespace, pod)


def node_ref(node: str) -> ObjectRef:
    return ObjectRef(Kind.NODE, "", node)


def _used(fact: EndpointSlice) -> set[ObjectRef]:
    pods = {pod_ref(fact, endpoint.pod) for endpoint in fact.endpoints if endpoint.pod}
    return pods | {node_ref(endpoint.node) for endpoint in fact.endpoints if endpoint.node}


def _discard(table: dict[Outer, dict[ObjectRef, Value]], outer: Outer, inner: ObjectRef) -> None:
    """Remove one entry, and its row when that is empty, so that names that come and go leave nothing behind."""
    row = table.get(outer)
    if row is not None:
        row.pop(inner, None)
        if not row:
            del table[outer]
