"""Istio's ServiceEntries (``networking.istio.io/v1``): the list for meshes that read it from the API server.

Which ports an entry has is in ``entry_ports``, which endpoints stand together in one in ``entry_groups``, what else of
the Service it carries in ``entry_carried``. docs/service-entries.md is the page for users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from registry.model.facts import TRAFFIC_DISTRIBUTION_ANNOTATION, ServicePort
from registry.model.services import Endpoint, MergedService
from registry.views.attribution import CLUSTER_LABEL, attributed
from registry.views.entry_carried import export_to, traffic_distribution
from registry.views.entry_groups import Group, Offer, Targets, grouped, offers
from registry.views.entry_ports import entry_ports, takes_all_traffic, unique_port_names
from registry.views.names import Names
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy
from registry.views.protocol import app_protocol
from registry.views.resources import sticky

API_VERSION = "networking.istio.io/v1"
KIND = "ServiceEntry"
NAME_PREFIX = "mesh-registry-"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "mesh-registry"

MAX_ENDPOINTS = 4096
"""How many endpoints an entry may have by Istio's custom resource definition. The next ones are in another entry."""
MAX_BYTES = 1_000_000
"""How long an entry's endpoints may be as JSON. etcd takes 1.5 MiB, field managers and all."""
MAX_LABELS = 256
"""How many of an endpoint, by the custom resource definition."""
OUR_LABELS = 2
"""So many of them are ours: the mode of TLS and the cluster."""
MAX_NAMED = 5
"""How many ports or endpoints a message names."""

TLS_MODE_LABEL = "security.istio.io/tlsMode"
NO_TLS = "disabled"

Document = dict[str, object]


class Omission(NamedTuple):
    """Something that a service's entries lack, with what can be done about it. ``reason`` is CamelCase."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ServiceEntries:
    """The entries of one service, to be written all or none, and what they lack.

    Their names differ. The first, if any, is called as ``entry_name`` says. All have the same labels, annotations and
    ``exportTo``, without which Istio does not join them.
    """

    documents: tuple[Document, ...] = ()
    omissions: tuple[Omission, ...] = ()


def entry_name(service_name: str) -> str:
    """The name of a service's first entry; the prefix keeps clear of entries that people write themselves."""
    return f"{NAME_PREFIX}{service_name}"


def entry_service(name: str) -> str:
    """The name of the service whose entry is called so. Further entries have a dot and a suffix behind the first's."""
    return name.removeprefix(NAME_PREFIX).partition(".")[0]


