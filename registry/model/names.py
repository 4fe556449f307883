"""Names: of clusters, of services, of objects, of places.

They are tuples, because there are hundreds of thousands of them: made, hashed and compared in C.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, NewType

ClusterId = NewType("ClusterId", str)
"""The operator's name for a member cluster, as in Istio's ``CLUSTER_ID``. Unique within one registry."""


class Kind(StrEnum):
    """The Kubernetes kinds the registry reads; the value is the ``kind`` of the object."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    POD = "Pod"
    NODE = "Node"
    NAMESPACE = "Namespace"
    SERVICE_EXPORT = "ServiceExport"

    __hash__ = str.__hash__
    """Enum's own is a call in Python, and every look-up of an ObjectRef makes it."""


BASE_KINDS = frozenset(Kind) - {Kind.SERVICE_EXPORT}
"""The kinds every cluster has. A ServiceExport is of a CRD (KEP-1645): read only where services are exported by it."""


class ServiceKey(NamedTuple):
    """Namespace and name: the same pair means the same service in every cluster (KEP-1645, namespace sameness)."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServiceKey:
        """The key written as ``NS/NAME``.

        Raises:
            ValueError: the text is not two non-empty parts around one slash.
        """
        namespace, slash, name = text.partition("/")
        if not slash or not namespace or not name or "/" in name:
            raise ValueError(f"{text!r} is not a service: write NAMESPACE/NAME")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ObjectRef(NamedTuple):
    """One object of one cluster. ``namespace`` is empty for a kind without namespaces (Node, Namespace)."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Locality(NamedTuple):
    """Where an endpoint runs: region, zone, and the cluster as sub-zone. Unknown parts are empty."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""

    def __str__(self) -> str:
        """``region/zone/sub_zone`` as Istio writes it, without empty parts at the end."""
        return "/".join((self.region, self.zone, self.sub_zone)).rstrip("/")


def same_zone(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two places, as region and zone, are in one zone.

    Kubernetes compares the label of the zone alone, and many a cluster has no regions: so a region counts only where
    both places have one. Zones of different regions may have the same name.
    """
    return bool(one[1]) and one[1] == other[1] and (one[0] == other[0] or not one[0] or not other[0])
