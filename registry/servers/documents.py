"""Clusters and clients as the plain documents that the HTTP API answers."""

from __future__ import annotations

from registry.model.conditions import ConditionType
from registry.model.status import WriterStatus
from registry.servers.ads import ClientStatus
from registry.servers.conditions import condition_document
from registry.servers.reports import (
    ClusterReport,
    HeldObjectsReport,
    HeldReport,
    MembershipReport,
    NetworkReport,
    StartReport,
)
from registry.servers.times import time_text, when
from registry.xds.status import TypeStatus

Document = dict[str, object]


def cluster_document(report: ClusterReport) -> Document:
    """One member cluster; ``serviceEntries`` and ``exportConditions`` are null where none are written."""
    return {
        "name": report.cluster,
        "origin": report.origin,
        "namedBy": report.named_by,
        "network": report.network,
        "state": str(report.status.state),
        "reason": report.status.reason,
        "message": report.status.message,
        "standing": str(report.standing),
        "conditions": [condition_document(each) for each in report.conditions],
        "listed": sorted(map(str, report.status.listed)),
        "drifted": report.drifted,
        "objects": {str(kind): count for kind, count in sorted(report.objects.items())},
        "serviceEntries": None if report.writer is None else _writer_document(report.writer),
        "exportConditions": None if report.export_writer is None else _writer_document(report.export_writer),
    }


def membership_document(report: MembershipReport) -> Document:
    """``refused``: clusters that were named and are not followed. ``problems``: of the places that name clusters."""
    refused = ("name", "origin", "reason", "message")
    return {
        "refused": [dict(zip(refused, each, strict=True)) for each in report.refused],
        "problems": [dict(zip(refused[1:], each, strict=True)) for each in report.troubles],
    }


def start_document(report: StartReport) -> Document:
    """``waitingFor``: of whom nothing is known, before clients are answered; ``unknown``: after that."""
    names = ("name", "reason", "message")
    unknown = [dict(zip(names, (each.name, each.reason, each.message), strict=True)) for each in report.unknown]
    if report.ready:
        return {"ready": True, "unknown": unknown}
    seconds = None if report.seconds is None else round(report.seconds, 1)
    return {"ready": False, "waitingFor": unknown, "atMostSeconds": seconds}


def network_document(report: NetworkReport) -> Document:
    """One network; clients of others are not shown its endpoints where ``gateways`` is empty."""
    return {"name": report.name, "gateways": list(report.gateways), "clusters": list(report.clusters)}


def held_document(held: HeldReport) -> Document:
    """One service's endpoints that are held in doubt; ``until`` is null while the cluster's first list is awaited."""
    return {
        "cluster": held.cluster,
        "namespace": held.service.namespace,
        "name": held.service.name,
        "reason": held.reason,
        "since": time_text(held.since),
        "until": None if held.until is None else time_text(held.until),
        "endpoints": list(held.endpoints),
    }


def held_objects_document(held: HeldObjectsReport) -> Document:
    """One cluster's objects of a kind that are held in doubt; ``until`` as above."""
    return {
        "cluster": held.cluster,
        "kind": held.kind,
        "reason": held.reason,
        "since": time_text(held.since),
        "until": None if held.until is None else time_text(held.until),
        "names": list(held.names),
    }


def doubtful_member_document(report: ClusterReport) -> Document | None:
    """A cluster that nobody names as a member any more, which is doubted; None for any other."""
    for dated in report.conditions:
        if dated.condition.type is ConditionType.NAMED and not dated.condition.status:
            return {"cluster": report.cluster, "namedBy": report.named_by, **condition_document(dated)}
    return None


def client_document(client: ClientStatus) -> Document:
    """One open xDS stream."""
    node = client.node
    region, zone, sub_zone = node.locality
    return {
        "peer": client.peer,
        "service": client.service,
        "protocol": client.protocol,
        "connectedAt": time_text(client.connected_at),
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            "locality": {"region": region, "zone": zone, "subZone": sub_zone},
            "userAgent": node.user_agent,
            "metadata": dict(node.metadata),
        },
        "types": [_type_document(each) for each in client.types],
        "unknownTypes": list(client.unknown_types),
    }


def _type_document(status: TypeStatus) -> Document:
    return {
        "type": status.short,
        "state": type_state(status),
        "wildcard": status.wildcard,
        "names": status.names,
        "sentVersion": status.sent_version,
        "ackedVersion": status.acked_version,
        "nackedVersion": status.nacked_version,
        "error": status.nack_error,
        "sentNonce": status.sent_nonce,
        "sentAt": when(status.sent_at),
        "ackedAt": when(status.acked_at),
        "nackedAt": when(status.nacked_at),
    }


def type_state(status: TypeStatus) -> str:
    """NACKED: it rejected the last response. WAITING: it has not answered it. ACKED: it has it. IDLE: nothing sent."""
    if not status.sent_version:
        return "IDLE"
    if status.waiting:
        return "WAITING"
    return "NACKED" if status.nacked else "ACKED"


def _writer_document(status: WriterStatus) -> Document:
    return {
        "entries": status.entries,
        "written": status.written,
        "deleted": status.deleted,
        "mended": status.mended,
        "conflicts": list(status.conflicts),
        "contested": list(status.contested),
        "failures": [
            {"service": str(each.service), "reason": each.reason, "message": each.message, "refused": each.refused}
            for each in status.failures
        ],
        "awaits": list(status.awaits),
        "reason": status.reason,
        "message": status.message,
    }
