"""What can be said in the configuration, section by section, with the defaults."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_address
from typing import Annotated

import msgspec

from registry.config.addresses import UNIX, Address, parse_address, parse_peer
from registry.config.bounds import MAX, Count, Limit, Name, Port, PositiveSeconds, Seconds, form, matching, within
from registry.http_limits import HttpLimits
from registry.index.export import DEFAULT_EXCLUDED_NAMESPACES, DEFAULT_EXCLUDED_SERVICES, ExportMode, ExportPolicy
from registry.index.gateways import NetworkRule
from registry.index.guard import GuardPolicy
from registry.liveness.plan import Method, ProbePlan, ProbeTls
from registry.liveness.sample import Target
from registry.liveness.table import Rules
from registry.model.gateways import Gateway
from registry.model.names import Locality, ServiceKey
from registry.rpc.limits import Limits
from registry.snapshot.pace import PaceRules
from registry.sources.kubernetes.bounds import MemberBounds
from registry.sources.kubernetes.plugin import EXEC_SECONDS
from registry.sources.kubernetes.reflector import SourceOptions
from registry.views.names import DEFAULT_DOMAIN
from registry.views.policy import Distribution, Fallback, PolicyRule, Selector

CLUSTER_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

ClusterName = Annotated[str, matching("letters, digits, '-', '_' and '.', at most 253 of them", CLUSTER_NAME)]
Domain = Annotated[str, matching("a DNS name in lower case", _DOMAIN)]
Namespace = Annotated[str, matching("the name of a namespace", _NAMESPACE)]
ServiceName = Annotated[str, form("^[^/]+/[^/]+$")]
_HOST = r"(\[[^\[\]]+\]|[^:]+)"
_PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HostPort = Annotated[str, form(f"^{_HOST}:({_PORT}|0+)$")]
ProbeAddress = Annotated[str, form(f"^{_HOST}:{_PORT}$")]
PeerAddress = Annotated[str, form(f"^{_HOST}(:{_PORT})?$")]
Listen = Annotated[str, form(f"^({_HOST}:({_PORT}|0+)|unix:.*)$")]
IpAddress = Annotated[str, msgspec.Meta(extra_json_schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})]
Milliseconds = Annotated[float, within("milliseconds, 0 or more, at most 60000", low=0, high=60_000)]
Share = Annotated[float, within("a part of one, from 0 to 1", low=0, high=1)]

_LIMITS = Limits()
_HTTP = HttpLimits()
_GUARD = GuardPolicy()
_FOLLOW = SourceOptions()
_LIVENESS = Rules()
_PROBE = ProbePlan()


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping of the file: keys in camel case, no others allowed."""


class ProbeTlsConfig(Section, frozen=True):
    """TLS of a gRPC probe: the PEM file of the authority, by default those that gRPC comes with, and the name that the
    server's certificate has to have, by default the host that is asked.
    """

    ca: str | None = None
    server_name: str = ""


class ProbeConfig(Section, frozen=True):
    """How a cluster's data plane is probed: one of ``tcp``, ``grpc`` (HOST:PORT of its east-west gateway) and
    ``endpoints`` (so many of its endpoints, by TCP) is set. ``tls`` is for ``grpc``.

    It is down after ``down`` rounds in a row without an answer, and up after ``up`` with one.
    """

    tcp: ProbeAddress | None = None
    grpc: ProbeAddress | None = None
    tls: ProbeTlsConfig | None = None
    endpoints: Annotated[int, within("a number from 1 to 100", low=1, high=100)] | None = None
    interval_seconds: PositiveSeconds = _PROBE.interval
    timeout_seconds: PositiveSeconds = _PROBE.timeout
    up: Count = _PROBE.up
    down: Count = _PROBE.down

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
            tls=ProbeTls(self.tls.ca, self.tls.server_name) if self.tls else None,
        )


class ClusterConfig(Section, frozen=True):
    """One member cluster: exactly one of ``kubeconfig``, ``manifests`` and ``in_cluster`` is set.

    ``context`` is the kubeconfig's context, by default its current one. ``network`` is where its endpoints are.
    """

    name: ClusterName
    kubeconfig: str | None = None
    context: str | None = None
    manifests: str | None = None
    in_cluster: bool = False
    network: str = ""
    probe: ProbeConfig | None = None


