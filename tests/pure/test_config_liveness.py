"""The configuration of probes, of a cluster's standing, and of the snapshot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from registry.config import Config, load, with_flags
from registry.errors import ConfigError
from registry.liveness.plan import Method, ProbePlan, ProbeTls
from registry.liveness.sample import Target
from registry.liveness.table import Rules
from registry.snapshot.pace import PaceRules

FULL = """\
clusters:
  - name: a
    kubeconfig: a
    probe: {tcp: "gw.a.example:15443", intervalSeconds: 3, timeoutSeconds: 1, up: 2, down: 4}
  - name: b
    kubeconfig: b
    probe: {grpc: "[fd00::1]:9000", tls: {ca: ca.pem, serverName: gw.b.example}}
  - {name: c, kubeconfig: c, probe: {endpoints: 4}}
  - {name: d, kubeconfig: d}
liveness:
  demoteWhenSilent: true
  staleSeconds: 100
  evictSeconds: 200
  graceSeconds: 10
  holdSeconds: 20
  probe: {endpoints: 2}
snapshot: {file: state/snapshot, minSeconds: 5}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.yaml"


def test_probes_standing_and_snapshot_are_read(path: Path) -> None:
    path.write_text(FULL)
    config = load(path)
    a, b, c, d = (cluster.probe for cluster in config.clusters)
    assert a is not None
    assert b is not None
    assert c is not None
    assert a.plan() == ProbePlan(Method.TCP, Target("gw.a.example", 15443), interval=3, timeout=1, up=2, down=4)
    tls = ProbeTls(str(path.parent / "ca.pem"), "gw.b.example")
    assert b.plan() == ProbePlan(Method.GRPC, Target("fd00::1", 9000), tls=tls)
    assert str(b.plan()) == "grpcs://[fd00::1]:9000"
    assert c.plan() == ProbePlan(endpoints=4)
    assert d is None
    assert config.liveness.rules() == Rules(100, 200, 10, 20, demote_when_silent=True)
    assert config.liveness.probe is not None
    assert config.liveness.probe.plan() == ProbePlan(endpoints=2)
    assert config.snapshot.file == str(path.parent / "state/snapshot")
    assert config.snapshot.pace() == PaceRules(5)


def test_defaults_are_those_of_the_rules() -> None:
    assert Config().liveness.rules() == Rules()
    assert Config().snapshot.pace() == PaceRules()
    assert Config().snapshot.file is None


def test_flag_names_the_snapshot(path: Path) -> None:
    path.write_text(FULL)
    assert with_flags(load(path), snapshot="/x/y").snapshot.file == "/x/y"
    assert with_flags(load(path), snapshot="/x/y").snapshot.min_seconds == 5
    assert with_flags(load(path)).snapshot == load(path).snapshot


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clusters: [{name: a, kubeconfig: a, probe: {}}]", "clusters[0].probe: expected exactly one of tcp"),
        ("clusters: [{name: a, kubeconfig: a, probe: {tcp: x, endpoints: 1}}]", "clusters[0].probe: expected exactly"),
        ("clusters: [{name: a, kubeconfig: a, probe: {tcp: x}}]", "clusters[0].probe.tcp: expected HOST:PORT"),
        ("clusters: [{name: a, kubeconfig: a, probe: {grpc: 'x:0'}}]", "clusters[0].probe.grpc: expected a port above"),
        ("clusters: [{name: a, kubeconfig: a, probe: {endpoints: 0}}]", "probe.endpoints: expected a number from 1"),
        ("clusters: [{name: a, kubeconfig: a, probe: {endpoint: 1}}]", "did you mean 'endpoints'?"),
        ("clusters: [{name: a, kubeconfig: a, probe: {tcp: 'x:1', down: 0}}]", "probe.down: expected 1 or more"),
        (
            "clusters: [{name: a, kubeconfig: a, probe: {tcp: 'x:1', timeoutSeconds: 0}}]",
            "probe.timeoutSeconds: expected seconds above 0",
        ),
        ("clusters: [{name: a, kubeconfig: a, probe: {tcp: 'x:1', tls: {}}}]", "probe.tls: TLS is of a grpc probe"),
        (
            "clusters: [{name: a, kubeconfig: a, probe: {grpc: 'x:1', tls: {cafile: x}}}]",
            "tls.cafile: unknown key",
        ),
        ("clusters: [{name: a, kubeconfig: a, probe: {grpc: 'x:1', tls: true}}]", "probe.tls"),
        ("liveness: {staleSeconds: -1}", "liveness.staleSeconds: expected seconds, 0 or more"),
        ("liveness: {evictSeconds: .nan}", "liveness.evictSeconds: expected seconds"),
        ("liveness: {probe: {tcp: 'x:1'}}", "liveness.probe: expected endpoints"),
        ("liveness: {staleSecond: 1}", "did you mean 'staleSeconds'?"),
        ("snapshot: {minSeconds: -1}", "snapshot.minSeconds: expected seconds"),
        ("snapshot: {path: x}", "snapshot.path: unknown key"),
    ],
)
def test_wrong_ones_are_refused_with_the_mend(path: Path, text: str, expected: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(path)
