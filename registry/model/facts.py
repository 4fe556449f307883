"""What one cluster says: the Kubernetes objects, cut down to the fields the registry uses.

Two facts are equal when they say the same; ``resource_version`` is remembered but never compared, since an object
rewritten without a change of these fields is no news.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from registry.model.names import Kind, ObjectRef, ServiceKey

Labels = tuple[tuple[str, str], ...]
"""Labels as pairs sorted by key: hashable, and in the same order everywhere."""


class Protocol(StrEnum):
    """The transport protocol of a port (``v1.Protocol``)."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    __hash__ = str.__hash__


class AddressType(StrEnum):
    """``discovery.k8s.io/v1`` ``EndpointSlice.addressType``."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"

    __hash__ = str.__hash__


class ServicePort(NamedTuple):
    """A port a Service offers. ``name`` is empty on a Service with one unnamed port."""

    port: int
    name: str = ""
    protocol: Protocol = Protocol.TCP
    app_protocol: str = ""


NETWORK_LABEL = "topology.istio.io/network"
"""On a Pod: its network. On the namespace ``istio-system``: that of the cluster. On a Service: it is a gateway of that
network (istio.io, "Multi-network")."""

EXPORT_TO_ANNOTATION = "networking.istio.io/exportTo"
TRAFFIC_DISTRIBUTION_ANNOTATION = "networking.istio.io/traffic-distribution"
CARRIED_ANNOTATIONS = frozenset({EXPORT_TO_ANNOTATION, TRAFFIC_DISTRIBUTION_ANNOTATION})
"""Annotations of a Service that Istio reads, and that its ServiceEntries carry."""

LOOPBACK_ANNOTATION, LOOPBACK_ALLOWED = "loopback", "allowed"
"""On a Service of a folder of manifests: loopback addresses of its endpoints are meant, as where Pods are processes of
this machine. Of a cluster with an API server it means nothing."""

READ_ANNOTATIONS = CARRIED_ANNOTATIONS | {"traffic-distribution", "failover", "fallback", LOOPBACK_ANNOTATION}
"""Annotations as ``Service`` has them that mean something here."""

ANNOTATION_PREFIX = "mesh-registry.io/"
"""Annotations of a Service that begin so are the registry's. Beside them only those that Istio reads are kept."""


@dataclass(frozen=True, slots=True)
class Service:
    """A ``v1`` Service. ``external_name`` is set only on the type ExternalName, which has no endpoints here.

    ``selector`` is empty where the endpoints are made by hand. ``created`` is the creationTimestamp (RFC 3339, UTC).
    ``traffic_distribution`` is ``spec.trafficDistribution`` as it stands there. ``affinity_seconds`` is how long a
    client stays with one endpoint (``sessionAffinity: ClientIP``), 0 without affinity. ``local_only`` is
    ``internalTrafficPolicy: Local``. ``annotations`` are the registry's own, without their prefix, and
    ``CARRIED_ANNOTATIONS``, ordered by name.
    ``ip_families`` are ``spec.ipFamilies``, the preferred one first; empty where nobody said, as in many a manifest.
    ``copy_mark`` marks a Service made for other clusters' endpoints (``registry.model.copies``); empty on all others.
    ``external`` is where it is reached from outside the cluster, addresses and host names as they stand in
    ``status.loadBalancer.ingress`` and ``spec.externalIPs``; kept only of Services with the label ``NETWORK_LABEL``.
    """

    namespace: str
    name: str
    ports: tuple[ServicePort, ...] = ()
    labels: Labels = ()
    headless: bool = False
    external_name: str = ""
    selector: Labels = ()
    created: str = ""
    traffic_distribution: str = ""
    affinity_seconds: int = 0
    publish_not_ready: bool = False
    local_only: bool = False
    annotations: Labels = ()
    ip_families: tuple[AddressType, ...] = ()
    external: tuple[str, ...] = ()
    copy_mark: str = ""
    resource_version: str = field(default="", compare=False)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(Kind.SERVICE, self.namespace, self.name)

    @property
    def key(self) -> ServiceKey:
        return ServiceKey(self.namespace, self.name)


class SlicePort(NamedTuple):
    """A port of an EndpointSlice: the target behind the Service port of the same name. ``port`` None: every port."""

    name: str = ""
    port: int | None = None
    protocol: Protocol = Protocol.TCP


class SliceEndpoint(NamedTuple):
    """One endpoint of a slice, its conditions already resolved as the API defines them.

    ``ready`` unset means true, ``serving`` unset means ``ready``, ``terminating`` unset means false. ``address`` is
    the first of ``addresses``: the API gives no meaning to the others. ``pod`` is the name of the Pod it targets, in
    the slice's namespace, or empty.
    """

    address: str
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    zone: str = ""
    pod: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A ``discovery.k8s.io/v1`` EndpointSlice; ``service`` is its label ``kubernetes.io/service-name`` or empty.

    Its IP addresses are of the family that ``address_type`` says: API servers take no others, nor do manifests.
    ``copy_mark`` marks a copy of other clusters' endpoints (``registry.model.copies``); empty on all others.
    """

    namespace: str
    name: str
    service: str
    address_type: AddressType = AddressType.IPV4
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()
    copy_mark: str = ""
    resource_version: str = field(default="", compare=False)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(Kind.ENDPOINT_SLICE, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Pod:
    """A ``v1`` Pod: what its endpoints borrow from it, and whether it can be one.

    ``ready`` is its condition ``Ready``; ``terminating``: it has a deletionTimestamp. ``node`` is where it runs, empty
    as long as nobody decided.
    """

    namespace: str
    name: str
    labels: Labels = ()
    service_account: str = ""
    ready: bool = True
    terminating: bool = False
    node: str = ""
    resource_version: str = field(default="", compare=False)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(Kind.POD, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Node:
    """A ``v1`` Node: its labels ``topology.kubernetes.io/region`` and ``topology.kubernetes.io/zone``."""

    name: str
    region: str = ""
    zone: str = ""
    resource_version: str = field(default="", compare=False)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(Kind.NODE, "", self.name)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A ``v1`` Namespace: that it exists, its labels, its uid (that of ``kube-system`` is the cluster's identity)."""

    name: str
    labels: Labels = ()
    uid: str = ""
    resource_version: str = field(default="", compare=False)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(Kind.NAMESPACE, "", self.name)


@dataclass(frozen=True, slots=True)
class ServiceExport:
    """A ``multicluster.x-k8s.io`` ServiceExport: the Service of its name is exported. ``created`` as in Service."""

    namespace: str
    name: str
    created: str = ""
    resource_version: str = field(default="", compare=False)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(Kind.SERVICE_EXPORT, self.namespace, self.name)

    @property
    def key(self) -> ServiceKey:
        """The Service it exports."""
        return ServiceKey(self.namespace, self.name)


Fact = Service | EndpointSlice | Pod | Node | Namespace | ServiceExport
