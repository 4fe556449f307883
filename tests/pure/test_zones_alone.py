"""Zones where nobody says regions: Kubernetes compares the zone alone (``registry.model.names.same_zone``)."""

from __future__ import annotations

from typing import Any

import pytest
from support.facts import ECHO, A, a_service, a_slice, listing

from registry.index import Index
from registry.model.facts import SliceEndpoint
from registry.model.gateways import Gateway
from registry.model.names import ClusterId, Locality, same_zone
from registry.model.services import Endpoint, MergedService
from registry.views.eds import ServiceAssignments
from registry.views.names import Names
from registry.views.order import Slot
from registry.views.place import Place
from registry.views.policy import Distribution, Selector, TrafficPolicy
from registry.views.service_entry import service_entries

HERE = Place(zone="rack-1")
GATES = [Gateway("203.0.113.1", 1, Locality("", "rack-2")), Gateway("203.0.113.2", 1, Locality("", "rack-1"))]


def merged(*regions: str, network: str = "") -> MergedService:
    """10.0.0.1 is in rack-2, 10.0.0.2 in rack-1, of these regions."""
    index = Index()
    index.add_cluster(A, network)
    ends = [SliceEndpoint(f"10.0.0.{each}", zone=f"rack-{3 - each}") for each in (1, 2)]
    for event in listing(a_service(), a_slice(*ends)):
        index.apply(A, event)
    index.commit()
    found = index.get(ECHO)
    assert found is not None
    return found


def slots(service: MergedService, policy: TrafficPolicy, place: Place = HERE, gateways: bool = False) -> list[Slot]:
    assignments = ServiceAssignments(ECHO, Names())
    assignments.update(service, policy, {"away": tuple(GATES)} if gateways else {})
    return list(assignments.arrangement(80, place).slots)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("", "z"), ("", "z"), True),
        (("eu", "z"), ("", "z"), True),
        (("", "z"), ("eu", "z"), True),
        (("eu", "z"), ("eu", "z"), True),
        (("eu", "z"), ("us", "z"), False),
        (("eu", ""), ("eu", ""), False),
        (("", ""), ("", ""), False),
        (("", "y"), ("", "z"), False),
    ],
)
def test_zones_are_the_same_unless_both_regions_are_known_and_differ(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    assert same_zone(one, other) is same


@pytest.mark.parametrize("place", [HERE, HERE._replace(region="eu")])
@pytest.mark.parametrize(
    "distribution", [Distribution.PREFER_SAME_ZONE, Distribution.PREFER_CLOSE, Distribution.PREFER_SAME_NODE]
)
def test_the_clients_zone_comes_first(distribution: Distribution, place: Place) -> None:
    found = slots(merged(), TrafficPolicy(distribution), place)
    assert [(slot.priority, slot.locality.zone) for slot in found] == [(0, "rack-1"), (1, "rack-2")]


def test_the_clients_zone_takes_its_share_first() -> None:
    found = slots(merged(), TrafficPolicy(Distribution.WEIGHTED))
    assert [(slot.priority, slot.locality.zone) for slot in found] == [(0, "rack-1"), (1, "rack-2")]
    assert found[0].weight == 10_000


def test_a_failover_selector_may_name_a_zone_of_a_region_that_the_endpoint_does_not_say() -> None:
    policy = TrafficPolicy(failover=(Selector(region="eu", zone="rack-1"), Selector(region="eu")))
    assert [slot.locality.zone for slot in slots(merged(), policy)] == ["rack-1", "rack-2"]
    in_region = Endpoint(Locality("us", "rack-1"), "10.0.0.1", (), ClusterId("a"))
    assert not Selector(region="eu", zone="rack-1").selects(in_region)
    assert not Selector(region="eu").selects(in_region._replace(locality=Locality("", "rack-1")))


def test_a_configured_gateway_is_in_its_zone() -> None:
    place = HERE._replace(network="home")
    found = slots(merged(network="away"), TrafficPolicy(Distribution.PREFER_SAME_ZONE), place, gateways=True)
    assert [(slot.priority, slot.gateways[0][0].address) for slot in found] == [(0, "203.0.113.2"), (1, "203.0.113.1")]


def test_a_service_entry_says_the_zone() -> None:
    (document,) = service_entries(merged(), Names()).documents
    spec: Any = document["spec"]
    assert [each["locality"] for each in spec["endpoints"]] == ["/rack-1/a", "/rack-2/a"]
