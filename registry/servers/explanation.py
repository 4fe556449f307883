"""Why an endpoint is there, or is not, as a document: ``GET /api/v1/explain/{namespace}/{name}``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry.index import ExplainedCluster, ExplainedEndpoint, ServiceExplanation
from registry.model.conditions import ConditionType, Dated
from registry.model.gateways import Gateways
from registry.model.names import ClusterId
from registry.model.reasons import Effect, Reason
from registry.model.status import SourceState, SourceStatus
from registry.model.trace import Step
from registry.servers.ads import ClientStatus
from registry.servers.conditions import condition_document
from registry.servers.times import time_text, when
from registry.views.explain import PortExplanation, Seat, Shown, explain_ports
from registry.views.names import Names
from registry.views.place import Place, place_of
from registry.views.policy import ResolvedPolicy
from registry.views.resources import ASSIGNMENT
from registry.views.service_entry import Omission, unsaid
from registry.xds.status import SentResource, TypeStatus

Document = dict[str, object]
Sent = Callable[[str, str], SentResource]
CONNECTING = SourceStatus(SourceState.CONNECTING)


@dataclass(frozen=True, slots=True)
class MemberHealth:
    """How a member is doing; ``heard`` is how many seconds ago it was heard of, None: never."""

    heard: float | None
    status: SourceStatus = CONNECTING
    conditions: Sequence[Dated] = ()

    @property
    def refused(self) -> bool:
        """The credentials lead to another cluster than they should, so nothing is read."""
        found = (each.condition for each in self.conditions if each.condition.type is ConditionType.IDENTITY_CONFIRMED)
        return any(not condition.status for condition in found)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A service, and what its explanation needs beside.

    ``refused`` are clusters that were named and are no members, each with its reason and message. ``client`` is the
    one whose view is asked for, with what tells how far it is with a resource. ``node_from`` says from where
    the client's Kubernetes node is known, empty where it is not. ``omissions`` are what the service's entries lack.
    """

    service: ServiceExplanation
    policy: ResolvedPolicy
    gateways: Gateways
    members: Mapping[ClusterId, MemberHealth]
    refused: Sequence[tuple[str, str, str]] = ()
    client: tuple[ClientStatus, Sent] | None = None
    node_from: str = ""
    omissions: Sequence[Omission] = ()


def explanation_document(
    explanation: Explanation,
    names: Names,
    endpoints: Sequence[ExplainedEndpoint],
    listed: Callable[[Iterable[Document]], object] = list,
) -> Document:
    """The explanation of these ``endpoints`` of the service, in the form that ``listed`` makes of theirs.

    ``client`` is null where none was asked for.
    """
    explained = explanation.service
    view = _View.of(explanation, names)
    policy = explanation.policy
    return {
        "namespace": explained.key.namespace,
        "name": explained.key.name,
        "host": names.host(explained.key),
        "listed": explained.service is not None,
        "clusters": [_cluster(each, explanation.members[each.cluster]) for each in explained.clusters],
        "refusedClusters": [
            {"name": name, "reason": str(Reason.CLUSTER_REFUSED), "why": reason, "message": message}
            for name, reason, message in explanation.refused
        ],
        "policy": {
            "distribution": str(policy.policy.distribution),
            "failover": len(policy.policy.failover),
            "fallback": str(policy.policy.fallback),
            "localOnly": policy.policy.local_only,
            "from": dict(policy.origins),
            "problems": list(policy.problems),
        },
        "serviceEntry": {
            "unsaid": [
                *(each.message for each in explanation.omissions),
                *(unsaid(explained.service, policy.policy) if explained.service is not None else ()),
            ]
        },
        "client": view.document() if view is not None else None,
        "endpoints": listed(_endpoint(each, view) for each in endpoints),
    }


def unknown_address(explanation: Explanation, address: str) -> str:
    """What to say of an address that no slice of the service has."""
    heard = (
        f"{cluster} ({'never heard of' if each.heard is None else f'heard of {each.heard:.0f} s ago'})"
        for cluster, each in sorted(explanation.members.items())
    )
    asked = ", ".join(heard) or "no cluster is a member"
    return f"no slice of {explanation.service.key} has the address {address}; asked were {asked}"


