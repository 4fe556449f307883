"""Which services of one cluster an object matters to: the inverted indices behind "cost follows the change"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry.index.bags import Bag, put, take
from registry.index.store import Difference
from registry.model.facts import EndpointSlice, Fact, Namespace, Node, Pod, Service, ServiceExport
from registry.model.names import Kind, ObjectRef, ServiceKey

NO_PODS: Mapping[str, Bag[ServiceKey]] = {}
NO_SERVICES: Mapping[ServiceKey, int] = {}


class ServiceLookup:
    """From EndpointSlices, Pods and Nodes to the services they have a part in."""

    def __init__(self) -> None:
        self._slices: dict[ServiceKey, Bag[ObjectRef]] = {}
        self._of_pods: dict[str, dict[str, Bag[ServiceKey]]] = {}
        """Namespace -> Pod -> a service for each slice that names the Pod."""
        self._of_nodes: dict[str, dict[ServiceKey, int]] = {}
        """Node -> service -> how many slices of it name the Node."""

    def slices(self, key: ServiceKey) -> Iterable[ObjectRef]:
        """The slices that name the service, in no order."""
        return self._slices.get(key, ())

    def touched(self, difference: Difference) -> Iterable[ServiceKey]:
        """Take in one difference; returns the services that have to be joined anew."""
        old, new = difference
        fact = new or old
        match fact:
            case Service() | ServiceExport():
                return (fact.key,)
            case EndpointSlice():
                return self._replace(
                    old if isinstance(old, EndpointSlice) else None, new if isinstance(new, EndpointSlice) else None
                )
            case Pod():
                return () if _lends_the_same(old, new) else self.users(fact.ref)
            case Node():
                return self.users(fact.ref)
            case Namespace() | None:
                return ()

    def users(self, ref: ObjectRef) -> Iterable[ServiceKey]:
        """The services that have an endpoint on this Pod or Node."""
        if ref.kind is Kind.POD:
            return self._of_pods.get(ref.namespace, NO_PODS).get(ref.name, ())
        return tuple(self._of_nodes.get(ref.name, NO_SERVICES))

    def _replace(self, old: EndpointSlice | None, new: EndpointSlice | None) -> Iterable[ServiceKey]:
        """The slice is another, or there, or gone. Only Pods and Nodes that one side alone names are gone through."""
        before, after = _key(old), _key(new)
        same = before == after
        old_pods, new_pods = _pods(old, before), _pods(new, after)
        old_nodes, new_nodes = _nodes(old, before), _nodes(new, after)
        if old is not None and before is not None:
            self._forget_pods(before, old_pods - new_pods if same else old_pods)
            self._forget_nodes(before, old_nodes - new_nodes if same else old_nodes)
            if not same:
                self._forget_slice(before, old.ref)
        if new is not None and after is not None:
            self._add_pods(after, new_pods - old_pods if same else new_pods)
            self._add_nodes(after, new_nodes - old_nodes if same else new_nodes)
            if not same:
                self._slices[after] = put(self._slices.get(after, ()), new.ref)
        return [key for key in ((before,) if same else (before, after)) if key is not None]

    def _add_pods(self, key: ServiceKey, pods: Iterable[str]) -> None:
        if pods:
            row = self._of_pods.setdefault(key.namespace, {})
            for pod in pods:
                row[pod] = put(row.get(pod, ()), key)

    def _forget_pods(self, key: ServiceKey, pods: Iterable[str]) -> None:
        row = self._of_pods.get(key.namespace, {})
        for pod in pods:
            rest = take(row[pod], key)
            if rest:
                row[pod] = rest
            else:
                del row[pod]
        if not row:
            self._of_pods.pop(key.namespace, None)

    def _add_nodes(self, key: ServiceKey, nodes: Iterable[str]) -> None:
        for node in nodes:
            row = self._of_nodes.setdefault(node, {})
            row[key] = row.get(key, 0) + 1

    def _forget_nodes(self, key: ServiceKey, nodes: Iterable[str]) -> None:
        for node in nodes:
            row = self._of_nodes[node]
            row[key] -= 1
            if not row[key]:
                del row[key]
            if not row:
                del self._of_nodes[node]

    def _forget_slice(self, key: ServiceKey, ref: ObjectRef) -> None:
        rest = take(self._slices[key], ref)
        if rest:
            self._slices[key] = rest
        else:
            del self._slices[key]


def _lends_the_same(old: Fact | None, new: Fact | None) -> bool:
    """Whether the Pod is another one only in what its endpoints do not borrow from it: that it is ready, or goes."""
    if not isinstance(old, Pod) or not isinstance(new, Pod):
        return False
    return (old.labels, old.service_account) == (new.labels, new.service_account)


def pod_ref(fact: EndpointSlice, pod: str) -> ObjectRef:
    """The Pod an endpoint of the slice targets: always in the slice's namespace."""
    return ObjectRef(Kind.POD, fact.namespace, pod)


def _key(fact: EndpointSlice | None) -> ServiceKey | None:
    """The service the slice names, where it names one."""
    return ServiceKey(fact.namespace, fact.service) if fact is not None and fact.service else None


def _pods(fact: EndpointSlice | None, key: ServiceKey | None) -> set[str]:
    if fact is None or key is None:
        return set()
    return {endpoint.pod for endpoint in fact.endpoints if endpoint.pod}


def _nodes(fact: EndpointSlice | None, key: ServiceKey | None) -> set[str]:
    if fact is None or key is None:
        return set()
    return {endpoint.node for endpoint in fact.endpoints if endpoint.node}