class RemoteSecretsConfig(Section, frozen=True):
    """Member clusters from the Secrets labelled ``istio/multiCluster=true`` of a namespace in a home cluster.

    The home cluster is the one of ``kubeconfig`` (and ``context``), or the one the registry runs in. With
    ``allow_exec`` the kubeconfigs in the Secrets may run exec plugins and name files, on the registry's own machine.
    """

    kubeconfig: str | None = None
    context: str | None = None
    in_cluster: bool = False
    namespace: Namespace = "istio-system"
    allow_exec: bool = False


class TlsConfig(Section, frozen=True):
    """TLS on the gRPC port: PEM files, read anew when they change.

    With ``client_ca`` clients have to show a certificate of that authority.
    """

    certificate: str
    key: str
    client_ca: str | None = None


class ListenConfig(Section, frozen=True):
    """Where the registry listens: ``grpc`` HOST:PORT or ``unix:PATH``, ``http`` HOST:PORT."""

    grpc: Listen = "127.0.0.1:15010"
    http: HostPort = "127.0.0.1:15014"
    tls: TlsConfig | None = None


class LimitsConfig(Section, frozen=True):
    """What one client, and all of them, may use (docs/limits.md): of the gRPC port ``registry.rpc.limits``, of the HTTP
    port, as ``http...``, ``registry.http_limits``.

    ``peer_share`` is the part of a port's connections that one IP address (of IPv6 a /64 network) may have, of those
    that the others leave, ``peer_rate`` how many new ones it may bring in a second. ``subscriptions`` are the names
    that one xDS stream may ask for.
    """

    subscriptions: Limit = 200_000
    connections: Limit = _LIMITS.connections
    streams: Limit = _LIMITS.streams
    header_list_bytes: Limit = _LIMITS.header_list_bytes
    received_message_bytes: Limit = _LIMITS.received_message_bytes
    sent_message_bytes: Limit = _LIMITS.sent_message_bytes
    connection_bytes: Limit = _LIMITS.connection_bytes
    process_bytes: Limit = _LIMITS.process_bytes
    waiting_bytes: Limit = _LIMITS.waiting_bytes
    stalled_seconds: PositiveSeconds = _LIMITS.stalled_seconds
    message_seconds: PositiveSeconds = _LIMITS.message_seconds
    handshake_seconds: PositiveSeconds = _LIMITS.handshake_seconds
    idle_seconds: PositiveSeconds = _LIMITS.idle_seconds
    ping_seconds: PositiveSeconds = _LIMITS.ping_seconds
    ping_timeout_seconds: PositiveSeconds = _LIMITS.ping_timeout_seconds
    client_ping_seconds: PositiveSeconds = _LIMITS.client_ping_seconds
    new_streams: Limit = _LIMITS.new_streams
    resets: Limit = _LIMITS.resets
    control_frames: Limit = _LIMITS.control_frames
    burst_seconds: Limit = _LIMITS.burst_seconds
    peer_share: Annotated[float, within("a part of one, above 0", above=0, high=1)] = 0.5
    peer_rate: Annotated[float, within("a number a second, above 0", above=0, high=MAX)] = 500
    http_connections: Limit = _HTTP.connections
    http_headers_seconds: PositiveSeconds = _HTTP.headers_seconds
    http_body_seconds: PositiveSeconds = _HTTP.body_seconds
    http_idle_seconds: PositiveSeconds = _HTTP.idle_seconds
    http_write_seconds: PositiveSeconds = _HTTP.write_seconds

    def limits(self) -> Limits:
        return Limits(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Limits)})

    def http(self) -> HttpLimits:
        return HttpLimits(
            self.http_connections,
            self.http_headers_seconds,
            self.http_body_seconds,
            self.http_idle_seconds,
            self.http_write_seconds,
        )


class ExportConfig(Section, frozen=True):
    """Which services are in the list: see ``registry.index.export``. ``export: MODE`` is short for ``{mode: MODE}``.

    ``selector`` has labels that a Service must have, in the mode of that name. With ``write_conditions``, in the mode
    ServiceExport, what became of an export is written to its status.
    """

    mode: ExportMode = ExportMode.ALL
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    write_conditions: bool = False
    exclude_namespaces: tuple[str, ...] = tuple(sorted(DEFAULT_EXCLUDED_NAMESPACES))
    exclude_services: tuple[ServiceName, ...] = tuple(sorted(map(str, DEFAULT_EXCLUDED_SERVICES)))

    def policy(self) -> ExportPolicy:
        return ExportPolicy(
            frozenset(self.exclude_namespaces),
            frozenset(map(ServiceKey.parse, self.exclude_services)),
            self.mode,
            tuple(sorted(self.selector.items())),
        )


