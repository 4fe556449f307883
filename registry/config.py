"""The configuration: one file, the flags that add to it, and what is wrong with either."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from registry.documents import Document, DocumentError, parse
from registry.errors import ConfigError
from registry.index.export import DEFAULT_EXCLUDED_NAMESPACES, DEFAULT_EXCLUDED_SERVICES, ExportMode, ExportPolicy
from registry.index.gateways import NetworkRule
from registry.index.guard import GuardPolicy
from registry.liveness.plan import Method, ProbePlan
from registry.liveness.sample import Target
from registry.liveness.table import Rules
from registry.model.gateways import Gateway
from registry.model.names import Locality, ServiceKey
from registry.rpc.limits import Limits
from registry.snapshot.pace import PaceRules
from registry.sources.kubernetes.plugin import EXEC_SECONDS
from registry.sources.kubernetes.reflector import SourceOptions
from registry.views.names import DEFAULT_DOMAIN
from registry.views.policy import Distribution, Fallback, PolicyRule, Selector

MAX_PORT = 65535
MAX_LIMIT = 2**31 - 1
"""HTTP/2 knows no larger sizes, and nobody waits as many seconds."""

MAX_SAMPLE = 100
UNIX = "unix:"
_LIMITS = Limits()
_GUARD = GuardPolicy()
_FOLLOW = SourceOptions()
_LIVENESS = Rules()
_PROBE = ProbePlan()
CLUSTER_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?")
DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<key>[^`]*)`")
_AT_PATH = re.compile(r" - at `(?P<path>\$[^`]*)`$")


class Address(NamedTuple):
    """Where to listen or connect. Port 0: any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``HOST:PORT``, an IPv6 host in brackets.

    Raises:
        ValueError: it is not that.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError(f"expected HOST:PORT, got {text!r} (an IPv6 address goes in brackets: [::1]:15010)")
    if not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
        raise ValueError(f"expected a port from 0 to {MAX_PORT} after the last colon, got {text!r}")
    return Address(host, int(port))


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping of the file: keys in camel case, no others allowed."""


class ProbeConfig(_Section, frozen=True):
    """How a cluster's data plane is probed: one of ``tcp``, ``grpc`` (HOST:PORT of its east-west gateway) and
    ``endpoints`` (so many of its endpoints, by TCP) is set.

    It is down after ``down`` rounds in a row without an answer, and up after ``up`` with one.
    """

    tcp: str | None = None
    grpc: str | None = None
    endpoints: int | None = None
    interval_seconds: float = _PROBE.interval
    timeout_seconds: float = _PROBE.timeout
    up: int = _PROBE.up
    down: int = _PROBE.down

    def plan(self) -> ProbePlan:
        address = self.tcp or self.grpc
        return ProbePlan(
            method=Method.GRPC if self.grpc else Method.TCP,
            target=Target(*parse_address(address)) if address else None,
            endpoints=self.endpoints or 0,
            interval=self.interval_seconds,
            timeout=self.timeout_seconds,
            up=self.up,
            down=self.down,
        )


class ClusterConfig(_Section, frozen=True):
    """One member cluster: exactly one of ``kubeconfig``, ``manifests`` and ``in_cluster`` is set.

    ``context`` is the kubeconfig's context, by default its current one. ``network`` is where its endpoints are.
    """

    name: str
    kubeconfig: str | None = None
    context: str | None = None
    manifests: str | None = None
    in_cluster: bool = False
    network: str = ""
    probe: ProbeConfig | None = None


class RemoteSecretsConfig(_Section, frozen=True):
    """Member clusters from the Secrets labelled ``istio/multiCluster=true`` of a namespace in a home cluster.

    The home cluster is the one of ``kubeconfig`` (and ``context``), or the one the registry runs in. With
    ``allow_exec`` the kubeconfigs in the Secrets may run exec plugins and name files, on the registry's own machine.
    """

    kubeconfig: str | None = None
    context: str | None = None
    in_cluster: bool = False
    namespace: str = "istio-system"
    allow_exec: bool = False


class TlsConfig(_Section, frozen=True):
    """TLS on the gRPC port: PEM files, read anew when they change.

    With ``client_ca`` clients have to show a certificate of that authority.
    """

    certificate: str
    key: str
    client_ca: str | None = None


class ListenConfig(_Section, frozen=True):
    """Where the registry listens: ``grpc`` HOST:PORT or ``unix:PATH``, ``http`` HOST:PORT."""

    grpc: str = "127.0.0.1:15010"
    http: str = "127.0.0.1:15014"
    tls: TlsConfig | None = None


class LimitsConfig(_Section, frozen=True):
    """What one client, and all of them, may use on the gRPC port: see ``registry.rpc.limits``.

    ``subscriptions`` are the names that one xDS stream may ask for.
    """

    subscriptions: int = 200_000
    connections: int = _LIMITS.connections
    streams: int = _LIMITS.streams
    header_list_bytes: int = _LIMITS.header_list_bytes
    received_message_bytes: int = _LIMITS.received_message_bytes
    sent_message_bytes: int = _LIMITS.sent_message_bytes
    waiting_bytes: int = _LIMITS.waiting_bytes
    stalled_seconds: float = _LIMITS.stalled_seconds
    handshake_seconds: float = _LIMITS.handshake_seconds
    idle_seconds: float = _LIMITS.idle_seconds
    ping_seconds: float = _LIMITS.ping_seconds
    ping_timeout_seconds: float = _LIMITS.ping_timeout_seconds
    client_ping_seconds: float = _LIMITS.client_ping_seconds
    new_streams: int = _LIMITS.new_streams
    resets: int = _LIMITS.resets
    control_frames: int = _LIMITS.control_frames
    burst_seconds: int = _LIMITS.burst_seconds

    def limits(self) -> Limits:
        return Limits(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Limits)})


class ExportConfig(_Section, frozen=True):
    """Which services are in the list: see ``registry.index.export``. ``export: MODE`` is short for ``{mode: MODE}``.

    ``selector`` has labels that a Service must have, in the mode of that name. With ``write_conditions``, in the mode
    ServiceExport, what became of an export is written to its status.
    """

    mode: ExportMode = ExportMode.ALL
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    write_conditions: bool = False
    exclude_namespaces: tuple[str, ...] = tuple(sorted(DEFAULT_EXCLUDED_NAMESPACES))
    exclude_services: tuple[str, ...] = tuple(sorted(map(str, DEFAULT_EXCLUDED_SERVICES)))

    def policy(self) -> ExportPolicy:
        return ExportPolicy(
            frozenset(self.exclude_namespaces),
            frozenset(map(ServiceKey.parse, self.exclude_services)),
            self.mode,
            tuple(sorted(self.selector.items())),
        )


class GuardConfig(_Section, frozen=True):
    """When a list that lacks much is doubted: see ``registry.index.guard``."""

    share: float = _GUARD.share
    floor: int = _GUARD.floor
    confirm_seconds: float = _GUARD.confirm_seconds
    hold_seconds: float = _GUARD.hold_seconds

    def policy(self) -> GuardPolicy:
        return GuardPolicy(self.share, self.floor, self.confirm_seconds, self.hold_seconds)


class FollowConfig(_Section, frozen=True):
    """How API servers are followed: see ``registry.sources.kubernetes.reflector.SourceOptions``."""

    quiet_seconds: float = _FOLLOW.quiet_seconds
    audit_seconds: float = _FOLLOW.audit_seconds
    stream_lists: bool = _FOLLOW.stream_lists

    def options(self) -> SourceOptions:
        return SourceOptions(self.quiet_seconds, self.audit_seconds, self.stream_lists)


class LivenessConfig(_Section, frozen=True):
    """When a cluster is in doubt: see ``registry.liveness.table``. ``probe`` is for those without one of their own."""

    stale_seconds: float = _LIVENESS.stale
    evict_seconds: float = _LIVENESS.evict
    grace_seconds: float = _LIVENESS.grace
    hold_seconds: float = _LIVENESS.hold
    probe: ProbeConfig | None = None

    def rules(self) -> Rules:
        return Rules(self.stale_seconds, self.evict_seconds, self.grace_seconds, self.hold_seconds)


class SnapshotConfig(_Section, frozen=True):
    """Where what is known is kept across a restart; no ``file``: nowhere."""

    file: str | None = None
    min_seconds: float = PaceRules().min_seconds

    def pace(self) -> PaceRules:
        return PaceRules(self.min_seconds)


class SelectorConfig(_Section, frozen=True):
    """Endpoints of this cluster, region and zone, with these labels; at least one is said."""

    cluster: str = ""
    region: str = ""
    zone: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)

    def selector(self) -> Selector:
        return Selector(self.cluster, self.region, self.zone, tuple(sorted(self.labels.items())))


class TrafficConfig(_Section, frozen=True):
    """How the endpoints of some services are ordered: see ``registry.views.policy``.

    The first rule whose ``namespace`` and ``name``, shell patterns, match a service counts.
    """

    namespace: str = "*"
    name: str = "*"
    distribution: Distribution | None = None
    failover: tuple[SelectorConfig, ...] | None = None
    fallback: Fallback | None = None

    def rule(self) -> PolicyRule:
        failover = None if self.failover is None else tuple(each.selector() for each in self.failover)
        return PolicyRule(self.namespace, self.name, self.distribution, failover, self.fallback)


class GatewayConfig(_Section, frozen=True):
    """Where clients of other networks enter a network: an IP address and a port; its region and zone where known."""

    address: str
    port: int
    region: str = ""
    zone: str = ""

    def gateway(self) -> Gateway:
        return Gateway(ip_address(self.address).compressed, self.port, Locality(self.region, self.zone))


class NetworkConfig(_Section, frozen=True):
    """A network and its gateways: see ``registry.index.gateways``.

    ``gateways`` are all it has, where any are said. ``gateway_port`` is the port of those that are Services.
    """

    name: str
    gateways: tuple[GatewayConfig, ...] = ()
    gateway_port: int | None = None

    def rule(self) -> NetworkRule:
        return NetworkRule(tuple(each.gateway() for each in self.gateways), self.gateway_port)


class ServiceEntriesConfig(_Section, frozen=True):
    """Whether ServiceEntries are written into the member clusters that have an API server."""

    write: bool = False


class EnvoyConfig(_Section, frozen=True):
    """What sidecars are told: where ``outbound_http`` listens."""

    listener: str = "127.0.0.1:15001"


class CoalesceConfig(_Section, frozen=True):
    """How changes are gathered: sent after ``quiet_ms`` of quiet, at the latest ``max_ms`` after the first."""

    quiet_ms: float = 10
    max_ms: float = 100


class Config(_Section, frozen=True):
    """Everything ``mesh-registry serve`` can be told. Paths are absolute or relative to the working directory.

    Member clusters are those of ``clusters``, of the kubeconfigs in ``kubeconfig_folder``, and of ``remote_secrets``.
    ``exec_seconds`` is how long an exec plugin or an identity provider may take for a token.
    """

    clusters: tuple[ClusterConfig, ...] = ()
    kubeconfig_folder: str | None = None
    remote_secrets: RemoteSecretsConfig | None = None
    exec_seconds: float = EXEC_SECONDS
    domain: str = DEFAULT_DOMAIN
    listen: ListenConfig = ListenConfig()
    export: ExportConfig | ExportMode = ExportConfig()
    guard: GuardConfig = GuardConfig()
    follow: FollowConfig = FollowConfig()
    liveness: LivenessConfig = LivenessConfig()
    snapshot: SnapshotConfig = SnapshotConfig()
    service_entries: ServiceEntriesConfig = ServiceEntriesConfig()
    envoy: EnvoyConfig = EnvoyConfig()
    traffic: tuple[TrafficConfig, ...] = ()
    networks: tuple[NetworkConfig, ...] = ()
    coalesce: CoalesceConfig = CoalesceConfig()
    limits: LimitsConfig = LimitsConfig()

    def policy_rules(self) -> tuple[PolicyRule, ...]:
        return tuple(each.rule() for each in self.traffic)

    def network_rules(self) -> dict[str, NetworkRule]:
        return {each.name: each.rule() for each in self.networks}

    @property
    def exported(self) -> ExportConfig:
        """Which services are in the list, in the long form."""
        return self.export if isinstance(self.export, ExportConfig) else ExportConfig(self.export)


_SECTIONS: dict[str, type[_Section]] = {
    "$": Config,
    "$.clusters[]": ClusterConfig,
    "$.remoteSecrets": RemoteSecretsConfig,
    "$.listen": ListenConfig,
    "$.listen.tls": TlsConfig,
    "$.limits": LimitsConfig,
    "$.export": ExportConfig,
    "$.guard": GuardConfig,
    "$.clusters[].probe": ProbeConfig,
    "$.follow": FollowConfig,
    "$.liveness": LivenessConfig,
    "$.liveness.probe": ProbeConfig,
    "$.snapshot": SnapshotConfig,
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
        ConfigError: ``FILE:LINE: where: what was expected``.
    """
    try:
        documents = parse(path.read_bytes(), json=path.suffix == ".json")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): name a file with --config") from error
    except DocumentError as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from error
    if not documents:
        return Config()
    if len(documents) > 1:
        raise ConfigError(f"{path}:{documents[1].line()}: a second document: write one per file")
    document = documents[0]
    try:
        config = msgspec.convert(document.value, Config)
    except msgspec.ValidationError as error:
        raise _explained(path, document, str(error)) from error
    for where, problem in _problems(config):
        raise ConfigError(f"{path}:{document.line(where)}: {where.removeprefix('$.')}: {problem}")
    return msgspec.structs.replace(
        config,
        clusters=tuple(_anchored(cluster, path.parent) for cluster in config.clusters),
        kubeconfig_folder=_anchor(config.kubeconfig_folder, path.parent),
        remote_secrets=_anchored_home(config.remote_secrets, path.parent),
        listen=_anchored_listen(config.listen, path.parent),
        snapshot=_anchored_snapshot(config.snapshot, path.parent),
    )


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
            config.service_entries.write if write_service_entries is None else write_service_entries
        ),
        snapshot=_anchored_snapshot(SnapshotConfig(snapshot, config.snapshot.min_seconds), Path())
        if snapshot
        else config.snapshot,
    )
    for where, problem in _problems(flags):
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
    return msgspec.structs.replace(
        cluster, kubeconfig=_anchor(cluster.kubeconfig, folder), manifests=_anchor(cluster.manifests, folder)
    )


