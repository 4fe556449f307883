"""What the operators' side (HTTP API, metrics) asks of the running registry, and the values it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from registry.model.names import ClusterId, Kind, ServiceKey
from registry.model.services import MergedService
from registry.model.status import SourceStatus, WriterStatus
from registry.servers.ads import ClientStatus


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """One member cluster: where it is read, how that goes, and how much of it is held.

    ``objects`` counts the facts held by kind; ``writer`` is None where nothing is written into the cluster.
    """

    cluster: ClusterId
    origin: str
    network: str
    status: SourceStatus
    objects: Mapping[Kind, int] = field(default_factory=dict)
    writer: WriterStatus | None = None


class Reports(Protocol):
    """The running registry, as its operators see it. Every call is a read of what is in memory."""

    def ready(self) -> bool:
        """Every configured cluster is accounted for, and clients are being served."""

    def clusters(self) -> Sequence[ClusterReport]:
        """The member clusters in the order of their names."""

    def services(self) -> Sequence[MergedService]:
        """All services in the order of their keys."""

    def service(self, key: ServiceKey) -> MergedService | None: ...

    def clients(self) -> Sequence[ClientStatus]:
        """The connected xDS clients, in a stable order."""
