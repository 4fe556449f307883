"""What is explained of a client's view is what the client is sent, as an independent decoder reads it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from hypothesis import given, settings
from hypothesis import strategies as st
from support.worlds import KEYS, World, worlds

from registry.model.facts import Protocol
from registry.model.gateways import Gateway, Gateways
from registry.model.names import Locality
from registry.model.reasons import Effect, Reason, markdown
from registry.model.services import Endpoint
from registry.views.eds import encode_assignment
from registry.views.explain import Shown, explain_ports
from registry.views.names import Names
from registry.views.place import NOWHERE, Place
from registry.views.policy import Distribution, Fallback, Selector, TrafficPolicy

NAMES = Names()
GATES: Gateways = {
    "net-b": [Gateway("203.0.113.1", 15443, Locality("r2")), Gateway("203.0.113.2", 15443)],
    "net-c": [Gateway("203.0.113.3", 15443)],
}
SHARED: Gateways = {
    "net-b": [Gateway("203.0.113.1", 15443, Locality("r2"))],
    "net-c": [Gateway("203.0.113.1", 15443, Locality("r1")), Gateway("203.0.113.3", 15443)],
}
"""One is of two networks."""
places = st.sampled_from(
    [
        NOWHERE,
        Place("r1", "z1", "a", "", "n1"),
        Place("r1", "z2", "c", "elsewhere", "n1"),
        Place("r2", "z2", "b", "net-b", "n2"),
        Place("r1", "z1", "a", "", "n1", "IPv4"),
        Place("r1", "z1", "a", "", "n1", "IPv6"),
    ]
)
policies = st.builds(
    TrafficPolicy,
    st.sampled_from(Distribution),
    st.sampled_from([(), (Selector(cluster="a"),), (Selector(region="r1"), Selector(zone="z2"))]),
    st.sampled_from(Fallback),
    local_only=st.sampled_from([False, False, True]),
)
gateways: st.SearchStrategy[Gateways] = st.sampled_from([{}, GATES, SHARED])

Seats = set[tuple[tuple[str, ...], int, int, int]]


def decoded(body: bytes) -> Seats:
    """Addresses in their order, priority, the locality's weight and the endpoint's, of everything in the assignment."""
    return {
        (
            tuple(
                each.socket_address.address
                for each in (
                    member.endpoint.address,
                    *(further.address for further in member.endpoint.additional_addresses),
                )
            ),
            group.priority,
            group.load_balancing_weight or 0,
            member.load_balancing_weight or 0,
        )
        for group in ClusterLoadAssignment.parse(body).endpoints
        for member in group.lb_endpoints
    }


def in_order(endpoint: Endpoint, family: str) -> tuple[str, ...]:
    """Its addresses, those of the family first, else as they are."""
    addresses = (endpoint.address, *endpoint.additional_addresses)
    return tuple(sorted(addresses, key=lambda each: bool(family) and f"IPv{ip_address(each).version}" != family))


def told_first(shown: Shown, address: str) -> bool:
    """Whether it is explained that this address comes first."""
    details = [step.detail for step in shown.steps if step.reason is Reason.OWN_FAMILY_FIRST]
    return any(detail.startswith(f"{address} before ") for detail in details)


@settings(max_examples=150, deadline=None)
@given(worlds, places, policies, gateways)
def test_seats_are_those_of_the_bytes(world: World, place: Place, policy: TrafficPolicy, through: Gateways) -> None:
    index = world.index()
    for key in KEYS:
        service = index.explain(key).service
        if service is None:
            continue
        for port in explain_ports(service, NAMES, place, policy, through):
            if port.port.protocol is not Protocol.TCP:
                assert not port.version
                continue
            seats: Seats = set()
            for endpoint in service.endpoints:
                shown = port.endpoints[id(endpoint)]
                if shown.seat is not None:
                    seat = shown.seat
                    addresses = in_order(endpoint, place.family)
                    assert (addresses[0] != endpoint.address) == told_first(shown, addresses[0])
                    seats.add((addresses, seat.priority, seat.locality_weight, seat.weight))
                for gateway, seat in shown.gateways:
                    seats.add(((gateway.address,), seat.priority, seat.locality_weight, seat.weight))
                last = shown.steps[-1].reason.effect
                assert (shown.seat is None and not shown.gateways) == (last is Effect.DROPPED)
            body = encode_assignment(service, port.port.port, NAMES, place, policy, through)
            assert decoded(body) == seats


def test_every_rule_is_in_the_table_once() -> None:
    lines = list(markdown())
    assert len(lines) == 2 + len(set(Reason))
    assert len({each.meaning for each in Reason}) == len(Reason)


def test_the_table_in_the_documentation_is_the_one_in_the_code() -> None:
    text = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    assert "\n".join(markdown()) in text
