"""What is exported and can be no service of several clusters: said, so that it is not lost in silence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from registry.index.export import ExportPolicy
from registry.model.facts import Fact, Service, ServiceExport
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey

INVALID_SERVICE_TYPE = "InvalidServiceType"
NO_SERVICE = "NoService"
"""The reasons of MCS v1beta1 (``ServiceExportConditionReason``)."""


class Refused(NamedTuple):
    """Of one cluster: the service is not in the list on its account."""

    key: ServiceKey
    cluster: ClusterId
    reason: str
    message: str


def refusal(key: ServiceKey, service: Service | None) -> tuple[str, str] | None:
    """Reason and message why the export of ``service`` is none; None where nothing is wrong with it."""
    if service is None:
        return NO_SERVICE, f"there is no Service {key} in this cluster"
    if service.external_name:
        text = (
            f"Service {key} is of the type ExternalName ({service.external_name}), which has no endpoints to merge "
            "with those of other clusters; make it in each cluster that needs it (KEP-1645, Service Types)"
        )
        return INVALID_SERVICE_TYPE, text
    if service.copy_mark:
        text = (
            f"Service {key} was made by a multi-cluster controller for endpoints of other clusters "
            f"({service.copy_mark}); export the Service in the cluster that the endpoints run in"
        )
        return INVALID_SERVICE_TYPE, text
    return None


def refused(
    cluster: ClusterId,
    policy: ExportPolicy,
    services: Mapping[ObjectRef, Fact],
    exports: Mapping[ObjectRef, Fact],
) -> Iterator[Refused]:
    """What of the cluster's ``services`` and ``exports`` is refused, in no order."""
    for fact in services.values():
        if isinstance(fact, Service) and (fact.external_name or (fact.copy_mark and policy.by_objects)):
            has_export = ObjectRef(Kind.SERVICE_EXPORT, fact.namespace, fact.name) in exports
            if policy.exports(fact, has_export):
                yield from _refused(cluster, fact.key, fact)
    if policy.by_objects:
        lonely = (fact for fact in exports.values() if isinstance(fact, ServiceExport))
        for fact in lonely:
            if ObjectRef(Kind.SERVICE, fact.namespace, fact.name) not in services and not policy.excludes(fact.key):
                yield from _refused(cluster, fact.key, None)


def _refused(cluster: ClusterId, key: ServiceKey, service: Service | None) -> Iterable[Refused]:
    found = refusal(key, service)
    return [Refused(key, cluster, *found)] if found else []