@dataclass(frozen=True, slots=True)
class _View:
    """What one client is shown."""

    client: ClientStatus
    sent: Sent
    place: Place
    node_from: str
    ports: tuple[PortExplanation, ...]

    @classmethod
    def of(cls, explanation: Explanation, names: Names) -> _View | None:
        if explanation.client is None:
            return None
        client, sent = explanation.client
        said = place_of(client.node.locality, client.node.metadata, client.node.id)
        place = client.group if isinstance(client.group, Place) and client.group.node else said
        service = explanation.service.service
        policy = explanation.policy.policy
        ports = () if service is None else explain_ports(service, names, place, policy, explanation.gateways)
        return cls(client, sent, place, explanation.node_from, ports)

    def document(self) -> Document:
        status = next((each for each in self.client.types if each.type_url == ASSIGNMENT), None)
        return {
            "id": self.client.node.id,
            "peer": self.client.peer,
            "protocol": self.client.protocol,
            "connectedAt": time_text(self.client.connected_at),
            "place": self.place._asdict(),
            "nodeFrom": self.node_from,
            "ports": [self._port(each) for each in self.ports],
            "answers": _answers(status) if status is not None else None,
        }

    def _port(self, port: PortExplanation) -> Document:
        sent = self.sent(ASSIGNMENT, port.name)
        return {
            "port": port.port.port,
            "protocol": str(port.port.protocol),
            "resource": port.name,
            "version": port.version,
            "subscribed": sent.subscribed,
            "sentVersion": sent.version,
            "upToDate": bool(port.version) and sent.version == port.version,
        }


def _answers(status: TypeStatus) -> Document:
    """What the client answered to its last response with assignments."""
    return {
        "sentNonce": status.sent_nonce,
        "sentAt": when(status.sent_at),
        "waiting": status.waiting,
        "ackedAt": when(status.acked_at),
        "nackedAt": when(status.nacked_at),
        "error": status.nack_error,
    }


def _cluster(cluster: ExplainedCluster, member: MemberHealth) -> Document:
    reason = cluster.reason
    if reason is Reason.CLUSTER_NOT_LISTED and member.refused:
        reason = Reason.CLUSTER_REFUSED
    return {
        "name": cluster.cluster,
        "standing": str(cluster.standing),
        "state": str(member.status.state),
        "message": member.status.message,
        "conditions": [condition_document(each) for each in member.conditions],
        "heardSecondsAgo": None if member.heard is None else round(member.heard, 1),
        "reason": None if reason is None else str(reason),
        "meaning": None if reason is None else reason.meaning,
        "service": None if cluster.service is None else {"resourceVersion": cluster.service.resource_version},
        "serviceExport": None if cluster.export is None else {"resourceVersion": cluster.export.resource_version},
        "held": None if cluster.hold is None else str(cluster.hold.reason),
    }


def _endpoint(each: ExplainedEndpoint, view: _View | None) -> Document:
    raw = each.fact.endpoints[each.position]
    present = each.endpoint is not None
    return {
        "address": each.address,
        "cluster": each.cluster,
        "slice": {"name": each.fact.name, "resourceVersion": each.fact.resource_version, "held": each.hold is not None},
        "conditions": {"ready": raw.ready, "serving": raw.serving, "terminating": raw.terminating},
        "pod": None
        if each.pod is None
        else {
            "name": each.pod.name,
            "resourceVersion": each.pod.resource_version,
            "ready": each.pod.ready,
            "terminating": each.pod.terminating,
        },
        "podNamed": raw.pod,
        "node": None
        if each.node is None
        else {
            "name": each.node.name,
            "resourceVersion": each.node.resource_version,
            "region": each.node.region,
            "zone": each.node.zone,
        },
        "nodeNamed": raw.node,
        "present": present,
        "inDoubt": each.endpoint is not None and each.endpoint.demoted,
        "reason": str(_telling(each.steps, present)),
        "steps": [_step(step) for step in each.steps],
        "views": [] if view is None else [_shown(port, each) for port in view.ports],
    }


def _telling(steps: Sequence[Step], present: bool) -> Reason:
    """The one rule to name first: why it is out, or held, or simply that it is ready."""
    if not present:
        return steps[-1].reason
    held = [step.reason for step in steps if step.reason.effect is Effect.HELD]
    kept = [step.reason for step in steps if step.reason.effect is Effect.KEPT]
    return (held or kept)[0]


def _step(step: Step) -> Document:
    return {
        "reason": str(step.reason),
        "effect": str(step.reason.effect),
        "meaning": step.reason.meaning,
        "detail": step.detail,
    }


def _shown(port: PortExplanation, each: ExplainedEndpoint) -> Document:
    """The endpoint in the client's assignment of a port; ``shown`` is false where neither it nor a gateway is there."""
    endpoint = each.endpoint or each.evicted
    shown = port.endpoints.get(id(endpoint)) if endpoint is not None else None
    shown = shown or Shown(())
    seat = shown.seat or (shown.gateways[0][1] if shown.gateways else None)
    return {
        "port": port.port.port,
        "shown": seat is not None,
        **_seat(seat),
        "gateways": [f"{gateway.address}:{gateway.port}" for gateway, _ in shown.gateways],
        "steps": [_step(step) for step in shown.steps],
    }


def _seat(seat: Seat | None) -> Document:
    if seat is None:
        return {"priority": None, "locality": None, "localityWeight": None, "weight": None}
    return {
        "priority": seat.priority,
        "locality": str(seat.locality),
        "localityWeight": seat.locality_weight,
        "weight": seat.weight,
    }
