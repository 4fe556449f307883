"""What the chart renders: a Pod that may do little, and a configuration that the registry reads."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.chart import CHART, helm, of_kind, render
from support.controlplane import ControlPlane
from support.kube_api import CORE, ApiError
from support.scene import Planes

from registry.cli.check_config import check_config
from registry.config import ClusterConfig, Config, RemoteSecretsConfig, TlsConfig, load
from registry.config.sections import ProbeConfig

MEMBERS = ("members[0].name=a", "members[0].key=a", "members[0].network=net-a")


def configuration(folder: Path, documents: list[dict[str, Any]]) -> Config:
    """What the registry reads of the rendered file, which ``check-config`` finds good."""
    path = folder / "registry.yaml"
    path.write_text(of_kind(documents, "ConfigMap")["data"]["registry.yaml"])
    checked = CliRunner().invoke(check_config, [str(path)])
    assert checked.exit_code == 0, checked.exception
    return load(path)


def test_configuration_of_the_chart_is_one_the_registry_reads(tmp_path: Path) -> None:
    documents = render("mesh", *MEMBERS, "serviceEntries.write=true", "config.domain=example.org")
    config = configuration(tmp_path, documents)
    assert config.clusters == (
        ClusterConfig("home", in_cluster=True),
        ClusterConfig("a", kubeconfig="/etc/mesh-registry/kubeconfigs/a", network="net-a"),
    )
    assert config.service_entries.write
    assert config.domain == "example.org"
    assert (config.listen.grpc, config.listen.http) == ("0.0.0.0:15010", "0.0.0.0:15014")


def test_every_section_of_the_configuration_can_be_set(tmp_path: Path) -> None:
    more = {
        "home": {"name": "home", "probe": {"endpoints": 3}},
        "members": [{"name": "a", "key": "a", "context": "c", "probe": {"grpc": "gw:9000", "tls": {"ca": "/ca"}}}],
        "config": {
            "traffic": [{"namespace": "shop", "failover": [{"region": "eu"}], "fallback": "Any"}],
            "networks": [{"name": "n", "gateways": [{"address": "192.0.2.1", "port": 15443}]}],
            "export": {"mode": "selector", "selector": {"mesh": "yes"}},
            "guard": {"share": 0.5},
            "liveness": {"staleSeconds": 60},
            "limits": {"receivedMessageBytes": 33554432, "subscriptions": 1000000},
            "snapshot": {"minSeconds": 5},
        },
    }
    config = configuration(tmp_path, render("mesh", more=more))
    home, a = config.clusters
    assert (home.probe, a.context, a.probe and a.probe.grpc) == (ProbeConfig(endpoints=3), "c", "gw:9000")
    assert (config.guard.share, config.liveness.stale_seconds, config.snapshot.min_seconds) == (0.5, 60, 5)
    assert (config.limits.received_message_bytes, config.limits.subscriptions) == (33554432, 1_000_000)
    assert (config.traffic[0].namespace, config.networks[0].name) == ("shop", "n")
    assert config.export != Config().export


@pytest.mark.parametrize(
    ("values", "client_ca"), [([], None), (["tls.clientCa=true"], "/etc/mesh-registry/tls/ca.crt")]
)
def test_tls_of_a_secret_is_mounted_and_configured(tmp_path: Path, values: list[str], client_ca: str | None) -> None:
    documents = render("mesh", "tls.secretName=mesh-tls", *values)
    folder = "/etc/mesh-registry/tls"
    expected = TlsConfig(f"{folder}/tls.crt", f"{folder}/tls.key", client_ca)
    assert configuration(tmp_path, documents).listen.tls == expected
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == folder)
    (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "mesh-tls"


def test_tls_of_the_configuration_names_files_of_extra_volumes(tmp_path: Path) -> None:
    more = {
        "config": {"listen": {"tls": {"certificate": "/tls/crt", "key": "/tls/key"}}},
        "extraVolumes": [{"name": "mine", "secret": {"secretName": "mine"}}],
        "extraVolumeMounts": [{"name": "mine", "mountPath": "/tls"}],
    }
    documents = render("mesh", more=more)
    config = configuration(tmp_path, documents)
    assert config.listen.tls == TlsConfig("/tls/crt", "/tls/key")
    assert config.listen.grpc == "0.0.0.0:15010"
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    assert more["extraVolumes"][0] in pod["volumes"]
    assert more["extraVolumeMounts"][0] in pod["containers"][0]["volumeMounts"]


SECTIONS = ("image", "home", "remoteSecrets", "serviceEntries", "snapshot", "serviceExports", "tls", "service")
NEEDED = (
    ("home", "name"),
    ("image", "repository"),
    ("remoteSecrets", "namespace"),
    ("remoteSecrets", "allowExec"),
    ("serviceAccount", "name"),
    ("service", "type"),
)
"""Helm takes a key whose value is null out of the values, with its default."""


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"config": {"gard": {}}}, "/config"),
        ({"config": {"guard": {"share": 2}}}, "/config/guard/share"),
        ({"config": {"limits": {"streams": 0}}}, "/config/limits/streams"),
        ({"config": {"traffic": [{"distribution": "Nearest"}]}}, "/config/traffic/0"),
        ({"config": {"traffic": [{"failover": [{}]}]}}, "/config/traffic/0/failover"),
        ({"config": {"envoy": {"listener": "15001"}}}, "/config/envoy/listener"),
        ({"config": {"clusters": []}}, "/config"),
        ({"config": {"listen": {"grpc": "0.0.0.0:1"}}}, "/config/listen"),
        ({"config": {"snapshot": {"file": "/x"}}}, "/config/snapshot"),
        ({"config": {"export": {"mode": "selector"}}}, "/config/export"),
        ({"members": [{"name": "a/b", "key": "a"}]}, "/members/0/name"),
        ({"members": [{"name": "a", "key": "../a"}]}, "/members/0/key"),
        ({"members": [{"name": "a", "key": "a", "probe": {"tcp": "gw"}}]}, "/members/0/probe"),
        ({"home": {"name": "-"}}, "/home/name"),
        ({"remoteSecrets": {"namespace": "A_b"}}, "/remoteSecrets/namespace"),
        ({"serviceEntries": {"wirte": True}}, "/serviceEntries"),
        ({"tls": {"secret": "x"}}, "/tls"),
        ({"mode": "both"}, "/mode"),
        ({"members": [{"name": "home", "key": "a"}]}, '"home" is named twice'),
        ({"members": [{"name": "a", "key": ".."}]}, "/members/0/key"),
        ({"tls": {"clientCa": True}}, "tls.clientCa needs tls.secretName"),
        ({"config": {"export": "ServiceExport"}}, "needs serviceExports.read"),
        ({"config": {"export": {"mode": "ServiceExport"}}}, "needs serviceExports.read"),
        (
            {
                "config": {"export": {"mode": "ServiceExport", "writeConditions": True}},
                "serviceExports": {"read": True},
            },
            "needs serviceExports.writeConditions",
        ),
        ({"replicas": 2, "snapshot": {"existingClaim": "c"}}, "snapshot.existingClaim with replicas above 1"),
        ({"snapshot": {"sharedClaim": True}}, "name it in snapshot.existingClaim"),
        *(({section: None}, f"missing propert(y|ies).*{section}") for section in SECTIONS),
        *(({section: {key: None}}, f"'/{section}': missing propert(y|ies).*{key}") for section, key in NEEDED),
    ],
)
def test_wrong_value_is_refused_with_its_place(more: dict[str, Any], where: str) -> None:
    with pytest.raises(AssertionError, match=where):
        render("mesh", more=more)


def test_configuration_with_nothing_in_it_is_none(tmp_path: Path) -> None:
    """``config:`` with comments alone below it."""
    tls = {"secretName": "mesh-tls"}
    assert configuration(tmp_path, render("mesh", more={"config": None, "tls": tls})).guard == Config().guard


def test_claim_of_one_node_is_never_wanted_by_two_pods() -> None:
    def strategy(*values: str) -> str:
        found: str = of_kind(render("mesh", *values), "Deployment")["spec"]["strategy"]["type"]
        return found

    claim = "snapshot.existingClaim=mine"
    assert strategy() == "RollingUpdate"
    assert strategy(claim) == "Recreate"
    assert strategy(claim, "snapshot.sharedClaim=true") == "RollingUpdate"
    assert strategy(claim, "snapshot.sharedClaim=true", "replicas=2") == "RollingUpdate"
    assert strategy(claim, "snapshot.enabled=false") == "RollingUpdate"


def test_replicas_ask_each_other_by_a_headless_service_that_has_those_that_are_not_ready_too(tmp_path: Path) -> None:
    documents = render("mesh", "replicas=2", release="reg")
    config = configuration(tmp_path, documents)
    assert config.replicas.addresses == ("reg-peers.mesh.svc:15010",)
    assert config.gives_to_peers
    (peers,) = (each for each in documents if each["metadata"]["name"] == "reg-peers")
    pod = of_kind(documents, "Deployment")["spec"]["template"]
    assert (peers["kind"], peers["spec"]["clusterIP"], peers["spec"]["publishNotReadyAddresses"]) == (
        "Service",
        "None",
        True,
    )
    assert peers["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert peers["spec"]["ports"][0]["port"] == 15010
    assert of_kind(documents, "Deployment")["spec"]["replicas"] == 2
    other = configuration(tmp_path, render("mesh", "config.peers[0]=other:1"))
    assert other.replicas.addresses == ("other:1",)


def test_pod_is_replaced_for_what_needs_a_restart_and_not_for_members() -> None:
    def stamp(*values: str) -> str:
        template = of_kind(render("mesh", *values), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    assert stamp() == stamp(*MEMBERS) == stamp("config.guard.floor=5", "config.networks[0].name=n")
    assert len({stamp(), stamp("config.domain=example.org"), stamp("remoteSecrets.enabled=true")}) == 3


def test_remote_secrets_are_read_in_one_namespace_and_run_nothing(tmp_path: Path) -> None:
    documents = render("mesh", "remoteSecrets.enabled=true")
    assert configuration(tmp_path, documents).remote_secrets == RemoteSecretsConfig(
        in_cluster=True, namespace="istio-system"
    )
    role = of_kind(documents, "Role")
    assert role["metadata"]["namespace"] == "istio-system"
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
    (subject,) = of_kind(documents, "RoleBinding")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "mesh-registry", "namespace": "mesh"}
    rules = of_kind(documents, "ClusterRole")["rules"]
    assert not any("secrets" in rule["resources"] for rule in rules)
    for values in ([], ["remoteSecrets.enabled=true", "mode=member"]):
        assert "Role" not in {document["kind"] for document in render("mesh", *values)}


def test_pod_runs_without_privileges() -> None:
    pod = of_kind(render("mesh", *MEMBERS), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    state = "/var/lib/mesh-registry"
    assert mounts == {"/etc/mesh-registry/config", "/etc/mesh-registry/kubeconfigs", state, "/tmp"}


def test_snapshot_is_kept_where_the_values_say(tmp_path: Path) -> None:
    def rendered(*values: str) -> tuple[str | None, dict[str, object] | None]:
        """The snapshot's file, and the volume it is on."""
        documents = render("mesh", *values)
        volumes = of_kind(documents, "Deployment")["spec"]["template"]["spec"]["volumes"]
        state = [volume for volume in volumes if volume["name"] == "state"]
        return configuration(tmp_path, documents).snapshot.file, state[0] if state else None

    file = "/var/lib/mesh-registry/snapshot"
    assert rendered() == (file, {"name": "state", "emptyDir": {"sizeLimit": "256Mi"}})
    claim = {"name": "state", "persistentVolumeClaim": {"claimName": "mine"}}
    assert rendered("snapshot.existingClaim=mine") == (file, claim)
    assert rendered("snapshot.enabled=false") == (None, None)


