"""The names under which services are served: Istio's for clusters, the multi-cluster services API's for hosts."""

from __future__ import annotations

from dataclasses import dataclass

from registry.model.names import ServiceKey

DEFAULT_DOMAIN = "clusterset.local"
OUTBOUND_HTTP = "outbound_http"
"""Envoy's outbound listener, and its route configuration."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names in one ``domain``: a service's host is ``<service>.<namespace>.svc.<domain>`` (KEP-1645, DNS)."""

    domain: str = DEFAULT_DOMAIN

    def host(self, key: ServiceKey) -> str:
        return f"{key.name}.{key.namespace}.svc.{self.domain}"

    def cluster(self, key: ServiceKey, port: int) -> str:
        """The CDS and EDS resource of one port: Istio's ``outbound|<port>|<subset>|<host>``, the subset empty."""
        return f"outbound|{port}||{self.host(key)}"

    def authority(self, key: ServiceKey, port: int) -> str:
        """``<host>:<port>``: the virtual host in Envoy's route, and a gRPC client's LDS and RDS resource."""
        return f"{self.host(key)}:{port}"

    def domains(self, key: ServiceKey, port: int, *, default: bool) -> tuple[str, ...]:
        """Every name a client may use for the port, the full one first; those without a port only where ``default``."""
        short = f"{key.name}.{key.namespace}"
        with_port = (self.authority(key, port), f"{short}:{port}")
        return (*with_port, self.host(key), short) if default else with_port

    def targets(self, key: ServiceKey, port: int, *, default: bool) -> tuple[str, ...]:
        """What a gRPC client may dial for the port: the ``domains``, and ``<host>.:<port>`` (an absolute host).

        None of them may end with a dot: grpc-java 1.85 panics at such a name, and at such a domain of a route.
        """
        return (*self.domains(key, port, default=default), f"{self.host(key)}.:{port}")

    def parse(self, name: str) -> ServiceKey | None:
        """The service that one of its ``targets`` names, whether or not it has that port; None for other names."""
        host, _, _ = name.partition(":")
        parts = host.removesuffix(".").removesuffix(f".svc.{self.domain}").split(".")
        return ServiceKey(parts[1], parts[0]) if len(parts) == 2 else None

    def parse_cluster(self, name: str) -> tuple[ServiceKey, int] | None:
        """The service and port whose ``cluster`` this is, whether or not there is such; None for other names."""
        parts = name.split("|")
        if len(parts) != 4 or parts[0] != "outbound" or parts[2] or not (parts[1].isascii() and parts[1].isdigit()):
            return None
        key = self.parse(parts[3])
        found = None if key is None else (key, int(parts[1][:6]))
        return found if found is not None and self.cluster(*found) == name else None
