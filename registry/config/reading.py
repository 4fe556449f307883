"""The configuration file, the flags that add to it, and where an error is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from registry.config.problems import problems
from registry.config.sections import (
    ClusterConfig,
    CoalesceConfig,
    Config,
    EnvoyConfig,
    ExportConfig,
    FollowConfig,
    GatewayConfig,
    GuardConfig,
    LimitsConfig,
    ListenConfig,
    LivenessConfig,
    NetworkConfig,
    PeersConfig,
    PeerTlsConfig,
    ProbeConfig,
    ProbeTlsConfig,
    RemoteSecretsConfig,
    Section,
    SelectorConfig,
    ServiceEntriesConfig,
    SnapshotConfig,
    StartupConfig,
    TlsConfig,
    TrafficConfig,
)
from registry.documents import Document, DocumentError, mended, parse
from registry.errors import ConfigError

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_AT_PATH = re.compile(r" - at `(?P<path>\$[^`]*)`$")

_SECTIONS: dict[str, type[Section]] = {
    "$": Config,
    "$.clusters[]": ClusterConfig,
    "$.remoteSecrets": RemoteSecretsConfig,
    "$.listen": ListenConfig,
    "$.listen.tls": TlsConfig,
    "$.limits": LimitsConfig,
    "$.export": ExportConfig,
    "$.guard": GuardConfig,
    "$.clusters[].probe": ProbeConfig,
    "$.clusters[].probe.tls": ProbeTlsConfig,
    "$.follow": FollowConfig,
    "$.liveness": LivenessConfig,
    "$.liveness.probe": ProbeConfig,
    "$.snapshot": SnapshotConfig,
    "$.peers": PeersConfig,
    "$.peers.tls": PeerTlsConfig,
    "$.startup": StartupConfig,
    "$.traffic[]": TrafficConfig,
    "$.traffic[].failover[]": SelectorConfig,
    "$.networks[]": NetworkConfig,
    "$.networks[].gateways[]": GatewayConfig,
    "$.serviceEntries": ServiceEntriesConfig,
    "$.envoy": EnvoyConfig,
    "$.coalesce": CoalesceConfig,
}


def load(path: Path) -> Config:
    """The configuration file, its relative paths resolved against its own folder.

    Raises:
        ConfigError: ``FILE:LINE: where: what was expected``, the first of the problems.
    """
    config, wrong = _read(path)
    if wrong:
        raise ConfigError(wrong[0])
    try:
        return _resolved(config, path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _resolved(config: Config, path: Path) -> Config:
    return msgspec.structs.replace(
        config,
        clusters=tuple(_anchored(cluster, path.parent) for cluster in config.clusters),
        kubeconfig_folder=_anchor(config.kubeconfig_folder, path.parent),
        remote_secrets=_anchored_home(config.remote_secrets, path.parent),
        listen=_anchored_listen(config.listen, path.parent),
        snapshot=_anchored_snapshot(config.snapshot, path.parent),
        peers=_anchored_peers(config.replicas, path.parent),
    )


def check(path: Path) -> Config:
    """The configuration file as it is written.

    Raises:
        ConfigError: a line for each problem. Of a wrong type or an unknown key only the first is found.
    """
    config, wrong = _read(path)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return config


def _read(path: Path) -> tuple[Config, list[str]]:
    """The file, and ``FILE:LINE: where: what was expected`` for each value that is of its type and yet wrong."""
    try:
        documents = parse(path.read_bytes(), json=path.suffix == ".json", ours=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): name a file with --config") from error
    except DocumentError as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from error
    if not documents:
        return Config(), []
    if len(documents) > 1:
        raise ConfigError(f"{path}:{documents[1].line()}: a second document: write one per file")
    document = documents[0]
    try:
        config = msgspec.convert(document.value, Config)
    except msgspec.ValidationError as error:
        raise _explained(path, document, str(error)) from error
    found = ((document.line(where), where, problem) for where, problem in problems(config))
    return config, [f"{path}:{line}: {where.removeprefix('$.')}: {problem}" for line, where, problem in found]


def with_flags(
    config: Config,
    *,
    kubeconfigs: Sequence[str] = (),
    manifests: Sequence[str] = (),
    kubeconfig_folder: str | None = None,
    grpc: str | None = None,
    http: str | None = None,
    write_service_entries: bool | None = None,
    snapshot: str | None = None,
) -> Config:
    """``config`` with the clusters of the flags added after its own, and what else they say instead.

    Raises:
        ConfigError: a flag is not what it should be, a cluster is named twice, or there is none at all.
    """
    added = [ClusterConfig(name, kubeconfig=path) for name, path in _named("--kubeconfig", "PATH", kubeconfigs)]
    added += [ClusterConfig(name, manifests=path) for name, path in _named("--manifests", "DIR", manifests)]
    flags = msgspec.structs.replace(
        config,
        clusters=(*config.clusters, *(_anchored(cluster, Path()) for cluster in added)),
        kubeconfig_folder=_anchor(kubeconfig_folder, Path()) or config.kubeconfig_folder,
        listen=ListenConfig(grpc or config.listen.grpc, http or config.listen.http, config.listen.tls),
        service_entries=ServiceEntriesConfig(
            config.service_entries.write if write_service_entries is None else write_service_entries,
            config.service_entries.tcp,
        ),
        snapshot=_anchored_snapshot(SnapshotConfig(snapshot, config.snapshot.min_seconds), Path())
        if snapshot
        else config.snapshot,
    )
    for where, problem in problems(flags):
        raise ConfigError(f"{_flag_of(where, len(config.clusters))}: {problem}")
    if not (flags.clusters or flags.kubeconfig_folder or flags.remote_secrets):
        raise ConfigError(
            "no member cluster: name one with --kubeconfig NAME=PATH, --manifests NAME=DIR, "
            "--kubeconfig-dir DIR (a folder of kubeconfigs), or in a file with --config"
        )
    return flags


def _named(flag: str, what: str, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"{flag} {value!r}: expected NAME={what}, the cluster's name first")
        yield name, path


def _flag_of(where: str, from_file: int) -> str:
    """How a user who wrote flags knows the place at ``where``."""
    known = {"$.listen.grpc": "--grpc", "$.listen.http": "--http"}
    cluster = re.match(r"\$\.clusters\[(\d+)\]", where)
    if cluster and int(cluster[1]) >= from_file:
        return "--kubeconfig or --manifests"
    return known.get(where, where.removeprefix("$."))


def _anchored(cluster: ClusterConfig, folder: Path) -> ClusterConfig:
    probe = cluster.probe
    if probe is not None and probe.tls is not None:
        tls = msgspec.structs.replace(probe.tls, ca=_anchor(probe.tls.ca, folder))
        probe = msgspec.structs.replace(probe, tls=tls)
    return msgspec.structs.replace(
        cluster,
        kubeconfig=_anchor(cluster.kubeconfig, folder),
        manifests=_anchor(cluster.manifests, folder),
        probe=probe,
    )


def _anchored_home(home: RemoteSecretsConfig | None, folder: Path) -> RemoteSecretsConfig | None:
    return home and msgspec.structs.replace(home, kubeconfig=_anchor(home.kubeconfig, folder))


def _anchored_snapshot(snapshot: SnapshotConfig, folder: Path) -> SnapshotConfig:
    return msgspec.structs.replace(snapshot, file=_anchor(snapshot.file, folder))


def _anchored_peers(peers: PeersConfig, folder: Path) -> PeersConfig:
    tls = peers.tls and msgspec.structs.replace(peers.tls, ca=_anchor(peers.tls.ca, folder))
    return msgspec.structs.replace(peers, tls=tls)


def _anchored_listen(listen: ListenConfig, folder: Path) -> ListenConfig:
    tls = listen.tls
    if tls is None:
        return listen
    files = {key: _anchor(getattr(tls, key), folder) for key in ("certificate", "key", "client_ca")}
    return msgspec.structs.replace(listen, tls=msgspec.structs.replace(tls, **files))


def _anchor(path: str | None, folder: Path) -> str | None:
    if path is None:
        return None
    if "\0" in path:
        raise ConfigError(f"{path!r} cannot be a path: it has a NUL; mend it")
    try:
        return str((folder / Path(path).expanduser()).absolute())
    except RuntimeError as error:
        raise ConfigError(f"{path}: whose home that is is not known here; write the whole path") from error


def _explained(path: Path, document: Document, text: str) -> ConfigError:
    """msgspec's error with the line, and with the key that was probably meant."""
    at = _AT_PATH.search(text)
    where = at["path"] if at else "$"
    message = _AT_PATH.sub("", text)
    unknown = _UNKNOWN_FIELD.match(message)
    if unknown:
        key = unknown["key"]
        known = _known_keys(where)
        near = get_close_matches(key, known, n=1)
        message = f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known are {', '.join(known)}"
        where = f"{where}.{key}"
    shown = where.removeprefix("$").removeprefix(".") or "the file"
    place = document.place(where)
    message = mended(message, place)
    return ConfigError(f"{path}:{place.line}: {shown}: {message[0].lower()}{message[1:]}")


def _known_keys(where: str) -> tuple[str, ...]:
    section: Any = _SECTIONS.get(re.sub(r"\[\d+\]", "[]", where), Config)
    return tuple(field.encode_name for field in msgspec.structs.fields(section))
