"""The places that name member clusters, as configured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from registry.config import ClusterConfig, Config, RemoteSecretsConfig
from registry.membership.absence import AbsencePolicy
from registry.membership.configured import ConfigurationFile, FixedMembers
from registry.membership.folder import KubeconfigFolder
from registry.membership.secrets import RemoteSecrets
from registry.membership.spec import Provider
from registry.sources.kubernetes.client import KubernetesClient, connector
from registry.sources.kubernetes.credentials import surroundings


def places(
    config: Config, flags: Sequence[ClusterConfig], file: ConfigurationFile | None, policy: AbsencePolicy
) -> list[Provider]:
    """All of them, the most important first: flags, the configuration ``file``, the folder, Secrets.

    ``policy`` is theirs together, and may become another.
    """
    found: list[Provider] = [FixedMembers(flags)] if flags else []
    if file is not None:
        found.append(file)
    if config.kubeconfig_folder is not None:
        found.append(KubeconfigFolder(Path(config.kubeconfig_folder), policy))
    if config.remote_secrets is not None:
        found.append(_remote_secrets(config.remote_secrets, config.exec_seconds, policy))
    return found


def absence_policy(config: Config) -> AbsencePolicy:
    """When it is doubted that members are gone."""
    return AbsencePolicy(config.guard.share, config.guard.confirm_seconds, config.guard.member_seconds)


def _remote_secrets(home: RemoteSecretsConfig, exec_seconds: float, policy: AbsencePolicy) -> RemoteSecrets:
    place = f"kubeconfig {home.kubeconfig}" if home.kubeconfig else "this cluster"

    async def connect() -> KubernetesClient:
        """The home cluster, with its kubeconfig as it is now."""
        if home.kubeconfig is None:
            return await connector(None, place)()
        return await KubernetesClient.from_kubeconfig(Path(home.kubeconfig), home.context, exec_seconds)

    around = surroundings(Path("/")) if home.allow_exec else None
    origin = f"Secrets in {home.namespace} of {place}"
    return RemoteSecrets(origin, home.namespace, connect, around, policy, random=random.random)
