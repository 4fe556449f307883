"""What the exports of a service agree on, and what becomes of the rest.

KEP-1645, "Constraints and Conflict Resolution".

The rules, with the names of their tests in ``tests/pure/test_kep_1645.py``. "MCS" is the API
``multicluster.x-k8s.io/v1beta1``, whose reasons are the ones given here.

=====================================================  =====================================================
rule                                                   test
=====================================================  =====================================================
Services of one namespace and name are one service     same_name_and_namespace_is_one_service
(namespace sameness).
Only a Service with a ServiceExport in its own         service_without_export_is_not_exported_even_if_...
cluster is exported (mode ``ServiceExport``).
Without its export a service is gone.                  deleting_the_export_stops_exporting
Precedence goes by the export's creationTimestamp,     oldest_export_takes_precedence_not_oldest_service
from oldest to newest ("Global Properties").
Exports that have endpoints come before those that     older_export_without_endpoints_decides_no_property,
have none; of a port, those that have endpoints        older_export_without_endpoints_decides_no_port,
behind it. One that is not ready is an endpoint.       older_export_decides_no_port_that_it_has_no_endpoint_of,
(Ours: an export without endpoints takes no traffic    endpoint_that_is_not_ready_keeps_precedence,
away from those that have some; decision 0005.)        without_any_endpoints_the_oldest_export_decides
Without ServiceExports: by the Service's own.          oldest_service_takes_precedence_without_exports
Equal ages: by the cluster's name. An export that      equal_ages_are_decided_by_cluster_name,
does not say its age is the newest. (Ours: the KEP     export_of_unknown_age_comes_last
does not say.)
Ports are the union ("Service Port").                  ports_are_the_union
The union is no conflict.                              ports_that_only_one_cluster_has_are_no_conflict
No two ports have one name, also the empty one:        port_name_with_two_numbers_is_the_oldests,
first merged by name ...                               unnamed_ports_are_one_name
No two ports have one protocol and number:             port_number_with_two_names_is_the_oldests
... then by those.
So a port that is one by its name is not another by   a_port_that_is_one_by_its_name_is_not_another_...
its number.
One number over two protocols is two ports.            one_number_over_tcp_and_udp_is_two_ports
``appProtocol`` is the oldest's.                       app_protocol_is_the_oldests
A port routes only to clusters that expose it, by      port_routes_only_to_clusters_that_expose_it,
its name or by its protocol and number, and never      port_of_another_protocol_gets_no_traffic
to another protocol.
Headless or not: the oldest's ("Headlessness").        headlessness_is_the_oldests
Session affinity and its time: the oldest's            session_affinity_is_the_oldests,
("Session Affinity").                                  session_affinity_config_is_the_oldests
Traffic distribution, internal traffic policy: the     traffic_distribution_is_the_oldests,
oldest's (MCS).                                        internal_traffic_policy_is_the_oldests
IP families are the union, and a conflict where        ip_families_are_the_union_and_a_conflict
they differ: who speaks one of them reaches a part
of the endpoints only (MCS, IPFamilyConflict).
Annotations (here the registry's own): the             annotations_are_the_oldests
oldest's (MCS, AnnotationsConflict).
A conflict is said of every export of the service,     every_export_of_the_service_has_the_condition,
naming field, winner, values and why.                  condition_names_field_winner_and_losers
The condition goes when the exports agree.             condition_is_false_when_the_exports_agree
Several reasons are joined by commas (MCS).            several_reasons_are_joined_by_commas
NodePort and LoadBalancer are exported as ClusterIP    node_port_and_load_balancer_are_exported_as_cluster_ip
("Service Types").
ExternalName is not exported, and its export is        external_name_is_not_exported_and_said_to_be_invalid
``Valid=False``, InvalidServiceType.
An export without a Service is ``Valid=False``,        export_without_a_service_is_said_to_be_invalid
NoService.
The name is ``<service>.<ns>.svc.clusterset.local``    host_is_in_the_clusterset_domain
("DNS").
The result depends on nothing but the exports.         merge_does_not_depend_on_order,
                                                       merge_is_the_same_after_a_restart
=====================================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from registry.index.contribution import Contribution
from registry.index.ports import port_order
from registry.model.facts import AddressType, Protocol, Service, ServicePort
from registry.model.names import ClusterId
from registry.model.services import Conflict

Values = Callable[[ServicePort], str]

PORT_VALUES: Mapping[str, Values] = {
    "port": lambda port: str(port.port),
    "name": lambda port: port.name,
    "protocol": lambda port: str(port.protocol),
    "appProtocol": lambda port: port.app_protocol,
}
"""What may differ about one port, under the names of the API."""

PROPERTIES: Mapping[str, Callable[[Service], str | None]] = {
    "type": lambda service: "Headless" if service.headless else "ClusterSetIP",
    "sessionAffinity": lambda service: "ClientIP" if service.affinity_seconds else "None",
    "sessionAffinityConfig": lambda service: str(service.affinity_seconds) if service.affinity_seconds else None,
    "trafficDistribution": lambda service: service.traffic_distribution,
    "internalTrafficPolicy": lambda service: "Local" if service.local_only else "Cluster",
    "ipFamilies": lambda service: ",".join(sorted(service.ip_families)) or None,
}
"""What the exports must agree on, as the text that is compared and shown. None: it says nothing, so no conflict."""

_REASONS: Mapping[str, str] = {
    "ports": "PortConflict",
    "type": "TypeConflict",
    "sessionAffinity": "SessionAffinityConflict",
    "sessionAffinityConfig": "SessionAffinityConfigConflict",
    "trafficDistribution": "TrafficDistributionConflict",
    "internalTrafficPolicy": "InternalTrafficPolicyConflict",
    "ipFamilies": "IPFamilyConflict",
    "annotations": "AnnotationsConflict",
}
_SAID = attrgetter("headless", "affinity_seconds", "traffic_distribution", "local_only", "ip_families", "annotations")
"""Nearly always all say the same."""

_Owner = tuple[ServicePort, ClusterId]

Moved = Mapping[ClusterId, Mapping[ServicePort, ServicePort]]
"""By cluster, those of its own ports that are another merged port than they say, with that."""

NOT_MOVED: Mapping[ServicePort, ServicePort] = {}


def reason(conflict: Conflict) -> str:
    """MCS's word for it (``ServiceExportConditionReason``)."""
    return _REASONS[conflict.field.partition("[")[0]]


