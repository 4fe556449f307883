"""How the API calls the kinds the registry reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.model.names import Kind


@dataclass(frozen=True, slots=True)
class Resource:
    """``paths``: where it may be, the best first. ``name``: as RBAC knows it.

    ``optional``: a cluster may lack it; 404 on every path means that there are none.
    """

    paths: tuple[str, ...]
    name: str
    optional: bool = False


RESOURCES: Mapping[Kind, Resource] = {
    Kind.SERVICE: Resource(("/api/v1/services",), "services"),
    Kind.ENDPOINT_SLICE: Resource(("/apis/discovery.k8s.io/v1/endpointslices",), "endpointslices.discovery.k8s.io"),
    Kind.POD: Resource(("/api/v1/pods",), "pods"),
    Kind.NODE: Resource(("/api/v1/nodes",), "nodes"),
    Kind.NAMESPACE: Resource(("/api/v1/namespaces",), "namespaces"),
    Kind.SERVICE_EXPORT: Resource(
        tuple(f"/apis/multicluster.x-k8s.io/{version}/serviceexports" for version in ("v1beta1", "v1alpha1")),
        "serviceexports.multicluster.x-k8s.io",
        optional=True,
    ),
}
