"""What of a member's Service is left out for good, ready or not: beyond a bound, or at a special address. Pure.

One Service may not cost everybody: each of its ports is a cluster, a route and an assignment for every client, and each
endpoint is in the assignment of each of its ports. Beyond these bounds the first ones are served, in an order that
depends on nothing else; the rest is said (``Index.refused``, ``explain``, the condition ``FactsServed``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from registry.model.conditions import Condition, ConditionType
from registry.model.facts import EndpointSlice, ServicePort
from registry.model.names import ServiceKey
from registry.model.reasons import Reason
from registry.model.services import Endpoint, Health
from registry.model.trace import Trace

MAX_PORTS = 512
"""Of one cluster's Service. Kubernetes has no bound but the size of an object, some 20,000 ports. A commit that changes
so many, and marks who is to receive them, takes some 25 ms."""
MAX_ENDPOINTS = 10_000
"""Of one Service in one cluster: a change of one of so many is joined in some 10 ms."""
MAX_SLICES = 2_000
"""Of one Service in one cluster: twenty times what Kubernetes' controller makes of ``MAX_ENDPOINTS``."""
MAX_OFFERS = 100_000
"""Ports times endpoints, of one Service in one cluster: so many entries its assignments have together. A Service of 100
ports may have 1,000 endpoints, one of ``MAX_PORTS`` some 200."""


class Refusal(NamedTuple):
    """A rule that is in ``registry.model.reasons``, and what it applied to, for people."""

    reason: Reason
    message: str


def special_addresses(found: Sequence[tuple[int, str]]) -> list[Refusal]:
    """Of each slice, how many special addresses it has, and one of them with what it is."""
    number = sum(count for count, _ in found)
    if not number:
        return []
    example = min(text for count, text in found if count)
    noun = "endpoint is" if number == 1 else "endpoints are"
    text = f"{number} {noun} left out, at addresses that no endpoint may have, as {example}: correct its EndpointSlices"
    return [Refusal(Reason.SPECIAL_ADDRESS, text)]


def too_many_ports(said: Sequence[ServicePort], kept: Sequence[ServicePort]) -> list[Refusal]:
    """Of ``said``, all ports of a Service, those in ``kept`` are served."""
    if len(kept) < MAX_PORTS or len(said) <= MAX_PORTS:
        return []
    text = (
        f"it has {len(said)} ports, of which the first {len(kept)} by number are served, to {kept[-1].port}; "
        "divide it into several Services"
    )
    return [Refusal(Reason.TOO_MANY_PORTS, text)]


def too_many_endpoints(slices: int, counted: int, endpoints: int, served: int) -> list[Refusal]:
    """Of so many ``slices`` so many are ``counted``, and of these so many ``endpoints`` are ``served``."""
    found = []
    if counted < slices:
        found.append(f"it has {slices} EndpointSlices, of which the first {counted} by name count")
    if served < endpoints:
        found.append(f"it has {endpoints} endpoints, of which the first {served} in order are served")
    return [Refusal(Reason.TOO_MANY_ENDPOINTS, f"{'; '.join(found)}; divide it into several Services")] if found else []


def first_slices(
    found: Sequence[tuple[EndpointSlice, bool]], trace: Trace | None
) -> Sequence[tuple[EndpointSlice, bool]]:
    """Those that count: the first by name, as long as they have no more endpoints than may count in two families."""
    if len(found) <= MAX_SLICES and sum([len(fact.endpoints) for fact, _ in found]) <= 2 * MAX_ENDPOINTS:
        return found
    ordered = sorted(found, key=lambda each: (each[0].name, each[1]))
    sums = accumulate(len(fact.endpoints) for fact, _ in ordered)
    most = sum(number <= 2 * MAX_ENDPOINTS for number in islice(sums, MAX_SLICES))
    if trace is not None:
        for fact, _ in ordered[most:]:
            trace.left_out(fact, Reason.TOO_MANY_ENDPOINTS, f"only {most} slices count, the first by name")
    return ordered[:most]


def first_endpoints(endpoints: tuple[Endpoint, ...], ports: int, trace: Trace | None) -> tuple[Endpoint, ...]:
    """Those that are served of a Service of so many ``ports``: the healthy ones before others, in their order."""
    most = min(MAX_ENDPOINTS, MAX_OFFERS // ports) if ports else MAX_ENDPOINTS
    if len(endpoints) <= most:
        return endpoints
    ordered = sorted(endpoints, key=lambda each: (each.health is not Health.HEALTHY, each))
    if trace is not None:
        for each in ordered[most:]:
            trace.dropped(each, Reason.TOO_MANY_ENDPOINTS, f"only {most} are served of a Service of {ports} ports")
    return tuple(sorted(ordered[:most]))


def refusing_condition(refusals: Mapping[ServiceKey, Sequence[Refusal]]) -> Condition:
    """What of a cluster's services is left out for good: the first of them, and how many there are."""
    if not refusals:
        return Condition(ConditionType.FACTS_SERVED, True, "NothingRefused")
    key = min(refusals)
    reason, message = refusals[key][0]
    others = f"; and of {len(refusals) - 1} more services" if len(refusals) > 1 else ""
    text = f"of service {key}: {message}{others}; `mesh-registry get services -o wide` lists what is refused"
    return Condition(ConditionType.FACTS_SERVED, False, reason, text)
