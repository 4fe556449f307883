"""Which member cluster an endpoint of a ServiceEntry is of: a label on the endpoint.

Istio has the label for that. For endpoints of ServiceEntries istiod puts its own cluster's name in its place
(``AugmentLabels``), so no subset and no policy of Istio's sees ours.
"""

from __future__ import annotations

import hashlib

from registry.model.facts import Labels
from registry.model.names import ClusterId
from registry.model.services import Endpoint

CLUSTER_LABEL = "topology.istio.io/cluster"
MAX_LABEL_VALUE = 63
"""How long Kubernetes allows a label's value to be; a cluster's name may have 253 characters."""


def member_label(cluster: ClusterId) -> str:
    """The label's value for ``cluster``: its name, or the beginning of a long name and a hash."""
    if len(cluster) <= MAX_LABEL_VALUE:
        return cluster
    return f"{cluster[:46]}-{hashlib.sha256(cluster.encode()).hexdigest()[:16]}"


def attributed(endpoint: Endpoint) -> Labels:
    """The endpoint's labels with that of its cluster, ordered by key. Without a cluster: those it has."""
    labels = tuple(each for each in endpoint.labels if each[0] != CLUSTER_LABEL)
    if not endpoint.cluster:
        return labels
    return tuple(sorted((*labels, (CLUSTER_LABEL, member_label(endpoint.cluster)))))
