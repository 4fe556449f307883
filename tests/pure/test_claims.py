"""What clients make up of where they are makes few views, takes nothing from the others, and leaves with them."""

from __future__ import annotations

import pytest
from support.placed import NETWORKS, PLACES, POLICIES, shown

from registry.claims import ELSEWHERE, MOST_MIXED, Claims
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService
from registry.views.eds import encode_assignment
from registry.views.names import Names
from registry.views.place import NOWHERE, Place

KEY = ServiceKey("shop", "echo")
A1, B2 = Locality("r1", "z1", "a"), Locality("r2", "z2", "b")


class World:
    """Cluster a has endpoints in r1/z1, b in r2/z2; on networks net-a and net-b. Cluster a has a Node n1 in r1/z9."""

    def __init__(self) -> None:
        self.looked = 0
        self.used: set[Place] = set()
        self.networks = {"net-a", "net-b"}
        self.claims = Claims(self, self, self.look, self.used.__contains__)
        self.at(A1, B2)

    def at(self, *localities: Locality, key: ServiceKey = KEY) -> None:
        endpoints = tuple(sorted(Endpoint(each, "10.0.0.1", (), ClusterId(each.sub_zone)) for each in localities))
        self.claims.publish((Change(key, None, MergedService(key, (), endpoints, ())),))

    def look(self) -> None:
        self.looked += 1

    def is_known(self, network: str) -> bool:
        return network in self.networks

    def zone_of(self, cluster: ClusterId, node: str) -> tuple[str, str] | None:
        return ("r1", "z9") if (cluster, node) == ("a", "n1") else None

    def admit(self, place: Place, node: str = "") -> Place:
        found = self.claims.admit(place, node)
        self.used.add(found)
        return found


@pytest.mark.parametrize(
    "place",
    [
        NOWHERE,
        Place("r1", "z1", "a", "net-a", family="IPv4"),
        Place("r2", "z2", "b", "net-a"),
        Place(zone="z1"),
        Place("r1", "z1", "b", "net-b"),
        Place(network="net-b"),
    ],
)
def test_a_place_of_what_there_is_stays_as_it_is(place: Place) -> None:
    assert World().claims.admit(place) == place


def test_what_strangers_make_up_is_one_place() -> None:
    world = World()
    made_up = {world.admit(Place(f"r{n}0", f"z{n}0", f"c{n}", f"net-{n}")) for n in range(1_000)}
    assert made_up == {Place(cluster=ELSEWHERE, network=ELSEWHERE)}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", [{}, {"zone": "z?"}, {"region": "r?"}, {"cluster": "c?"}, {"network": "n?"}])
def test_nobody_is_shown_anything_else_for_it(place: str, policy: str, network: str, change: dict[str, str]) -> None:
    service, rules, gateways = shown(network, policy)
    world = World()
    world.networks = {each.network for each in service.endpoints} | gateways.keys()
    world.claims.publish((Change(KEY, None, service),))
    said = PLACES[place]._replace(**change)
    cut = world.admit(said)
    for port in service.ports:
        before, after = (encode_assignment(service, port.port, Names(), each, rules, gateways) for each in (said, cut))
        assert before == after


def test_places_that_do_not_fit_together_are_bounded_and_leave_with_their_clients() -> None:
    world = World()
    world.at(*(Locality(f"r{n % 40}", f"z{n}", f"c{n % 40}") for n in range(40)), key=ServiceKey("shop", "other"))
    claims = [Place(f"r{n}", f"z{m}", f"c{n}") for n in range(40) for m in range(40)]
    found = {world.admit(each) for each in claims}
    fitting = {each for each in claims if each.region[1:] == each.zone[1:]}
    assert fitting <= found
    assert len(found) <= MOST_MIXED + len(fitting) + 1
    assert world.admit(Place("r1", "z3", "c5")) in found
    world.used.clear()
    last = claims[-2]
    assert last not in found
    assert world.admit(last) == last


def test_a_place_is_vouched_for_by_a_node() -> None:
    world = World()
    world.at(A1, B2, Locality("r1", "z9", "b"))
    for n in range(40):
        world.admit(Place(node=f"n{n}", cluster="b"))
    assert Place("r1", "z9", "a") not in world.claims._mixed
    assert world.admit(Place("r1", "z9", "a"), node="n1") == Place("r1", "z9", "a")
    assert Place("r1", "z9", "a") not in world.claims._mixed


def test_when_there_is_more_places_that_were_cut_down_are_asked_for_anew_once() -> None:
    world = World()
    world.at(A1, B2, Locality("r1", "z7", "a"))
    assert world.looked == 0, "nothing was cut down"
    assert world.admit(Place("r1", "z8", "a")) == Place("r1", "", "a")
    world.at(A1, B2, Locality("r1", "z8", "a"))
    world.at(A1, B2, Locality("r1", "z8", "a"), Locality("r1", "z6", "a"))
    assert world.looked == 1
    assert world.admit(Place("r1", "z8", "a")) == Place("r1", "z8", "a")


def test_a_change_of_endpoints_in_the_same_places_is_no_news() -> None:
    world = World()
    world.admit(Place(zone="z?"))
    for n in range(10):
        world.at(A1, B2, key=ServiceKey("shop", f"s{n}"))
    assert world.looked == 0
