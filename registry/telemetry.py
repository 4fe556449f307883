"""Metrics and logs: what is counted, under which names, and how a log line looks."""

from __future__ import annotations

import logging
import sys
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from registry import __version__
from registry.index.conflicts import reason as conflict_reason
from registry.model.names import BASE_KINDS, ClusterId
from registry.model.services import MergedService
from registry.model.status import SourceState
from registry.printable import harmless
from registry.servers.reports import Reports
from registry.stalls import LONGEST_SECONDS, WORKS

log = logging.getLogger(__name__)

PREFIX = "mesh_registry"


class Metrics:
    """The counters the program adds to, and the exposition of everything."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace=PREFIX, registry=self._registry)
        self.events = Counter(
            f"{PREFIX}_source_events",
            "Objects listed, changed or deleted, as member clusters told them.",
            ["cluster"],
            registry=self._registry,
        )
        self.changes = Counter(
            f"{PREFIX}_service_changes", "Services changed by commits of the index.", registry=self._registry
        )
        self.publish_seconds = Histogram(
            f"{PREFIX}_publish_seconds",
            "Time from the start of a commit until every subscriber of what it changed was marked, in seconds.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
            registry=self._registry,
        )
        self.reloads = Counter(
            f"{PREFIX}_config_reloads",
            "Times the configuration file was read anew, by what came of it: applied, unchanged or invalid.",
            ["outcome"],
            registry=self._registry,
        )
        self.restarts = Counter(
            f"{PREFIX}_task_restarts",
            "Times a task or a callback of the program failed, by a bug, and went on.",
            ["task"],
            registry=self._registry,
        )
        self.faults = Counter(
            f"{PREFIX}_cluster_faults",
            "Times a member cluster's source began to fail, by reason.",
            ["cluster", "reason"],
            registry=self._registry,
        )

        self._stalls = Histogram(
            f"{PREFIX}_loop_stall_seconds",
            "Slices of work that took more than 50 ms: clock wall is how long all others waited, cpu what it took of a "
            "CPU (only of those that took more than 50 ms of it).",
            ["clock", "work"],
            buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            registry=self._registry,
        )
        for work in WORKS:
            self._stalls.labels("wall", work)
            self._stalls.labels("cpu", work)

    def stalled(self, work: str, wall: float, cpu: float) -> None:
        """Everybody waited ``wall`` seconds for a slice of ``work``, which used ``cpu`` seconds of a CPU."""
        self._stalls.labels("wall", work).observe(wall)
        if cpu > LONGEST_SECONDS:
            self._stalls.labels("cpu", work).observe(cpu)

    def forget(self, cluster: ClusterId) -> None:
        """The cluster is no member any more: nothing is counted of it."""
        self.events.remove(cluster)
        self.faults.remove_by_labels({"cluster": cluster})

    def observe(self, reports: Reports) -> None:
        """Expose the registry's present state as gauges, read when scraped."""
        self._registry.register(_State(reports))

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _State(Collector):
    """Gauges read from the running registry at each scrape."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def describe(self) -> list[Metric]:
        """Nothing is known before the registry runs, so nothing is collected to check for duplicates."""
        return []

    def collect(self) -> Iterator[Metric]:
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
        ):
            try:
                families = list(part())
            except Exception:
                log.exception("a part of the metrics cannot be collected; the others are")
                continue
            yield from families

    def _clusters(self) -> Iterator[Metric]:
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
        doubted: Tally[tuple[str, str]] = Tally()
        for each in self._reports.held():
            doubted[each.cluster, each.reason] += len(each.endpoints)
        for (cluster, reason), count in sorted(doubted.items()):
            held.add_metric([cluster, reason], count)
        for each_kind in self._reports.held_objects():
            held_objects.add_metric([each_kind.cluster, each_kind.kind, each_kind.reason], len(each_kind.names))
        for report in self._reports.clusters():
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

    def _writers(self) -> Iterator[Metric]:
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
        for report in self._reports.clusters():
            if report.writer is not None:
                entries.add_metric([report.cluster], report.writer.entries)
                for outcome in ("written", "deleted", "mended"):
                    writes.add_metric([report.cluster, outcome], getattr(report.writer, outcome))
            for kind, status in (("ServiceEntry", report.writer), ("ServiceExport", report.export_writer)):
                for reason, count in sorted(Tally(each.reason for each in status.failures).items() if status else ()):
                    failures.add_metric([report.cluster, kind, reason], count)
        yield from (entries, writes, failures)

    def _snapshot(self) -> Iterator[Metric]:
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

    def _membership(self) -> Iterator[Metric]:
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

    def _networks(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            f"{PREFIX}_network_gateways", "Gateways of a network, 0: no other network gets there.", labels=["network"]
        )
        for report in self._reports.networks():
            family.add_metric([report.name], len(report.gateways))
        yield family

    def _services(self) -> Iterator[Metric]:
        services = self._reports.services()
        endpoints = Tally((endpoint.cluster, endpoint.health) for service in services for endpoint in service.endpoints)
        yield GaugeMetricFamily(f"{PREFIX}_services", "Services in the merged list.", len(services))
        family = GaugeMetricFamily(f"{PREFIX}_endpoints", "Endpoints in the merged list.", labels=["cluster", "health"])
        for (cluster, health), count in sorted(endpoints.items()):
            family.add_metric([cluster, health], count)
        yield family
        yield from self._disagreements(services)

    def _disagreements(self, services: Sequence[MergedService]) -> Iterator[Metric]:
        """What exports are in conflict about, and which are none."""
        conflicts = GaugeMetricFamily(
            f"{PREFIX}_service_conflicts", "Services whose exports differ, by what they differ in.", labels=["reason"]
        )
        reasons = Tally(each for service in services for each in set(map(conflict_reason, service.conflicts)))
        for each, count in sorted(reasons.items()):
            conflicts.add_metric([each], count)
        refused = GaugeMetricFamily(
            f"{PREFIX}_refused_exports", "Services that are exported and not in the list.", labels=["cluster", "reason"]
        )
        why = Tally((each.cluster, each.reason) for each in self._reports.refused())
        for labels, count in sorted(why.items()):
            refused.add_metric(list(labels), count)
        problems = GaugeMetricFamily(
            f"{PREFIX}_traffic_policy_problems",
            "What was not understood of a service's traffic policy.",
            labels=["namespace", "service"],
        )
        for key, found in sorted(self._reports.policy_problems().items()):
            problems.add_metric([key.namespace, key.name], len(found))
        yield from (conflicts, refused, problems)

    def _clients(self) -> Iterator[Metric]:
        clients = self._reports.clients()
        yield GaugeMetricFamily(f"{PREFIX}_xds_clients", "Open xDS streams.", len(clients))
        yield GaugeMetricFamily(
            f"{PREFIX}_xds_clients_nacking",
            "Open xDS streams whose last answer for some type was a NACK.",
            sum(any(each.nacked for each in client.types) for client in clients),
        )


class _OneLine(logging.Formatter):
    """A message is one line, whatever names and texts of others are in it; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return harmless(super().formatMessage(record))


def start_logging(level: str, stream: TextIO = sys.stderr) -> None:
    """Log this program's messages of ``level`` and above, and other libraries' warnings, one line each."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("registry").setLevel(level.upper())
