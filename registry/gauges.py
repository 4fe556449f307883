"""Gauges: what the metrics say of the registry's present state. Read at each scrape, a piece at a time."""

from __future__ import annotations

import copy
import logging
from collections import Counter as Tally
from collections.abc import Iterator
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from registry import __version__
from registry.index.conflicts import reason as conflict_reason
from registry.model.names import BASE_KINDS
from registry.model.status import SourceState
from registry.servers.reports import ClusterReport, Reports

log = logging.getLogger(__name__)

PREFIX = "mesh_registry"
SAMPLES = 100
"""So many of one family are rendered in one piece."""
LOOKED_AT = 100
"""So many services or clients are looked at in one piece."""

Piece = Metric | None
"""A family, or None: there was work, and others may have a turn."""


def rendered(family: Piece) -> Iterator[bytes]:
    """One family in Prometheus' text format."""
    if family is None:
        yield b""
        return
    if len(family.samples) <= SAMPLES or any(each.name.endswith("_created") for each in family.samples[-1:]):
        yield _text(family)
        return
    for start in range(0, len(family.samples), SAMPLES):
        part = copy.copy(family)
        part.samples = family.samples[start : start + SAMPLES]
        lines = _text(part).splitlines(keepends=True)
        yield b"".join(line for line in lines if not start or not line.startswith(b"# "))


def _text(family: Metric) -> bytes:
    return generate_latest(cast(CollectorRegistry, _One(family)))


