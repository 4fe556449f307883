"""Which services are in the list at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.model.facts import Labels, Service
from registry.model.names import BASE_KINDS, Kind, ServiceKey

DEFAULT_EXCLUDED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "istio-system"})
DEFAULT_EXCLUDED_SERVICES = frozenset({ServiceKey("default", "kubernetes")})


class ExportMode(StrEnum):
    """What makes a cluster's Service part of the list."""

    ALL = "all"
    """That it exists."""
    SERVICE_EXPORT = "ServiceExport"
    """A ServiceExport of its name in the same cluster (KEP-1645)."""
    SELECTOR = "selector"
    """Its labels."""


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """A Service is exported as ``mode`` says, but never from ``excluded_namespaces``, nor ``excluded_services``.

    ``selector``, in the mode of that name: labels a Service must have, all of them.
    """

    excluded_namespaces: frozenset[str] = DEFAULT_EXCLUDED_NAMESPACES
    excluded_services: frozenset[ServiceKey] = DEFAULT_EXCLUDED_SERVICES
    mode: ExportMode = ExportMode.ALL
    selector: Labels = ()

    @property
    def by_objects(self) -> bool:
        """Services are exported by a ServiceExport, whose age is the export's."""
        return self.mode is ExportMode.SERVICE_EXPORT

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds without which nothing can be said of a cluster."""
        return BASE_KINDS | {Kind.SERVICE_EXPORT} if self.mode is ExportMode.SERVICE_EXPORT else BASE_KINDS

    def excludes(self, key: ServiceKey) -> bool:
        """No Service of that name is in the list, whatever else is said of it."""
        return key.namespace in self.excluded_namespaces or key in self.excluded_services

    def exports(self, service: Service, has_export: bool) -> bool:
        """Whether the Service of one cluster is in the list; ``has_export``: that cluster has a ServiceExport of it."""
        if self.excludes(service.key):
            return False
        match self.mode:
            case ExportMode.ALL:
                return True
            case ExportMode.SERVICE_EXPORT:
                return has_export
            case ExportMode.SELECTOR:
                labels = dict(service.labels)
                return all(labels.get(key) == value for key, value in self.selector)
