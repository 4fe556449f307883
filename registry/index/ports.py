"""A Service's ports, and what stands behind them in a slice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry.model.facts import EndpointSlice, Protocol, ServicePort
from registry.model.services import TargetPort

NAMED = 5
"""How many ports a text names."""


def distinct_ports(ports: Iterable[ServicePort], most: int) -> tuple[ServicePort, ...]:
    """The first ports by number, TCP first, without those that repeat a name or a number and protocol.

    There are ``most`` of them at most. The API server lets none be that repeat; a manifest may have them.
    """
    found: list[ServicePort] = []
    names: set[str] = set()
    numbers: set[tuple[int, Protocol]] = set()
    for port in sorted(ports, key=port_order):
        number = port.port, port.protocol
        if port.name not in names and number not in numbers:
            names.add(port.name)
            numbers.add(number)
            found.append(port)
            if len(found) == most:
                break
    return tuple(found)


def port_order(port: ServicePort) -> tuple[int, bool, ServicePort]:
    """By number; of one number TCP first."""
    return port.port, port.protocol is not Protocol.TCP, port


def target_order(pair: TargetPort) -> tuple[int, bool, TargetPort]:
    """An endpoint's ports are in the order of its service's."""
    return pair.port, pair.protocol is not Protocol.TCP, pair


def target_ports(ports: Iterable[ServicePort], fact: EndpointSlice) -> tuple[TargetPort, ...]:
    """What stands behind the Service's ``ports`` in this slice.

    The two sides meet by port name and protocol (``discovery.k8s.io/v1`` ``EndpointPort.name``), so a named target
    port may have another number in every slice. A slice port without a number means every number: then the Service's
    own. One that has no name either means every port of its protocol. A slice without ports offers none.
    """
    named = {(port.name, port.protocol): port.port for port in fact.ports}
    found = []
    for port in ports:
        target = named.get((port.name, port.protocol), 0)
        if target == 0 and named.get(("", port.protocol), 0) is None:
            target = None
        if target != 0:
            found.append(TargetPort(port.port, target or port.port, port.protocol))
    return tuple(found)


def ports_text(ports: Sequence[ServicePort], fact: EndpointSlice) -> str:
    """The two sides that do not meet."""
    asked = named([f"{port.name!r}/{port.protocol}" for port in ports[: NAMED + 1]], len(ports))
    has = named([f"{port.name!r}/{port.protocol}" for port in fact.ports[: NAMED + 1]], len(fact.ports))
    return f"the Service has {asked}; the slice has {has or 'no ports'}"


def named(texts: Sequence[str], number: int) -> str:
    """The first few of so many ports, for people."""
    return ", ".join(texts[:NAMED]) + (f" and {number - NAMED} more" if number > NAMED else "")
