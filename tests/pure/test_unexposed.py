"""Ports that a cluster does not expose, and what that means for the shares of others."""

from __future__ import annotations

from dataclasses import replace

from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import Index
from registry.model.facts import Node, ServicePort, SliceEndpoint, SlicePort
from registry.model.services import MergedService
from registry.views.eds import ServiceAssignments
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import resolve

HERE = Place("eu", "eu-9", "a")
WEIGHTED = (("traffic-distribution", "WeightedByLocality"),)
HTTP, ADMIN = ServicePort(80, "http"), ServicePort(81, "admin")
NODES = (Node("n1", "eu", "eu-1"), Node("n2", "eu", "eu-2"))


def merged() -> MergedService:
    """a exposes 80 and 81 in eu-1, half of it ready; b exposes 80 in eu-2, and nothing of it is ready."""
    index = Index()
    targets = (SlicePort("http", 8080), SlicePort("admin", 8081))
    half = [SliceEndpoint("10.0.0.1", node="n1"), SliceEndpoint("10.0.0.2", node="n1", ready=False, serving=False)]
    two = replace(a_service("echo", HTTP, ADMIN), annotations=WEIGHTED)
    one = replace(a_service("echo", HTTP), annotations=WEIGHTED)
    none = [SliceEndpoint(f"10.1.0.{n}", node="n2", ready=False, serving=False) for n in (1, 2)]
    for cluster, facts in (
        (A, (two, a_slice(*half, ports=targets), a_slice(SliceEndpoint("10.0.0.9"), name="far", ports=targets))),
        (B, (one, a_slice(*none))),
    ):
        index.add_cluster(cluster)
        for event in listing(*facts, *NODES):
            index.apply(cluster, event)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    return service


def test_a_port_names_the_clusters_that_do_not_expose_it() -> None:
    assert merged().unexposed == ((81, B),)


def test_a_cluster_should_have_no_endpoints_of_a_port_it_does_not_expose() -> None:
    service = merged()
    assignments = ServiceAssignments(ECHO, Names())
    assignments.update(service, resolve(service, []).policy)
    weights = {port: [slot.weight for slot in assignments.arrangement(port, HERE).slots] for port in (80, 81)}
    # In the region one endpoint is ready, of four for port 80, of two for port 81: 1.4 / 4 and 1.4 / 2.
    assert weights == {80: [6500, 3500], 81: [3000, 7000]}
