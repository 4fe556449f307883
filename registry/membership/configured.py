"""Members of the flags, and of the configuration file, which is read again when it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from registry.config import ClusterConfig, Config, load
from registry.errors import ConfigError
from registry.membership.absence import AbsencePolicy, Absences
from registry.membership.looking import DOUBT_SECONDS, KubeconfigFiles, looks
from registry.membership.spec import Connection, InCluster, Listener, Manifests, MemberSpec, Trouble, Unusable

CONFIGURATION_INVALID = "ConfigurationInvalid"
RESTART_NEEDED = "RestartNeeded"
STAYS = "what it said before holds"
LIVE = frozenset({"clusters"})
"""The keys of the configuration that take effect while the registry runs."""


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

    def __init__(self, clusters: Sequence[ClusterConfig], origin: str = "flags") -> None:
        self.origin = origin
        self._clusters = ConfiguredClusters(origin, clusters)

    async def run(self, listener: Listener) -> None:
        before: list[MemberSpec] | None = None
        async for _ in looks(self._clusters.folders):
            specs = await asyncio.to_thread(self._clusters.specs)
            if specs != before:
                before = specs
                listener.members(specs)

    def release(self, _name: str) -> bool:
        """Flags are believed."""
        return False


class ConfigurationFile:
    """The clusters of the configuration file at ``path``; ``started`` is what it said when the program was started.

    A file that is broken, or empty, changes nothing: half of it may be on its way. Half of it may also be a whole
    document; so one that lacks clusters is believed when it has not been written to for a moment, and not at all when
    it breaks off within a line where it did not before (a disk that is full). Where it lacks many it has to stay so
    (``absence``). What else than the clusters changes in it is said to need a restart.
    """

    def __init__(self, path: Path, started: Config, policy: AbsencePolicy) -> None:
        self.origin = f"file {path}"
        self._path = path
        self._started = started
        self._clusters = ConfiguredClusters(self.origin, started.clusters)
        self._ended = False
        """It ended with the end of a line, once."""
        self._absences = Absences(policy, self.origin)

    async def run(self, listener: Listener) -> None:
        before: list[MemberSpec] | None = None
        clock = asyncio.get_running_loop().time
        async for _ in looks(lambda: {self._path.parent, *self._clusters.folders()}):
            found, named = await asyncio.to_thread(self._look)
            self._absences.listed(named, clock())
            specs = self._absences.specs
            if specs != before:
                before = specs
                listener.members(specs)
            doubt = self._absences.trouble
            listener.trouble(doubt if doubt is not None and not doubt.unsure else found)

    def release(self, name: str) -> bool:
        return self._absences.release(name)

    def _look(self) -> tuple[Trouble | None, list[MemberSpec]]:
        """What is wrong with the file now, and the members it named last. Blocks on the disk."""
        trouble: Trouble | None = None
        try:
            config = load(self._path)
            if config == Config():
                text = f"{self._path}: it says nothing; write `clusters: []` to have none"
                return Trouble(CONFIGURATION_INVALID, text), self._clusters.specs()
            ended = self._path.read_bytes().endswith(b"\n")
            lacking = {each.name for each in self._clusters.clusters} - {each.name for each in config.clusters}
            if lacking and self._ended and not ended:
                text = f"{self._path}: it breaks off within its last line, and lacks {', '.join(sorted(lacking))}"
                return Trouble(CONFIGURATION_INVALID, f"{text}; {STAYS}, or end the line"), self._clusters.specs()
            if not (lacking and self._just_written()):
                self._clusters.clusters = config.clusters
                self._ended = self._ended or ended
            trouble = self._needs_restart(config)
        except ConfigError as error:
            trouble = Trouble(CONFIGURATION_INVALID, f"{error}; {STAYS}")
        except OSError as error:
            trouble = Trouble(CONFIGURATION_INVALID, f"{self._path}: {error.strerror}; {STAYS}")
        return trouble, self._clusters.specs()

    def _just_written(self) -> bool:
        return 0 <= time.time() - self._path.stat().st_mtime < DOUBT_SECONDS

    def _needs_restart(self, config: Config) -> Trouble | None:
        changed = [
            field.encode_name
            for field in msgspec.structs.fields(Config)
            if field.encode_name not in LIVE and getattr(config, field.name) != getattr(self._started, field.name)
        ]
        if not changed:
            return None
        return Trouble(RESTART_NEEDED, f"{self._path}: {', '.join(changed)} changed, and takes effect with a restart")