def service_entries(
    service: MergedService, names: Names, policy: TrafficPolicy = NO_POLICY, family: str = "", *, tcp: bool = False
) -> ServiceEntries:
    """The service as ServiceEntries, their keys and lists in a fixed order; nearly always it is one.

    They are the same for all clients of a cluster, so they have what is the same for all: what the ``policy`` leaves
    out for everybody is not in them, and of an endpoint with addresses of both families they have that of ``family``,
    the cluster's own. What they cannot say is in ``unsaid``. Without ``tcp`` they lack the ports for which sidecars
    would take all TCP traffic; a service without any other port has no entry.
    """
    known = entry_ports(service.ports)
    ports = [port for port in known if tcp or not takes_all_traffic(port)]
    exported, near = export_to(service), traffic_distribution(service, policy)
    found = offers(service, ports, policy, family)
    omissions = (
        *_ports_left_out(known, ports),
        *(Omission("InvalidExportTo", each) for each in exported.problems if ports),
        *(Omission("InvalidTrafficDistribution", each) for each in near.problems if ports),
        *_cut(found),
    )
    if not ports:
        return ServiceEntries((), omissions)
    port_names = unique_port_names(known)
    documents: list[Document] = []
    for group in grouped(ports, found):
        listed = [_endpoint(each, port_names, group.defaults) for each in group.offers]
        for part, endpoints in enumerate(_parts(listed), 1):
            suffix = [group.suffix] if group.suffix else []
            metadata: Document = {
                "name": ".".join([entry_name(service.key.name), *suffix, *([f"part{part}"] if part > 1 else [])]),
                "namespace": service.key.namespace,
                "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            }
            if near.value:
                metadata["annotations"] = {TRAFFIC_DISTRIBUTION_ANNOTATION: near.value}
            spec = _spec(names.host(service.key), group, port_names, endpoints)
            if exported.value:
                spec["exportTo"] = list(exported.value)
            documents.append({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
    return ServiceEntries(tuple(documents), omissions)


def unsaid(service: MergedService, policy: TrafficPolicy) -> tuple[str, ...]:
    """What clients are shown over xDS, and an entry has no word for, each with what can be done about it."""
    found = []
    if policy.local_only:
        found.append(
            "internalTrafficPolicy: Local: an entry does not know its client's node, so every client is shown all "
            "endpoints; Istio obeys the field in a cluster's own Service alone"
        )
    if policy.distribution is Distribution.WEIGHTED or policy.failover:
        found.append(
            "the order by place: Istio orders an entry's endpoints by their localities, as localityLbSetting of a "
            "DestinationRule says"
        )
    if policy.distribution is Distribution.PREFER_SAME_NODE:
        found.append("nodes: Istio prefers an entry's endpoints of the same zone, it does not know their nodes")
    if sticky(service):
        found.append("sessionAffinity: say consistentHash in a DestinationRule")
    if any(each.demoted for each in service.endpoints):
        found.append("that endpoints are in doubt: they are in the entry like the others")
    if any(each.additional_addresses for each in service.endpoints):
        found.append("further addresses of endpoints: an entry has one of each")
    return tuple(found)


def _ports_left_out(known: Sequence[ServicePort], ports: Sequence[ServicePort]) -> Iterator[Omission]:
    left_out = [f"{port.port} ({app_protocol(port) or 'no protocol named'})" for port in known if port not in ports]
    if left_out:
        yield Omission(
            "TCPPortsLeftOut",
            f"{'left out' if ports else 'no entry, since left out'}: {_shortened(left_out)}. Without addresses Istio's "
            "sidecars take all TCP traffic to these port numbers for the service's. Name the protocol (appProtocol) "
            "if it is HTTP, gRPC or TLS; or set serviceEntries.tcp if every client has DNS capture",
        )


def _cut(found: Sequence[Offer]) -> Iterator[Omission]:
    """What Istio's custom resource definition has no room for."""
    most = MAX_LABELS - OUR_LABELS
    labelled = [each.endpoint.pod or each.endpoint.address for each in found if len(each.endpoint.labels) > most]
    if labelled:
        yield Omission(
            "LabelsLeftOut",
            f"an endpoint has at most {MAX_LABELS} labels; of these the last are left out: {_shortened(labelled)}",
        )


def _shortened(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return ", ".join(texts[:MAX_NAMED]) + more


def _spec(host: str, group: Group, port_names: Mapping[int, str], endpoints: Sequence[Document]) -> Document:
    return {
        "hosts": [host],
        "ports": [_port(port, port_names[port.port], group.defaults.get(port.port)) for port in group.ports],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": list(endpoints),
    }


def _port(port: ServicePort, name: str, target: int | None) -> Document:
    """Without ``protocol`` where the Service names none: then Istio detects it, as it does for such a Service."""
    document: Document = {"number": port.port, "name": name}
    if protocol := app_protocol(port):
        document["protocol"] = str(protocol)
    if target is not None:
        document["targetPort"] = target
    return document


def _parts(endpoints: Sequence[Document]) -> Iterator[Sequence[Document]]:
    """As many at once as an entry holds; one empty part if there are none."""
    begin = size = 0
    for position, each in enumerate(endpoints):
        length = len(msgspec.json.encode(each)) + 1
        if position - begin == MAX_ENDPOINTS or (size + length > MAX_BYTES and position > begin):
            yield endpoints[begin:position]
            begin, size = position, 0
        size += length
    yield endpoints[begin:]


def _endpoint(offer: Offer, port_names: Mapping[int, str], defaults: Targets) -> Document:
    """One WorkloadEntry; what is unknown is left out. Where the region is not known, ``/zone/cluster`` is the locality.

    Istio compares its parts one by one, so that it has zones without regions too.
    Istio takes an endpoint with a service account and without this label for one that speaks mTLS.
    """
    endpoint = offer.endpoint
    document: Document = {"address": endpoint.address}
    own = {port_names[number]: port for number, port in offer.targets.items() if port != defaults.get(number, number)}
    if own:
        document["ports"] = own
    if endpoint.locality.region or endpoint.locality.zone:
        document["locality"] = str(endpoint.locality)
    document["labels"] = _labels(endpoint)
    if endpoint.network:
        document["network"] = endpoint.network
    if endpoint.service_account:
        document["serviceAccount"] = endpoint.service_account
    document["weight"] = endpoint.weight
    return document


def _labels(endpoint: Endpoint) -> dict[str, str]:
    """Those of its Pod, with its cluster, and with whether it speaks Istio's mTLS said in any case."""
    labels = dict(attributed(endpoint))
    ours = {TLS_MODE_LABEL: labels.pop(TLS_MODE_LABEL, NO_TLS)}
    if CLUSTER_LABEL in labels:
        ours[CLUSTER_LABEL] = labels.pop(CLUSTER_LABEL)
    return dict(sorted([*list(labels.items())[: MAX_LABELS - OUR_LABELS], *ours.items()]))
