"""Which services are in the list at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.model.facts import Labels, Service
from registry.model.names import BASE_KINDS, Kind, ServiceKey
from registry.model.reasons import Reason

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
        return self.exclusion(key) is not None

    def exclusion(self, key: ServiceKey) -> Reason | None:
        """Why no Service of that name is in the list, whatever else is said of it; None: one may be."""
        if key.namespace in self.excluded_namespaces:
            return Reason.NAMESPACE_EXCLUDED
        return Reason.SERVICE_EXCLUDED if key in self.excluded_services else None

    def exports(self, service: Service, has_export: bool) -> bool:
        """Whether the Service of one cluster is in the list; ``has_export``: that cluster has a ServiceExport of it."""
        return self.refusal(service, has_export) is None

    def refusal(self, service: Service, has_export: bool) -> Reason | None:
        """Why it is not; None where it is."""
        excluded = self.exclusion(service.key)
        if excluded is not None:
            return excluded
        match self.mode:
            case ExportMode.ALL:
                return None
            case ExportMode.SERVICE_EXPORT:
                return None if has_export else Reason.NOT_EXPORTED
            case ExportMode.SELECTOR:
                labels = dict(service.labels)
                selected = all(labels.get(key) == value for key, value in self.selector)
                return None if selected else Reason.NOT_SELECTED
