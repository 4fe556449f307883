"""Members of the flags, and of the configuration file, which is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from registry.config import ClusterConfig, Config, load
from registry.errors import ConfigError
from registry.membership.absence import AbsencePolicy, Absences
from registry.membership.looking import DOUBT_SECONDS, KubeconfigFiles, Looks
from registry.membership.spec import Connection, InCluster, Listener, Manifests, MemberSpec, Trouble, Unusable
from registry.sources.regular import read_regular

log = logging.getLogger(__name__)

CONFIGURATION_INVALID = "ConfigurationInvalid"
RESTART_NEEDED = "RestartNeeded"
STAYS = "what it said before holds"


class InForce(Protocol):
    """The configuration in force, apart from its clusters (``registry.reload``)."""

    def changes(self, config: Config) -> Sequence[str]:
        """The sections that would take effect."""

    def needs_restart(self, config: Config) -> Sequence[str]:
        """What would take effect with a restart only."""

    def invalid(self) -> None:
        """A configuration was found that cannot be used."""

    async def apply(self, config: Config) -> Sequence[str]:
        """Put it in force; the sections that differed."""


class ConfiguredClusters:
    """Clusters that were named one by one, with their kubeconfigs as these are now. Blocks on the disk."""

    def __init__(self, origin: str, clusters: Sequence[ClusterConfig]) -> None:
        self._origin = origin
        self._files = KubeconfigFiles()
        self.clusters = clusters

    def specs(self) -> list[MemberSpec]:
        """What is said of them now."""
        self._files.keep({(Path(each.kubeconfig), each.context) for each in self.clusters if each.kubeconfig})
        return [self._spec(each) for each in self.clusters]

    def folders(self) -> set[Path]:
        """Where their kubeconfigs are."""
        return {Path(each.kubeconfig).parent for each in self.clusters if each.kubeconfig}

    def _spec(self, cluster: ClusterConfig) -> MemberSpec:
        probe = cluster.probe.plan() if cluster.probe is not None else None
        return MemberSpec(cluster.name, self._origin, self._connection(cluster), cluster.network, probe)

    def _connection(self, cluster: ClusterConfig) -> Connection | Unusable:
        if cluster.manifests is not None:
            return Manifests(cluster.manifests)
        if cluster.kubeconfig is None:
            return InCluster()
        return self._files.read(Path(cluster.kubeconfig), cluster.context)


class FixedMembers:
    """Clusters named when the program was started. Their kubeconfigs may change."""

    def __init__(self, clusters: Sequence[ClusterConfig], origin: str = "flags", looks: Looks | None = None) -> None:
        self.origin = origin
        self._clusters = ConfiguredClusters(origin, clusters)
        self._looks = looks or Looks()

    async def run(self, listener: Listener) -> None:
        before: list[MemberSpec] | None = None
        async for _ in self._looks.at(self._clusters.folders):
            specs = await asyncio.to_thread(self._clusters.specs)
            if specs != before:
                listener.members(specs)
                before = specs
            listener.trouble(self._looks.trouble)

    def release(self, _name: str) -> bool:
        """Flags are believed."""
        return False


class _Look(NamedTuple):
    """What was found: what is wrong with the file, the members it named last, and what is to be put in force."""

    trouble: Trouble | None
    members: list[MemberSpec]
    config: Config | None = None


class ConfigurationFile:
    """The configuration file at ``path``; ``started`` is what it said when the program was started.

    Its clusters are members; what else it says is put ``in_force``, or is said to need a restart.
    A file that is broken, or empty, changes nothing: half of it may be on its way. Half of it may also be a whole
    document. So one that lacks clusters, or differs in what takes effect, is believed when it has not been written to
    for a moment, and not at all when it breaks off within a line where it did not before (a disk that is full).
    ``reload`` takes it for whole. Where it lacks many clusters it has to stay so (``absence``).
    """

    def __init__(
        self, path: Path, started: Config, policy: AbsencePolicy, in_force: InForce, looks: Looks | None = None
    ) -> None:
        self.origin = f"file {path}"
        self._path = path
        self._in_force = in_force
        self._clusters = ConfiguredClusters(self.origin, started.clusters)
        self._ended = False
        """It ended with the end of a line, once."""
        self._absences = Absences(policy, self.origin)
        self._before: list[MemberSpec] | None = None
        self._trouble: Trouble | None = None
        self._listener: Listener | None = None
        self._one_at_a_time = asyncio.Lock()
        self._looks = looks or Looks()

    async def run(self, listener: Listener) -> None:
        self._listener = listener
        async for _ in self._looks.at(lambda: {self._path.parent, *self._clusters.folders()}):
            await self._take(listener, whole=False)

    async def reload(self) -> None:
        """Read the file now, and believe what it says; a log line says what came of it."""
        if self._listener is None:
            return  # it is about to be read for the first time
        changed = await self._take(self._listener, whole=True)
        if self._trouble is not None and self._trouble.reason == CONFIGURATION_INVALID:
            log.error("reload: %s", self._trouble.message)
        else:
            log.info("reload: %s: %s", self._path, f"{', '.join(changed)} changed" if changed else "nothing changed")

    def release(self, name: str) -> bool:
        return self._absences.release(name)

    async def _take(self, listener: Listener, *, whole: bool) -> Sequence[str]:
        """Look at the file and do what follows; the sections that changed."""
        async with self._one_at_a_time:
            found, named, config = await asyncio.to_thread(self._look, whole)
            changed: list[str] = []
            if config is not None and (whole or self._in_force.changes(config)):
                changed += await self._in_force.apply(config)
            if found is not None and found.reason == CONFIGURATION_INVALID and (whole or found != self._trouble):
                self._in_force.invalid()
            self._trouble = found
            self._absences.listed(named, asyncio.get_running_loop().time())
            specs = self._absences.specs
            if specs != self._before:
                changed += ["clusters"] if self._before is not None else []
                listener.members(specs)
                self._before = specs
            if changed:
                log.info("%s: took effect: %s", self.origin, ", ".join(changed))
            doubt = self._absences.trouble
            listener.trouble(doubt if doubt is not None and not doubt.unsure else found or self._looks.trouble)
            return changed

    def _look(self, whole: bool) -> _Look:
        """Blocks on the disk. ``whole``: somebody says that the file is."""
        try:
            return self._read(whole)
        except ConfigError as error:
            return self._invalid(str(error), STAYS)
        except OSError as error:
            return self._invalid(f"{self._path}: {error.strerror}", STAYS)

    def _read(self, whole: bool) -> _Look:
        config = load(self._path)
        if config == Config():
            return self._invalid(f"{self._path}: it says nothing", "write `clusters: []` to have none")
        ended = read_regular(self._path).endswith(b"\n")
        lacking = {each.name for each in self._clusters.clusters} - {each.name for each in config.clusters}
        differs = self._in_force.changes(config)
        if (lacking or differs) and self._ended and not ended and not whole:
            what = f"lacks {', '.join(sorted(lacking))}" if lacking else f"has other {', '.join(differs)}"
            text = f"{self._path}: it breaks off within its last line, and {what}"
            return self._invalid(text, f"{STAYS}, or end the line")
        believed = whole or not ((lacking or differs) and self._just_written())
        if believed:
            self._clusters.clusters = config.clusters
            self._ended = self._ended or ended
        return _Look(self._restart_needed(config), self._clusters.specs(), config if believed else None)

    def _invalid(self, text: str, mend: str) -> _Look:
        return _Look(Trouble(CONFIGURATION_INVALID, f"{text}; {mend}"), self._clusters.specs())

    def _just_written(self) -> bool:
        return 0 <= time.time() - self._path.stat().st_mtime < DOUBT_SECONDS

    def _restart_needed(self, config: Config) -> Trouble | None:
        changed = self._in_force.needs_restart(config)
        if not changed:
            return None
        return Trouble(RESTART_NEEDED, f"{self._path}: {', '.join(changed)} changed, and takes effect with a restart")
