"""One cluster's part of a service: its Service object joined with slices, Pods and Nodes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from registry.index.addresses import canonical_address, member_address, special_of
from registry.index.contribution import Contribution, SlicePart
from registry.index.families import paired
from registry.index.ports import distinct_ports, ports_text, target_ports
from registry.index.refusals import (
    MAX_PORTS,
    first_endpoints,
    first_slices,
    special_addresses,
    too_many_endpoints,
    too_many_ports,
)
from registry.model.facts import (
    LOOPBACK_ALLOWED,
    LOOPBACK_ANNOTATION,
    NETWORK_LABEL,
    AddressType,
    EndpointSlice,
    Fact,
    Labels,
    Node,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SliceEndpoint,
)
from registry.model.names import ClusterId, Kind, Locality, ObjectRef
from registry.model.reasons import Reason
from registry.model.services import Endpoint, Expected, Health, TargetPort
from registry.model.trace import Trace

SYSTEM_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Changed:
    """Names of the Pods and Nodes that are other ones than when a part was made."""

    pods: Set[str] = frozenset()
    nodes: Set[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.pods or self.nodes)

    def concerns(self, endpoint: SliceEndpoint) -> bool:
        return endpoint.pod in self.pods or endpoint.node in self.nodes


NOTHING_CHANGED = Changed()


Find = Callable[[ObjectRef], Fact | None]


@dataclass(frozen=True, slots=True)
class Place:
    """The cluster a join happens in, the network it is on, and its Pods and Nodes by reference.

    ``local``: it is a folder of manifests, where a Service may say that loopback addresses are meant.
    """

    cluster: ClusterId
    network: str
    pod: Find
    node: Find
    local: bool = False

    def endpoint(
        self,
        fact: EndpointSlice,
        raw: SliceEndpoint,
        *,
        address: str,
        ports: tuple[TargetPort, ...],
        health: Health,
        demoted: bool = False,
    ) -> Endpoint:
        """The slice's endpoint ``raw`` with what its Pod and Node add; the slice's own zone comes before the Node's.

        The Pod's label ``topology.istio.io/network`` comes before the cluster's network, as Istio reads it.
        """
        pod = self.pod(ObjectRef(Kind.POD, fact.namespace, raw.pod)) if raw.pod else None
        labels, service_account = (pod.labels, pod.service_account) if isinstance(pod, Pod) else ((), "")
        return Endpoint(
            self.locality(raw),
            address,
            ports,
            self.cluster,
            health,
            pod=raw.pod,
            node=raw.node,
            service_account=service_account,
            network=_network(labels) or self.network,
            labels=labels,
            demoted=demoted,
            hostname=raw.hostname,
        )

    def locality(self, raw: SliceEndpoint) -> Locality:
        """Where it is. Of a Node that is not there (yet) nothing is known but what the slice says."""
        node = self.node(ObjectRef(Kind.NODE, "", raw.node)) if raw.node else None
        region, zone = (node.region, node.zone) if isinstance(node, Node) else ("", "")
        return locality(region, raw.zone or zone, self.cluster)


def join(
    place: Place,
    service: Service,
    slices: Iterable[EndpointSlice],
    held: Iterable[EndpointSlice] = (),
    *,
    in_doubt: bool = False,
    created: str = "",
    before: Contribution | None = None,
    changed: Changed = NOTHING_CHANGED,
    trace: Trace | None = None,
) -> Contribution:
    """The part of ``place`` in ``service``: of its ``slices``, and of those ``held`` though a list lacks them.

    Endpoints that only ``held`` has are demoted; all are where the Service itself is ``in_doubt``. ``created`` is when
    it was exported, by default when the Service was made.
    Slices of the address type FQDN are left out, and so is an endpoint whose address is none of its slice's type or is
    special (an API server takes no such slice), or that offers none of the Service's ports. What is beyond the bounds
    of ``registry.index.refusals`` is left out.

    What ``before`` gave is not made again where it is the same, as far as nothing ``changed``. A ``trace`` is told what
    becomes of each endpoint; it needs all of them made, so there is to be no ``before``.
    """
    ports = _ports(service, before)
    loopback = loopback_meant(service, local=place.local)
    same_network = before is not None and before.network == place.network
    known = {(each.fact.name, each.demoted): each for each in before.parts} if before and same_network else {}
    same_ports = before is not None and before.ports is ports
    parts: list[SlicePart] = []
    found = [*((each, in_doubt) for each in slices), *((each, True) for each in held)]
    counted = first_slices(found, trace)
    for fact, demoted in counted:
        if fact.address_type is AddressType.FQDN:
            if trace is not None:
                trace.left_out(fact, Reason.ADDRESS_TYPE_FQDN)
            continue
        earlier = known.get((fact.name, demoted))
        if same_ports and earlier is not None and earlier.fact.ports is fact.ports:
            targets = earlier.targets
        else:
            targets = target_ports(ports, fact)
            for other in (earlier, parts[-1] if parts else None):
                if other is not None and other.targets == targets:
                    targets = other.targets
        if trace is not None:
            _tell_ports(trace, service, ports, targets, fact)
        if targets or not ports:
            parts.append(_part(place, fact, targets, demoted, loopback, earlier, changed, trace))
    endpoints = parts[0].endpoints if len(parts) == 1 else tuple(sorted(chain(*(each.endpoints for each in parts))))
    unready, expected = _counted(parts, endpoints)
    if len({each.fact.address_type for each in parts}) > 1:
        endpoints = paired(endpoints, service.ip_families, trace)
    served = first_endpoints(endpoints, len(ports), trace)
    if served is not endpoints:
        expected = _expected(Counter([each.locality for each in served]))
    return Contribution(
        place.cluster,
        service,
        created or service.created,
        ports,
        served,
        unready,
        expected,
        place.network,
        tuple(parts),
        _manned(parts),
        (
            *too_many_ports(service.ports, ports),
            *too_many_endpoints(len(found), len(counted), len(endpoints), len(served)),
            *special_addresses([each.special for each in parts]),
        ),
    )


def _ports(service: Service, before: Contribution | None) -> tuple[ServicePort, ...]:
    """The Service's ports that count: those of ``before`` where they are the same."""
    if before is not None and before.service.ports == service.ports:
        return before.ports
    return distinct_ports(service.ports, MAX_PORTS)


