"""The configuration: what it may say, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.config import (
    Address,
    ClusterConfig,
    Config,
    RemoteSecretsConfig,
    TlsConfig,
    check,
    load,
    parse_address,
    with_flags,
)
from registry.errors import ConfigError
from registry.membership.absence import AbsencePolicy
from registry.membership.places import absence_policy
from registry.model.names import ServiceKey
from registry.rpc.limits import Limits
from registry.sources.kubernetes.reflector import SourceOptions

FULL = """\
clusters:
  - name: a
    kubeconfig: kubeconfigs/a
    context: admin@a
    network: net-a
  - name: b
    manifests: /clusters/b
  - name: home
    inCluster: true
domain: example.org
listen: {grpc: "0.0.0.0:1", http: "[::1]:0", tls: {certificate: tls/crt, key: /tls/key, clientCa: ~/ca}}
limits: {streams: 7, idleSeconds: 1.5, subscriptions: 9}
follow: {quietSeconds: 20, auditSeconds: 60, streamLists: false}
export: {excludeNamespaces: [x], excludeServices: [n/s]}
serviceEntries: {write: true}
envoy: {listener: "127.0.0.1:9"}
coalesce: {quietMs: 5, maxMs: 50}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.yaml"


def test_everything_that_can_be_said_is_read(path: Path) -> None:
    path.write_text(FULL)
    config = load(path)
    assert config.clusters == (
        ClusterConfig("a", kubeconfig=str(path.parent / "kubeconfigs/a"), context="admin@a", network="net-a"),
        ClusterConfig("b", manifests="/clusters/b"),
        ClusterConfig("home", in_cluster=True),
    )
    assert (config.domain, config.listen.grpc, config.listen.http) == ("example.org", "0.0.0.0:1", "[::1]:0")
    folder = str(path.parent)
    assert config.listen.tls == TlsConfig(f"{folder}/tls/crt", "/tls/key", str(Path("~/ca").expanduser()))
    assert config.limits.subscriptions == 9
    assert config.limits.limits() == Limits(streams=7, idle_seconds=1.5)
    assert config.follow.options() == SourceOptions(quiet_seconds=20, audit_seconds=60, stream_lists=False)
    assert config.export.policy().excluded_namespaces == {"x"}
    assert config.export.policy().excluded_services == {ServiceKey("n", "s")}
    assert config.service_entries.write
    assert config.envoy.listener == "127.0.0.1:9"
    assert (config.coalesce.quiet_ms, config.coalesce.max_ms) == (5, 50)


def test_places_that_name_members_are_read(path: Path) -> None:
    path.write_text(
        "kubeconfigFolder: kubeconfigs\nexecSeconds: 2.5\n"
        "remoteSecrets: {kubeconfig: home, context: it, namespace: mesh, allowExec: true}\n"
    )
    config = load(path)
    assert config.kubeconfig_folder == str(path.parent / "kubeconfigs")
    assert config.exec_seconds == 2.5
    home = RemoteSecretsConfig(kubeconfig=str(path.parent / "home"), context="it", namespace="mesh", allow_exec=True)
    assert config.remote_secrets == home
    path.write_text("remoteSecrets: {inCluster: true}\n")
    home = RemoteSecretsConfig(in_cluster=True)
    assert load(path).remote_secrets == home
    assert (home.namespace, home.allow_exec) == ("istio-system", False)


def test_one_place_that_names_members_is_enough(path: Path) -> None:
    path.write_text("remoteSecrets: {inCluster: true}\n")
    assert with_flags(load(path)).clusters == ()
    assert with_flags(Config(), kubeconfig_folder="x").kubeconfig_folder == str(Path("x").absolute())
    assert with_flags(Config(kubeconfig_folder="/of/the/file"), kubeconfig_folder="/x").kubeconfig_folder == "/x"


