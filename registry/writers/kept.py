"""What stays of our entries though the merged list lacks it, and what of them is gone. Pure.

A WorkloadEntry's port is ``ports[<name>]``, else the ``targetPort`` of the entry's port, else its ``number``
(istio.io, "ServiceEntry").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry.index.addresses import member_address
from registry.model.facts import Protocol, ServicePort
from registry.model.names import ClusterId, Locality
from registry.model.services import Endpoint, MergedService, TargetPort
from registry.views.attribution import CLUSTER_LABEL
from registry.views.service_entry import API_VERSION, KIND, MANAGED_BY, MANAGED_BY_LABEL
from registry.writers.plan import HeldEntry

Stays = Callable[[str], bool]
"""Whether an endpoint stays that has this value of the cluster's label, ``""`` for none."""

LeftOf = Callable[[HeldEntry], Sequence[Mapping[str, Any]]]
"""The endpoints of an entry that are not gone."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Endpoints that stay, and the ports they are behind."""

    ports: tuple[ServicePort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


def kept(spec: Mapping[str, Any], stays: Stays) -> Kept:
    """What stays of an entry."""
    ports = [each for each in spec.get("ports") or () if isinstance(each.get("number"), int)]
    endpoints = [_endpoint(each, ports) for each in spec.get("endpoints") or () if _may_stay(each, stays)]
    offered = {(pair.port, pair.protocol) for each in endpoints for pair in each.ports}
    found = (_port(each) for each in ports)
    return Kept(tuple(each for each in found if (each.port, each.protocol) in offered), tuple(endpoints))


def with_kept(service: MergedService, parts: Iterable[Kept]) -> MergedService:
    """The service with what stays besides. An address that the service lists is listed as it is now.

    An address may stay as several endpoints: Pods with ``hostNetwork`` share that of their node.
    """
    present = {(each.network, address) for each in service.endpoints for address in _addresses(each)}
    ports = {(each.port, each.protocol): each for each in service.ports}
    taken: set[tuple[str, str, TargetPort]] = set()
    added: list[Endpoint] = []
    for part in parts:
        for endpoint in part.endpoints:
            place = (endpoint.network, endpoint.address)
            pairs = tuple(pair for pair in endpoint.ports if (*place, pair) not in taken)
            if place in present or not pairs:
                continue
            taken.update((*place, pair) for pair in pairs)
            added.append(endpoint._replace(ports=pairs))
            wanted = {(pair.port, pair.protocol) for pair in pairs}
            for port in part.ports:
                if (port.port, port.protocol) in wanted:
                    ports.setdefault((port.port, port.protocol), port)
    if not added:
        return service
    endpoints = tuple(sorted((*service.endpoints, *added)))
    return replace(service, ports=tuple(sorted(ports.values())), endpoints=endpoints)


def of_unknown(entry: HeldEntry, stays: Stays) -> Mapping[str, Any] | None:
    """The entry of a service that no known member has: without what is of known members; None where that was all."""
    endpoints = entry.spec.get("endpoints") or []
    left = [each for each in endpoints if _may_stay(each, stays)]
    return as_ours(entry, left) if left or not endpoints else None


def present(entry: HeldEntry, service: MergedService) -> Sequence[Mapping[str, Any]]:
    """The entry's endpoints that the registry still lists, at the ports that it lists them at."""
    listed: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for each in service.endpoints:
        for address in _addresses(each):
            pairs = listed.setdefault((each.network, address), set())
            pairs.update((pair.port, pair.target) for pair in each.ports)
    ports = entry.spec.get("ports") or ()
    left = []
    for each in entry.spec.get("endpoints") or ():
        offered = listed.get((str(each.get("network") or ""), str(each.get("address"))))
        if offered is not None and all(pair in offered for pair in _said(each, ports)):
            left.append(each)
    return left


def still_there(entry: HeldEntry, service: MergedService | None, stays: Stays) -> Sequence[Mapping[str, Any]]:
    """The entry's endpoints that are not gone, of a ``service`` that may be."""
    if service is not None:
        return present(entry, service)
    return [each for each in entry.spec.get("endpoints") or () if stays(label(each))]


def _said(endpoint: Mapping[str, Any], ports: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """The ports that an endpoint is listed at, each as number and target.

    Where the endpoint has a port map, a port that is not in it is none of its own: so earlier versions wrote it.
    """
    own = endpoint.get("ports") or {}
    for port in ports:
        target = own.get(port.get("name"), port.get("targetPort"))
        if target is not None or not own:
            yield port["number"], target or port["number"]


def as_ours(entry: HeldEntry, endpoints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The entry as we applied it, with these endpoints: what others own of it is left to them."""
    owned = {key: value for key, value in entry.spec.items() if key in entry.owned or key in ("hosts", "ports")}
    labels = {key: value for key, value in entry.labels.items() if f"labels/{key}" in entry.owned}
    notes = {key: value for key, value in entry.annotations.items() if f"annotations/{key}" in entry.owned}
    metadata: dict[str, Any] = {
        "name": entry.name,
        "namespace": entry.namespace,
        "labels": {**labels, MANAGED_BY_LABEL: MANAGED_BY},
    }
    if notes:
        metadata["annotations"] = notes
    spec = {**owned, "endpoints": list(endpoints)}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def label(endpoint: Mapping[str, Any]) -> str:
    """The member that an endpoint is attributed to, ``""`` where it is to none."""
    return str((endpoint.get("labels") or {}).get(CLUSTER_LABEL) or "")


def _may_stay(endpoint: Mapping[str, Any], stays: Stays) -> bool:
    """Whether it does. Others can write into the entry, so its address is looked at as any that a member names."""
    return stays(label(endpoint)) and member_address(str(endpoint.get("address"))) is not None


def _addresses(endpoint: Endpoint) -> tuple[str, ...]:
    return (endpoint.address, *endpoint.additional_addresses)


def _endpoint(document: Mapping[str, Any], ports: Sequence[Mapping[str, Any]]) -> Endpoint:
    own = document.get("ports") or {}
    pairs = (
        TargetPort(port["number"], own.get(port.get("name"), port.get("targetPort") or port["number"]), _protocol(port))
        for port in ports
    )
    labels = document.get("labels") or {}
    said = str(document.get("locality") or f"//{label(document)}")
    region, zone, sub_zone, *_ = (*said.split("/"), "", "", "")
    return Endpoint(
        locality=Locality(region, zone, sub_zone),
        address=str(document.get("address") or ""),
        ports=tuple(sorted(pairs)),
        cluster=ClusterId(label(document)),
        service_account=str(document.get("serviceAccount") or ""),
        network=str(document.get("network") or ""),
        weight=int(document.get("weight") or 1),
        labels=tuple(sorted((key, str(value)) for key, value in labels.items() if key != CLUSTER_LABEL)),
    )


def _port(document: Mapping[str, Any]) -> ServicePort:
    protocol = _protocol(document)
    said = "" if protocol is Protocol.UDP else str(document.get("protocol") or "").lower()
    return ServicePort(document["number"], str(document.get("name") or ""), protocol, said)


def _protocol(document: Mapping[str, Any]) -> Protocol:
    return Protocol.UDP if document.get("protocol") == "UDP" else Protocol.TCP