def by_precedence(parts: Iterable[Contribution]) -> list[Contribution]:
    """The export first whose word counts: the oldest of those that have endpoints, then the oldest of the others."""
    return sorted(parts, key=lambda part: (not part.has_endpoints, not part.created, part.created, part.cluster))


def merge_ports(parts: Sequence[Contribution]) -> tuple[tuple[ServicePort, ...], tuple[Conflict, ...], Moved]:
    """The union of the ports of ``parts``, which are by precedence, in order; where they differ; what moved.

    A port is the one of an export before it that has its name, or else its protocol and number. Ports with endpoints
    behind them come before all that have none.
    """
    named: dict[str, _Owner] = {}
    numbered: dict[tuple[int, Protocol], _Owner] = {}
    losers: dict[tuple[_Owner, str], list[tuple[ClusterId, str]]] = {}
    moved: dict[ClusterId, dict[ServicePort, ServicePort]] = {}
    for cluster, port in _in_turn(parts):
        owner = named.get(port.name) or numbered.get((port.port, port.protocol))
        if owner is None:
            named[port.name] = numbered[port.port, port.protocol] = (port, cluster)
        elif owner[0] != port:
            moved.setdefault(cluster, {})[port] = owner[0]
            for attribute, value in PORT_VALUES.items():
                if value(owner[0]) != value(port):
                    losers.setdefault((owner, attribute), []).append((cluster, value(port)))
    conflicts = (
        Conflict(f"ports[{_port_text(port)}].{attribute}", PORT_VALUES[attribute](port), winner, tuple(sorted(others)))
        for ((port, winner), attribute), others in losers.items()
    )
    return tuple(sorted((port for port, _ in named.values()), key=port_order)), tuple(conflicts), moved


def _in_turn(parts: Sequence[Contribution]) -> Iterator[tuple[ClusterId, ServicePort]]:
    """The ports of each cluster: those with endpoints behind them, then the others."""
    for part in parts:
        for port in part.ports:
            if (port.port, port.protocol) in part.manned:
                yield part.cluster, port
    for part in parts:
        if len(part.manned) < len(part.ports):
            for port in part.ports:
                if (port.port, port.protocol) not in part.manned:
                    yield part.cluster, port


def exposed(
    own: Iterable[ServicePort], moved: Mapping[ServicePort, ServicePort] = NOT_MOVED
) -> Mapping[ServicePort, ServicePort]:
    """The merged ports that a Service exposes, each with the one of its ``own`` ports that it is.

    That is the one of its name, else of its number, and never one over another protocol. None of ``own`` is two merged
    ports: which one it is was decided when they were merged.
    """
    found: dict[ServicePort, ServicePort] = {}
    for each in own:
        port = moved.get(each, each)
        if each.protocol is port.protocol and (each.name == port.name or port not in found):
            found[port] = each
    return found


def property_conflicts(parts: Sequence[Contribution]) -> list[Conflict]:
    """Where the exports, which are by precedence, differ in what is the service's as a whole."""
    if len(set(map(_SAID, (part.service for part in parts)))) < 2:
        return []
    found = []
    for field, value in PROPERTIES.items():
        said = [(part.cluster, text) for part in parts if (text := value(part.service)) is not None]
        found += _conflict(field, said)
    annotations = [(part.cluster, dict(part.service.annotations)) for part in parts]
    for key in set().union(*(own for _, own in annotations)):
        found += _conflict(f"annotations[{key}]", [(cluster, own.get(key, "")) for cluster, own in annotations])
    return found


def ip_families(parts: Iterable[Contribution]) -> tuple[AddressType, ...]:
    """Those of all exports, which are by precedence: in the order that the first prefers, then the others."""
    return tuple(dict.fromkeys(family for part in parts for family in part.service.ip_families))


def _conflict(field: str, said: Sequence[tuple[ClusterId, str]]) -> list[Conflict]:
    """Of what the clusters say, by precedence: none, or the one conflict."""
    losers = [each for each in said if each[1] != said[0][1]]
    return [Conflict(field, said[0][1], said[0][0], tuple(sorted(losers)))] if losers else []


def _port_text(port: ServicePort) -> str:
    return str(port.port) if port.protocol is Protocol.TCP else f"{port.port}/{port.protocol}"