def _anchored_home(home: RemoteSecretsConfig | None, folder: Path) -> RemoteSecretsConfig | None:
    return home and msgspec.structs.replace(home, kubeconfig=_anchor(home.kubeconfig, folder))


def _anchored_snapshot(snapshot: SnapshotConfig, folder: Path) -> SnapshotConfig:
    return msgspec.structs.replace(snapshot, file=_anchor(snapshot.file, folder))


def _anchored_listen(listen: ListenConfig, folder: Path) -> ListenConfig:
    tls = listen.tls
    if tls is None:
        return listen
    files = {key: _anchor(getattr(tls, key), folder) for key in ("certificate", "key", "client_ca")}
    return msgspec.structs.replace(listen, tls=msgspec.structs.replace(tls, **files))


def _anchor(path: str | None, folder: Path) -> str | None:
    return None if path is None else str((folder / Path(path).expanduser()).absolute())


def _problems(config: Config) -> Iterator[tuple[str, str]]:
    """What the types alone cannot say, each with its path."""
    yield from _member_problems(config)
    addresses = {
        "$.listen.grpc": config.listen.grpc,
        "$.listen.http": config.listen.http,
        "$.envoy.listener": config.envoy.listener,
    }
    for where, text in addresses.items():
        if where == "$.listen.grpc" and text.startswith(UNIX):
            continue
        try:
            parse_address(text)
        except ValueError as error:
            yield where, str(error)
    yield from _export_problems(config.exported)
    yield from _traffic_problems(config.traffic)
    yield from _network_problems(config.networks)
    if not DOMAIN.fullmatch(config.domain):
        yield "$.domain", f"expected a DNS name in lower case, got {config.domain!r}"
    for each in msgspec.structs.fields(LimitsConfig):
        if not 0 < getattr(config.limits, each.name) <= MAX_LIMIT:
            yield f"$.limits.{each.encode_name}", f"expected a number above 0, at most {MAX_LIMIT}"
    yield from _guard_problems(config.guard)
    for key, seconds in (("quiet", config.follow.quiet_seconds), ("audit", config.follow.audit_seconds)):
        if not 0 < seconds <= MAX_LIMIT:
            yield f"$.follow.{key}Seconds", f"expected seconds above 0, at most {MAX_LIMIT}"
    yield from _liveness_problems(config.liveness)
    if not 0 <= config.snapshot.min_seconds <= MAX_LIMIT:
        yield "$.snapshot.minSeconds", "expected seconds, 0 or more"
    if not 0 <= config.coalesce.quiet_ms <= config.coalesce.max_ms:
        yield "$.coalesce", "expected 0 <= quietMs <= maxMs"