def test_member_gets_an_identity_and_nothing_that_runs() -> None:
    kinds = sorted(document["kind"] for document in render("mesh", "mode=member"))
    assert kinds == ["ClusterRole", "ClusterRoleBinding", "Secret", "ServiceAccount"]


def test_chart_passes_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


async def test_upgrade_to_remote_secrets_makes_the_namespace_that_is_not_there(planes: Planes, tmp_path: Path) -> None:
    """A real API server, and a real helm that asks it; what was made is not helm's to remove.

    The API server is built from its module and knows no version of its own, so the chart may not ask for one.
    """
    wanted = f"{planes.namespace}-istio"
    chart = shutil.copytree(CHART, tmp_path / "chart")
    about = chart / "Chart.yaml"
    about.write_text(re.sub("(?m)^kubeVersion: .*$", "", about.read_text()))

    def run(command: str, *more: str) -> None:
        kubeconfig = f"--kubeconfig={planes.a.kubeconfig()}"
        done = helm(command, "mesh-registry", *more, kubeconfig, "--namespace", planes.namespace)
        assert done.returncode == 0, done.stderr

    run("install", str(chart))
    assert not await exists(planes.a, wanted)
    on = ("--set", f"remoteSecrets.enabled=true,remoteSecrets.namespace={wanted}")
    for _ in range(2):
        run("upgrade", str(chart), *on)
        assert await exists(planes.a, wanted)
    run("uninstall")
    assert await exists(planes.a, wanted)
    await planes.a.api.delete(f"{CORE}/namespaces/{wanted}")


async def exists(plane: ControlPlane, namespace: str) -> bool:
    try:
        found = await plane.api.get(f"{CORE}/namespaces/{namespace}")
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return "deletionTimestamp" not in found["metadata"]
