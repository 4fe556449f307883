"""What the operators' side (HTTP API, metrics) asks of the running registry, and the values it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from registry.index import Refused
from registry.model.conditions import Dated
from registry.model.names import ClusterId, Kind, ServiceKey
from registry.model.services import MergedService
from registry.model.standing import Standing
from registry.model.status import SourceStatus, WriterStatus
from registry.servers.ads import ClientStatus
from registry.servers.explanation import Explanation
from registry.views.policy import ResolvedPolicy
from registry.views.service_entry import ServiceEntries


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """One member cluster: where it is read, how that goes, and how much of it is held.

    ``named_by`` is where it is said that it is a member. ``objects`` counts the facts held by kind; ``writer`` is None
    where no ServiceEntries are written into the cluster, ``export_writer`` where no conditions of ServiceExports are.
    ``conditions`` are dated in seconds since the epoch. ``drifted`` counts the objects that differed from the cluster's
    and were mended, since it is followed as it is now.
    """

    cluster: ClusterId
    origin: str
    network: str
    status: SourceStatus
    named_by: str = ""
    objects: Mapping[Kind, int] = field(default_factory=dict)
    writer: WriterStatus | None = None
    export_writer: WriterStatus | None = None
    standing: Standing = Standing.CURRENT
    conditions: Sequence[Dated] = ()
    drifted: int = 0


@dataclass(frozen=True, slots=True)
class HeldReport:
    """What a list lacks of one service in one cluster, and is kept all the same (``registry.index.guard``).

    Times are in seconds since the epoch; ``until`` None: until the cluster's first list is complete.
    """

    cluster: ClusterId
    service: ServiceKey
    reason: str
    since: float
    until: float | None
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldObjectsReport:
    """Pods, Nodes or Namespaces of one cluster that a list lacks and that count all the same; times as above.

    ``names`` are NS/NAME, or NAME of what is in no namespace, ordered.
    """

    cluster: ClusterId
    kind: Kind
    reason: str
    since: float
    until: float | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MembershipReport:
    """Who is no member though somebody said so, and what is wrong with the places that name members.

    ``refused`` has name, origin, reason and message of each; ``troubles`` origin, reason and message.
    """

    refused: Sequence[tuple[str, str, str, str]] = ()
    troubles: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """A member of which nothing is known, or a place that does not say who its members are; and why."""

    name: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason}: {self.message})"


@dataclass(frozen=True, slots=True)
class StartReport:
    """Whether clients are answered, and what is unknown.

    ``seconds`` is how long these are waited for at most; None: they are not, or without a bound.
    """

    ready: bool
    unknown: Sequence[Unknown] = ()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """One network: its gateways as ADDRESS:PORT, and the clusters that have endpoints on it."""

    name: str
    gateways: tuple[str, ...]
    clusters: tuple[ClusterId, ...]


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """How the snapshot is kept: how often it was written, and was not; of the last one, its bytes and the seconds.

    ``problem`` says why the last attempt failed, and is empty when it did not.
    """

    path: str
    written: int
    failed: int
    bytes: int
    seconds: float
    problem: str


class Reports(Protocol):
    """The running registry, as its operators see it. Every call is a read of what is in memory."""

    def start(self) -> StartReport:
        """Whether clients are answered, and of whom nothing is known."""

    def cluster_names(self) -> Sequence[ClusterId]:
        """The member clusters in the order of their names."""

    def cluster(self, cluster: ClusterId) -> ClusterReport | None:
        """One of them; None: it is none any more."""

    def cluster_status(self, cluster: ClusterId) -> SourceStatus | None:
        """How its source is doing, which costs less."""

    def membership(self) -> MembershipReport:
        """Who was refused as a member, and what keeps the registry from knowing its members."""

    def snapshot(self) -> SnapshotReport | None:
        """How the snapshot is kept; None where there is none."""

    def networks(self) -> Sequence[NetworkReport]:
        """The networks that have endpoints, gateways or clients, ordered by name."""

    def service_keys(self) -> Sequence[ServiceKey]:
        """The services there are, in order."""

    def service(self, key: ServiceKey) -> MergedService | None: ...

    def refused_of(self, cluster: ClusterId) -> Sequence[Refused]:
        """What a cluster exports and is not in the list."""

    def refusals(self, key: ServiceKey) -> Sequence[Refused]:
        """The clusters that export a service in vain, ordered."""

    def policy(self, service: MergedService) -> ResolvedPolicy:
        """How the service's endpoints are ordered, and what of that was not understood."""

    def service_entries(self, service: MergedService, cluster: ClusterId | None) -> ServiceEntries:
        """The service's entries as they are written into the cluster; None: one of which nothing is known.

        Raises:
            KeyError: it is no member.
        """

    def policy_problems(self) -> Mapping[ServiceKey, Sequence[str]]:
        """What was not understood, of the services where there is anything."""

    def doubted(self) -> Sequence[ClusterId]:
        """The clusters of which something is held in doubt, ordered."""

    def held_of(self, cluster: ClusterId) -> Mapping[ServiceKey, Callable[[], HeldReport]]:
        """What tells of the endpoints of each service that are held in doubt, in the order of their keys."""

    def held_objects(self) -> Sequence[HeldObjectsReport]:
        """What is held in doubt besides, ordered by cluster and kind."""

    def release(
        self, cluster: ClusterId | None, service: ServiceKey | None
    ) -> Sequence[HeldReport | HeldObjectsReport]:
        """Let go what is held, of one cluster or one service or all; returns what it was."""

    def release_member(self, cluster: ClusterId) -> bool:
        """The cluster is no member any more, where that is doubted; whether it was."""

    def explain(self, key: ServiceKey, client: str | None) -> Explanation:
        """Why the service's endpoints are there, or are not, made by those who decide; ``client`` is a node's id.

        Raises:
            LookupError: no such client is connected.
        """

    def client_numbers(self) -> Sequence[int]:
        """The open xDS streams, oldest first; a number is given once."""

    def client(self, number: int) -> ClientStatus | None:
        """One of them; None: it has ended."""

    def connections(self) -> Mapping[str, int]:
        """How many are open, by port: ``grpc`` and ``http``."""

    def short_of_files(self) -> bool:
        """Whether nobody can connect, since the process may not open another file."""
