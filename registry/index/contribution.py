"""What one cluster gives to a service, as ``registry.index.join`` makes it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.index.refusals import Refusal
from registry.model.facts import EndpointSlice, Protocol, Service, ServicePort
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, Expected, TargetPort


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one cluster gives to a service.

    ``created`` is the time of the export (RFC 3339, UTC), empty where nobody knows. ``ports`` are as
    ``distinct_ports`` gives them. ``endpoints`` are in no order and may repeat (one endpoint in two slices, during a
    slice move). ``unready`` counts what is neither in ``endpoints`` nor terminating; ``expected`` counts both, by
    locality. There a Pod is one, whatever addresses it has. ``manned`` are the ports, by number and protocol, that have
    endpoints behind them, ready or not. ``refused`` is what of it is left out for good.
    """

    cluster: ClusterId
    service: Service
    created: str
    ports: tuple[ServicePort, ...]
    endpoints: tuple[Endpoint, ...]
    unready: int
    expected: tuple[Expected, ...]
    network: str
    parts: tuple[SlicePart, ...]
    manned: frozenset[tuple[int, Protocol]] = frozenset()
    refused: tuple[Refusal, ...] = ()

    @property
    def has_endpoints(self) -> bool:
        """One that is not ready is one: else a Pod that fails its probe would change what the exports agree on."""
        return bool(self.endpoints or self.unready)


@dataclass(frozen=True, slots=True)
class SlicePart:
    """What one slice gives, remembered so that a change of another slice, or of another endpoint, costs nothing here.

    ``endpoints`` are in their order. ``waiting`` are those that are not ready: Pod, address, and where they are;
    ``counts`` are how many endpoints there are in a locality. ``special`` is how many of its addresses no
    member may name, and one of them; ``loopback``: loopback addresses were meant.
    """

    fact: EndpointSlice
    targets: tuple[TargetPort, ...]
    demoted: bool
    endpoints: tuple[Endpoint, ...]
    waiting: tuple[tuple[str, str, Locality], ...]
    counts: tuple[tuple[Locality, int], ...]
    special: tuple[int, str] = (0, "")
    loopback: bool = False
