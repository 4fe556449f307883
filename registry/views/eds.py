"""ClusterLoadAssignment: the endpoints of one service port, by locality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from registry.model.names import Locality, ServiceKey
from registry.model.services import Endpoint, Health, MergedService
from registry.views.names import Names
from registry.views.rendered import length_delimited, serialized

HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.DRAINING: health_check_pb2.DRAINING}
ENDPOINTS = endpoint_pb2.ClusterLoadAssignment.ENDPOINTS_FIELD_NUMBER

Member = tuple[str, int, Health, int]
"""What an LbEndpoint is made of: address, port, health, weight."""


class AssignmentEncoder:
    """Encodes the assignments of one service, time and again: each endpoint once, as long as it stays the same.

    Fields of a protobuf message may be put together from pieces (protobuf.dev, "Encoding", "Last One Wins"): an
    assignment is its endpoints' bytes joined, in the order protobuf itself would write them.
    """

    def __init__(self, key: ServiceKey, names: Names) -> None:
        self._key = key
        self._names = names
        self._members: dict[int, dict[Member, bytes]] = {}
        """Port -> what an endpoint is made of -> its bytes, of the endpoints there were last."""

    def encode(self, service: MergedService, port: int) -> bytes:
        """The bytes of the ClusterLoadAssignment of ``port``: empty of endpoints, but there, when nobody offers it.

        Endpoints in doubt come after the others, one priority later; priorities have no gaps (gRFC A27). Localities and
        endpoints else keep the order of the merged service. A locality's weight is the sum of its endpoints' (gRPC
        ignores a locality without one: gRFC A27). An address and port is named once (gRPC refuses an assignment that
        repeats one), also where two networks use the same address.
        """
        before = self._members.get(port, {})
        now: dict[Member, bytes] = {}
        parts = [serialized(endpoint_pb2.ClusterLoadAssignment(cluster_name=self._names.cluster(self._key, port)))]
        seen: set[tuple[str, int]] = set()
        priority = 0
        for ranked in ranks(service.endpoints):
            groups = _grouped(ranked, port, seen, before, now)
            for locality, bodies, weights in groups:
                parts.append(length_delimited(ENDPOINTS, _group(locality, bodies, sum(weights), priority)))
            priority += bool(groups)
        self._members[port] = now
        return b"".join(parts)


def ranks(endpoints: Sequence[Endpoint]) -> tuple[Sequence[Endpoint], ...]:
    """The endpoints by priority: those in doubt after the others."""
    doubted = [endpoint for endpoint in endpoints if endpoint.demoted]
    return ([each for each in endpoints if not each.demoted], doubted) if doubted else (endpoints,)


def encode_assignment(service: MergedService, port: int, names: Names) -> bytes:
    """The same for once."""
    return AssignmentEncoder(service.key, names).encode(service, port)


def _grouped(
    endpoints: Sequence[Endpoint],
    port: int,
    seen: set[tuple[str, int]],
    before: Mapping[Member, bytes],
    now: dict[Member, bytes],
) -> list[tuple[Locality, list[bytes], list[int]]]:
    """By locality, the bytes and weights of those that offer ``port`` and were not ``seen``; ``seen`` and ``now`` grow.

    One plain loop: for a large service it is most of what a change of one endpoint costs.
    """
    groups: list[tuple[Locality, list[bytes], list[int]]] = []
    at: Locality | None = None
    bodies: list[bytes] = []
    weights: list[int] = []
    for endpoint in endpoints:
        target = endpoint.target(port)
        if target is None:
            continue
        place = (endpoint.address, target)
        if place in seen:
            continue
        seen.add(place)
        if endpoint.locality != at:
            at, bodies, weights = endpoint.locality, [], []
            groups.append((at, bodies, weights))
        member = (endpoint.address, target, endpoint.health, endpoint.weight)
        body = before.get(member)
        now[member] = body = _lb_endpoint(member) if body is None else body
        bodies.append(body)
        weights.append(endpoint.weight)
    return groups


def _group(locality: Locality, bodies: list[bytes], weight: int, priority: int) -> bytes:
    """A LocalityLbEndpoints: its locality, its endpoints, its weight, its priority (fields 1, 2, 3 and 5)."""
    before = endpoint_components_pb2.LocalityLbEndpoints()
    before.locality.region = locality.region
    before.locality.zone = locality.zone
    before.locality.sub_zone = locality.sub_zone
    after = endpoint_components_pb2.LocalityLbEndpoints()
    after.load_balancing_weight.value = weight
    after.priority = priority
    return b"".join((serialized(before), *bodies, serialized(after)))


def _lb_endpoint(member: Member) -> bytes:
    """An LbEndpoint, as a field of its LocalityLbEndpoints."""
    address, port, health, weight = member
    group = endpoint_components_pb2.LocalityLbEndpoints()
    message = group.lb_endpoints.add(health_status=HEALTH[health])
    message.endpoint.address.socket_address.address = address
    message.endpoint.address.socket_address.port_value = port
    message.load_balancing_weight.value = weight
    return serialized(group)
