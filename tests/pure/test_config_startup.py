"""The sections ``peers`` and ``startup`` of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.config import Config, load
from registry.config.sections import PeersConfig, PeerTlsConfig
from registry.errors import ConfigError


def read(folder: Path, text: str) -> Config:
    path = folder / "registry.yaml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("[a.mesh.svc:15010, 10.0.0.1:1]", [("a.mesh.svc", 15010), ("10.0.0.1", 1)]),
        ("registry-peers.mesh.svc", [("registry-peers.mesh.svc", 15010)]),
        ("['[fd00::1]:15010', '[fd00::2]']", [("fd00::1", 15010), ("fd00::2", 15010)]),
        ("{addresses: [a:2]}", [("a", 2)]),
        ("[]", []),
    ],
)
def test_peers_are_hosts_with_ports(tmp_path: Path, text: str, targets: list[tuple[str, int]]) -> None:
    assert list(read(tmp_path, f"peers: {text}\n").replicas.targets()) == targets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peers: [a, b:0]", "registry.yaml:1: peers[1]: expected a port above 0, got 'b:0'"),
        ("peers: 'http://a:1'", "peers: expected HOST:PORT, got 'http://a:1'"),
        ("peers: ['fd00::1']", "peers[0]: expected HOST:PORT, got 'fd00::1'"),
        ("peers:\n  addresses: [a]\n  tls: {serverName: a}", "registry.yaml:3: peers.tls: goes with listen.tls"),
        ("peers:\n  adresses: [a]", "peers.adresses: unknown key; did you mean 'addresses'?"),
        ("peers: 15010", "registry.yaml:1: peers: "),
        ("startup: {maxWaitSeconds: -1}", "startup.maxWaitSeconds: expected seconds, 0 or more"),
        ("startup: {maxWaitSeconds: .nan}", "startup.maxWaitSeconds: expected seconds, 0 or more"),
        ("startup: {maxWait: 1}", "startup.maxWait: unknown key; did you mean 'maxWaitSeconds'?"),
    ],
)
def test_what_is_no_peer_or_no_time_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, f"{text}\n")
    assert said in str(raised.value)


def test_start_waits_two_minutes_by_default_and_asks_nobody() -> None:
    assert Config().startup.max_wait_seconds == 120
    assert Config().replicas.targets() == ()


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("listen: {grpc: '0.0.0.0:15010'}", False),
        ("listen: {grpc: '0.0.0.0:15010'}\npeers: [a]", True),
        ("listen: {grpc: '127.0.0.1:15010'}", True),
        ("listen: {grpc: 'unix:/run/registry'}", True),
        ("listen: {grpc: '0.0.0.0:15010', tls: {certificate: a, key: b}}", False),
        ("listen: {grpc: '0.0.0.0:15010', tls: {certificate: a, key: b, clientCa: c}}", True),
        ("listen: {grpc: 'registry.example:15010'}", False),
    ],
)
def test_nobody_is_given_the_snapshot_by_accident(tmp_path: Path, text: str, gives: bool) -> None:
    assert read(tmp_path, f"{text}\n").gives_to_peers is gives


def test_file_of_the_peers_authority_is_relative_to_the_configuration(tmp_path: Path) -> None:
    text = "listen: {tls: {certificate: a, key: b}}\npeers: {addresses: [a], tls: {ca: ca.pem, serverName: x}}\n"
    assert read(tmp_path, text).replicas == PeersConfig(("a",), PeerTlsConfig(str(tmp_path / "ca.pem"), "x"))