class GuardConfig(Section, frozen=True):
    """When a list that lacks much is doubted: see ``registry.index.guard``.

    ``member_seconds`` is how long a place that names members has to lack many of them: see
    ``registry.membership.absence``. ``settle_seconds`` is how long one that is removed may take to be named again, or
    elsewhere, as if nothing had been.
    """

    share: Share = _GUARD.share
    floor: Annotated[int, within("a number of endpoints", low=0, high=MAX)] = _GUARD.floor
    confirm_seconds: Seconds = _GUARD.confirm_seconds
    hold_seconds: Seconds = _GUARD.hold_seconds
    member_seconds: Seconds = 600.0
    settle_seconds: Annotated[float, within("seconds from 0 to 60: a removal waits for so long", low=0, high=60)] = 0.2

    def policy(self) -> GuardPolicy:
        return GuardPolicy(self.share, self.floor, self.confirm_seconds, self.hold_seconds)


class FollowConfig(Section, frozen=True):
    """How API servers are followed: see ``registry.sources.kubernetes.reflector.SourceOptions``.

    ``max_objects`` and ``max_bytes`` (an estimate of memory) are of one cluster, ``max_object_bytes`` is of one object,
    ``list_seconds`` of one list, ``max_total_bytes`` of all clusters.
    """

    quiet_seconds: PositiveSeconds = _FOLLOW.quiet_seconds
    audit_seconds: PositiveSeconds = _FOLLOW.audit_seconds
    stream_lists: bool = _FOLLOW.stream_lists
    max_objects: Limit = _FOLLOW.bounds.objects
    max_bytes: Limit = _FOLLOW.bounds.bytes
    max_object_bytes: Limit = _FOLLOW.bounds.object_bytes
    list_seconds: PositiveSeconds = _FOLLOW.bounds.list_seconds
    max_total_bytes: Limit = _FOLLOW.bounds.total_bytes

    def options(self) -> SourceOptions:
        bounds = MemberBounds(
            self.max_objects, self.max_bytes, self.max_object_bytes, self.list_seconds, self.max_total_bytes
        )
        return SourceOptions(self.quiet_seconds, self.audit_seconds, self.stream_lists, bounds)


class LivenessConfig(Section, frozen=True):
    """When a cluster is in doubt: see ``registry.liveness.table``. ``probe`` is for those without one of their own."""

    stale_seconds: Seconds = _LIVENESS.stale
    evict_seconds: Seconds = _LIVENESS.evict
    grace_seconds: Seconds = _LIVENESS.grace
    hold_seconds: Seconds = _LIVENESS.hold
    demote_when_silent: bool = _LIVENESS.demote_when_silent
    probe: ProbeConfig | None = None

    def rules(self) -> Rules:
        return Rules(
            self.stale_seconds,
            self.evict_seconds,
            self.grace_seconds,
            self.hold_seconds,
            demote_when_silent=self.demote_when_silent,
        )


class SnapshotConfig(Section, frozen=True):
    """Where what is known is kept across a restart; no ``file``: nowhere."""

    file: str | None = None
    min_seconds: Seconds = PaceRules().min_seconds

    def pace(self) -> PaceRules:
        return PaceRules(self.min_seconds)


class PeerTlsConfig(Section, frozen=True):
    """TLS towards peers, where ``listen.tls`` is configured: the PEM file of the authority that signed their
    certificates, by default ``listen.tls.clientCa``, or else ``listen.tls.certificate``; and the name that these have,
    by default the host by which the peer is named.
    """

    ca: str | None = None
    server_name: str = ""


class PeersConfig(Section, frozen=True):
    """Other replicas, asked at the start: see ``registry.snapshot.peers``. ``peers: [...]`` is short for
    ``{addresses: [...]}``. Each is HOST:PORT; of a name every address is a peer.
    """

    addresses: tuple[PeerAddress, ...] = ()
    tls: PeerTlsConfig | None = None

    def targets(self) -> tuple[Address, ...]:
        return tuple(map(parse_peer, self.addresses))


