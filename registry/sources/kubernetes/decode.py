"""From Kubernetes JSON to the model's facts. Pure; only the fields used are read.

The structs mirror ``v1`` and ``discovery.k8s.io/v1`` as far as the registry uses them; unknown fields are skipped
without being built. An object that does not fit raises ``DecodeError`` with the path of the field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from registry.model.facts import (
    ANNOTATION_PREFIX,
    NETWORK_LABEL,
    AddressType,
    EndpointSlice,
    Fact,
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
from registry.model.names import Kind, ObjectRef

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
DEFAULT_AFFINITY_SECONDS = 10800
"""``sessionAffinityConfig.clientIP.timeoutSeconds`` where nobody says it (``v1.ClientIPConfig``)."""

LIST_END_ANNOTATION = "k8s.io/initial-events-end"

PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")]
LabelName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")]


class DecodeError(ValueError):
    """An object that is not what its kind says. The text names the field, as ``$.spec.ports[0].port``."""


class _Struct(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Fields are named as in the API, in camel case. What may be left out may also be null, as the API reads it.

    They are trees and live for one object's time, so the garbage collector is not told of them.
    """


class _Metadata(_Struct, frozen=True):
    name: Name
    namespace: LabelName | None = None
    labels: dict[str, str] | None = None
    uid: str | None = None
    creation_timestamp: str | None = None
    resource_version: str | None = None


class _ServiceMetadata(_Metadata, frozen=True):
    name: LabelName
    annotations: dict[str, str] | None = None


class _ServicePort(_Struct, frozen=True):
    port: PortNumber
    name: str | None = None
    protocol: Protocol | None = None
    app_protocol: str | None = None


class _ClientIp(_Struct, frozen=True):
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=86400)] | None = None


class _AffinityConfig(_Struct, frozen=True):
    client_ip: _ClientIp | None = msgspec.field(default=None, name="clientIP")


class _ServiceSpec(_Struct, frozen=True):
    ports: list[_ServicePort] | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    type: str | None = None
    external_name: str | None = None
    selector: dict[str, str] | None = None
    session_affinity: str | None = None
    session_affinity_config: _AffinityConfig | None = None
    traffic_distribution: str | None = None
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


class _Ingress(_Struct, frozen=True):
    ip: str | None = None
    hostname: str | None = None


class _LoadBalancer(_Struct, frozen=True):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(_Struct, frozen=True):
    load_balancer: _LoadBalancer | None = None


class _Service(_Struct, frozen=True):
    metadata: _ServiceMetadata
    spec: _ServiceSpec | None = None
    status: _ServiceStatus | None = None

    def fact(self) -> Service:
        spec = self.spec or _ServiceSpec()
        external = (spec.external_name or "unnamed") if spec.type == "ExternalName" else ""
        return Service(
            namespace=_shared(self.metadata.namespace or ""),
            name=self.metadata.name,
            ports=tuple(
                ServicePort(each.port, each.name or "", each.protocol or Protocol.TCP, each.app_protocol or "")
                for each in spec.ports or ()
            ),
            labels=_labels(self.metadata.labels),
            headless=spec.cluster_ip == "None",
            external_name=external,
            selector=_labels(spec.selector),
            created=self.metadata.creation_timestamp or "",
            traffic_distribution=spec.traffic_distribution or "",
            affinity_seconds=spec.affinity_seconds,
            publish_not_ready=spec.publish_not_ready_addresses is True,
            local_only=spec.internal_traffic_policy == "Local",
            annotations=_own_annotations(self.metadata.annotations),
            ip_families=tuple(_FAMILIES[each] for each in spec.ip_families or () if each in _FAMILIES),
            external=self._external() if NETWORK_LABEL in (self.metadata.labels or ()) else (),
            resource_version=self.metadata.resource_version or "",
        )

    def _external(self) -> tuple[str, ...]:
        """Where it is reached from outside the cluster: of an ingress the address, where it has none its host name."""
        balancer = self.status.load_balancer if self.status is not None else None
        ingress = (balancer.ingress if balancer is not None else None) or ()
        reached = [each.ip or each.hostname or "" for each in ingress]
        return tuple(sorted({*filter(None, reached), *((self.spec and self.spec.external_ips) or ())}))


_FAMILIES: Mapping[str, AddressType] = {"IPv4": AddressType.IPV4, "IPv6": AddressType.IPV6}


class _SlicePort(_Struct, frozen=True):
    name: str | None = None
    port: PortNumber | None = None
    protocol: Protocol | None = None


