"""ClusterLoadAssignment: the endpoints of one service port, by locality."""

from __future__ import annotations

from itertools import groupby

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from registry.model.services import Endpoint, Health, MergedService
from registry.views.names import Names
from registry.views.rendered import serialized

HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.DRAINING: health_check_pb2.DRAINING}


def encode_assignment(service: MergedService, port: int, names: Names) -> bytes:
    """The bytes of the ClusterLoadAssignment of ``port``: empty of endpoints, but there, when nobody offers it.

    Localities and endpoints keep the order of the merged service. A locality's weight is the sum of its endpoints'
    (gRPC ignores a locality without one: gRFC A27). An address and port is named once (gRPC refuses an assignment
    that repeats one), also where two networks use the same address.
    """
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=names.cluster(service.key, port))
    seen: set[tuple[str, int]] = set()
    for locality, endpoints in groupby(service.endpoints, key=lambda endpoint: endpoint.locality):
        members = []
        weight = 0
        for endpoint in endpoints:
            target = endpoint.target(port)
            if target is None or (endpoint.address, target) in seen:
                continue
            seen.add((endpoint.address, target))
            members.append(_lb_endpoint(endpoint, target))
            weight += endpoint.weight
        if members:
            group = assignment.endpoints.add(lb_endpoints=members)
            group.locality.region = locality.region
            group.locality.zone = locality.zone
            group.locality.sub_zone = locality.sub_zone
            group.load_balancing_weight.value = weight
    return serialized(assignment)


def _lb_endpoint(endpoint: Endpoint, target: int) -> endpoint_components_pb2.LbEndpoint:
    message = endpoint_components_pb2.LbEndpoint(health_status=HEALTH[endpoint.health])
    socket_address = message.endpoint.address.socket_address
    socket_address.address = endpoint.address
    socket_address.port_value = target
    message.load_balancing_weight.value = endpoint.weight
    return message
