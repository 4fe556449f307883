"""What is read of Kubernetes objects, as types, and the model's facts that they are. Pure.

The structs mirror ``v1``, ``discovery.k8s.io/v1`` and the MCS API as far as the registry uses them; unknown fields are
skipped without being built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import msgspec

from registry.model.copies import mark_of_copy
from registry.model.facts import (
    ANNOTATION_PREFIX,
    CARRIED_ANNOTATIONS,
    NETWORK_LABEL,
    READ_ANNOTATIONS,
    AddressType,
    EndpointSlice,
    Labels,
    Namespace,
    Node,
    Pod,
    Protocol,
    Service,
    ServiceExport,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import Kind
from registry.sources.kubernetes.sharing import shared, shared_labels

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
MAX_ANNOTATIONS = 64
"""Of one Service, with the registry's prefix: clusters' are compared one by one."""
DEFAULT_AFFINITY_SECONDS = 10800
"""``sessionAffinityConfig.clientIP.timeoutSeconds`` where nobody says it (``v1.ClientIPConfig``)."""

PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")]
LabelName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")]


ShortName = Annotated[str, msgspec.Meta(max_length=63)]
QualifiedName = Annotated[str, msgspec.Meta(max_length=317)]
LongName = Annotated[str, msgspec.Meta(max_length=253)]
"""API servers hold labels, and names of ports, other objects and zones, to these lengths."""
MAX_SLICE_ENDPOINTS, MAX_SLICE_PORTS = 1000, 20_000
"""``discovery.k8s.io/v1``: so many may be in one EndpointSlice."""

Strings = dict[str, str | None]
"""A map of strings. The API server stores a null in one as the empty string (Go's encoding/json leaves it zero)."""
LabelStrings = dict[QualifiedName, ShortName | None]


class Struct(msgspec.Struct, frozen=True, rename="camel", gc=False, omit_defaults=True):
    """Fields are named as in the API, in camel case. What may be left out may also be null, as the API reads it.

    They are trees and live for one object's time, so the garbage collector is not told of them.
    """


class _Metadata(Struct, frozen=True):
    name: Name
    namespace: LabelName | None = None
    labels: LabelStrings | None = None
    uid: LongName | None = None
    creation_timestamp: LongName | None = None
    resource_version: LongName | None = None


class _Owner(Struct, frozen=True):
    kind: str | None = None


class _OwnedMetadata(_Metadata, frozen=True):
    annotations: Strings | None = None
    owner_references: list[_Owner] | None = None

    @property
    def copy_mark(self) -> str:
        return mark_of_copy(self.labels or {}, self.annotations or {}, _kinds(self.owner_references))


def _kinds(owners: Iterable[_Owner] | None) -> Iterator[str]:
    return (each.kind or "" for each in owners or ())


class _ServiceMetadata(_OwnedMetadata, frozen=True):
    name: LabelName


class _ServicePort(Struct, frozen=True):
    port: PortNumber
    name: ShortName | None = None
    protocol: Protocol | None = None
    app_protocol: QualifiedName | None = None


class _ClientIp(Struct, frozen=True):
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=86400)] | None = None


class _AffinityConfig(Struct, frozen=True):
    client_ip: _ClientIp | None = msgspec.field(default=None, name="clientIP")


class _ServiceSpec(Struct, frozen=True):
    ports: list[_ServicePort] | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    type: str | None = None
    external_name: LongName | None = None
    selector: LabelStrings | None = None
    session_affinity: str | None = None
    session_affinity_config: _AffinityConfig | None = None
    traffic_distribution: LongName | None = None
    internal_traffic_policy: str | None = None
    publish_not_ready_addresses: bool | None = None
    ip_families: list[str] | None = None
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")

    @property
    def affinity_seconds(self) -> int:
        """0 without affinity; the API's own default where the manifest does not say how long."""
        if self.session_affinity != "ClientIP":
            return 0
        client_ip = self.session_affinity_config.client_ip if self.session_affinity_config else None
        return (client_ip.timeout_seconds if client_ip else None) or DEFAULT_AFFINITY_SECONDS


