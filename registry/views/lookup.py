"""The messages of the lookup API (``protos/registry/v1/registry.proto``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from registry.model.facts import Protocol
from registry.model.gateways import Gateway, Gateways
from registry.model.names import Kind, Locality, ObjectRef, ServiceKey
from registry.model.services import Endpoint, Health, MergedService
from registry.protos import registry_pb2 as pb
from registry.views.bundles import seen
from registry.views.eds import NO_GATEWAYS, ServiceAssignments, ranks, seen_from
from registry.views.explain import Shown, explain_ports
from registry.views.names import Names
from registry.views.place import Place, Who, own_addresses, place_of
from registry.views.policy import NO_POLICY, TrafficPolicy
from registry.views.rendered import serialized

HEALTH = {Health.HEALTHY: pb.HEALTH_HEALTHY, Health.DRAINING: pb.HEALTH_DRAINING}
VERSION_BYTES = 8


class View(NamedTuple):
    """What is asked for: the service alone, or also what clients at a place are to use, perhaps with reasons."""

    place: Place | None = None
    reasons: bool = False


PLAIN = View()


def place_of_client(client: pb.Client) -> Place:
    """Where a client is that says so itself, by the rules that are those of xDS nodes."""
    metadata = {
        "CLUSTER_ID": client.cluster,
        "NETWORK": client.network,
        "NODE_NAME": client.node,
        "INSTANCE_IPS": ",".join(client.addresses),
    }
    return place_of((client.region, client.zone, ""), metadata)


def who_is_client(client: pb.Client) -> Who:
    """Who a client says it is."""
    pod = ObjectRef(Kind.POD, client.namespace, client.pod) if client.pod and client.namespace else None
    return Who(pod, own_addresses(client.addresses))


class ServiceViews:
    """One service as the lookup API tells it to clients of all places, as long as nothing about it changes.

    What clients of a place are to use is arranged by the code that arranges xDS assignments, and so is the same.
    """

    def __init__(
        self,
        service: MergedService,
        names: Names,
        policy: TrafficPolicy = NO_POLICY,
        gateways: Gateways = NO_GATEWAYS,
    ) -> None:
        self._service = service
        self._names = names
        self._policy = policy
        self._gateways = gateways
        self._plain = _service(service, names)
        self._assignments: ServiceAssignments | None = None
        """Made when a client says its place."""
        self._targets: dict[tuple[int, str, int, bool], bytes] = {}
        """The endpoints of a bundle as fields of a Group, by port, the client's family, the bundle's position, and
        whether nobody else is shown."""

    def message(self, view: View = PLAIN) -> pb.Service:
        """The whole service, and what the ``view`` has beside. ``version`` is a hash of the rest."""
        message = pb.Service()
        message.CopyFrom(self._plain)
        if view.place is not None:
            own_view = seen_from(self._service, view.place.cluster)
            if own_view is not self._service.endpoints:
                del message.endpoints[:]
                message.endpoints.extend(_endpoints(own_view, _protocols(self._service)))
            assignments = self._assigned()
            self._add_assignments(message, view.place, assignments)
            if view.reasons:
                self._add_reasons(message, view.place, assignments)
            self._forget(message, view.place, assignments)
        message.version = blake2b(serialized(message), digest_size=VERSION_BYTES).hexdigest()
        return message

    def _assigned(self) -> ServiceAssignments:
        assignments = self._assignments
        if assignments is None:
            assignments = self._assignments = ServiceAssignments(self._service.key, self._names)
            assignments.update(self._service, self._policy, self._gateways)
        return assignments

    def _forget(self, message: pb.Service, place: Place, assignments: ServiceAssignments) -> None:
        """The message has been made: keep nothing of the place, of which clients may make up any number."""
        for port in _served(message):
            assignments.forget(port.number, place)

    def _add_assignments(self, message: pb.Service, place: Place, assignments: ServiceAssignments) -> None:
        for port in _served(message):
            port.assignment.version = assignments.show(port.number, place).version
            arrangement = assignments.arrangement(port.number, place)
            for slot in arrangement.slots:
                at = _locality(slot.locality)
                group = port.assignment.groups.add(priority=slot.priority, locality=at, weight=slot.weight)
                for each in slot.bundles:
                    key = (port.number, place.family, each, arrangement.last)
                    group.MergeFromString(self._targets_of(assignments, key))
                group.targets.extend(_entrance(gateway, weight) for gateway, weight in slot.gateways)

    def _targets_of(self, assignments: ServiceAssignments, key: tuple[int, str, int, bool]) -> bytes:
        port, family, position, last = key
        found = self._targets.get(key)
        if found is None:
            endpoints = assignments.bundles(port)[position].endpoints
            targets = [_target(seen(endpoint, family, last=last), port) for endpoint in endpoints]
            found = self._targets[key] = serialized(pb.Group(targets=targets))
        return found

    def _add_reasons(self, message: pb.Service, place: Place, assignments: ServiceAssignments) -> None:
        explained = explain_ports(self._service, self._names, place, self._policy, self._gateways, assignments)
        by_number = {each.port.port: each for each in explained if each.version}
        for port in _served(message):
            shown = by_number[port.number].endpoints
            known = (*self._service.endpoints, *self._service.evicted)
            port.assignment.reasons.extend(_reasons(each, shown[id(each)]) for each in known)


def encode_lookup(service: pb.Service) -> bytes:
    """The bytes of a LookupResponse."""
    return serialized(pb.LookupResponse(service=service))


def encode_update(service: pb.Service) -> bytes:
    """The bytes of a WatchResponse that tells the service."""
    return serialized(pb.WatchResponse(service=service))


def encode_absence(key: ServiceKey) -> bytes:
    """The bytes of a WatchResponse that says that there is no such service."""
    return serialized(pb.WatchResponse(absent=_name(key)))


def _service(service: MergedService, names: Names) -> pb.Service:
    """What is the same for everybody, without a version."""
    return pb.Service(
        name=_name(service.key),
        host=names.host(service.key),
        ports=[
            pb.Port(number=port.port, name=port.name, protocol=port.protocol, app_protocol=port.app_protocol)
            for port in service.ports
        ],
        endpoints=_endpoints(service.endpoints, _protocols(service)),
        clusters=service.clusters,
        headless=service.headless,
        affinity_seconds=service.affinity_seconds,
    )


def _served(message: pb.Service) -> Iterator[pb.Port]:
    """The ports that have assignments: as over xDS, those of TCP."""
    return (port for port in message.ports if port.protocol == Protocol.TCP)


def _name(key: ServiceKey) -> pb.ServiceName:
    return pb.ServiceName(namespace=key.namespace, name=key.name)


def _locality(locality: Locality) -> pb.Locality:
    return pb.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.sub_zone)


def _target(endpoint: Endpoint, port: int) -> pb.Target:
    return pb.Target(
        address=endpoint.address,
        port=endpoint.target(port) or 0,
        additional_addresses=endpoint.additional_addresses,
        health=HEALTH[endpoint.health],
        weight=endpoint.weight,
        cluster=endpoint.cluster,
        pod=endpoint.pod,
    )


def _entrance(gateway: Gateway, weight: int) -> pb.Target:
    health = pb.HEALTH_HEALTHY
    return pb.Target(address=gateway.address, port=gateway.port, health=health, weight=weight, gateway=True)


def _reasons(endpoint: Endpoint, shown: Shown) -> pb.Reasons:
    return pb.Reasons(
        address=endpoint.address,
        cluster=endpoint.cluster,
        network=endpoint.network,
        shown=shown.seat is not None or bool(shown.gateways),
        reasons=[pb.Reason(code=step.reason, detail=step.detail) for step in shown.steps],
    )


def _protocols(service: MergedService) -> Mapping[int, Protocol]:
    """Over which protocol each number is told: TCP comes first of one number."""
    return {port.port: port.protocol for port in reversed(service.ports)}


def _endpoints(endpoints: Sequence[Endpoint], protocols: Mapping[int, Protocol]) -> Iterator[pb.Endpoint]:
    for priority, ranked in enumerate(filter(None, ranks(endpoints))):
        yield from (_endpoint(endpoint, priority, protocols) for endpoint in ranked)


def _endpoint(endpoint: Endpoint, priority: int, protocols: Mapping[int, Protocol]) -> pb.Endpoint:
    """``protocols``: over which protocol each number is told."""
    return pb.Endpoint(
        address=endpoint.address,
        ports={pair.port: pair.target for pair in endpoint.ports if protocols.get(pair.port) is pair.protocol},
        health=HEALTH[endpoint.health],
        locality=_locality(endpoint.locality),
        cluster=endpoint.cluster,
        network=endpoint.network,
        pod=endpoint.pod,
        node=endpoint.node,
        service_account=endpoint.service_account,
        weight=endpoint.weight,
        labels=dict(endpoint.labels),
        priority=priority,
        hostname=endpoint.hostname,
        additional_addresses=endpoint.additional_addresses,
    )
