"""On which Nodes the addresses of a cluster's Pods are, as far as Pods are behind Services. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.index.addresses import canonical_address
from registry.index.bags import Bag, put, take
from registry.model.facts import EndpointSlice


class Residents:
    """Kept from the slices there are, as they change. An address may be that of several Pods: on the host's network."""

    def __init__(self, slices: Iterable[EndpointSlice]) -> None:
        self._nodes: dict[str, Bag[str]] = {}
        """Address -> a Node for each slice and Node that has it."""
        for each in slices:
            self.changed(None, each)

    def changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """The slice is another than before, or there, or gone."""
        before, after = _residents(old), _residents(new)
        for address, node in before - after:
            rest = take(self._nodes[address], node)
            if rest:
                self._nodes[address] = rest
            else:
                del self._nodes[address]
        for address, node in after - before:
            self._nodes[address] = put(self._nodes.get(address, ()), node)

    def node_at(self, address: str) -> str:
        """The Node of the Pods at an address in its one text form; empty where there are none, or on several."""
        nodes = set(self._nodes.get(address, ()))
        return nodes.pop() if len(nodes) == 1 else ""


def _residents(fact: EndpointSlice | None) -> set[tuple[str, str]]:
    """Address and Node of each Pod in the slice."""
    if fact is None or fact.copy_mark:
        return set()
    ends = [each for each in fact.endpoints if each.pod and each.node]
    return {(canonical_address(each.address) or each.address, each.node) for each in ends}