class _Ingress(Struct, frozen=True):
    ip: str | None = None
    hostname: str | None = None


class _LoadBalancer(Struct, frozen=True):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(Struct, frozen=True):
    load_balancer: _LoadBalancer | None = None


class _Service(Struct, frozen=True):
    metadata: _ServiceMetadata
    spec: _ServiceSpec | None = None
    status: _ServiceStatus | None = None

    def fact(self) -> Service:
        spec = self.spec or _ServiceSpec()
        external = (spec.external_name or "unnamed") if spec.type == "ExternalName" else ""
        return Service(
            namespace=shared(self.metadata.namespace or ""),
            name=self.metadata.name,
            ports=tuple(
                ServicePort(each.port, each.name or "", each.protocol or Protocol.TCP, each.app_protocol or "")
                for each in spec.ports or ()
            ),
            labels=shared_labels(self.metadata.labels),
            headless=spec.cluster_ip == "None",
            external_name=external,
            selector=shared_labels(spec.selector),
            created=self.metadata.creation_timestamp or "",
            traffic_distribution=spec.traffic_distribution or "",
            affinity_seconds=spec.affinity_seconds,
            publish_not_ready=spec.publish_not_ready_addresses is True,
            local_only=spec.internal_traffic_policy == "Local",
            annotations=_own_annotations(self.metadata.annotations),
            ip_families=tuple(_FAMILIES[each] for each in spec.ip_families or () if each in _FAMILIES),
            external=self._external() if NETWORK_LABEL in (self.metadata.labels or ()) else (),
            copy_mark=shared(self.metadata.copy_mark),
            resource_version=self.metadata.resource_version or "",
        )

    def _external(self) -> tuple[str, ...]:
        """Where it is reached from outside the cluster: of an ingress the address, where it has none its host name."""
        balancer = self.status.load_balancer if self.status is not None else None
        ingress = (balancer.ingress if balancer is not None else None) or ()
        reached = [each.ip or each.hostname or "" for each in ingress]
        return tuple(sorted({*filter(None, reached), *((self.spec and self.spec.external_ips) or ())}))


_FAMILIES: Mapping[str, AddressType] = {"IPv4": AddressType.IPV4, "IPv6": AddressType.IPV6}


class _SlicePort(Struct, frozen=True):
    name: ShortName | None = None
    port: PortNumber | None = None
    protocol: Protocol | None = None