def _manned(parts: Iterable[SlicePart]) -> frozenset[tuple[int, Protocol]]:
    """The ports, by number and protocol, that have endpoints behind them, ready or not."""
    distinct = {id(each.targets): each.targets for each in parts if each.endpoints or each.waiting}
    return frozenset([(pair.port, pair.protocol) for targets in distinct.values() for pair in targets])


def _tell_ports(
    trace: Trace,
    service: Service,
    ports: Sequence[ServicePort],
    targets: Sequence[TargetPort],
    fact: EndpointSlice,
) -> None:
    """Why the slice offers none of the ``ports``; or that it offers more than are served."""
    for _, text in too_many_ports(service.ports, ports):
        if len(target_ports(service.ports, fact)) > len(targets):
            if not targets:
                trace.left_out(fact, Reason.TOO_MANY_PORTS, text)
                return
            trace.about(fact, Reason.TOO_MANY_PORTS, text)
    if ports and not targets:
        trace.left_out(fact, Reason.PORT_NOT_OFFERED, ports_text(ports, fact))


def _part(
    place: Place,
    fact: EndpointSlice,
    targets: tuple[TargetPort, ...],
    demoted: bool,
    loopback: bool,
    before: SlicePart | None,
    changed: Changed,
    trace: Trace | None,
) -> SlicePart:
    """What the slice gives; of ``before``, which is of a slice of that name, what is the same."""
    if before is not None and (before.loopback is not loopback or before.targets != targets):
        before = None
    if before is not None and before.fact is fact and not any(map(changed.concerns, fact.endpoints if changed else ())):
        return before
    known = _known(before, changed)
    endpoints: list[Endpoint] = []
    waiting: list[tuple[str, str, Locality]] = []
    special: list[str] = []
    for raw, address in _addressed(fact, loopback, special, trace):
        health = health_of(raw)
        if health is not None:
            endpoint = known.get(raw)
            if endpoint is None:
                endpoint = place.endpoint(fact, raw, address=address, ports=targets, health=health, demoted=demoted)
                if trace is not None:
                    trace.made(fact, raw, endpoint)
            endpoints.append(endpoint)
            continue
        if not raw.terminating:
            waiting.append((raw.pod, address, place.locality(raw)))
        if trace is not None:
            trace.left_out(fact, Reason.TERMINATING if raw.terminating else Reason.NOT_READY, raws=(raw,))
    endpoints.sort()
    counts = Counter([each.locality for each in endpoints])
    example = f"{min(special)} ({special_of(min(special))})" if special else ""
    return SlicePart(
        fact,
        targets,
        demoted,
        tuple(endpoints),
        tuple(waiting),
        tuple(counts.items()),
        (len(special), example),
        loopback,
    )


