"""A cluster that is in doubt, as clients in it and clients elsewhere see it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import GuardPolicy, Index
from registry.model.events import Init, InitDone
from registry.model.gateways import Gateway
from registry.model.names import ClusterId, Kind
from registry.model.reasons import Reason
from registry.model.services import MergedService
from registry.model.standing import Standing
from registry.views.eds import NO_GATEWAYS, ServiceAssignments
from registry.views.explain import explain_ports
from registry.views.lookup import ServiceViews, View
from registry.views.names import Names
from registry.views.place import NOWHERE, Place
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy

OURS, THEIRS = "10.0.0.1", "10.0.1.1"
IN_A, IN_B, IN_C = Place(cluster="a"), Place(cluster="b"), Place(cluster="c")
NAMES = Names()
SHARES = TrafficPolicy(Distribution.WEIGHTED)


def two_clusters(theirs: str = THEIRS, networks: tuple[str, str] = ("", ""), guard: GuardPolicy | None = None) -> Index:
    """Cluster a has ``OURS``, cluster b ``theirs``."""
    index = Index(None, guard)
    for cluster, address, network in ((A, OURS, networks[0]), (B, theirs, networks[1])):
        index.add_cluster(cluster, network)
        for event in listing(a_service(), a_slice(address)):
            index.apply(cluster, event)
    index.commit()
    return index


def echo(index: Index, **standings: Standing) -> MergedService:
    for name, standing in standings.items():
        index.set_standing(ClusterId(name), standing)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    return service


def assigned(service: MergedService, place: Place, policy: TrafficPolicy = NO_POLICY) -> dict[str, int]:
    """Each address with its priority, over xDS; the lookup API says the same."""
    assignments = ServiceAssignments(service.key, NAMES)
    assignments.update(service, policy, NO_GATEWAYS)
    message = ClusterLoadAssignment.FromString(assignments.show(80, place).encode())
    found = {
        end.endpoint.address.socket_address.address: group.priority
        for group in message.endpoints
        for end in group.lb_endpoints
    }
    looked_up = ServiceViews(service, NAMES, policy).message(View(place))
    (port,) = looked_up.ports
    assert found == {each.address: group.priority for group in port.assignment.groups for each in group.targets}
    if policy == NO_POLICY:
        assert found == {each.address: each.priority for each in looked_up.endpoints}
    return found


@pytest.mark.parametrize(
    ("standing", "at_home", "elsewhere"),
    [
        (Standing.KEPT, {OURS: 0, THEIRS: 0}, {OURS: 0, THEIRS: 0}),
        (Standing.DEMOTED, {OURS: 0, THEIRS: 0}, {OURS: 0, THEIRS: 1}),
        (Standing.EVICTED, {OURS: 0, THEIRS: 0}, {OURS: 0}),
    ],
)
def test_clients_in_a_cluster_in_doubt_see_it_as_before(
    standing: Standing, at_home: Mapping[str, int], elsewhere: Mapping[str, int]
) -> None:
    index = two_clusters()
    before = assigned(echo(index), IN_B)
    service = echo(index, b=standing)
    assert assigned(service, IN_B) == at_home == before
    for place in (NOWHERE, IN_A, IN_C):
        assert assigned(service, place) == elsewhere
    assert assigned(echo(index, b=Standing.CURRENT), IN_A) == before


@pytest.mark.parametrize("standing", [Standing.DEMOTED, Standing.EVICTED])
def test_every_cluster_in_doubt_is_as_before_to_its_own_clients_alone(standing: Standing) -> None:
    service = echo(two_clusters(), a=standing, b=Standing.DEMOTED)
    assert assigned(service, IN_A) == {OURS: 0, THEIRS: 1}
    assert assigned(service, IN_B)[THEIRS] == 0
    assert assigned(service, IN_B).get(OURS) == (1 if standing is Standing.DEMOTED else None)


def test_last_endpoints_of_an_evicted_cluster_are_where_they_were_for_its_own_clients() -> None:
    service = echo(two_clusters(), a=Standing.EVICTED, b=Standing.EVICTED)
    assert assigned(service, IN_A) == {OURS: 0, THEIRS: 1}
    assert assigned(service, NOWHERE) == {OURS: 0, THEIRS: 0}


@pytest.mark.parametrize("standing", [Standing.DEMOTED, Standing.EVICTED])
def test_shares_are_those_of_before_for_its_own_clients(standing: Standing) -> None:
    index = two_clusters()
    before = assigned(echo(index), IN_B, SHARES)
    assert assigned(echo(index, b=standing), IN_B, SHARES) == before


@pytest.mark.parametrize("standing", [Standing.DEMOTED, Standing.EVICTED])
def test_endpoint_that_a_list_lacks_is_in_doubt_to_its_own_clients_too(standing: Standing) -> None:
    index = two_clusters(guard=GuardPolicy())
    slices = Kind.ENDPOINT_SLICE
    for event in (Init(slices), InitDone(slices)):
        index.apply(B, event)
    service = echo(index, b=standing)
    assert assigned(service, IN_B) == {OURS: 0, THEIRS: 1}
    assert assigned(echo(index, b=Standing.CURRENT), IN_B) == {OURS: 0, THEIRS: 1}


def test_evicted_endpoint_at_an_address_that_is_listed_is_left_out_for_everybody() -> None:
    """No client is shown an address twice: gRPC refuses that."""
    service = echo(two_clusters(OURS, ("n1", "n2")), b=Standing.EVICTED)
    assert service.evicted == ()
    assert assigned(service, IN_B) == {OURS: 0}


@pytest.mark.parametrize(("place", "count"), [(IN_A, 1), (IN_B, 2), (IN_B._replace(network="n1"), 1)])
def test_evicted_endpoints_count_behind_no_gateway_but_for_their_own_clients(place: Place, count: int) -> None:
    """A client in b that is on the network of a gets to its own cluster through the gateway."""
    service = echo(two_clusters(networks=("n1", "n2")), b=Standing.EVICTED)
    gateways = {"n2": (Gateway("203.0.113.1", 15443),)}
    assignments = ServiceAssignments(service.key, NAMES)
    assignments.update(service, NO_POLICY, gateways)
    groups = ClusterLoadAssignment.FromString(assignments.show(80, place).encode()).endpoints
    addresses = {end.endpoint.address.socket_address.address for group in groups for end in group.lb_endpoints}
    gateway = place.network == "n1" and place.cluster == "b"
    assert len(addresses) == count + gateway
    assert ("203.0.113.1" in addresses) == gateway


def test_no_cluster_in_doubt_costs_no_view_of_its_own() -> None:
    assignments = ServiceAssignments(ECHO, NAMES)
    index = two_clusters()
    places = (NOWHERE, IN_A, IN_B, IN_C)
    for standings, views in (
        ({}, 1),
        ({"b": Standing.DEMOTED}, 2),
        ({"b": Standing.EVICTED}, 2),
        ({"b": Standing.KEPT}, 1),
    ):
        assignments.update(echo(index, **standings), NO_POLICY)
        assert len({id(assignments.show(80, place)) for place in places}) == views


@pytest.mark.parametrize(
    ("standing", "place", "seated", "rule"),
    [
        (Standing.DEMOTED, IN_A, True, Reason.IN_DOUBT),
        (Standing.DEMOTED, IN_B, True, Reason.OWN_CLUSTER),
        (Standing.EVICTED, IN_A, False, Reason.EVICTED),
        (Standing.EVICTED, IN_B, True, Reason.OWN_CLUSTER),
    ],
)
def test_explain_says_which_of_the_two_a_client_is(
    standing: Standing, place: Place, seated: bool, rule: Reason
) -> None:
    index = two_clusters()
    echo(index, b=standing)
    explained = index.explain(ECHO)
    assert explained.service is not None
    (port,) = explain_ports(explained.service, NAMES, place, NO_POLICY, NO_GATEWAYS)
    (theirs,) = [each for each in explained.endpoints if each.address == THEIRS]
    endpoint = theirs.endpoint or theirs.evicted
    assert (theirs.endpoint is None) == (standing is Standing.EVICTED)
    shown = port.endpoints[id(endpoint)]
    assert (shown.seat is not None) == seated
    assert rule in {step.reason for step in shown.steps}