class _Conditions(Struct, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _TargetRef(Struct, frozen=True):
    kind: str | None = None
    name: LongName | None = None


class _SliceEndpoint(Struct, frozen=True):
    addresses: Annotated[list[LongName], msgspec.Meta(min_length=1)]
    conditions: _Conditions | None = None
    hostname: LongName | None = None
    node_name: LongName | None = None
    zone: LongName | None = None
    target_ref: _TargetRef | None = None

    def fact(self) -> SliceEndpoint:
        """The conditions resolved as ``EndpointConditions`` documents: each unset one has its own meaning."""
        conditions = self.conditions or _NO_CONDITIONS
        ready = conditions.ready is not False
        target = self.target_ref
        return SliceEndpoint(
            self.addresses[0],
            ready,
            ready if conditions.serving is None else conditions.serving,
            conditions.terminating is True,
            node=shared(self.node_name or ""),
            zone=shared(self.zone or ""),
            pod=shared(target.name or "") if target is not None and target.kind == "Pod" else "",
            hostname=self.hostname or "",
        )


_NO_CONDITIONS = _Conditions()


class _EndpointSlice(Struct, frozen=True):
    metadata: _OwnedMetadata
    address_type: AddressType
    endpoints: Annotated[list[_SliceEndpoint], msgspec.Meta(max_length=MAX_SLICE_ENDPOINTS)] | None = None
    ports: Annotated[list[_SlicePort], msgspec.Meta(max_length=MAX_SLICE_PORTS)] | None = None

    def fact(self) -> EndpointSlice:
        return EndpointSlice(
            namespace=shared(self.metadata.namespace or ""),
            name=self.metadata.name,
            service=shared((self.metadata.labels or {}).get(SERVICE_NAME_LABEL) or ""),
            address_type=self.address_type,
            ports=tuple(
                SlicePort(each.name or "", each.port, each.protocol or Protocol.TCP) for each in self.ports or ()
            ),
            endpoints=tuple(each.fact() for each in self.endpoints or ()),
            copy_mark=shared(self.metadata.copy_mark),
            resource_version=self.metadata.resource_version or "",
        )


class _PodMetadata(_Metadata, frozen=True):
    deletion_timestamp: str | None = None


class _PodSpec(Struct, frozen=True):
    service_account_name: LongName | None = None
    node_name: LongName | None = None


class _PodCondition(Struct, frozen=True):
    type: str | None = None
    status: str | None = None


class _PodStatus(Struct, frozen=True):
    phase: str | None = None
    conditions: list[_PodCondition] | None = None

    @property
    def ready(self) -> bool:
        """The condition ``Ready``; without it not, except where the status says nothing at all, as in a manifest.

        Every Pod an API server tells of has a phase.
        """
        if self.conditions is None:
            return self.phase is None
        return any(each.type == "Ready" and each.status == "True" for each in self.conditions)


class _Pod(Struct, frozen=True):
    metadata: _PodMetadata
    spec: _PodSpec | None = None
    status: _PodStatus | None = None

    def fact(self) -> Pod:
        spec = self.spec or _PodSpec()
        return Pod(
            namespace=shared(self.metadata.namespace or ""),
            name=shared(self.metadata.name),
            labels=shared_labels(self.metadata.labels),
            service_account=shared(spec.service_account_name or ""),
            ready=self.status is None or self.status.ready,
            terminating=self.metadata.deletion_timestamp is not None,
            node=shared(spec.node_name or ""),
            resource_version=self.metadata.resource_version or "",
        )


class _Node(Struct, frozen=True):
    metadata: _Metadata

    def fact(self) -> Node:
        labels = self.metadata.labels or {}
        return Node(
            name=self.metadata.name,
            region=labels.get(REGION_LABEL) or "",
            zone=labels.get(ZONE_LABEL) or "",
            resource_version=self.metadata.resource_version or "",
        )


class _Namespace(Struct, frozen=True):
    metadata: _Metadata

    def fact(self) -> Namespace:
        return Namespace(
            name=self.metadata.name,
            labels=shared_labels(self.metadata.labels),
            uid=self.metadata.uid or "",
            resource_version=self.metadata.resource_version or "",
        )


class _ServiceExport(Struct, frozen=True):
    metadata: _Metadata

    def fact(self) -> ServiceExport:
        return ServiceExport(
            namespace=shared(self.metadata.namespace or ""),
            name=self.metadata.name,
            created=self.metadata.creation_timestamp or "",
            resource_version=self.metadata.resource_version or "",
        )


Object = _Service | _EndpointSlice | _Pod | _Node | _Namespace | _ServiceExport

_STRUCTS: Mapping[Kind, type[Object]] = {
    Kind.SERVICE: _Service,
    Kind.ENDPOINT_SLICE: _EndpointSlice,
    Kind.POD: _Pod,
    Kind.NODE: _Node,
    Kind.NAMESPACE: _Namespace,
    Kind.SERVICE_EXPORT: _ServiceExport,
}


def struct_of(kind: Kind) -> type[Object]:
    """What is read of an object of ``kind``, as a type."""
    return _STRUCTS[kind]


def _own_annotations(annotations: Mapping[str, str | None] | None) -> Labels:
    """The registry's own, without their prefix, and those of Istio that ServiceEntries carry.

    Of more than ``MAX_ANNOTATIONS`` those that are read, and of the others the first by name.
    """
    found = sorted(
        (key.removeprefix(ANNOTATION_PREFIX), value or "")
        for key, value in (annotations or {}).items()
        if key.startswith(ANNOTATION_PREFIX) or key in CARRIED_ANNOTATIONS
    )
    if len(found) > MAX_ANNOTATIONS:
        found.sort(key=lambda each: each[0] not in READ_ANNOTATIONS)
        found = sorted(found[:MAX_ANNOTATIONS])
    return tuple(found)
