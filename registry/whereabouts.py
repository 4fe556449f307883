"""Where clients are: as they say, and on the node of their Pod where they do not say a node.

A Pod is known by its name, which in its namespace and cluster is one Pod's alone; else by an address, where it is
behind a Service, and Pods on no other node have it. The address from which a client connects says nothing: it may be
that of somebody in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from registry.model.names import ClusterId, Kind, ObjectRef
from registry.views.place import Place, Who

MOST_PODS, MOST_ADDRESSES = 10_000, 100
"""So many are waited for: clients may say anything. For further ones it is waited until a list is complete, or so many
Pods and EndpointSlices have changed: see ``CHANGES``."""

CHANGES = 50
SOUGHT_ADDRESSES = 4
"""Of one client's addresses so many are waited for."""


class Nodes(Protocol):
    """Who knows the Nodes of Pods; empty: not known."""

    def node_of(self, cluster: ClusterId, pod: ObjectRef) -> str: ...

    def node_at(self, cluster: ClusterId, address: str) -> str: ...


def is_lost(group: object) -> bool:
    """Of the group of a client, which is its place: whether its node is not known."""
    return isinstance(group, Place) and not group.node


class Whereabouts:
    """Finds the nodes of clients, and says when to look again for those that were not found.

    ``again`` is called when one that was sought may be known, and the places of clients are then to be asked for anew.
    It is called once, until they are.
    """

    by_nodes = True
    """Whether it matters on which node a client is. Where it does not, places have none, so that there are fewer."""

    def __init__(self, nodes: Nodes, again: Callable[[], object]) -> None:
        self._nodes = nodes
        self._again = again
        self._pods: set[tuple[ClusterId, ObjectRef]] = set()
        self._addresses: set[tuple[ClusterId, str]] = set()
        """What is sought."""
        self._lost = False
        """Somebody was not found."""
        self._beyond = 0
        """So many changes are left to wait for somebody of whom it is not kept what is sought; 0: there is nobody."""

    def at(self, place: Place, who: Who) -> Place:
        """The place, on the node of the client's Pod in its cluster where it has none."""
        if not self.by_nodes:
            return place._replace(node="") if place.node else place
        if place.node or not place.cluster or not any(who):
            return place
        cluster = ClusterId(place.cluster)
        node = next((node for node, _ in self._found(cluster, who)), "")
        if not node:
            self._seek(cluster, who)
        return place._replace(node=node)

    def origin(self, place: Place, who: Who) -> str:
        """Where a client at ``place``, who does not say its node, has it from, for people; empty: from nowhere."""
        found = self._found(ClusterId(place.cluster), who) if place.node and place.cluster else iter(())
        return next((f"{origin} of cluster {place.cluster}" for node, origin in found if node == place.node), "")

    def told(self, cluster: ClusterId, ref: ObjectRef) -> None:
        """A Pod or an EndpointSlice is another than before, or there, or gone."""
        if ref.kind is Kind.POD:
            if (cluster, ref) in self._pods and self._nodes.node_of(cluster, ref):
                self._look_again()
                return
        elif any(of == cluster and self._nodes.node_at(cluster, address) for of, address in self._addresses):
            self._look_again()
            return
        if self._beyond:
            self._beyond -= 1
            if not self._beyond:
                self._look_again()

    def listed(self) -> None:
        """A list was completed."""
        if self._lost:
            self._look_again()

    def _found(self, cluster: ClusterId, who: Who) -> Iterator[tuple[str, str]]:
        """The node by each thing that is said, in the order in which it counts, with what that is."""
        if who.pod is not None and (node := self._nodes.node_of(cluster, who.pod)):
            yield node, f"Pod {who.pod.namespace}/{who.pod.name}"
        at = {each: node for each in who.addresses if (node := self._nodes.node_at(cluster, each))}
        if len(set(at.values())) == 1:
            address, node = next(iter(at.items()))
            yield node, f"the Pod at {address}"

    def _seek(self, cluster: ClusterId, who: Who) -> None:
        self._lost = True
        if who.pod is not None and len(self._pods) < MOST_PODS:
            self._pods.add((cluster, who.pod))
        elif len(self._addresses) >= MOST_ADDRESSES:
            self._beyond = self._beyond or CHANGES
        if len(self._addresses) < MOST_ADDRESSES:
            self._addresses.update((cluster, each) for each in who.addresses[:SOUGHT_ADDRESSES])

    def _look_again(self) -> None:
        self._pods.clear()
        self._addresses.clear()
        self._lost = False
        self._beyond = 0
        self._again()
