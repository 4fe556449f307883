"""Services as plain documents: what the HTTP API answers and the command line prints."""

from __future__ import annotations

from registry.index.conflicts import reason
from registry.index.refused import Refused
from registry.model.facts import ServicePort
from registry.model.names import Locality
from registry.model.services import Conflict, Endpoint, MergedService
from registry.views.export_status import conflict_text
from registry.views.names import Names
from registry.views.policy import ResolvedPolicy, Selector
from registry.views.protocol import unsupported

Document = dict[str, object]


def service_document(service: MergedService, names: Names, resolved: ResolvedPolicy) -> Document:
    """One service with all its ports and endpoints; every key is always there, in this order."""
    endpoints = [endpoint_document(endpoint) for endpoint in service.endpoints]
    return service_head(service, names, resolved) | {"endpoints": endpoints}


def service_head(service: MergedService, names: Names, resolved: ResolvedPolicy) -> Document:
    """The same without the endpoints, which come last and may be many."""
    return {
        "namespace": service.key.namespace,
        "name": service.key.name,
        "host": names.host(service.key),
        "ports": [_port(port) for port in service.ports],
        "clusters": list(service.clusters),
        "unready": service.unready,
        "type": "Headless" if service.headless else "ClusterSetIP",
        "sessionAffinitySeconds": service.affinity_seconds,
        "trafficDistribution": service.traffic_distribution,
        "internalTrafficPolicy": "Local" if service.local_only else "Cluster",
        "ipFamilies": [str(family) for family in service.ip_families],
        "conflicts": [_conflict(conflict, len(service.clusters)) for conflict in service.conflicts],
        "expected": [{"locality": _locality(each.locality), "endpoints": each.endpoints} for each in service.expected],
        "traffic": _traffic(resolved),
    }


def _traffic(resolved: ResolvedPolicy) -> Document:
    """``problems`` are what of the service's own words was not understood and does not count."""
    policy = resolved.policy
    return {
        "distribution": str(policy.distribution),
        "failover": [_selector(each) for each in policy.failover],
        "fallback": str(policy.fallback),
        "problems": list(resolved.problems),
    }


def _selector(selector: Selector) -> Document:
    said = {"cluster": selector.cluster, "region": selector.region, "zone": selector.zone}
    document: Document = {key: value for key, value in said.items() if value}
    return document | ({"labels": dict(selector.labels)} if selector.labels else {})


def _port(port: ServicePort) -> Document:
    return {
        "port": port.port,
        "name": port.name,
        "protocol": str(port.protocol),
        "appProtocol": port.app_protocol,
        "unsupported": unsupported(port),
    }


def _conflict(conflict: Conflict, clusters: int) -> Document:
    """``winner`` has the oldest export, whose ``value`` counts."""
    return {
        "field": conflict.field,
        "reason": reason(conflict),
        "value": conflict.value,
        "winner": conflict.winner,
        "losers": [{"cluster": cluster, "value": value} for cluster, value in conflict.losers],
        "message": conflict_text(conflict, clusters),
    }


def refused_document(refused: Refused) -> Document:
    """What one cluster exports and is not in the list, or not whole."""
    return {
        "namespace": refused.key.namespace,
        "name": refused.key.name,
        "cluster": refused.cluster,
        "reason": refused.reason,
        "message": refused.message,
    }


def _locality(locality: Locality) -> Document:
    return {"region": locality.region, "zone": locality.zone, "subZone": locality.sub_zone}


def endpoint_document(endpoint: Endpoint) -> Document:
    """One endpoint of a service."""
    return {
        "address": endpoint.address,
        "additionalAddresses": list(endpoint.additional_addresses),
        "hostname": endpoint.hostname,
        "ports": [
            {"port": pair.port, "target": pair.target, "protocol": str(pair.protocol)} for pair in endpoint.ports
        ],
        "health": str(endpoint.health),
        "cluster": endpoint.cluster,
        "locality": _locality(endpoint.locality),
        "network": endpoint.network,
        "pod": endpoint.pod,
        "node": endpoint.node,
        "serviceAccount": endpoint.service_account,
        "weight": endpoint.weight,
        "labels": dict(endpoint.labels),
        "inDoubt": endpoint.demoted,
    }