def test_empty_file_is_all_defaults(path: Path) -> None:
    path.write_text("# nothing yet\n")
    assert load(path) == Config()
    assert (Config().listen.grpc, Config().listen.http) == ("127.0.0.1:15010", "127.0.0.1:15014")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clusters:\n- name: a\n  kubeconfg: x\n", "3: clusters[0].kubeconfg: unknown key; did you mean 'kubeconfig'?"),
        ("clsters: []\n", "1: clsters: unknown key; did you mean 'clusters'?"),
        ("listen:\n  grcp: x\n", "2: listen.grcp: unknown key; did you mean 'grpc'?"),
        ("clusters:\n- name: a\n  kubeconfig: 5\n", "3: clusters[0].kubeconfig: expected `str | null`, got `int`"),
        ("clusters:\n- kubeconfig: x\n", "2: clusters[0]: object missing required field `name`"),
        ("serviceEntries:\n  write: maybe\n", "2: serviceEntries.write: expected `bool`, got `str`"),
        ("coalesce:\n  quietMs: 10s\n", "2: coalesce.quietMs: expected `float`, got `str`"),
        ("[a]\n", "1: the file: expected `object`, got `array`"),
        ("listen:\n  grpc: localhost\n", "2: listen.grpc: expected HOST:PORT, got 'localhost'"),
        ("listen:\n  http: a:99999\n", "2: listen.http: expected a port from 0 to 65535"),
        ("envoy: {listener: '::1:80'}\n", "1: envoy.listener: expected HOST:PORT"),
        ("domain: Not_A_Domain\n", "1: domain: expected a DNS name"),
        ("export:\n  writeConditions: true\n", "2: export.writeConditions: goes with mode: ServiceExport, got all"),
        ("export:\n  excludeServices:\n  - a/b\n  - c\n", "4: export.excludeServices[1]: 'c' is not a service"),
        ("limits:\n  stream: 1\n", "2: limits.stream: unknown key; did you mean 'streams'?"),
        ("limits:\n  streams: 1\n  idleSeconds: 0\n", "3: limits.idleSeconds: expected seconds above 0"),
        ("limits:\n  idleSeconds: .nan\n", "2: limits.idleSeconds: expected seconds above 0"),
        ("follow:\n  quietSeconds: 0\n", "2: follow.quietSeconds: expected seconds above 0"),
        ("execSeconds: 0\n", "1: execSeconds: expected seconds above 0"),
        ("execSeconds: .nan\n", "1: execSeconds: expected seconds above 0"),
        ("kubeconfigFolder: [x]\n", "1: kubeconfigFolder: expected `str | null`, got `array`"),
        ("kubeconfigFoldr: x\n", "1: kubeconfigFoldr: unknown key; did you mean 'kubeconfigFolder'?"),
        ("remoteSecrets: {}\n", "1: remoteSecrets: expected exactly one of kubeconfig and inCluster, got 0"),
        ("remoteSecrets:\n  inClustr: true\n", "2: remoteSecrets.inClustr: unknown key; did you mean 'inCluster'?"),
        ("remoteSecrets: {inCluster: true, kubeconfig: x}\n", "1: remoteSecrets: expected exactly one of"),
        ("remoteSecrets:\n  inCluster: true\n  context: x\n", "3: remoteSecrets.context: a context is one of a kube"),
        ("remoteSecrets:\n  inCluster: true\n  namespace: A_b\n", "3: remoteSecrets.namespace: expected the name of"),
        ("limits:\n  streams: 5000000000\n", "2: limits.streams: expected a number above 0, at most 2147483647"),
        ("listen:\n  tls: {certificate: x}\n", "2: listen.tls: object missing required field `key`"),
        ("listen:\n  tls: {certificat: x}\n", "2: listen.tls.certificat: unknown key; did you mean 'certificate'?"),
        ("listen:\n  http: unix:/x\n", "2: listen.http: expected"),
        ("coalesce:\n  quietMs: 20\n  maxMs: 10\n", "1: coalesce: expected 0 <= quietMs <= maxMs"),
        (
            "clusters:\n- name: a\n",
            "2: clusters[0]: expected exactly one of kubeconfig, manifests and inCluster",
        ),
        ("clusters:\n- {name: a, manifests: x, inCluster: true}\n", "2: clusters[0]: expected exactly one of"),
        ("clusters:\n- {name: a, manifests: x, context: y}\n", "2: clusters[0].context: a context is one of a kubec"),
        ("clusters:\n- {name: a/b, manifests: x}\n", "2: clusters[0].name: expected letters"),
        (
            "clusters:\n- {name: a, manifests: x}\n- name: a\n  manifests: y\n",
            "3: clusters[1].name: the cluster 'a' is named twice",
        ),
        ("a: 1\n---\nb: 1\n", "3: a second document"),
        ("clusters:\n\t- name: a\n", "2: a tab where only spaces may indent"),
        ("clusters: []\nclusters: []\n", "2: the key 'clusters' twice"),
    ],
)
def test_wrong_configuration_is_refused_with_file_line_and_mend(path: Path, text: str, expected: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:{expected}")
    assert error.value.exit_code == 2


def test_every_limit_of_the_server_can_be_configured_and_has_its_default() -> None:
    assert Config().limits.limits() == Limits()
    assert Config().follow.options() == SourceOptions()


def test_file_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"registry.yaml: cannot be read \(No such file"):
        load(path)


