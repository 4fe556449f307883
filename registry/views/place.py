"""Where a client is, as far as that decides what it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Place(NamedTuple):
    """A client's place; what is not known of it is empty. Clients of one place are shown the same bytes.

    ``cluster`` is a member cluster's name, ``node`` the Kubernetes node.
    """

    region: str = ""
    zone: str = ""
    cluster: str = ""
    network: str = ""
    node: str = ""


NOWHERE = Place()
"""Of a client that says nothing of itself: it is shown everything, in no order of nearness."""


def place_of(locality: tuple[str, str, str], metadata: Mapping[str, str]) -> Place:
    """The place of an xDS node, as Istio describes nodes: ``node.locality``, and metadata beside it."""
    region, zone, _ = locality
    return Place(
        region=region,
        zone=zone,
        cluster=metadata.get("CLUSTER_ID", ""),
        network=metadata.get("NETWORK", ""),
        node=metadata.get("NODE_NAME", ""),
    )
