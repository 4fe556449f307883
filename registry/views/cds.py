"""Cluster: how a client balances over the endpoints of one service port."""

from __future__ import annotations

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2, protocol_pb2
from envoy.extensions.load_balancing_policies.maglev.v3 import maglev_pb2
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import duration_pb2

from registry.model.facts import ServicePort
from registry.model.names import ServiceKey
from registry.views.names import Names
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy
from registry.views.protocol import speaks_http2
from registry.views.rendered import packed, serialized

CONNECT_TIMEOUT_SECONDS = 5
PANIC_PERCENT = 1.0
"""Below this share of healthy endpoints Envoy uses all of them.

Envoy counts a DRAINING endpoint as unhealthy, and unready ones are not in the list at all: so this is the point where
only draining endpoints are left, and they take the requests. The default of 50 % would send new requests to draining
endpoints during every larger roll-out.
"""

MAX_RETRIES = 2**32 - 1
"""How many retries may run at once. Envoy's default of 3 would refuse the others when an endpoint dies under load. Each
request is retried twice at most, and only when it cannot have reached the application (``registry.views.rds``)."""

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def encode_cluster(
    key: ServiceKey, port: ServicePort, names: Names, policy: TrafficPolicy = NO_POLICY, *, sticky: bool = False
) -> bytes:
    """The bytes of the Cluster of ``port``: endpoints over EDS from the same stream, round robin.

    Where the policy gives localities weights, Envoy is told to go by them; gRPC does so always. ``sticky``: by a hash
    of what the route says (``registry.views.rds``), over Maglev's table in Envoy and over a ring in gRPC, which has no
    other (gRFC A42): a client takes the first of the list that it knows (gRFC A52), and an older one ``lb_policy``.
    """
    name = names.cluster(key, port.port)
    message = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads(), service_name=name),
        connect_timeout=duration_pb2.Duration(seconds=CONNECT_TIMEOUT_SECONDS),
        lb_policy=cluster_pb2.Cluster.RING_HASH if sticky else cluster_pb2.Cluster.ROUND_ROBIN,
    )
    message.common_lb_config.healthy_panic_threshold.value = PANIC_PERCENT
    message.circuit_breakers.thresholds.add().max_retries.value = MAX_RETRIES
    weighted = policy.distribution is Distribution.WEIGHTED
    if sticky:
        _by_hash(message, weighted=weighted)
    elif weighted:
        message.common_lb_config.locality_weighted_lb_config.SetInParent()
    if speaks_http2(port):
        message.typed_extension_protocol_options[HTTP_PROTOCOL_OPTIONS].CopyFrom(_HTTP2_OPTIONS)
    return serialized(message)


def _by_hash(message: cluster_pb2.Cluster, *, weighted: bool) -> None:
    """Envoy's own ring has a fixed number of points: when an endpoint goes, the others get more of them each, and with
    these clients of one another. Maglev's table moves fewer. That localities have weights is to be said in each policy:
    Envoy refuses a cluster that says it beside them.
    """
    maglev = maglev_pb2.Maglev()
    ring = ring_hash_pb2.RingHash(hash_function=ring_hash_pb2.RingHash.XX_HASH)
    for each in (maglev, ring):
        if weighted:
            each.locality_weighted_lb_config.SetInParent()
        config = message.load_balancing_policy.policies.add().typed_extension_config
        config.name = each.DESCRIPTOR.full_name
        config.typed_config.CopyFrom(packed(each))


def ads() -> config_source_pb2.ConfigSource:
    """ "Ask on the stream this came from": the config source of everything the registry serves."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )


_HTTP2_OPTIONS = packed(
    http_protocol_options_pb2.HttpProtocolOptions(
        explicit_http_config=http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig(
            http2_protocol_options=protocol_pb2.Http2ProtocolOptions()
        )
    )
)