class _One:
    """A collector of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


class Gauges:
    """Reads them from the running registry."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Piece]:
        """All families, with pauses between."""
        yield InfoMetricFamily(PREFIX, "The running program.", {"version": __version__})
        start = self._reports.start()
        yield GaugeMetricFamily(f"{PREFIX}_ready", "1 when clients are answered.", start.ready)
        unknown = GaugeMetricFamily(
            f"{PREFIX}_member_unknown",
            "1 for a member of which nothing is known (no list, no snapshot, no peer), or a place that names members.",
            labels=["name", "reason"],
        )
        for each in start.unknown:
            unknown.add_metric([each.name, each.reason], 1)
        yield unknown
        for part in (
            self._clusters,
            self._writers,
            self._snapshot,
            self._membership,
            self._networks,
            self._services,
            self._clients,
            self._connections,
        ):
            try:
                yield from part()
            except Exception:
                log.exception("a part of the metrics cannot be collected; the others are")

    def _clusters(self) -> Iterator[Piece]:
        listed = GaugeMetricFamily(f"{PREFIX}_cluster_listed", "1 once all kinds were listed.", labels=["cluster"])
        failing = GaugeMetricFamily(
            f"{PREFIX}_cluster_failing", "1 while the source fails, for this reason.", labels=["cluster", "reason"]
        )
        objects = GaugeMetricFamily(f"{PREFIX}_cluster_objects", "Objects held.", labels=["cluster", "kind"])
        standing = GaugeMetricFamily(
            f"{PREFIX}_cluster_standing", "1 for how much is believed of the cluster.", labels=["cluster", "standing"]
        )
        conditions = GaugeMetricFamily(
            f"{PREFIX}_cluster_condition", "1 where it is true.", labels=["cluster", "type", "reason"]
        )
        held = GaugeMetricFamily(
            f"{PREFIX}_held_endpoints", "Endpoints that a list lacks and that are kept.", labels=["cluster", "reason"]
        )
        held_objects = GaugeMetricFamily(
            f"{PREFIX}_held_objects",
            "Pods, Nodes and Namespaces that a list lacks and that count all the same.",
            labels=["cluster", "kind", "reason"],
        )
        drift = CounterMetricFamily(
            f"{PREFIX}_cluster_drift",
            "Objects that were found to differ from the API server's, and mended.",
            labels=["cluster"],
        )
        for name in self._reports.doubted():
            doubted: Tally[str] = Tally()
            for make in self._reports.held_of(name).values():
                each = make()
                doubted[each.reason] += len(each.endpoints)
                yield None
            for reason, count in sorted(doubted.items()):
                held.add_metric([name, reason], count)
        for each_kind in self._reports.held_objects():
            held_objects.add_metric([each_kind.cluster, each_kind.kind, each_kind.reason], len(each_kind.names))
        for report in self._reports_of_clusters():
            if report is None:
                yield None
                continue
            standing.add_metric([report.cluster, report.standing], 1)
            drift.add_metric([report.cluster], report.drifted)
            for dated in report.conditions:
                said = dated.condition
                conditions.add_metric([report.cluster, said.type, said.reason], said.status)
            listed.add_metric([report.cluster], report.status.listed >= BASE_KINDS)
            if report.status.state is SourceState.FAILING:
                failing.add_metric([report.cluster, report.status.reason], 1)
            for kind, count in sorted(report.objects.items()):
                objects.add_metric([report.cluster, kind], count)
        yield from (listed, failing, objects, standing, conditions, held, held_objects, drift)

    def _reports_of_clusters(self) -> Iterator[ClusterReport | None]:
        """Each cluster's, and None after some."""
        for number, name in enumerate(self._reports.cluster_names(), 1):
            report = self._reports.cluster(name)
            if report is not None:
                yield report
            if number % 10 == 0:
                yield None

    def _writers(self) -> Iterator[Piece]:
        entries = GaugeMetricFamily(
            f"{PREFIX}_service_entries", "ServiceEntries of ours in the cluster.", labels=["cluster"]
        )
        writes = CounterMetricFamily(
            f"{PREFIX}_service_entry_writes",
            "ServiceEntries written, deleted, and written to put back what others had changed.",
            labels=["cluster", "outcome"],
        )
        failures = GaugeMetricFamily(
            f"{PREFIX}_write_failures",
            "Services whose ServiceEntry, or the conditions of whose ServiceExport, cannot be written now.",
            labels=["cluster", "kind", "reason"],
        )
        for report in self._reports_of_clusters():
            if report is None:
                yield None
                continue
            if report.writer is not None:
                entries.add_metric([report.cluster], report.writer.entries)
                for outcome in ("written", "deleted", "mended"):
                    writes.add_metric([report.cluster, outcome], getattr(report.writer, outcome))
            for kind, status in (("ServiceEntry", report.writer), ("ServiceExport", report.export_writer)):
                for reason, count in sorted(Tally(each.reason for each in status.failures).items() if status else ()):
                    failures.add_metric([report.cluster, kind, reason], count)
        yield from (entries, writes, failures)

    def _snapshot(self) -> Iterator[Piece]:
        report = self._reports.snapshot()
        if report is None:
            return
        writes = CounterMetricFamily(
            f"{PREFIX}_snapshot_writes", "Times the snapshot was written, or was not.", labels=["outcome"]
        )
        writes.add_metric(["written"], report.written)
        writes.add_metric(["failed"], report.failed)
        yield writes
        yield GaugeMetricFamily(f"{PREFIX}_snapshot_bytes", "Size of the last snapshot.", report.bytes)
        yield GaugeMetricFamily(f"{PREFIX}_snapshot_seconds", "Time that writing it took.", report.seconds)

    def _membership(self) -> Iterator[Piece]:
        report = self._reports.membership()
        yield GaugeMetricFamily(
            f"{PREFIX}_members_refused", "Clusters that were named and are not followed.", len(report.refused)
        )
        problems = GaugeMetricFamily(
            f"{PREFIX}_membership_problem",
            "1 while something is wrong with a place that names members.",
            labels=["origin", "reason"],
        )
        for origin, reason, _ in report.troubles:
            problems.add_metric([origin, reason], 1)
        yield problems

    def _networks(self) -> Iterator[Piece]:
        family = GaugeMetricFamily(
            f"{PREFIX}_network_gateways", "Gateways of a network, 0: no other network gets there.", labels=["network"]
        )
        for report in self._reports.networks():
            family.add_metric([report.name], len(report.gateways))
        yield family

    def _services(self) -> Iterator[Piece]:
        keys = self._reports.service_keys()
        endpoints: Tally[tuple[str, str]] = Tally()
        reasons: Tally[str] = Tally()
        for number, key in enumerate(keys, 1):
            service = self._reports.service(key)
            if service is not None:
                endpoints.update((each.cluster, each.health) for each in service.endpoints)
                reasons.update(set(map(conflict_reason, service.conflicts)))
            if number % LOOKED_AT == 0:
                yield None
        yield GaugeMetricFamily(f"{PREFIX}_services", "Services in the merged list.", len(keys))
        family = GaugeMetricFamily(f"{PREFIX}_endpoints", "Endpoints in the merged list.", labels=["cluster", "health"])
        for (cluster, health), count in sorted(endpoints.items()):
            family.add_metric([cluster, health], count)
        yield family
        conflicts = GaugeMetricFamily(
            f"{PREFIX}_service_conflicts", "Services whose exports differ, by what they differ in.", labels=["reason"]
        )
        for reason, count in sorted(reasons.items()):
            conflicts.add_metric([reason], count)
        yield conflicts
        yield from self._refused()

    def _refused(self) -> Iterator[Piece]:
        """What is exported and not in the list, or not understood."""
        refused = GaugeMetricFamily(
            f"{PREFIX}_refused_exports",
            "Services that are exported and not in the list, or not whole.",
            labels=["cluster", "reason"],
        )
        for cluster in self._reports.cluster_names():
            why = Tally(each.reason for each in self._reports.refused_of(cluster))
            for reason, count in sorted(why.items()):
                refused.add_metric([cluster, reason], count)
            yield None
        yield refused
        problems = GaugeMetricFamily(
            f"{PREFIX}_traffic_policy_problems",
            "What was not understood of a service's traffic policy.",
            labels=["namespace", "service"],
        )
        for key, found in sorted(self._reports.policy_problems().items()):
            problems.add_metric([key.namespace, key.name], len(found))
        yield problems

    def _connections(self) -> Iterator[Piece]:
        family = GaugeMetricFamily(f"{PREFIX}_connections", "Open connections.", labels=["port"])
        for port, count in self._reports.connections().items():
            family.add_metric([port], count)
        yield family

    def _clients(self) -> Iterator[Piece]:
        numbers = self._reports.client_numbers()
        nacking = 0
        for count, number in enumerate(numbers, 1):
            client = self._reports.client(number)
            nacking += client is not None and any(each.nacked for each in client.types)
            if count % LOOKED_AT == 0:
                yield None
        yield GaugeMetricFamily(f"{PREFIX}_xds_clients", "Open xDS streams.", len(numbers))
        yield GaugeMetricFamily(
            f"{PREFIX}_xds_clients_nacking", "Open xDS streams whose last answer for some type was a NACK.", nacking
        )