def _traffic_problems(rules: Sequence[TrafficConfig]) -> Iterator[tuple[str, str]]:
    for position, rule in enumerate(rules):
        for place, selector in enumerate(rule.failover or ()):
            if selector == SelectorConfig():
                yield f"$.traffic[{position}].failover[{place}]", "expected a cluster, region, zone or labels"


def _network_problems(networks: Sequence[NetworkConfig]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for position, network in enumerate(networks):
        where = f"$.networks[{position}]"
        if not network.name or network.name in seen:
            yield f"{where}.name", f"expected a name that no other entry has, got {network.name!r}"
        seen.add(network.name)
        if network.gateway_port is not None and not 0 < network.gateway_port <= MAX_PORT:
            yield f"{where}.gatewayPort", f"expected a port from 1 to {MAX_PORT}"
        for place, gateway in enumerate(network.gateways):
            if not 0 < gateway.port <= MAX_PORT:
                yield f"{where}.gateways[{place}].port", f"expected a port from 1 to {MAX_PORT}"
            try:
                ip_address(gateway.address)
            except ValueError:
                text = f"expected an IP address (host names are not resolved), got {gateway.address!r}"
                yield f"{where}.gateways[{place}].address", text


def _export_problems(export: ExportConfig) -> Iterator[tuple[str, str]]:
    for position, service in enumerate(export.exclude_services):
        try:
            ServiceKey.parse(service)
        except ValueError as error:
            yield f"$.export.excludeServices[{position}]", str(error)
    if export.write_conditions and export.mode is not ExportMode.SERVICE_EXPORT:
        yield "$.export.writeConditions", f"goes with mode: ServiceExport, got {export.mode}"
    if (export.mode is ExportMode.SELECTOR) != bool(export.selector):
        yield "$.export", "a selector goes with mode: selector, and that mode with at least one label"


def _guard_problems(guard: GuardConfig) -> Iterator[tuple[str, str]]:
    if not 0 <= guard.share <= 1:
        yield "$.guard.share", f"expected a part of one, from 0 to 1, got {guard.share}"
    if guard.floor < 0:
        yield "$.guard.floor", f"expected a number of endpoints, got {guard.floor}"
    if not 0 <= guard.confirm_seconds <= guard.hold_seconds:
        yield "$.guard", "expected 0 <= confirmSeconds <= holdSeconds"


def _member_problems(config: Config) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for position, cluster in enumerate(config.clusters):
        where = f"$.clusters[{position}]"
        if cluster.name in seen:
            yield f"{where}.name", f"the cluster {cluster.name!r} is named twice: give each a name of its own"
        seen[cluster.name] = position
        yield from _cluster_problems(where, cluster)
    if not 0 < config.exec_seconds <= MAX_LIMIT:
        yield "$.execSeconds", "expected a number of seconds above 0"
    if config.remote_secrets is not None:
        yield from _home_problems(config.remote_secrets)


def _liveness_problems(liveness: LivenessConfig) -> Iterator[tuple[str, str]]:
    for key in ("stale_seconds", "evict_seconds", "grace_seconds", "hold_seconds"):
        if not 0 <= getattr(liveness, key) <= MAX_LIMIT:
            name = key.replace("_s", "S")
            yield f"$.liveness.{name}", f"expected seconds, 0 or more, at most {MAX_LIMIT}"
    if liveness.probe is not None:
        yield from _probe_problems("$.liveness.probe", liveness.probe)
        if liveness.probe.endpoints is None:
            yield "$.liveness.probe", "expected endpoints: no address is that of every cluster"


def _probe_problems(where: str, probe: ProbeConfig) -> Iterator[tuple[str, str]]:
    ways = [probe.tcp is not None, probe.grpc is not None, probe.endpoints is not None]
    if sum(ways) != 1:
        yield where, f"expected exactly one of tcp, grpc and endpoints, got {sum(ways)}"
    for key in ("tcp", "grpc"):
        try:
            if (address := getattr(probe, key)) is not None and parse_address(address).port == 0:
                yield f"{where}.{key}", "expected a port above 0"
        except ValueError as error:
            yield f"{where}.{key}", str(error)
    if probe.endpoints is not None and not 1 <= probe.endpoints <= MAX_SAMPLE:
        yield f"{where}.endpoints", f"expected a number from 1 to {MAX_SAMPLE}"
    if not 0 < probe.timeout_seconds <= MAX_LIMIT or not 0 < probe.interval_seconds <= MAX_LIMIT:
        yield where, "expected intervalSeconds and timeoutSeconds above 0"
    if probe.up < 1 or probe.down < 1:
        yield where, "expected up and down to be 1 or more"


def _cluster_problems(where: str, cluster: ClusterConfig) -> Iterator[tuple[str, str]]:
    if not CLUSTER_NAME.fullmatch(cluster.name):
        yield (
            f"{where}.name",
            f"expected letters, digits, '-', '_' and '.', at most 253 of them, got {cluster.name!r}",
        )
    ways = [cluster.kubeconfig is not None, cluster.manifests is not None, cluster.in_cluster]
    if sum(ways) != 1:
        yield where, f"expected exactly one of kubeconfig, manifests and inCluster, got {sum(ways)}"
    if cluster.probe is not None:
        yield from _probe_problems(f"{where}.probe", cluster.probe)
    if cluster.context is not None and cluster.kubeconfig is None:
        yield f"{where}.context", "a context is one of a kubeconfig, and there is none"


def _home_problems(home: RemoteSecretsConfig) -> Iterator[tuple[str, str]]:
    ways = [home.kubeconfig is not None, home.in_cluster]
    if sum(ways) != 1:
        yield "$.remoteSecrets", f"expected exactly one of kubeconfig and inCluster, got {sum(ways)}"
    if home.context is not None and home.kubeconfig is None:
        yield "$.remoteSecrets.context", "a context is one of a kubeconfig, and there is none"
    if not NAMESPACE.fullmatch(home.namespace):
        yield "$.remoteSecrets.namespace", f"expected the name of a namespace, got {home.namespace!r}"


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
    return ConfigError(f"{path}:{document.line(where)}: {shown}: {message[0].lower()}{message[1:]}")


def _known_keys(where: str) -> tuple[str, ...]:
    section: Any = _SECTIONS.get(re.sub(r"\[\d+\]", "[]", where), Config)
    return tuple(field.encode_name for field in msgspec.structs.fields(section))