class _Conditions(_Struct, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _TargetRef(_Struct, frozen=True):
    kind: str | None = None
    name: str | None = None


class _SliceEndpoint(_Struct, frozen=True):
    addresses: Annotated[list[str], msgspec.Meta(min_length=1)]
    conditions: _Conditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
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
            node=_shared(self.node_name or ""),
            zone=_shared(self.zone or ""),
            pod=_shared(target.name or "") if target is not None and target.kind == "Pod" else "",
            hostname=self.hostname or "",
        )


_NO_CONDITIONS = _Conditions()
_shared = sys.intern
"""Names that come again and again, of Nodes, zones, Pods, namespaces, labels, are one object each: with 100,000
endpoints that is 20 MB."""


class _EndpointSlice(_Struct, frozen=True):
    metadata: _Metadata
    address_type: AddressType
    endpoints: list[_SliceEndpoint] | None = None
    ports: list[_SlicePort] | None = None

    def fact(self) -> EndpointSlice:
        return EndpointSlice(
            namespace=_shared(self.metadata.namespace or ""),
            name=self.metadata.name,
            service=_shared((self.metadata.labels or {}).get(SERVICE_NAME_LABEL, "")),
            address_type=self.address_type,
            ports=tuple(
                SlicePort(each.name or "", each.port, each.protocol or Protocol.TCP) for each in self.ports or ()
            ),
            endpoints=tuple(each.fact() for each in self.endpoints or ()),
            resource_version=self.metadata.resource_version or "",
        )


class _PodMetadata(_Metadata, frozen=True):
    deletion_timestamp: str | None = None


class _PodSpec(_Struct, frozen=True):
    service_account_name: str | None = None
    node_name: str | None = None


class _PodCondition(_Struct, frozen=True):
    type: str | None = None
    status: str | None = None


class _PodStatus(_Struct, frozen=True):
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


class _Pod(_Struct, frozen=True):
    metadata: _PodMetadata
    spec: _PodSpec | None = None
    status: _PodStatus | None = None

    def fact(self) -> Pod:
        spec = self.spec or _PodSpec()
        return Pod(
            namespace=_shared(self.metadata.namespace or ""),
            name=_shared(self.metadata.name),
            labels=_labels(self.metadata.labels),
            service_account=_shared(spec.service_account_name or ""),
            ready=self.status is None or self.status.ready,
            terminating=self.metadata.deletion_timestamp is not None,
            node=_shared(spec.node_name or ""),
            resource_version=self.metadata.resource_version or "",
        )


class _Node(_Struct, frozen=True):
    metadata: _Metadata

    def fact(self) -> Node:
        labels = self.metadata.labels or {}
        return Node(
            name=self.metadata.name,
            region=labels.get(REGION_LABEL, ""),
            zone=labels.get(ZONE_LABEL, ""),
            resource_version=self.metadata.resource_version or "",
        )


class _Namespace(_Struct, frozen=True):
    metadata: _Metadata

    def fact(self) -> Namespace:
        return Namespace(
            name=self.metadata.name,
            labels=_labels(self.metadata.labels),
            uid=self.metadata.uid or "",
            resource_version=self.metadata.resource_version or "",
        )


class _ServiceExport(_Struct, frozen=True):
    metadata: _Metadata

    def fact(self) -> ServiceExport:
        return ServiceExport(
            namespace=_shared(self.metadata.namespace or ""),
            name=self.metadata.name,
            created=self.metadata.creation_timestamp or "",
            resource_version=self.metadata.resource_version or "",
        )


_Object = _Service | _EndpointSlice | _Pod | _Node | _Namespace | _ServiceExport

_STRUCTS: Mapping[Kind, type[_Object]] = {
    Kind.SERVICE: _Service,
    Kind.ENDPOINT_SLICE: _EndpointSlice,
    Kind.POD: _Pod,
    Kind.NODE: _Node,
    Kind.NAMESPACE: _Namespace,
    Kind.SERVICE_EXPORT: _ServiceExport,
}
_DECODERS = {kind: msgspec.json.Decoder(struct) for kind, struct in _STRUCTS.items()}