class StartupConfig(Section, frozen=True):
    """How long a start waits for members of which nothing is known: see ``registry.startup``."""

    max_wait_seconds: Seconds = 120.0


class SelectorConfig(Section, frozen=True):
    """Endpoints of this cluster, region and zone, with these labels; at least one is said."""

    cluster: str = ""
    region: str = ""
    zone: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)

    def selector(self) -> Selector:
        return Selector(self.cluster, self.region, self.zone, tuple(sorted(self.labels.items())))


class TrafficConfig(Section, frozen=True):
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


class GatewayConfig(Section, frozen=True):
    """Where clients of other networks enter a network: an IP address and a port; its region and zone where known."""

    address: IpAddress
    port: Port
    region: str = ""
    zone: str = ""

    def gateway(self) -> Gateway:
        return Gateway(ip_address(self.address).compressed, self.port, Locality(self.region, self.zone))


class NetworkConfig(Section, frozen=True):
    """A network and its gateways: see ``registry.index.gateways``.

    ``gateways`` are all it has, where any are said. ``gateway_port`` is the port of those that are Services.
    """

    name: Name
    gateways: tuple[GatewayConfig, ...] = ()
    gateway_port: Port | None = None

    def rule(self) -> NetworkRule:
        return NetworkRule(tuple(each.gateway() for each in self.gateways), self.gateway_port)


class ServiceEntriesConfig(Section, frozen=True):
    """Whether ServiceEntries are written into the member clusters that have an API server.

    ``tcp``: with the ports for which sidecars take all TCP traffic, whatever its destination, unless they capture DNS.
    """

    write: bool = False
    tcp: bool = False


class EnvoyConfig(Section, frozen=True):
    """What sidecars are told: where ``outbound_http`` listens."""

    listener: HostPort = "127.0.0.1:15001"


class CoalesceConfig(Section, frozen=True):
    """How changes are gathered: sent after ``quiet_ms`` of quiet, at the latest ``max_ms`` after the first."""

    quiet_ms: Milliseconds = 10
    max_ms: Milliseconds = 100


class Config(Section, frozen=True):
    """Everything ``mesh-registry serve`` can be told. Paths are absolute or relative to the working directory.

    Member clusters are those of ``clusters``, of the kubeconfigs in ``kubeconfig_folder``, and of ``remote_secrets``.
    ``exec_seconds`` is how long an exec plugin or an identity provider may take for a token.
    """

    clusters: tuple[ClusterConfig, ...] = ()
    kubeconfig_folder: str | None = None
    remote_secrets: RemoteSecretsConfig | None = None
    exec_seconds: PositiveSeconds = EXEC_SECONDS
    domain: Domain = DEFAULT_DOMAIN
    listen: ListenConfig = ListenConfig()
    export: ExportConfig | ExportMode = ExportConfig()
    guard: GuardConfig = GuardConfig()
    follow: FollowConfig = FollowConfig()
    liveness: LivenessConfig = LivenessConfig()
    snapshot: SnapshotConfig = SnapshotConfig()
    peers: PeersConfig | tuple[PeerAddress, ...] | PeerAddress = PeersConfig()
    startup: StartupConfig = StartupConfig()
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
    def replicas(self) -> PeersConfig:
        """The peers, in the long form."""
        if isinstance(self.peers, PeersConfig):
            return self.peers
        return PeersConfig((self.peers,) if isinstance(self.peers, str) else self.peers)

    @property
    def gives_to_peers(self) -> bool:
        """Whether other replicas may take over what this one knows.

        That is more than clients are shown (Pods' labels, services that are not exported). So on a port that is open to
        everybody it has to be wanted.
        """
        local = self.listen.grpc.startswith(UNIX) or _is_loopback(self.listen.grpc)
        proven = self.listen.tls is not None and self.listen.tls.client_ca is not None
        return bool(self.replicas.addresses) or local or proven

    @property
    def exported(self) -> ExportConfig:
        """Which services are in the list, in the long form."""
        return self.export if isinstance(self.export, ExportConfig) else ExportConfig(self.export)


def _is_loopback(address: str) -> bool:
    host = parse_address(address).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
