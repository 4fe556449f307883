"""One service once more, with a recorder: what became of every endpoint of every slice, and by which rule. Pure.

Nothing is decided here. ``Member.contribution`` and ``merge`` do what they do for every commit, and tell a ``Trace``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.index.guard import Hold
from registry.index.member import Member
from registry.index.merge import merge
from registry.model.facts import EndpointSlice, Node, Pod, Service, ServiceExport
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.reasons import Reason, reason
from registry.model.services import Endpoint, MergedService
from registry.model.standing import Standing
from registry.model.trace import Row, Step, Trace


@dataclass(frozen=True, slots=True)
class ExplainedCluster:
    """One member: ``reason`` is why it gives nothing to the service, None where it does.

    ``hold`` is why its Service counts though a list lacks it.
    """

    cluster: ClusterId
    standing: Standing
    reason: Reason | None
    service: Service | None
    export: ServiceExport | None
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class ExplainedEndpoint:
    """The endpoint at ``position`` of a slice; ``endpoint`` is what the merged service has for it, None: nothing.
    ``evicted`` is what it has for clients in the endpoint's own cluster alone.

    ``steps`` are the rules that applied, in order; of an endpoint that is left out the last one is why. ``hold``: it is
    what a list lacks of the slice. ``pod`` and ``node`` are those it names, where the cluster has them.
    """

    cluster: ClusterId
    fact: EndpointSlice
    position: int
    address: str
    steps: tuple[Step, ...]
    endpoint: Endpoint | None
    hold: Hold | None = None
    pod: Pod | None = None
    node: Node | None = None
    evicted: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class ServiceExplanation:
    """``service`` is the merged service, with the very endpoints that ``endpoints`` name; None: there is none."""

    key: ServiceKey
    service: MergedService | None
    clusters: tuple[ExplainedCluster, ...]
    endpoints: tuple[ExplainedEndpoint, ...]


def explain(
    key: ServiceKey, members: Mapping[ClusterId, Member], standing: Mapping[ClusterId, Standing]
) -> ServiceExplanation:
    """The service as it is merged from what is held now."""
    trace = Trace()
    parts = []
    clusters = []
    for cluster in sorted(members):
        member = members[cluster]
        trace.enter(cluster)
        for fact in member.copies(key):
            trace.left_out(fact, Reason.SLICE_COPY, fact.copy_mark)
        _introduce(member, key, trace)
        if member.shown:
            part = member.contribution(key, trace=trace)
            parts += [part] if part is not None else []
        else:
            for fact in member.slices(key):
                trace.left_out(fact, Reason.CLUSTER_NOT_LISTED)
        clusters.append(_cluster(cluster, member, key, standing.get(cluster, Standing.CURRENT)))
    service = merge(key, parts, standing, trace)
    held = {id(fact) for member in members.values() for fact in member.guard.slices(key)}
    endpoints = [_endpoint(row, members[row.cluster], key, held=id(row.fact) in held) for row in trace.rows]
    return ServiceExplanation(key, service, tuple(clusters), tuple(endpoints))


def _introduce(member: Member, key: ServiceKey, trace: Trace) -> None:
    """What holds for whole slices."""
    held = set(map(id, member.guard.slices(key)))
    for fact in member.slices(key):
        if id(fact) in held:
            hold = _hold(member, fact.ref)
            if hold is not None:
                trace.about(fact, reason(hold.reason))
        elif member.from_snapshot(Kind.ENDPOINT_SLICE):
            trace.about(fact, Reason.FROM_SNAPSHOT)


def _cluster(cluster: ClusterId, member: Member, key: ServiceKey, standing: Standing) -> ExplainedCluster:
    service = member.get(ObjectRef(Kind.SERVICE, *key))
    export = member.get(ObjectRef(Kind.SERVICE_EXPORT, *key))
    admitted = member.admitted(key)
    refusal = admitted if isinstance(admitted, Reason) else None
    return ExplainedCluster(
        cluster,
        standing,
        refusal if member.shown else Reason.CLUSTER_NOT_LISTED,
        service if isinstance(service, Service) else None,
        export if isinstance(export, ServiceExport) else None,
        _hold(member, ObjectRef(Kind.SERVICE, *key)),
    )


def _endpoint(row: Row, member: Member, key: ServiceKey, *, held: bool) -> ExplainedEndpoint:
    pod = member.get(ObjectRef(Kind.POD, key.namespace, row.raw.pod)) if row.raw.pod else None
    node = member.get(ObjectRef(Kind.NODE, "", row.raw.node)) if row.raw.node else None
    lent = [hold for each in (pod, node) if each is not None and (hold := _hold(member, each.ref)) is not None]
    apart = row.endpoint if row.endpoint is not None and row.endpoint.standing is Standing.EVICTED else None
    endpoint = row.endpoint if apart is None else None
    if endpoint is not None and lent:
        row.steps.append(Step(Reason.LENT_IN_DOUBT, ", ".join(f"{each.fact.ref}: {each.reason}" for each in lent)))
    return ExplainedEndpoint(
        row.cluster,
        row.fact,
        row.position,
        row.address or row.raw.address,
        tuple(row.steps),
        endpoint,
        _hold(member, row.fact.ref) if held else None,
        pod if isinstance(pod, Pod) else None,
        node if isinstance(node, Node) else None,
        apart,
    )


def _hold(member: Member, ref: ObjectRef) -> Hold | None:
    """Why the object counts though a list lacks it; of a Service that the cluster still has, nothing is held."""
    return member.guard.hold_of(ref)
