"""What the registry believes over all clusters: services and their endpoints."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import NamedTuple

from registry.model.facts import AddressType, Labels, Protocol, ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.standing import Standing


class Health(StrEnum):
    """Whether an endpoint takes traffic. An endpoint that is neither is not in the list.

    ``HEALTHY``: ready. ``DRAINING``: serving and terminating (KEP-1669): it finishes what it has and takes new work
    only when nobody else can.
    """

    HEALTHY = "HEALTHY"
    DRAINING = "DRAINING"

    __hash__ = str.__hash__


class TargetPort(NamedTuple):
    """The port ``target`` of an endpoint that stands behind the Service's port number ``port`` of that protocol."""

    port: int
    target: int
    protocol: Protocol = Protocol.TCP


_NUMBER = itemgetter(0)
_PROTOCOLS = len(Protocol)
FEW = 8
"""So many ports are looked through; of more one is found by halves."""


class Endpoint(NamedTuple):
    """One place that answers for a service. The field order is the order of endpoints wherever they are listed.

    ``ports`` are ordered by number.
    ``address`` is an IPv4 or IPv6 address in its canonical text form. ``weight`` is at least 1. ``demoted``: it is in
    doubt (its removal is held, or its cluster is in doubt), so it comes one priority after the others. ``standing`` is
    what of that clients in its own cluster do not see: DEMOTED, that it is demoted; EVICTED, that it is left out.
    ``hostname`` is its own name under the service's, of a headless service (EndpointSlice ``hostname``).
    ``additional_addresses`` are the further ones of the same place: a Pod's address of the other family.
    """

    locality: Locality
    address: str
    ports: tuple[TargetPort, ...]
    cluster: ClusterId
    health: Health = Health.HEALTHY
    pod: str = ""
    node: str = ""
    service_account: str = ""
    network: str = ""
    weight: int = 1
    labels: Labels = ()
    demoted: bool = False
    hostname: str = ""
    additional_addresses: tuple[str, ...] = ()
    standing: Standing = Standing.CURRENT

    def target(self, port: int, protocol: Protocol = Protocol.TCP) -> int | None:
        """The endpoint's own port behind the Service port ``port``; None where it does not offer that."""
        pairs = self.ports
        if len(pairs) > FEW:
            position = bisect_left(pairs, port, key=_NUMBER)
            pairs = pairs[position : position + _PROTOCOLS]
        for pair in pairs:
            if pair.port == port and pair.protocol is protocol:
                return pair.target
        return None


class Conflict(NamedTuple):
    """Clusters export a service with different values of one property; the oldest export's counts (KEP-1645).

    ``field`` is as in the API, ``ports[80].appProtocol`` or ``sessionAffinity``; ``value`` is the one that counts,
    ``winner`` the cluster whose it is; ``losers`` are the clusters that say something else, each with its value.
    """

    field: str
    value: str
    winner: ClusterId
    losers: tuple[tuple[ClusterId, str], ...]


class Expected(NamedTuple):
    """How many endpoints a locality should have: ready ones, draining ones, and those that are not ready."""

    locality: Locality
    endpoints: int


@dataclass(frozen=True, slots=True)
class MergedService:
    """One service over all clusters that have it.

    ``ports`` are ordered by number and ``endpoints`` by their fields, each once; ``clusters`` are those that have the
    Service object, in order, whether or not they have endpoints of it. ``unready`` counts the endpoints left out
    because they are not ready.

    ``headless``, ``affinity_seconds``, ``traffic_distribution``, ``local_only`` and ``annotations`` are those of the
    oldest export, as ``Service`` has them; ``conflicts`` are where the exports differ, ordered by field. ``expected``
    is ordered by locality. ``unexposed`` are TCP ports, each with a cluster whose own Service does not expose it.
    ``ip_families`` are those of all exports, in the order of the oldest's preference. ``evicted`` are endpoints of
    clusters that are Evicted, which only clients in their own cluster are shown, in order like ``endpoints``.
    """

    key: ServiceKey
    ports: tuple[ServicePort, ...]
    endpoints: tuple[Endpoint, ...]
    clusters: tuple[ClusterId, ...]
    unready: int = 0
    headless: bool = False
    affinity_seconds: int = 0
    traffic_distribution: str = ""
    annotations: Labels = ()
    conflicts: tuple[Conflict, ...] = ()
    expected: tuple[Expected, ...] = ()
    local_only: bool = False
    ip_families: tuple[AddressType, ...] = ()
    unexposed: tuple[tuple[int, ClusterId], ...] = ()
    evicted: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One service before and after. ``old`` None: it appeared; ``new`` None: it is gone."""

    key: ServiceKey
    old: MergedService | None
    new: MergedService | None


ChangeSet = tuple[Change, ...]
"""What one commit of the index changed, ordered by key, without services that came out the same."""