def struct_of(kind: Kind) -> type[_Object]:
    """What is read of an object of ``kind``, as a type."""
    return _STRUCTS[kind]


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that are not what they should be, down to nesting too deep to follow."""


def decode_object(kind: Kind, document: Mapping[str, Any] | bytes) -> Fact:
    """One object, as JSON or as a mapping already read.

    Raises:
        DecodeError: a field has the wrong type or an impossible value.
    """
    try:
        if isinstance(document, bytes):
            return _DECODERS[kind].decode(document).fact()
        return msgspec.convert(document, _STRUCTS[kind]).fact()
    except _UNREADABLE as error:
        raise DecodeError(str(error)) from error


class _ListMetadata(_Struct, frozen=True):
    resource_version: Annotated[str, msgspec.Meta(min_length=1)]
    continue_: str = msgspec.field(default="", name="continue")


class _ListPage(_Struct, frozen=True):
    kind: str
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of a list. ``broken`` are the objects of it that could not be read, each with its error.

    ``continue_token`` is empty on the last page; ``resource_version`` is where a watch begins after it.
    """

    facts: tuple[Fact, ...]
    broken: tuple[tuple[ObjectRef | None, str], ...]
    resource_version: str
    continue_token: str


_PAGE = msgspec.json.Decoder(_ListPage)


def decode_page(kind: Kind, body: bytes) -> Page:
    """A list response. A single object of it that cannot be read does not spoil the others.

    Raises:
        DecodeError: the body is no list of this kind with a resourceVersion. Anything else that happens to be JSON,
            say of a proxy's, must not pass for a list of nothing.
    """
    page = _decode(_PAGE, body)
    if page.kind != f"{kind}List":
        raise DecodeError(f"Expected a {kind}List, got {page.kind[:100]!r} - at `$.kind`")
    facts: list[Fact] = []
    broken: list[tuple[ObjectRef | None, str]] = []
    for raw in page.items or ():
        try:
            facts.append(decode_object(kind, bytes(raw)))
        except DecodeError as error:
            broken.append((_ref_of(kind, bytes(raw)), str(error)))
    return Page(tuple(facts), tuple(broken), page.metadata.resource_version, page.metadata.continue_)


class _AnyMetadata(_Struct, frozen=True):
    name: str = ""
    namespace: str | None = None
    resource_version: str = ""


class _AnyObject(_Struct, frozen=True):
    metadata: _AnyMetadata = _AnyMetadata()


class _NamesPage(_Struct, frozen=True):
    kind: str
    metadata: _ListMetadata
    items: list[_AnyObject] | None = None


class NamesPage(msgspec.Struct, frozen=True):
    """One page of a list of names: the version of each object."""

    versions: dict[ObjectRef, str]
    resource_version: str
    continue_token: str


_NAMES = msgspec.json.Decoder(_NamesPage)


def decode_names(kind: Kind, body: bytes) -> NamesPage:
    """A page of a metadata-only list of ``kind`` (API concepts, "Metadata-only fetches").

    Raises:
        DecodeError: it is none.
    """
    page = _decode(_NAMES, body)
    if page.kind != "PartialObjectMetadataList":
        raise DecodeError(f"Expected a PartialObjectMetadataList, got {page.kind[:100]!r} - at `$.kind`")
    metadata = (each.metadata for each in page.items or ())
    versions = {ObjectRef(kind, meta.namespace or "", meta.name): meta.resource_version for meta in metadata}
    return NamesPage(versions, page.metadata.resource_version, page.metadata.continue_)


class _BookmarkMetadata(_Struct, frozen=True):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Bookmark(_Struct, frozen=True):
    metadata: _BookmarkMetadata = _BookmarkMetadata()


class _Status(_Struct, frozen=True):
    code: int = 0
    reason: str = ""
    message: str = ""


