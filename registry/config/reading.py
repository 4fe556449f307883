"""The configuration file, the flags that add to it, and where an error is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from operator import itemgetter
from pathlib import Path

import msgspec

from registry.config.bounds import outside
from registry.config.problems import problems
from registry.config.sections import (
    ClusterConfig,
    Config,
    ListenConfig,
    PeersConfig,
    RemoteSecretsConfig,
    ServiceEntriesConfig,
    SnapshotConfig,
)
from registry.config.types import AT_PATH, known_keys, sound, violations
from registry.documents import Document, DocumentError, mended, parse
from registry.errors import ConfigError
from registry.printable import shortened
from registry.sources.regular import YAML_BYTES, read_regular

MAX_VALUES = 200_000
"""Of the configuration file."""

MAX_PROBLEMS = 50
"""So many are explained: to find the line of one is to read the file again."""

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")


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
        ConfigError: a line for each problem. What several fields together tell is looked for when each is right.
    """
    config, wrong = _read(path)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return config


def _read(path: Path) -> tuple[Config, list[str]]:
    """The file without what is wrong in it, and ``FILE:LINE: where: what was expected`` for each of that, by lines."""
    try:
        documents = parse(read_regular(path, YAML_BYTES), json=path.suffix == ".json", ours=True, most=MAX_VALUES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): name a file that is there") from error
    except DocumentError as error:
        raise ConfigError(shortened(f"{path}:{error.line}: {error}")) from error
    if not documents:
        return Config(), []
    if len(documents) > 1:
        raise ConfigError(f"{path}:{documents[1].line()}: a second document: write one per file")
    document = documents[0]
    found = [_explained(document, text) for text in islice(violations(document.value), MAX_PROBLEMS)]
    right = sound(document.value) if found else document.value
    config = msgspec.convert(right, Config) if isinstance(right, dict) else Config()
    further = islice(outside(config) if found else problems(config), MAX_PROBLEMS)
    found += ((document.line(where), f"{where.removeprefix('$.')}: {problem}") for where, problem in further)
    return config, [shortened(f"{path}:{line}: {text}") for line, text in sorted(found, key=itemgetter(0))]


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


def _explained(document: Document, text: str) -> tuple[int, str]:
    """One of ``violations`` with its line, and with the key that was probably meant."""
    at = AT_PATH.search(text)
    where = at["path"] if at else "$"
    message = AT_PATH.sub("", text)
    unknown = _UNKNOWN_FIELD.match(message)
    if unknown:
        key = unknown["key"]
        known = known_keys(where)
        near = get_close_matches(key, known, n=1)
        message = f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known are {', '.join(known)}"
        where = f"{where}.{key}"
    shown = where.removeprefix("$").removeprefix(".") or "the file"
    place = document.place(where)
    message = mended(message, place)
    return place.line, f"{shown}: {message[0].lower()}{message[1:]}"
