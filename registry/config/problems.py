"""What is wrong with a configuration beyond the types of its values: each problem with its path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from registry.config.addresses import UNIX, parse_address, parse_peer
from registry.config.bounds import outside
from registry.config.sections import (
    ClusterConfig,
    Config,
    ExportConfig,
    GuardConfig,
    LivenessConfig,
    NetworkConfig,
    PeersConfig,
    ProbeConfig,
    RemoteSecretsConfig,
    SelectorConfig,
    TrafficConfig,
)
from registry.index.export import ExportMode
from registry.model.names import ServiceKey


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """What the types alone cannot say, each with its path."""
    yield from outside(config)
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
    yield from _guard_problems(config.guard)
    yield from _liveness_problems(config.liveness)
    yield from _startup_problems(config)
    if not 0 <= config.coalesce.quiet_ms <= config.coalesce.max_ms:
        yield "$.coalesce", "expected 0 <= quietMs <= maxMs"


def _startup_problems(config: Config) -> Iterator[tuple[str, str]]:
    where = "$.peers.addresses" if isinstance(config.peers, PeersConfig) else "$.peers"
    for position, text in enumerate(config.replicas.addresses):
        try:
            parse_peer(text)
        except ValueError as error:
            yield where if isinstance(config.peers, str) else f"{where}[{position}]", str(error)
    if config.replicas.tls is not None and config.listen.tls is None:
        yield "$.peers.tls", "goes with listen.tls: replicas speak TLS to each other where their own port has it"


def _traffic_problems(rules: Sequence[TrafficConfig]) -> Iterator[tuple[str, str]]:
    for position, rule in enumerate(rules):
        for place, selector in enumerate(rule.failover or ()):
            if selector == SelectorConfig():
                yield f"$.traffic[{position}].failover[{place}]", "expected a cluster, region, zone or labels"


def _network_problems(networks: Sequence[NetworkConfig]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for position, network in enumerate(networks):
        where = f"$.networks[{position}]"
        if network.name in seen:
            yield f"{where}.name", f"expected a name that no other entry has, got {network.name!r}"
        seen.add(network.name)
        for place, gateway in enumerate(network.gateways):
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
    if not 0 <= guard.confirm_seconds <= guard.hold_seconds:
        yield "$.guard", "expected 0 <= confirmSeconds <= holdSeconds"
    if not guard.confirm_seconds <= guard.member_seconds:
        yield "$.guard.memberSeconds", "expected seconds, confirmSeconds or more"


def _member_problems(config: Config) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    for position, cluster in enumerate(config.clusters):
        where = f"$.clusters[{position}]"
        if cluster.name in seen:
            yield f"{where}.name", f"the cluster {cluster.name!r} is named twice: give each a name of its own"
        seen[cluster.name] = position
        yield from _cluster_problems(where, cluster)
    if config.remote_secrets is not None:
        yield from _home_problems(config.remote_secrets)


def _liveness_problems(liveness: LivenessConfig) -> Iterator[tuple[str, str]]:
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
    if probe.tls is not None and probe.grpc is None:
        yield f"{where}.tls", "TLS is of a grpc probe, and this is none"


def _cluster_problems(where: str, cluster: ClusterConfig) -> Iterator[tuple[str, str]]:
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