def test_flags_add_clusters_and_replace_addresses(path: Path) -> None:
    path.write_text(FULL)
    config = with_flags(load(path), kubeconfigs=["k=~/k"], manifests=["m=/m"], grpc="h:5", write_service_entries=True)
    assert [cluster.name for cluster in config.clusters] == ["a", "b", "home", "k", "m"]
    assert config.clusters[3].kubeconfig == str(Path.home() / "k")
    assert (config.listen.grpc, config.listen.http) == ("h:5", "[::1]:0")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"kubeconfigs": ["a"]}, "--kubeconfig 'a': expected NAME=PATH"),
        ({"manifests": ["=x"]}, "--manifests '=x': expected NAME=DIR"),
        ({"manifests": ["a="]}, "--manifests 'a=': expected NAME=DIR"),
        ({"manifests": ["a=x"], "kubeconfigs": ["a=y"]}, "--kubeconfig or --manifests: the cluster 'a' is named twice"),
        ({"manifests": ["a=x"], "grpc": "x"}, "--grpc: expected HOST:PORT"),
        ({"manifests": ["a=x"], "http": "x:y"}, "--http: expected a port"),
        ({}, "no member cluster: name one with --kubeconfig"),
    ],
)
def test_wrong_flags_are_refused_by_name(flags: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_flags(Config(), **flags)  # type: ignore[arg-type]
    assert str(error.value).startswith(expected)


def test_cluster_of_a_flag_must_not_be_one_of_the_file(path: Path) -> None:
    path.write_text("clusters:\n- {name: a, manifests: x}\n")
    with pytest.raises(ConfigError, match="--kubeconfig or --manifests: the cluster 'a' is named twice"):
        with_flags(load(path), manifests=["a=y"])


@given(st.ip_addresses().map(str), st.integers(0, 65535))
def test_addresses_are_read_as_they_are_written(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("{memberSeconds: 29}", "guard.memberSeconds: expected seconds, confirmSeconds or more"),
        ("{memberSeconds: .inf}", "guard.memberSeconds"),
        ("{settleSeconds: -1}", "guard.settleSeconds: expected seconds from 0 to 60: a removal waits for so long"),
        ("{settleSeconds: 61}", "guard.settleSeconds"),
        ("{settleSeconds: .nan}", "guard.settleSeconds"),
    ],
)
def test_times_of_members_are_checked(tmp_path: Path, guard: str, said: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(f"guard: {guard}\n")
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert said in str(raised.value)


def test_times_of_members_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("guard: {share: 0.5, confirmSeconds: 10, memberSeconds: 60, settleSeconds: 3}\n")
    config = load(path)
    assert absence_policy(config) == AbsencePolicy(share=0.5, confirm_seconds=10, doubt_seconds=60)
    assert config.guard.settle_seconds == 3


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    """Of types, keys and bounds; one does not hide those beside or after it."""
    path = tmp_path / "registry.yaml"
    path.write_text(
        """\
clusters:
  - name: a
    probe: {tcp: 5, upp: 1}
  - manifests: 7
  - x
traffic: [{distribution: nope}]
guard: {share: 3, bogus: 1}
listen:
  grpc: 5
  tls: {certificate: c, clientCa: 5}
foo: 1
export: ServiceExprt
networks: 3
limits: {streams: 0}
"""
    )
    with pytest.raises(ConfigError) as error:
        check(path)
    found = [line.removeprefix(f"{path}:") for line in str(error.value).split("\n")]
    assert [int(each.split(": ")[0]) for each in found] == [3, 3, 4, 4, 5, 6, 7, 7, 9, 10, 10, 11, 12, 13, 14]
    assert [each.split(": ")[1] for each in found] == [
        *("clusters[0].probe.tcp", "clusters[0].probe.upp", "clusters[1].manifests", "clusters[1]", "clusters[2]"),
        *("traffic[0].distribution", "guard.bogus", "guard.share", "listen.grpc", "listen.tls.clientCa", "listen.tls"),
        *("foo", "export", "networks", "limits.streams"),
    ]


def test_an_error_does_not_make_others(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("listen: {tls: {certificate: c, key: k, clientCa: a}, grpc: 5}\npeers: {tls: {ca: x}}\nguard: []\n")
    with pytest.raises(ConfigError) as error:
        check(path)
    assert [line.split(": ")[1] for line in str(error.value).split("\n")] == ["listen.grpc", "guard"]
    path.write_text("[]")
    with pytest.raises(ConfigError, match="the file: expected `object`, got `array`"):
        check(path)
