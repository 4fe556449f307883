"""How each member is followed: the source for the way in which it is reached."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

from registry.membership.following import Admit, Held, Opened
from registry.membership.spec import Connection, Manifests
from registry.model.names import ClusterId, Kind
from registry.sources.kubernetes.bounds import Total
from registry.sources.kubernetes.client import connector
from registry.sources.kubernetes.kubeconfig import Kubeconfig
from registry.sources.kubernetes.reflector import KubernetesSource, SourceOptions
from registry.sources.kubernetes.turns import Turns
from registry.sources.manifests import ManifestsSource


class Opener:
    """Makes sources (``following.Open``) that follow ``kinds``; a plugin may take ``exec_seconds`` for a token."""

    def __init__(self, kinds: Collection[Kind], exec_seconds: float, options: SourceOptions) -> None:
        self._kinds = kinds
        self._exec_seconds = exec_seconds
        self._options = options
        self._turns = Turns()
        self._total = Total(options.bounds.total_bytes)

    def __call__(self, cluster: ClusterId, origin: str, connection: Connection, admit: Admit, held: Held) -> Opened:
        """What follows a member that is reached so."""
        if isinstance(connection, Manifests):
            return Opened(ManifestsSource(cluster, Path(connection.folder)), None)
        kubeconfig = connection if isinstance(connection, Kubeconfig) else None
        connect = connector(kubeconfig, f"cluster {cluster} ({origin})", self._exec_seconds)
        source = KubernetesSource(
            cluster,
            kubeconfig.server if kubeconfig else "in-cluster",
            connect,
            random=random.random,
            kinds=self._kinds,
            admit=admit,
            held=held,
            options=self._options,
            turns=self._turns,
            total=self._total,
        )
        return Opened(source, connect)
