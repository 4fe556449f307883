"""What clients at one place are shown of a service, and why: of each port and each endpoint. Pure.

Nothing is decided here: bundles and order are made as for every client, once more, with a recorder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from registry.model.facts import ServicePort
from registry.model.gateways import Gateway, Gateways
from registry.model.names import Locality
from registry.model.reasons import Reason
from registry.model.services import MergedService
from registry.model.trace import Notes, Step
from registry.views.eds import ServiceAssignments
from registry.views.names import Names
from registry.views.order import Slot
from registry.views.place import Place
from registry.views.policy import TrafficPolicy
from registry.views.protocol import unsupported
from registry.views.resources import served_ports


class Seat(NamedTuple):
    """A place in an assignment: priority, locality, its weight, and that of the endpoint or gateway in it."""

    priority: int
    locality: Locality
    locality_weight: int
    weight: int


class Shown(NamedTuple):
    """One endpoint in one assignment. ``seat`` is None where it is not in it.

    ``gateways`` stand for it, and for all others behind them. Of one that is left out the last of ``steps`` is why.
    """

    steps: tuple[Step, ...]
    seat: Seat | None = None
    gateways: tuple[tuple[Gateway, Seat], ...] = ()


@dataclass(frozen=True, slots=True)
class PortExplanation:
    """One port as clients at a place are shown it; ``version`` is empty where xDS does not serve it.

    ``endpoints`` has each endpoint of the service under its ``id``, also those that only their own cluster is shown.
    """

    port: ServicePort
    name: str
    version: str
    endpoints: Mapping[int, Shown]


def explain_ports(
    service: MergedService,
    names: Names,
    place: Place,
    policy: TrafficPolicy,
    gateways: Gateways,
    shown: ServiceAssignments | None = None,
) -> tuple[PortExplanation, ...]:
    """Each port of the service, ``shown`` as it is to clients. The endpoints must outlive what is returned."""
    notes = {port: Notes() for port in served_ports(service)}
    recorded = ServiceAssignments(service.key, names, lambda port: notes[port])
    recorded.update(service, policy, gateways)
    if shown is None:
        shown = ServiceAssignments(service.key, names)
        shown.update(service, policy, gateways)
    found = []
    known = (*service.endpoints, *service.evicted)
    for port in service.ports:
        name = names.cluster(service.key, port.port)
        why_not = unsupported(port)
        if why_not:
            steps = (Step(Reason.UNSUPPORTED_PROTOCOL, f"{port.port}/{port.protocol}: {why_not}"),)
            found.append(PortExplanation(port, name, "", {id(each): Shown(steps) for each in known}))
            continue
        arrangement = recorded.arrangement(port.port, place)
        seats = _seats(arrangement.slots, shown, port.port)
        endpoints = {
            id(each): Shown(
                notes[port.port].of(each),
                seats.get(id(each)),
                _gateways(arrangement.slots, notes[port.port].of(each), gateways.get(each.network, ())),
            )
            for each in known
        }
        found.append(PortExplanation(port, name, shown.show(port.port, place).version, endpoints))
    return tuple(found)


def _seats(slots: Sequence[Slot], assignments: ServiceAssignments, port: int) -> dict[int, Seat]:
    """The endpoints that the slots have, under their ``id``."""
    bundles = assignments.bundles(port)
    return {
        id(endpoint): Seat(slot.priority, slot.locality, slot.weight, endpoint.weight)
        for slot in slots
        for position in slot.bundles
        for endpoint in bundles[position].endpoints
    }


def _gateways(
    slots: Sequence[Slot], steps: Sequence[Step], gateways: Sequence[Gateway]
) -> tuple[tuple[Gateway, Seat], ...]:
    """Those of the endpoint's network, where its steps say that they stand for it."""
    if not any(step.reason is Reason.OTHER_NETWORK for step in steps):
        return ()
    own = {gateway[:2] for gateway in gateways}
    return tuple(
        (gateway, Seat(slot.priority, slot.locality, slot.weight, weight))
        for slot in slots
        for gateway, weight in slot.gateways
        if gateway[:2] in own
    )
