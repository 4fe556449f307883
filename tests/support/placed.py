"""One service as clients of several places are shown it, under several policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from support.facts import A, B, a_service, a_slice, listing

from registry.index import Index
from registry.index.gateways import NetworkRule
from registry.model.facts import Fact, Labels, Node, Service, ServicePort, SliceEndpoint
from registry.model.gateways import Gateways
from registry.model.names import ClusterId
from registry.model.services import MergedService
from registry.views.place import NOWHERE, Place
from registry.views.policy import TrafficPolicy, resolve

PLACES: Mapping[str, Place] = {
    "nowhere": NOWHERE,
    "node-1": Place("eu", "eu-1", "a", "net-a", "node-1"),
    "other-zone": Place("eu", "eu-2", "a", "net-a", "node-9"),
    "other-region": Place("us", "us-1", "b", "net-b", "node-4"),
    "no-endpoints-near": Place("asia", "asia-1", "c", "net-a"),
}
LOCAL = "local"
POLICIES: Mapping[str, tuple[str, Labels]] = {
    "any": ("", ()),
    "same-zone": ("PreferSameZone", ()),
    "same-node": ("PreferSameNode", ()),
    "weighted": ("", (("traffic-distribution", "WeightedByLocality"),)),
    "failover": ("PreferSameZone", (("failover", '[{"cluster": "b"}, {"region": "eu", "zone": "eu-2"}]'),)),
    "failover-none": ("", (("failover", '[{"zone": "eu-2"}]'), ("fallback", "None"))),
    LOCAL: ("PreferSameZone", ()),
}
"""The field and the annotations of the Service; the internalTrafficPolicy of the last is Local."""

NETWORKS = ("one-network", "two-networks", "no-gateway")
GOLDEN = tuple(f"{network}.{policy}.places.yaml" for network in NETWORKS for policy in POLICIES)
UNREADY = {"ready": False, "serving": False}


def _facts(policy: str) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """In a zone eu-1 has one ready endpoint of two, eu-2 both, and cluster b's us-1 three."""
    distribution, annotations = POLICIES[policy]
    service = replace(
        a_service(), traffic_distribution=distribution, annotations=annotations, local_only=policy == LOCAL
    )
    zones = {"node-1": ("eu", "eu-1"), "node-2": ("eu", "eu-1"), "node-3": ("eu", "eu-2"), "node-4": ("us", "us-1")}
    nodes = [Node(name, *zone) for name, zone in zones.items()]
    in_a = (
        SliceEndpoint("10.0.0.1", node="node-1"),
        SliceEndpoint("10.0.0.2", node="node-2", **UNREADY),
        SliceEndpoint("10.0.0.3", node="node-3"),
        SliceEndpoint("10.0.0.4", node="node-3"),
    )
    in_b = [SliceEndpoint(f"10.1.0.{number}", node="node-4") for number in (1, 2, 3)]
    return (service, a_slice(*in_a), *nodes), (service, a_slice(*in_b), *nodes, _gateway())


def _gateway() -> Service:
    labels = (("topology.istio.io/network", "net-b"),)
    external = ("203.0.113.1", "203.0.113.2")
    return Service("istio-system", "eastwest", (ServicePort(15443, "tls"),), labels, external=external)


def shown(network: str, policy: str) -> tuple[MergedService, TrafficPolicy, Gateways]:
    """The service, its policy, and the gateways there are."""
    index = Index(networks={"net-b": NetworkRule(port=1)} if network == "no-gateway" else {})
    for cluster, facts in zip((A, B), _facts(policy), strict=True):
        index.add_cluster(cluster, "" if network == "one-network" else _network(cluster))
        for event in listing(*facts):
            index.apply(cluster, event)
    index.commit()
    (service,) = index.services()
    resolved = resolve(service, [])
    assert resolved.problems == ()
    return service, resolved.policy, index.gateways()


def _network(cluster: ClusterId) -> str:
    return f"net-{cluster}"
