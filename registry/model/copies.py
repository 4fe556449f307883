"""Objects that a multi-cluster controller copied from another cluster, or made for such copies. Pure.

An endpoint is taken from the cluster that it runs in: only there its Pod, Node and readiness are known. So a copy is
never a source, whichever cluster its marks name: controllers name clusters in their own way, and a copy of a cluster's
own slice has its original beside it.

=====================================================  =====================================================
mark                                                   on objects of
=====================================================  =====================================================
label ``multicluster.kubernetes.io/source-cluster``    the MCS API (KEP-1645): Cilium, Submariner, and others
label ``lighthouse.submariner.io/sourceCluster``       older releases of Submariner
label ``mirror.linkerd.io/cluster-name``,              Linkerd's mirrors, on the Service, on its Endpoints,
``mirror.linkerd.io/mirrored-service``                 and on the slices that are made of these
label ``endpointslice.kubernetes.io/managed-by``       slices of the controllers in ``COPIERS``
annotation                                             Karmada's slices
``endpointslice.karmada.io/provision-cluster``
annotation ``multicluster.antrea.io/imported-service`` Antrea's derived Services
annotation                                             derived Services (the MCS API has it on ServiceImports)
``multicluster.kubernetes.io/derived-service``
owner of the kind ServiceImport                        derived Services of the MCS API, with their slices
=====================================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
COPIERS = frozenset(
    {
        "endpointslice-mesh-controller.cilium.io",
        "lighthouse-agent.submariner.io",
        "endpointslice-dispatch-controller.karmada.io",
        "endpointslice.reflection.liqo.io",
    }
)
"""Controllers whose slices are all copies."""

MARKED_LABELS = (
    "multicluster.kubernetes.io/source-cluster",
    "lighthouse.submariner.io/sourceCluster",
    "mirror.linkerd.io/cluster-name",
    "mirror.linkerd.io/mirrored-service",
)
MARKED_ANNOTATIONS = (
    "endpointslice.karmada.io/provision-cluster",
    "multicluster.antrea.io/imported-service",
    "multicluster.kubernetes.io/derived-service",
)
IMPORT_KIND = "ServiceImport"


def mark_of_copy(labels: Mapping[str, str | None], annotations: Mapping[str, str | None], owners: Iterable[str]) -> str:
    """The first mark that the object has, as people write it; empty where it is no copy. ``owners`` are their kinds."""
    for marks, found in ((MARKED_LABELS, labels), (MARKED_ANNOTATIONS, annotations)):
        for key in marks:
            if key in found:
                return f"{key}={found[key] or ''}"
    manager = labels.get(MANAGED_BY_LABEL) or ""
    if manager in COPIERS:
        return f"{MANAGED_BY_LABEL}={manager}"
    return f"owner {IMPORT_KIND}" if IMPORT_KIND in owners else ""
