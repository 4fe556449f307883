"""The file a client starts from: an Envoy's bootstrap, and gRPC's (gRFC A27)."""

from __future__ import annotations

from dataclasses import dataclass

Document = dict[str, object]

XDS_CLUSTER = "mesh-registry"
DEFAULT_NODE_ID = "sidecar~127.0.0.1~client.default~default.svc.cluster.local"
"""Istio's form of a node id: ``sidecar~<ip>~<pod>.<ns>~<domain>``."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who the client says it is, and where. Empty parts are left out.

    ``cluster`` is the member cluster it runs in, ``node_name`` the Kubernetes node, ``network`` the network it is on,
    ``addresses`` are its own, with commas, the one whose family it prefers first.
    """

    node_id: str = DEFAULT_NODE_ID
    cluster: str = ""
    region: str = ""
    zone: str = ""
    network: str = ""
    node_name: str = ""
    addresses: str = ""

    def document(self) -> Document:
        """The ``node`` of either bootstrap; the cluster is also the sub-zone, as it is of endpoints."""
        document: Document = {"id": self.node_id, "cluster": self.cluster or "mesh-registry-client"}
        metadata = {
            "CLUSTER_ID": self.cluster,
            "NETWORK": self.network,
            "NODE_NAME": self.node_name,
            "INSTANCE_IPS": self.addresses,
        }
        if any(metadata.values()):
            document["metadata"] = {key: value for key, value in metadata.items() if value}
        locality = {"region": self.region, "zone": self.zone, "sub_zone": self.cluster}
        if self.region or self.zone:
            document["locality"] = {key: value for key, value in locality.items() if value}
        return document


def envoy_bootstrap(node: Node, server: tuple[str, int], admin: tuple[str, int]) -> Document:
    """An Envoy that takes everything from the registry at ``server`` over one Delta ADS stream.

    ``server`` and ``admin`` are host and port; the server's host may be a name. Envoy pings the registry, so that a
    connection that died without a word is noticed and made anew.
    """
    return {
        "node": node.document(),
        "admin": {"address": _socket_address(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [_xds_cluster(server)]},
    }


def grpc_bootstrap(node: Node, server: tuple[str, int]) -> Document:
    """What ``GRPC_XDS_BOOTSTRAP`` names: the registry at ``server``, in plaintext."""
    return {
        "xds_servers": [
            {
                "server_uri": _authority(server),
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": node.document(),
    }


def _xds_cluster(server: tuple[str, int]) -> Document:
    keepalive = {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": keepalive},
    }
    return {
        "name": XDS_CLUSTER,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket_address(server)}}]}],
        },
    }


def _socket_address(address: tuple[str, int]) -> Document:
    host, port = address
    return {"socket_address": {"address": host, "port_value": port}}


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
