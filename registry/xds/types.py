"""The resource types served, and what the protocol says of each.

Type URLs, services and methods are those of the xDS protocol ("Resource Types" and "RPC Services and Methods for Each
Variant", envoyproxy docs api-docs/xds_protocol).
"""

from __future__ import annotations

from dataclasses import dataclass

WILDCARD = "*"
"""The resource name that subscribes to every listed resource of a type."""

ADS_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
ADS_SOTW_METHOD = "StreamAggregatedResources"
ADS_DELTA_METHOD = "DeltaAggregatedResources"


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource type. ``short`` is what people call its service: CDS, EDS, LDS, RDS.

    ``whole`` is true of LDS and CDS alone and means two things there: a client can subscribe to the wildcard ("How the
    client specifies what resources to return"), and a SotW response holds the complete state, so that a resource it
    lacks is deleted ("Grouping Resources into Responses", "Deleting Resources").
    """

    url: str
    short: str
    whole: bool
    service: str
    sotw_method: str
    delta_method: str


CDS = ResourceType(
    url="type.googleapis.com/envoy.config.cluster.v3.Cluster",
    short="CDS",
    whole=True,
    service="envoy.service.cluster.v3.ClusterDiscoveryService",
    sotw_method="StreamClusters",
    delta_method="DeltaClusters",
)
EDS = ResourceType(
    url="type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    short="EDS",
    whole=False,
    service="envoy.service.endpoint.v3.EndpointDiscoveryService",
    sotw_method="StreamEndpoints",
    delta_method="DeltaEndpoints",
)
LDS = ResourceType(
    url="type.googleapis.com/envoy.config.listener.v3.Listener",
    short="LDS",
    whole=True,
    service="envoy.service.listener.v3.ListenerDiscoveryService",
    sotw_method="StreamListeners",
    delta_method="DeltaListeners",
)
RDS = ResourceType(
    url="type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    short="RDS",
    whole=False,
    service="envoy.service.route.v3.RouteDiscoveryService",
    sotw_method="StreamRoutes",
    delta_method="DeltaRoutes",
)

MAKE_ORDER = (CDS, EDS, LDS, RDS)
"""The order in which additions go out on an aggregated stream; removals go the other way."""
