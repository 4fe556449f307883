"""The messages of the lookup API (``protos/registry/v1/registry.proto``)."""

from __future__ import annotations

from hashlib import blake2b

from registry.model.names import ServiceKey
from registry.model.services import Endpoint, Health, MergedService
from registry.protos import registry_pb2 as pb
from registry.views.eds import ranks
from registry.views.names import Names
from registry.views.rendered import serialized

HEALTH = {Health.HEALTHY: pb.HEALTH_HEALTHY, Health.DRAINING: pb.HEALTH_DRAINING}
VERSION_BYTES = 8


def service_message(service: MergedService, names: Names) -> pb.Service:
    """The whole service. ``version`` is a hash of the rest."""
    message = pb.Service(
        name=_name(service.key),
        host=names.host(service.key),
        ports=[
            pb.Port(number=port.port, name=port.name, protocol=port.protocol, app_protocol=port.app_protocol)
            for port in service.ports
        ],
        endpoints=[
            _endpoint(endpoint, priority)
            for priority, ranked in enumerate(filter(None, ranks(service.endpoints)))
            for endpoint in ranked
        ],
        clusters=service.clusters,
        headless=service.headless,
        affinity_seconds=service.affinity_seconds,
    )
    message.version = blake2b(serialized(message), digest_size=VERSION_BYTES).hexdigest()
    return message


def encode_lookup(service: MergedService, names: Names) -> bytes:
    """The bytes of a LookupResponse."""
    return serialized(pb.LookupResponse(service=service_message(service, names)))


def encode_update(key: ServiceKey, service: MergedService | None, names: Names) -> bytes:
    """The bytes of a WatchResponse: the service, or that it is absent."""
    if service is None:
        return serialized(pb.WatchResponse(absent=_name(key)))
    return serialized(pb.WatchResponse(service=service_message(service, names)))


def _name(key: ServiceKey) -> pb.ServiceName:
    return pb.ServiceName(namespace=key.namespace, name=key.name)


def _endpoint(endpoint: Endpoint, priority: int) -> pb.Endpoint:
    return pb.Endpoint(
        address=endpoint.address,
        ports={pair.port: pair.target for pair in reversed(endpoint.ports)},
        health=HEALTH[endpoint.health],
        locality=pb.Locality(
            region=endpoint.locality.region, zone=endpoint.locality.zone, sub_zone=endpoint.locality.sub_zone
        ),
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
