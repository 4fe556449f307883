"""Which endpoints stand together in one ServiceEntry, so that none is listed at a port that it does not offer. Pure.

Istio gives an endpoint every port of its entry: where the endpoint's ``ports`` lack one, the port's ``targetPort`` or
its own number. So an entry holds only endpoints that offer all of its ports. Istio joins the entries of one host and
namespace: a port gets the endpoints of every entry that has it.

Every set of ports that some endpoint offers has a group; usually there is one. The first group is that with the most
ports. Ports that no endpoint offers have one of their own, so that clients learn that nobody is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from registry.model.facts import ServicePort
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.views.bundles import facing
from registry.views.policy import TrafficPolicy

MAX_PORTS = 256
"""How many ports an entry may have by Istio's custom resource definition."""
MAX_MAPPED_PORTS = 128
"""How many an endpoint's ``ports`` may have."""
MAX_READABLE = 40
"""How long the port numbers in an entry's name may be before their hash stands for them."""

Targets = Mapping[int, int]
"""By port number of the service, the endpoint's own port behind it."""


Use = tuple[str, tuple[int, int]]
"""An address, and a port of the service with the address's own port behind it."""


class Offer(NamedTuple):
    """An endpoint and what of the service it offers."""

    endpoint: Endpoint
    targets: Targets

    def uses(self) -> list[Use]:
        """Its addresses and ports, by the service's port."""
        return [(self.endpoint.address, pair) for pair in self.targets.items()]

    def without(self, numbers: Set[int]) -> Offer:
        return Offer(self.endpoint, {number: own for number, own in self.targets.items() if number not in numbers})

    def without_uses(self, uses: Set[Use]) -> Offer:
        left = {pair for address, pair in self.uses() if (address, pair) not in uses}
        return Offer(self.endpoint, {number: own for number, own in self.targets.items() if (number, own) in left})


@dataclass(frozen=True, slots=True)
class Group:
    """What one entry holds. ``defaults`` are the target ports of endpoints that do not say their own.

    ``suffix`` tells the groups of a service apart; that of the first is empty.
    """

    suffix: str
    ports: tuple[ServicePort, ...]
    offers: tuple[Offer, ...]
    defaults: Targets


def offers(service: MergedService, ports: Sequence[ServicePort], policy: TrafficPolicy, family: str) -> list[Offer]:
    """The endpoints with what clients may use of each, in order; those without anything are left out.

    An endpoint that the ``policy`` leaves out for everybody is not among them. A draining endpoint offers only ports
    that no healthy one offers: a ServiceEntry has no health. An address and port that every client reaches are there
    once: who reaches a network reaches also the endpoints on none (``registry.views.shadows``).
    """
    wanted = {(port.port, port.protocol) for port in ports}
    known: dict[tuple[TargetPort, ...], Targets] = {}
    found: list[Offer] = []
    for endpoint in service.endpoints:
        if policy.failover and policy.tier(endpoint) is None:
            continue
        targets = known.get(endpoint.ports)
        if targets is None:
            offered = {each.port: each.target for each in endpoint.ports if (each.port, each.protocol) in wanted}
            targets = known[endpoint.ports] = dict(sorted(offered.items()))
        found.append(Offer(facing(endpoint, family), targets))
    if any(each.endpoint.health is not Health.HEALTHY for each in found):
        healthy = {number for each in found if each.endpoint.health is Health.HEALTHY for number in each.targets}
        found = [each if each.endpoint.health is Health.HEALTHY else each.without(healthy) for each in found]
    if any(each.endpoint.network for each in found):
        everywhere = {use for each in found if not each.endpoint.network for use in each.uses()}
        found = [each.without_uses(everywhere) if each.endpoint.network else each for each in found]
    return _joined([each for each in found if each.targets])


def _joined(found: list[Offer]) -> list[Offer]:
    """One offer of those that differ in nothing but their ports, as of one Pod in two EndpointSlices."""
    if len({each.endpoint.address for each in found}) == len(found):
        return found
    joined: dict[Endpoint, list[Offer]] = {}
    for each in found:
        same = joined.setdefault(each.endpoint._replace(ports=()), [])
        for position, other in enumerate(same):
            if not other.targets.keys() & each.targets.keys():
                same[position] = Offer(other.endpoint, dict(sorted({**other.targets, **each.targets}.items())))
                break
        else:
            same.append(each)
    return [each for same in joined.values() for each in same]


def grouped(ports: Sequence[ServicePort], offered: Sequence[Offer]) -> list[Group]:
    """The groups of a service that has these ports. Each port of each offer is in exactly one of them."""
    found: list[Group] = []
    for begin in range(0, len(ports), MAX_PORTS):
        found += _groups_of(ports[begin : begin + MAX_PORTS], offered, first=not begin)
    return found


def _groups_of(ports: Sequence[ServicePort], offered: Sequence[Offer], *, first: bool) -> list[Group]:
    """Those of at most ``MAX_PORTS`` ports, the most important first."""
    numbers = tuple(port.port for port in ports)
    parts: dict[_Key, list[Offer]] = {}
    known: dict[int, tuple[Targets, list[Offer]]] = {}
    """By the ``id`` of an offer's targets, which many share: those of these ports, and the part they belong to."""
    for each in offered:
        found = known.get(id(each.targets))
        if found is None:
            targets = {number: each.targets[number] for number in numbers if number in each.targets}
            part = parts.setdefault(_key(targets), []) if targets else []
            found = known[id(each.targets)] = targets, part
        found[1].append(Offer(each.endpoint, found[0]))
    manned = {number for key in parts for number in key.numbers}
    if unmanned := tuple(number for number in numbers if number not in manned):
        parts[_Key(unmanned, ())] = []
    ordered = sorted(parts, key=lambda key: (not parts[key], -len(key.numbers), key))
    groups = []
    for position, key in enumerate(ordered):
        suffix = "" if first and not position else key.text()
        defaults = dict(zip(key.numbers, key.targets, strict=True)) if key.targets else {}
        has = set(key.numbers)
        groups.append(Group(suffix, tuple(port for port in ports if port.port in has), tuple(parts[key]), defaults))
    return groups


class _Key(NamedTuple):
    """What the endpoints of a group have in common: the ports, and their targets where the entry's ports say them."""

    numbers: tuple[int, ...]
    targets: tuple[int, ...]

    def text(self) -> str:
        """Words for an entry's name."""
        numbers = "-".join(map(str, self.numbers))
        if len(numbers) <= MAX_READABLE and not self.targets:
            return numbers
        digest = hashlib.sha256(repr(tuple(self)).encode()).hexdigest()
        return f"{self.numbers[0]}-to-{self.numbers[-1]}-{digest[:10]}"


def _key(targets: Targets) -> _Key:
    mapped = sum(number != target for number, target in targets.items())
    # Too many for the endpoint's own map, so the entry's ports have to say them, for all of its endpoints.
    return _Key(tuple(targets), tuple(targets.values()) if mapped > MAX_MAPPED_PORTS else ())
