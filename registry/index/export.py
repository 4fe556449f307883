"""Which services are in the list at all."""

from __future__ import annotations

from dataclasses import dataclass

from registry.model.names import ServiceKey

DEFAULT_EXCLUDED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "istio-system"})
DEFAULT_EXCLUDED_SERVICES = frozenset({ServiceKey("default", "kubernetes")})


@dataclass(frozen=True, slots=True)
class ExportPolicy:
    """Every service is exported but those of ``excluded_namespaces`` and the ``excluded_services``."""

    excluded_namespaces: frozenset[str] = DEFAULT_EXCLUDED_NAMESPACES
    excluded_services: frozenset[ServiceKey] = DEFAULT_EXCLUDED_SERVICES

    def exports(self, key: ServiceKey) -> bool:
        """Whether the service is in the list, in every cluster that has it."""
        return key.namespace not in self.excluded_namespaces and key not in self.excluded_services
