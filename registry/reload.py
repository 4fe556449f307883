"""The configuration in force: a changed one takes effect section by section, while the registry runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import msgspec

from registry.companions import Standings
from registry.config import Config
from registry.index import Index
from registry.liveness.watch import LivenessWatch
from registry.membership.absence import AbsencePolicy
from registry.membership.members import Members
from registry.membership.places import absence_policy
from registry.model.services import Change
from registry.pipeline import Pipeline
from registry.servers.lookup import LookupServer
from registry.servers.publisher import Publisher
from registry.writing import Writing

LIVE = frozenset({"clusters", "coalesce", "export", "guard", "liveness", "networks", "traffic"})
"""The keys of the configuration that take effect while the registry runs, but for what ``needs_restart`` names.
``clusters`` is a place that names members (``registry.membership.configured``)."""

FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(Config)}


def needs_restart(started: Config, now: Config) -> tuple[str, ...]:
    """What of ``now`` takes effect with a restart only, of a registry that was started with ``started``."""
    found = [
        name for name, field in FIELDS.items() if name not in LIVE and getattr(now, field) != getattr(started, field)
    ]
    before, after = started.exported, now.exported
    if _unfollowed(started, now):
        found.append("export.mode: ServiceExport")
    if after.write_conditions != before.write_conditions:
        found.append("export.writeConditions")
    return tuple(found)


def _unfollowed(started: Config, now: Config) -> bool:
    """Whether services are to be exported by objects of a kind that sources do not follow since the start."""
    return not now.exported.policy().kinds <= started.exported.policy().kinds


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the running registry that sections of the configuration change."""

    index: Index
    pipeline: Pipeline
    publisher: Publisher
    lookup: LookupServer
    writing: Writing
    watch: LivenessWatch
    standings: Standings
    members: Members
    absence: AbsencePolicy


class ConfigurationInForce:
    """Puts a configuration in force. ``counted`` is told ``applied``, ``unchanged`` or ``invalid``, for the metrics."""

    def __init__(self, started: Config, parts: Callable[[], Parts], counted: Callable[[str], None]) -> None:
        self._started = started
        self._now = started
        self._parts = parts
        self._counted = counted

    def changes(self, config: Config) -> tuple[str, ...]:
        """The sections that differ from what is in force; without ``clusters``."""
        names = sorted(LIVE - {"clusters"})
        return tuple(each for each in names if getattr(config, FIELDS[each]) != getattr(self._now, FIELDS[each]))

    def needs_restart(self, config: Config) -> tuple[str, ...]:
        """What of ``config`` is not in force before a restart."""
        return needs_restart(self._started, config)

    def invalid(self) -> None:
        """A configuration was found that cannot be used."""
        self._counted("invalid")

    async def apply(self, config: Config) -> tuple[str, ...]:
        """Put in force what differs; the sections that did. Other work goes on between the steps of one."""
        changed = self.changes(config)
        self._now = config
        parts = self._parts()
        for name in changed:
            for _ in self._steps(parts, name, config):
                await asyncio.sleep(0)
        self._counted("applied" if changed else "unchanged")
        return changed

    def _steps(self, parts: Parts, name: str, config: Config) -> Iterable[object]:
        """Each step is one turn of the loop."""
        match name:
            case "traffic":
                return self._traffic(parts, config)
            case "export":
                return self._export(parts, config)
            case "networks":
                parts.pipeline.set_networks(config.network_rules())
            case "guard":
                parts.absence.become(absence_policy(config))
                parts.members.settle_seconds = config.guard.settle_seconds
                parts.pipeline.set_guard(config.guard.policy())
            case "liveness":
                parts.watch.rules = config.liveness.rules()
                parts.standings.set_probe(config.liveness.probe.plan() if config.liveness.probe is not None else None)
            case _:
                parts.pipeline.set_coalescing(config.coalesce.quiet_ms / 1000, config.coalesce.max_ms / 1000)
        return ()

    def _traffic(self, parts: Parts, config: Config) -> Iterable[object]:
        for services in parts.publisher.set_rules(config.policy_rules()):
            parts.lookup.look_again([service.key for service in services])
            parts.writing.entries.publish(tuple(Change(each.key, each, each) for each in services))
            yield None

    def _export(self, parts: Parts, config: Config) -> Iterable[object]:
        policy = config.exported.policy()
        if _unfollowed(self._started, config):
            before = self._started.exported.policy()
            policy = replace(policy, mode=before.mode, selector=before.selector)
        parts.writing.set_export(policy)
        return parts.pipeline.set_export(policy)
