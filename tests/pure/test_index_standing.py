"""How much is believed of a whole cluster, which Services it exports, and which network it is on."""

from __future__ import annotations

import pytest
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import ExportMode, ExportPolicy, Index
from registry.model.events import Apply, Delete
from registry.model.facts import Fact, Namespace, Pod, Service, ServiceExport, ServicePort, SliceEndpoint, SlicePort
from registry.model.names import ClusterId, Kind
from registry.model.standing import Standing

TWO_PORTS = (ServicePort(80, "http"), ServicePort(81, "admin"))
TWO_TARGETS = (SlicePort("http", 8080), SlicePort("admin", 8081))


def listed(index: Index, cluster: ClusterId, *facts: Fact) -> Index:
    index.add_cluster(cluster)
    for event in listing(*facts):
        index.apply(cluster, event)
    index.commit()
    return index


def two_clusters() -> Index:
    index = listed(Index(), A, a_service(), a_slice("10.0.0.1"))
    return listed(index, B, a_service(), a_slice("10.0.1.1"))


def stand(index: Index, **standings: Standing) -> dict[str, bool]:
    """Set these; returns each address of ``shop/echo`` and whether it is in doubt."""
    for name, standing in standings.items():
        index.set_standing(ClusterId(name), standing)
    index.commit()
    service = index.get(ECHO)
    return {each.address: each.demoted for each in service.endpoints} if service else {}


def networks(index: Index) -> list[str]:
    service = index.get(ECHO)
    assert service is not None
    return [each.network for each in service.endpoints]


@pytest.mark.parametrize(
    ("standing", "found"),
    [
        (Standing.CURRENT, {"10.0.0.1": False, "10.0.1.1": False}),
        (Standing.KEPT, {"10.0.0.1": False, "10.0.1.1": False}),
        (Standing.DEMOTED, {"10.0.0.1": False, "10.0.1.1": True}),
        (Standing.EVICTED, {"10.0.0.1": False}),
    ],
)
def test_a_standing_is_that_of_the_clusters_endpoints(standing: Standing, found: dict[str, bool]) -> None:
    assert stand(two_clusters(), b=standing) == found


def test_coming_back_is_one_change_to_what_was_before() -> None:
    index = two_clusters()
    before = index.get(ECHO)
    stand(index, b=Standing.EVICTED)
    index.set_standing(B, Standing.CURRENT)
    (change,) = index.commit()
    assert change.new == before
    assert not index.set_standing(B, Standing.CURRENT)


def test_evicted_are_never_the_last_ones() -> None:
    assert stand(two_clusters(), a=Standing.EVICTED, b=Standing.EVICTED) == {"10.0.0.1": True, "10.0.1.1": True}


def test_evicted_stay_for_a_port_that_nobody_else_offers() -> None:
    index = listed(Index(), A, a_service("echo", *TWO_PORTS), a_slice("10.0.0.1", ports=(SlicePort("http", 8080),)))
    listed(index, B, a_service("echo", *TWO_PORTS), a_slice("10.0.1.1", ports=TWO_TARGETS))
    assert stand(index, b=Standing.EVICTED) == {"10.0.0.1": False, "10.0.1.1": True}


def test_a_standing_changes_only_the_services_of_its_cluster() -> None:
    index = two_clusters()
    for event in (Apply(a_service("alone")), Apply(a_slice("10.0.0.9", name="alone", service="alone"))):
        index.apply(A, event)
    index.commit()
    index.set_standing(B, Standing.DEMOTED)
    assert [change.key for change in index.commit()] == [ECHO]


def test_a_cluster_that_is_taken_out_and_comes_again_is_current() -> None:
    index = two_clusters()
    stand(index, b=Standing.EVICTED)
    index.remove_cluster(B)
    index.commit()
    listed(index, B, a_service(), a_slice("10.0.1.1"))
    assert stand(index) == {"10.0.0.1": False, "10.0.1.1": False}


def by_export() -> Index:
    return Index(ExportPolicy(mode=ExportMode.SERVICE_EXPORT))


def test_by_service_export_a_service_needs_one_in_its_own_cluster() -> None:
    index = listed(by_export(), A, a_service(), a_slice("10.0.0.1"), ServiceExport("shop", "echo"))
    listed(index, B, a_service(), a_slice("10.0.1.1"))
    assert stand(index) == {"10.0.0.1": False}
    index.apply(B, Apply(ServiceExport("shop", "echo")))
    assert stand(index) == {"10.0.0.1": False, "10.0.1.1": False}
    index.apply(A, Delete(ServiceExport("shop", "echo").ref))
    assert stand(index) == {"10.0.1.1": False}


def test_by_service_export_nothing_is_shown_before_the_exports_are_listed() -> None:
    index = by_export()
    index.add_cluster(A)
    kinds = [kind for kind in Kind if kind is not Kind.SERVICE_EXPORT]
    for event in listing(a_service(), a_slice("10.0.0.1"), kinds=kinds):
        index.apply(A, event)
    assert index.commit() == ()
    for event in listing(ServiceExport("shop", "echo"), kinds=[Kind.SERVICE_EXPORT]):
        index.apply(A, event)
    assert [change.key for change in index.commit()] == [ECHO]


def test_by_selector_a_service_needs_all_the_labels() -> None:
    index = Index(ExportPolicy(mode=ExportMode.SELECTOR, selector=(("mesh", "yes"), ("tier", "web"))))
    ports = a_service().ports
    listed(index, A, Service("shop", "echo", ports, (("mesh", "yes"), ("tier", "web"))), a_slice("10.0.0.1"))
    listed(index, B, Service("shop", "echo", ports, (("mesh", "yes"),)), a_slice("10.0.1.1"))
    assert stand(index) == {"10.0.0.1": False}


def test_the_network_is_the_pods_then_the_configured_then_that_of_the_system_namespace() -> None:
    label = "topology.istio.io/network"
    labelled = Namespace("istio-system", ((label, "of-the-namespace"),))
    ends = (SliceEndpoint("10.0.0.1"), SliceEndpoint("10.0.0.2", pod="p"))
    facts = (a_service(), a_slice(*ends), Pod("shop", "p", ((label, "of-the-pod"),)), labelled)
    assert networks(listed(Index(), A, *facts)) == ["of-the-namespace", "of-the-pod"]
    index = Index()
    index.add_cluster(A, "configured")
    for event in listing(*facts):
        index.apply(A, event)
    index.commit()
    assert networks(index) == ["configured", "of-the-pod"]


def test_a_network_that_changes_changes_every_endpoint() -> None:
    index = listed(Index(), A, a_service(), a_slice("10.0.0.1"), Namespace("istio-system"))
    assert networks(index) == [""]
    index.apply(A, Apply(Namespace("istio-system", (("topology.istio.io/network", "n"),))))
    index.commit()
    assert networks(index) == ["n"]
