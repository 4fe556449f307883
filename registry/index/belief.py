"""What is believed of one cluster: its objects as it told them last, with what is held beside them. To be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from registry.index.addresses import member_address
from registry.index.export import ExportPolicy
from registry.index.gateways import network_of
from registry.index.guard import GuardPolicy, RemovalGuard, Witness
from registry.index.join import health_of, loopback_meant
from registry.index.lookup import ServiceLookup
from registry.index.store import FactStore
from registry.model.facts import EndpointSlice, Fact, Node, Pod, Service
from registry.model.names import Kind, ObjectRef, ServiceKey
from registry.model.reasons import Reason

API_SERVICE = ObjectRef(Kind.SERVICE, "default", "kubernetes")
"""The API server makes it in the cluster's primary family, which Pods' first addresses have too (KEP-563)."""


class Belief:
    """``facts`` are the objects, ``guard`` what lists lack and counts all the same, ``lookup`` leads to services."""

    def __init__(self, export: ExportPolicy, policy: GuardPolicy | None) -> None:
        self._export = export
        self.facts = FactStore(export.kinds)
        self.lookup = ServiceLookup()
        self.guard = RemovalGuard(policy or GuardPolicy())
        self.local = False
        """It is a folder of manifests."""

    def get(self, ref: ObjectRef) -> Fact | None:
        """The object, also one that is held in doubt. Of a slice, what is held is another thing: see ``slices``."""
        found = self.facts.get(ref)
        return self.guard.get(ref) if found is None and self.guard else found

    def services(self) -> set[ServiceKey]:
        """Those it has a Service object of, held ones too."""
        held = {hold.fact.key for hold in self.guard.holds() if isinstance(hold.fact, Service)}
        return held | {ServiceKey(ref.namespace, ref.name) for ref in self.facts.held(Kind.SERVICE)}

    def own_slices(self, key: ServiceKey) -> list[EndpointSlice]:
        """The slices of the service, as they were told last, without copies of other clusters' endpoints."""
        return [each for each in self._slices(key) if not each.copy_mark]

    def copies(self, key: ServiceKey) -> list[EndpointSlice]:
        """Slices of the service that were copied from elsewhere: they are no sources."""
        return [each for each in self._slices(key) if each.copy_mark]

    def slices(self, key: ServiceKey) -> list[EndpointSlice]:
        """The slices of the service, and what is held of slices though a list lacks it."""
        return [*self.own_slices(key), *self.guard.slices(key)]

    def admitted(self, key: ServiceKey) -> Service | Reason:
        """The Service if it is in the list, else why it is not."""
        service = self.get(ObjectRef(Kind.SERVICE, key.namespace, key.name))
        if not isinstance(service, Service):
            return self._export.exclusion(key) or Reason.NO_SERVICE
        if service.copy_mark:
            return Reason.SERVICE_COPY
        if service.external_name:
            return Reason.EXTERNAL_NAME
        exported = self.get(ObjectRef(Kind.SERVICE_EXPORT, key.namespace, key.name)) is not None
        return self._export.refusal(service, exported) or service

    def set_export(self, export: ExportPolicy) -> None:
        """These services are exported from now on; ``facts`` has all kinds that this needs."""
        self._export = export

    def admission_differs(self, key: ServiceKey, before: ExportPolicy) -> bool:
        """Whether the Service is in the list, or was, by another rule than by ``before``."""
        service = self.get(ObjectRef(Kind.SERVICE, key.namespace, key.name))
        if not isinstance(service, Service):
            return False
        exported = self.get(ObjectRef(Kind.SERVICE_EXPORT, key.namespace, key.name)) is not None
        now, then = self._export.refusal(service, exported), before.refusal(service, exported)
        return now is not then or (now is None and exported and self._export.by_objects is not before.by_objects)

    def gateway(self, key: ServiceKey) -> Service | None:
        """The Service, held ones too, if it is a gateway of a network; whether or not it is exported."""
        service = self.get(ObjectRef(Kind.SERVICE, key.namespace, key.name))
        return service if isinstance(service, Service) and service.labels and network_of(service) else None

    def zone_of(self, node: str) -> tuple[str, str] | None:
        """Region and zone of the Node of that name; None where there is none."""
        found = self.get(ObjectRef(Kind.NODE, "", node))
        return (found.region, found.zone) if isinstance(found, Node) else None

    def node_of(self, pod: ObjectRef) -> str:
        """The Node the Pod runs on; empty where that is not known."""
        found = self.get(pod)
        return found.node if isinstance(found, Pod) else ""

    @property
    def family(self) -> str:
        """Of which family its Pods' first addresses are, as of its Service ``default/kubernetes``; empty: not known."""
        service = self.get(API_SERVICE)
        return service.ip_families[0] if isinstance(service, Service) and service.ip_families else ""

    def effective(self) -> Mapping[Kind, Sequence[Fact]]:
        """All that counts, held objects too: what a snapshot has to remember."""
        others: dict[ObjectRef, Fact] = {}
        """Those of which something is held."""
        for hold in self.guard.holds():
            ref = hold.fact.ref
            present = others.get(ref) or self.facts.get(ref)
            if isinstance(hold.fact, EndpointSlice) and isinstance(present, EndpointSlice):
                others[ref] = replace(present, endpoints=(*present.endpoints, *hold.fact.endpoints))
            else:
                others[ref] = present or hold.fact
        found = {kind: tuple(self.facts.held(kind).facts()) for kind in Kind}
        for kind in {ref.kind for ref in others}:
            rest = [fact for fact in found[kind] if fact.ref not in others]
            found[kind] = (*rest, *[fact for ref, fact in others.items() if ref.kind is kind])
        return found

    def addresses(self, key: ServiceKey) -> set[str]:
        """The endpoints the service has here, held ones too."""
        service = self.admitted(key)
        if isinstance(service, Reason):
            return set()
        loopback = loopback_meant(service, local=self.local)
        found = {
            member_address(endpoint.address, loopback=loopback)
            for fact in self.slices(key)
            for endpoint in fact.endpoints
            if health_of(endpoint) is not None
        }
        return {address for address in found if address is not None}

    def total(self) -> int:
        """How many endpoints the cluster has."""
        return sum(len(self.addresses(key)) for key in self.services())

    def _slices(self, key: ServiceKey) -> list[EndpointSlice]:
        found = map(self.facts.get, self.lookup.slices(key))
        return [each for each in found if isinstance(each, EndpointSlice)]

    def witness(self) -> Witness:
        """What its Pods say, as they are now."""
        return Witness(self.facts.get, self.guard.get, has_pods=bool(self.facts.held(Kind.POD)))
