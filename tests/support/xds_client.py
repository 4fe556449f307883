"""A scripted xDS client of both protocol variants, with a decoder that shares no code with the server.

``XdsClient`` does no IO: it makes requests and takes responses as bytes, so the same script drives a session directly
and a server over a socket. Messages are those of envoy-data-plane; every response is encoded again and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3 import discovery_pb2
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Locality, Node
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy_data_plane.google.protobuf import Any, Struct, Value
from envoy_data_plane.google.rpc import Status

from registry.xds.resources import Resource, ResourceChange
from registry.xds.types import CDS, EDS, LDS, RDS, ResourceType

INVALID_ARGUMENT = 3
NODE = Node(
    id="sidecar~10.0.0.1~pod1.default~cluster.local",
    cluster="pod1.default",
    locality=Locality(region="r1", zone="z1"),
    metadata=Struct(
        fields={
            "CLUSTER_ID": Value(string_value="a"),
            "NAMESPACE": Value(string_value="default"),
            "NETWORK": Value(string_value="n1"),
            "PROXY_CONFIG": Value(struct_value=Struct(fields={"concurrency": Value(number_value=2)})),
        }
    ),
    user_agent_name="scripted",
    user_agent_version="1.0",
)


def body(kind: ResourceType, name: str, content: str) -> bytes:
    """A resource message of that name; ``content`` is in some field of it."""
    if kind is CDS:
        return bytes(Cluster(name=name, alt_stat_name=content))
    if kind is LDS:
        return bytes(Listener(name=name, stat_prefix=content))
    if kind is RDS:
        return bytes(RouteConfiguration(name=name, request_headers_to_remove=[content]))
    assert kind is EDS
    locality = Locality(region=content)
    return bytes(ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(locality=locality)]))


def resource(kind: ResourceType, name: str, content: str = "1", on_demand: bool = False) -> Resource:
    return Resource(lambda: body(kind, name, content), on_demand)


def put(kind: ResourceType, name: str, content: str = "1") -> ResourceChange:
    return ResourceChange(kind.url, name, resource(kind, name, content))


def drop(kind: ResourceType, name: str) -> ResourceChange:
    return ResourceChange(kind.url, name, None)


def read_body(kind: ResourceType, data: bytes) -> tuple[str, str]:
    """Name and content of a message made by ``body``, which must encode to the same bytes again."""
    message: Cluster | Listener | RouteConfiguration | ClusterLoadAssignment
    if kind is CDS:
        message = Cluster.parse(data)
        found = message.name, message.alt_stat_name
    elif kind is LDS:
        message = Listener.parse(data)
        found = message.name, message.stat_prefix
    elif kind is RDS:
        message = RouteConfiguration.parse(data)
        found = message.name, message.request_headers_to_remove[0]
    else:
        message = ClusterLoadAssignment.parse(data)
        locality = message.endpoints[0].locality
        assert locality is not None
        found = message.cluster_name, locality.region
    assert bytes(message) == data
    return found


@dataclass(frozen=True)
class Reply:
    """A response as the client reads it. ``versions`` and ``removed`` exist in Delta only."""

    kind: ResourceType
    version: str
    nonce: str
    resources: Mapping[str, str]
    removed: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    control_plane: str = ""

    def __str__(self) -> str:
        return f"{self.kind.short} {dict(self.resources)} -{list(self.removed)}"


KINDS = {kind.url: kind for kind in (CDS, EDS, LDS, RDS)}


def decode_sotw(data: bytes) -> Reply:
    message = DiscoveryResponse.parse(data)
    # envoy-data-plane writes fields in another order, so its bytes are put in protobuf's before they are compared.
    again = discovery_pb2.DiscoveryResponse.FromString(bytes(message))
    assert again.SerializeToString(deterministic=True) == data
    kind = KINDS[message.type_url]
    resources: dict[str, str] = {}
    for each in message.resources:
        assert each.type_url == kind.url
        name, content = read_body(kind, each.value)
        assert name not in resources, "a name twice in one response"
        resources[name] = content
    assert message.control_plane is not None
    return Reply(kind, message.version_info, message.nonce, resources, control_plane=message.control_plane.identifier)


def decode_delta(data: bytes) -> Reply:
    message = DeltaDiscoveryResponse.parse(data)
    again = discovery_pb2.DeltaDiscoveryResponse.FromString(bytes(message))
    assert again.SerializeToString(deterministic=True) == data
    kind = KINDS[message.type_url]
    resources: dict[str, str] = {}
    versions: dict[str, str] = {}
    for each in message.resources:
        assert isinstance(each.resource, Any)
        assert each.resource.type_url == kind.url
        name, content = read_body(kind, each.resource.value)
        assert name == each.name
        assert name not in resources, "a name twice in one response"
        resources[name] = content
        versions[name] = each.version
    assert message.control_plane is not None
    return Reply(
        kind=kind,
        version=message.system_version_info,
        nonce=message.nonce,
        resources=resources,
        removed=tuple(message.removed_resources),
        versions=versions,
        control_plane=message.control_plane.identifier,
    )


@dataclass
class Belief:
    """What the client knows of one type: what it wants, and what it took from ACKed responses.

    ``legacy``: it subscribed to everything by naming nothing.
    """

    names: dict[str, None] = field(default_factory=dict)
    legacy: bool = False
    version: str = ""
    nonce: str = ""
    resources: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def wildcard(self) -> bool:
        return self.legacy or "*" in self.names

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class XdsClient:
    """Makes the requests of one stream. ``delta`` says which variant it speaks; ``node`` goes with the first."""

    def __init__(self, delta: bool, node: Node | None = NODE) -> None:
        self.delta = delta
        self._node = node
        self.beliefs: dict[ResourceType, Belief] = {}

    def belief(self, kind: ResourceType) -> Belief:
        return self.beliefs.setdefault(kind, Belief())

    def subscribe(self, kind: ResourceType, *names: str, known: Mapping[str, str] | None = None) -> bytes:
        """Subscribe to more names; without names in the first request, to everything. ``known``: Delta only."""
        belief = self.belief(kind)
        if not names and not belief.names:
            belief.legacy = True
        elif not self.delta:
            belief.legacy = False
        belief.names.update(dict.fromkeys(names))
        if self.delta:
            return self._delta(kind, subscribe=names, known=known or {})
        return self._sotw(kind, belief.nonce)

    def unsubscribe(self, kind: ResourceType, *names: str) -> bytes:
        belief = self.belief(kind)
        for name in names:
            belief.names.pop(name, None)
            belief.legacy &= name != "*"
        for name in [name for name in belief.resources if not belief.wants(name)]:
            del belief.resources[name]
            belief.versions.pop(name, None)
        if self.delta:
            return self._delta(kind, unsubscribe=names)
        return self._sotw(kind, belief.nonce)

    def read(self, data: bytes) -> Reply:
        return decode_delta(data) if self.delta else decode_sotw(data)

    def ack(self, reply: Reply) -> bytes:
        """Take the response over, apart from what is not wanted any more, and say so."""
        belief = self.belief(reply.kind)
        if reply.kind.whole and not self.delta:
            belief.resources.clear()
        for name in filter(belief.wants, reply.resources):
            belief.resources[name] = reply.resources[name]
        for name in filter(belief.wants, reply.versions):
            belief.versions[name] = reply.versions[name]
        for name in reply.removed:
            belief.resources.pop(name, None)
            belief.versions.pop(name, None)
        belief.version, belief.nonce = reply.version, reply.nonce
        return self._delta(reply.kind, nonce=reply.nonce) if self.delta else self._sotw(reply.kind, reply.nonce)

    def nack(self, reply: Reply, error: str) -> bytes:
        """Leave everything as it was, and say why."""
        belief = self.belief(reply.kind)
        belief.nonce = reply.nonce
        status = Status(code=INVALID_ARGUMENT, message=error)
        if self.delta:
            return self._delta(reply.kind, nonce=reply.nonce, error=status)
        return self._sotw(reply.kind, reply.nonce, error=status)

    def _first_node(self) -> Node | None:
        node, self._node = self._node, None
        return node

    def _sotw(self, kind: ResourceType, nonce: str, error: Status | None = None) -> bytes:
        belief = self.belief(kind)
        return bytes(
            DiscoveryRequest(
                version_info=belief.version,
                node=self._first_node(),
                resource_names=list(belief.names),
                type_url=kind.url,
                response_nonce=nonce,
                error_detail=error,
            )
        )

    def _delta(
        self,
        kind: ResourceType,
        *,
        subscribe: tuple[str, ...] = (),
        unsubscribe: tuple[str, ...] = (),
        known: Mapping[str, str] | None = None,
        nonce: str = "",
        error: Status | None = None,
    ) -> bytes:
        return bytes(
            DeltaDiscoveryRequest(
                node=self._first_node(),
                type_url=kind.url,
                resource_names_subscribe=list(subscribe),
                resource_names_unsubscribe=list(unsubscribe),
                initial_resource_versions=dict(known or {}),
                response_nonce=nonce,
                error_detail=error,
            )
        )