class _Event(_Struct, frozen=True):
    type: str
    object: msgspec.Raw


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch.

    ``type`` is ADDED, MODIFIED, DELETED, BOOKMARK, ERROR, or a word that is not known yet. ``ref`` names the object of
    all but BOOKMARK and ERROR. ``fact`` is set on ADDED and MODIFIED; where it is None, and on an unknown type,
    ``error`` says why. On ERROR, ``code``, ``reason`` and ``error`` are those of the Status. ``ends_list``: the
    BOOKMARK that ends a streaming list.
    """

    type: str
    resource_version: str = ""
    fact: Fact | None = None
    ref: ObjectRef | None = None
    code: int = 0
    reason: str = ""
    error: str = ""
    ends_list: bool = False


_CHANGES: Mapping[Kind, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(msgspec.defstruct(f"_{kind}Event", [("type", str), ("object", struct)], frozen=True))
    for kind, struct in _STRUCTS.items()
}
"""An event whose object is all there, in one pass."""

_EVENT = msgspec.json.Decoder(_Event)
_ANY = msgspec.json.Decoder(_AnyObject)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)
_STATUS = msgspec.json.Decoder(_Status)
_Decoded = TypeVar("_Decoded")
_Value = TypeVar("_Value")


def decode_event(kind: Kind, line: bytes) -> WatchEvent:
    """One line of a watch of ``kind``. An event whose object has a name, and else cannot be read, is one all the same.

    Raises:
        DecodeError: the line is no watch event, or nobody can say of which object.
    """
    return _decode_change(kind, line) or _decode_closely(kind, line)


def _decode_change(kind: Kind, line: bytes) -> WatchEvent | None:
    """An ADDED or MODIFIED whose object can be read; None for all else, which is looked at more closely."""
    try:
        event = _CHANGES[kind].decode(line)
        if event.type not in ("ADDED", "MODIFIED"):
            return None
        fact: Fact = event.object.fact()
    except _UNREADABLE:
        return None
    return WatchEvent(event.type, fact.resource_version, fact=fact, ref=fact.ref)


def _decode_closely(kind: Kind, line: bytes) -> WatchEvent:
    event = _decode(_EVENT, line)
    body = bytes(event.object)
    if event.type == "ERROR":
        status = _decode(_STATUS, body)
        return WatchEvent("ERROR", code=status.code, reason=status.reason, error=status.message)
    if event.type == "BOOKMARK":
        mark = _decode(_BOOKMARK, body).metadata
        ends_list = (mark.annotations or {}).get(LIST_END_ANNOTATION) == "true"
        return WatchEvent(event.type, mark.resource_version, ends_list=ends_list)
    meta = _decode(_ANY, body).metadata
    if not meta.name:
        raise DecodeError("Object missing required field `name` - at `$.object.metadata`")
    ref = ObjectRef(kind, meta.namespace or "", meta.name)
    if event.type == "DELETED":
        return WatchEvent(event.type, meta.resource_version, ref=ref)
    if event.type not in ("ADDED", "MODIFIED"):
        return WatchEvent(
            event.type, meta.resource_version, ref=ref, error=f"an event of the type {event.type[:100]!r}"
        )
    try:
        return WatchEvent(event.type, meta.resource_version, fact=decode_object(kind, body), ref=ref)
    except DecodeError as error:
        return WatchEvent(event.type, meta.resource_version, ref=ref, error=str(error))


def decode_status_message(body: bytes) -> str:
    """The message of a ``v1`` Status an API server answers errors with; what there is of the text where it is none."""
    try:
        message = _STATUS.decode(body).message
    except _UNREADABLE:
        message = ""
    return message or " ".join(body[:200].decode(errors="replace").split())


def _decode(decoder: msgspec.json.Decoder[_Decoded], body: bytes) -> _Decoded:
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        raise DecodeError(str(error)) from error


def _ref_of(kind: Kind, body: bytes) -> ObjectRef | None:
    try:
        meta = _decode(_ANY, body).metadata
    except DecodeError:
        return None
    return ObjectRef(kind, meta.namespace or "", meta.name) if meta.name else None


def _labels(labels: Mapping[str, str] | None) -> Labels:
    return _LABELS.of(tuple(sorted(labels.items())), _of_shared_pairs) if labels else ()


def _own_annotations(annotations: Mapping[str, str] | None) -> Labels:
    """The registry's own, without their prefix."""
    return tuple(
        sorted(
            (key.removeprefix(ANNOTATION_PREFIX), value)
            for key, value in (annotations or {}).items()
            if key.startswith(ANNOTATION_PREFIX)
        )
    )


class _Same(Generic[_Value]):
    """The same object for equal ones, of the last few thousand: nothing else is kept, as a cache of calls would."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[_Value, _Value] = {}

    def of(self, value: _Value, made: Callable[[_Value], _Value]) -> _Value:
        """The object that is kept for ``value``; ``made`` of it when there is none yet."""
        found = self._known.get(value)
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            found = made(value)
            self._known[found] = found
        return found


_LABELS: _Same[Labels] = _Same(4096)
"""The Pods of a workload have their labels in common, and are listed together."""
_LABEL: _Same[tuple[str, str]] = _Same(1 << 14)
"""The labels of two workloads, or of two zones of one, differ by little."""


def _of_shared_pairs(labels: Labels) -> Labels:
    return tuple([_LABEL.of(pair, _of_shared_names) for pair in labels])


def _of_shared_names(pair: tuple[str, str]) -> tuple[str, str]:
    return _shared(pair[0]), _shared(pair[1])
