"""Dual-stack: a Pod is in a slice of each family (KEP-563), and is one endpoint with two addresses. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from registry.index.addresses import family_of
from registry.model.facts import AddressType
from registry.model.reasons import Reason
from registry.model.services import Endpoint
from registry.model.trace import Trace

NOWHERE = ""


def paired(
    endpoints: Sequence[Endpoint], preferred: Sequence[AddressType], trace: Trace | None = None
) -> tuple[Endpoint, ...]:
    """The endpoints, where two of them are a Pod's address in either family as one.

    Its ``address`` is of the family that comes first in ``preferred`` (IPv4 where that says nothing), and the other
    one is in ``additional_addresses``: clients that know of such try it when the first does not answer (Envoy
    ``additional_addresses``, gRFC A61), others use the first. Endpoints that differ in anything but the address, or
    that are more than one of a family, stay as they are: slices change one after the other.
    """
    if len({":" in each.address for each in endpoints}) < 2:
        return tuple(endpoints)
    first = preferred[0] if preferred else AddressType.IPV4
    groups: dict[Endpoint, dict[AddressType, set[str]]] = {}
    for each in endpoints:
        if each.pod:
            group = groups.setdefault(each._replace(address=NOWHERE), {})
            group.setdefault(family_of(each.address), set()).add(each.address)
    found = [each for each in endpoints if not each.pod]
    for shared, addresses in groups.items():
        if len(addresses) == 2 and all(len(own) == 1 for own in addresses.values()):
            ordered = [
                each for kind in sorted(addresses, key=lambda kind: kind is not first) for each in addresses[kind]
            ]
            found.append(shared._replace(address=ordered[0], additional_addresses=tuple(ordered[1:])))
        else:
            found += [shared._replace(address=each) for own in addresses.values() for each in own]
    if trace is not None:
        _tell(trace, endpoints, found)
    return tuple(found)


def _tell(trace: Trace, endpoints: Sequence[Endpoint], found: Sequence[Endpoint]) -> None:
    """Which of those ``found`` each of the ``endpoints`` with a Pod is now; of equal ones the first."""
    homes = {
        each._replace(address=address, additional_addresses=()): each
        for each in found
        for address in (each.address, *each.additional_addresses)
    }
    taken: set[Endpoint] = set()
    for each in endpoints:
        if not each.pod:
            continue
        if each in taken:
            trace.dropped(each, Reason.DUPLICATE, f"{each.address} of Pod {each.pod} is in another slice too")
            continue
        taken.add(each)
        home = homes[each]
        if each.address in home.additional_addresses:
            trace.note(each, Reason.FURTHER_ADDRESS, f"Pod {each.pod} is listed as {home.address}")
        trace.became(each, home)