def _known(before: SlicePart | None, changed: Changed) -> dict[SliceEndpoint, Endpoint]:
    """The endpoints there were, by what the slice said of them, but for those that a change concerns."""
    if before is None:
        return {}
    made = {each.address: each for each in before.endpoints}
    if len(made) < len(before.endpoints):  # an address stands twice: no telling which is which
        return {}
    return {
        raw: made[address]
        for raw, address in _addressed(before.fact, before.loopback)
        if address in made and health_of(raw) is not None and not changed.concerns(raw)
    }


def _counted(parts: Sequence[SlicePart], endpoints: Sequence[Endpoint]) -> tuple[int, tuple[Expected, ...]]:
    """How many are not ready, and how many there should be in each locality. What is in several slices counts once."""
    waiting = [each for part in parts for each in part.waiting]
    names = {each.pod or each.address for each in endpoints}
    names.update([pod or address for pod, address, _ in waiting])
    if len(names) == len(endpoints) + len(waiting):
        expected = Counter([at for _, _, at in waiting])
        for part in parts:
            for at, count in part.counts:
                expected[at] += count
        return len(waiting), _expected(expected)
    there = _by_identity((identity(each.pod, each.address), each.locality) for each in endpoints)
    left = ((identity(pod, address), at) for pod, address, at in waiting)
    unready = _by_identity(each for each in left if each[0] not in there)
    return len(unready), _expected(Counter(chain(there.values(), unready.values())))


def _expected(counts: Mapping[Locality, int]) -> tuple[Expected, ...]:
    return tuple([Expected(at, count) for at, count in sorted(counts.items())])


def identity(pod: str, address: str) -> str:
    """What tells endpoints apart when they are counted: a Pod may have several addresses."""
    return f"/{pod}" if pod else address


def _by_identity(found: Iterable[tuple[str, Locality]]) -> dict[str, Locality]:
    """Each once. Where one is said to be in two places, the first of them in order counts."""
    localities: dict[str, Locality] = {}
    for name, at in found:
        held = localities.setdefault(name, at)
        if at is not held and at < held:
            localities[name] = at
    return localities


def _network(labels: Labels) -> str:
    for key, value in labels:
        if key == NETWORK_LABEL:
            return value
    return ""


def loopback_meant(service: Service, *, local: bool) -> bool:
    """Whether loopback addresses of its endpoints are: said of the Service, and it is ``local``, of a folder."""
    return local and (LOOPBACK_ANNOTATION, LOOPBACK_ALLOWED) in service.annotations


def health_of(endpoint: SliceEndpoint) -> Health | None:
    """Ready is HEALTHY, serving and terminating is DRAINING (KEP-1669), everything else is out of the list."""
    if endpoint.ready:
        return Health.HEALTHY
    if endpoint.serving and endpoint.terminating:
        return Health.DRAINING
    return None


def _addressed(
    fact: EndpointSlice, loopback: bool, special: list[str] | None = None, trace: Trace | None = None
) -> Iterator[tuple[SliceEndpoint, str]]:
    """The slice's endpoints with their addresses, where they are ones that a member may name; ``special`` gets those
    that are not."""
    six = fact.address_type is AddressType.IPV6
    for endpoint in fact.endpoints:
        address = member_address(endpoint.address, loopback=loopback)
        if address is not None and (":" in address) is six:
            yield endpoint, address
            continue
        form = canonical_address(endpoint.address) or ""
        why = special_of(form) if form and (":" in form) is six else ""
        if why and special is not None:
            special.append(form)
        if trace is not None:
            trace.left_out(fact, Reason.SPECIAL_ADDRESS if why else Reason.NO_ADDRESS, why, raws=(endpoint,))


@lru_cache(maxsize=1 << 10)
def locality(region: str, zone: str, cluster: ClusterId) -> Locality:
    """The same object for the same place: there are few places, and many endpoints in each."""
    return Locality(region, zone, cluster)
