"""Where a client is, as far as that decides what it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from itertools import islice
from typing import NamedTuple

from registry.index.addresses import family_of
from registry.model.names import Kind, ObjectRef


class Place(NamedTuple):
    """A client's place; what is not known of it is empty. Clients of one place are shown the same bytes.

    ``cluster`` is a member cluster's name, ``node`` the Kubernetes node. ``family`` is that of the client's own first
    address, ``IPv4`` or ``IPv6``: an endpoint that has addresses of both is reached by that first.
    """

    region: str = ""
    zone: str = ""
    cluster: str = ""
    network: str = ""
    node: str = ""
    family: str = ""


ID_PARTS = 4

OWN_ADDRESSES = 64
"""So many of a client's own addresses count. A host may have hundreds, one for each Service (IPVS)."""

NOWHERE = Place()
"""Of a client that says nothing of itself: it is shown everything, in no order of nearness."""


def place_of(locality: tuple[str, str, str], metadata: Mapping[str, str], node_id: str = "") -> Place:
    """The place of an xDS node, as Istio describes nodes: ``node.locality``, and metadata beside it.

    Its addresses are in ``INSTANCE_IPS``, the first one first; else there is one in its id,
    ``sidecar~<ip>~<pod>.<ns>~<domain>``.
    """
    region, zone, _ = locality
    return Place(
        region=region,
        zone=zone,
        cluster=metadata.get("CLUSTER_ID", ""),
        network=metadata.get("NETWORK", ""),
        node=metadata.get("NODE_NAME", ""),
        family=_family(metadata.get("INSTANCE_IPS", "").partition(",")[0] or (*node_id.split("~", 2), "")[1]),
    )


class Who(NamedTuple):
    """What a client says of itself: its Pod, and its own addresses, in their one text form."""

    pod: ObjectRef | None = None
    addresses: tuple[str, ...] = ()


def who_of(metadata: Mapping[str, str], node_id: str) -> Who:
    """Of an xDS node: addresses as in ``place_of``, and the Pod in its id, ``sidecar~<ip>~<pod>.<ns>~<domain>``.

    An id with a loopback address, as our own default is, stands for no Pod.
    """
    kind, address, name, *rest = [*node_id.split("~"), "", "", ""][:ID_PARTS]
    named = bool(kind and rest[0]) and bool(_family(address))
    pod, _, namespace = name.rpartition(".")
    ips = metadata.get("INSTANCE_IPS", "")
    said = ips.split(",", OWN_ADDRESSES)[:OWN_ADDRESSES] if ips else [address]
    return Who(ObjectRef(Kind.POD, namespace, pod) if named and pod and namespace else None, own_addresses(said))


def own_addresses(said: Iterable[str]) -> tuple[str, ...]:
    """Those of the first ``OWN_ADDRESSES`` that say where a client is, in their one text form."""
    return tuple([ip_address(each.strip()).compressed for each in islice(said, OWN_ADDRESSES) if _family(each)])


def _family(text: str) -> str:
    """Of an address as a client says it; a loopback address, as in our own default id, says nothing of its network."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return ""
    return "" if address.is_loopback or address.is_unspecified else family_of(address.compressed)
