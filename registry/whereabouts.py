"""Where clients are: as they say, and on the node of their Pod where they do not say a node.

A Pod is known by its name, which in its namespace and cluster is one Pod's alone. An address is not: Pods on the host's
network share the node's, one that is free again goes to another, and a connection may come through somebody else.
"""

from __future__ import annotations

from collections.abc import Callable

from registry.model.names import ClusterId, ObjectRef
from registry.views.place import Place

MOST_SOUGHT = 10_000
"""So many Pods are waited for: clients may say any name. Of further ones a list alone is waited for."""


class Whereabouts:
    """Finds the nodes of clients, and says when to look again for those that were not found.

    ``node_of`` knows Pods; ``again`` is called when one that was sought may be known, and the places of clients are
    then to be asked for anew. It is called once, until they are.
    """

    by_nodes = True
    """Whether it matters on which node a client is. Where it does not, places have none, so that there are fewer."""

    def __init__(self, node_of: Callable[[ClusterId, ObjectRef], str], again: Callable[[], object]) -> None:
        self._node_of = node_of
        self._again = again
        self._sought: set[tuple[ClusterId, ObjectRef]] = set()

    def at(self, place: Place, pod: ObjectRef | None) -> Place:
        """The place, on the node of that Pod of its cluster where it has none."""
        if not self.by_nodes:
            return place._replace(node="") if place.node else place
        if place.node or not place.cluster or pod is None:
            return place
        cluster = ClusterId(place.cluster)
        node = self._node_of(cluster, pod)
        if not node and len(self._sought) < MOST_SOUGHT:
            self._sought.add((cluster, pod))
        return place._replace(node=node)

    def told(self, cluster: ClusterId, ref: ObjectRef) -> None:
        """A Pod is another than before, or there, or gone."""
        if self._sought and (cluster, ref) in self._sought and self._node_of(cluster, ref):
            self._look_again()

    def listed(self) -> None:
        """A list was completed."""
        if self._sought:
            self._look_again()

    def _look_again(self) -> None:
        self._sought.clear()
        self._again()
