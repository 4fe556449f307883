"""Services as plain documents: what the HTTP API answers and the command line prints."""

from __future__ import annotations

from registry.model.facts import ServicePort
from registry.model.services import Endpoint, MergedService
from registry.views.names import Names

Document = dict[str, object]


def service_document(service: MergedService, names: Names) -> Document:
    """One service with all its ports and endpoints; every key is always there, in this order."""
    return {
        "namespace": service.key.namespace,
        "name": service.key.name,
        "host": names.host(service.key),
        "ports": [_port(port) for port in service.ports],
        "clusters": list(service.clusters),
        "unready": service.unready,
        "endpoints": [_endpoint(endpoint) for endpoint in service.endpoints],
    }


def _port(port: ServicePort) -> Document:
    return {
        "port": port.port,
        "name": port.name,
        "protocol": str(port.protocol),
        "appProtocol": port.app_protocol,
    }


def _endpoint(endpoint: Endpoint) -> Document:
    return {
        "address": endpoint.address,
        "ports": [{"port": pair.port, "target": pair.target} for pair in endpoint.ports],
        "health": str(endpoint.health),
        "cluster": endpoint.cluster,
        "locality": {
            "region": endpoint.locality.region,
            "zone": endpoint.locality.zone,
            "subZone": endpoint.locality.sub_zone,
        },
        "network": endpoint.network,
        "pod": endpoint.pod,
        "node": endpoint.node,
        "serviceAccount": endpoint.service_account,
        "weight": endpoint.weight,
        "labels": dict(endpoint.labels),
        "inDoubt": endpoint.demoted,
    }
