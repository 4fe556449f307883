"""Metrics and logs: what is counted, under which names, and how a log line looks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from registry.gauges import PREFIX, Gauges, rendered
from registry.model.names import ClusterId
from registry.printable import harmless
from registry.servers.reports import Reports
from registry.stalls import LONGEST_SECONDS, WORKS


class Metrics:
    """The counters the program adds to, and the exposition of everything."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges: Gauges | None = None
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
        self.refused = Counter(
            f"{PREFIX}_connections_refused",
            "Connections that were refused, or closed before their clients wanted to, by port and reason.",
            ["port", "reason"],
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
        self._gauges = Gauges(reports)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The same piece by piece: with many clusters it is long. Some pieces are empty."""
        for family in self._registry.collect():
            yield from rendered(family)
        if self._gauges is not None:
            for each in self._gauges.collect():
                yield from rendered(each)


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
