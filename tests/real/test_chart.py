"""What the chart renders: a Pod that may do little, and a configuration that the registry reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.chart import CHART, of_kind, render
from support.missing import tool

from registry.config import ClusterConfig, RemoteSecretsConfig, load

MEMBERS = ("members[0].name=a", "members[0].key=a", "members[0].network=net-a")


def test_configuration_of_the_chart_is_one_the_registry_reads(tmp_path: Path) -> None:
    documents = render("mesh", *MEMBERS, "serviceEntries.write=true", "config.domain=example.org")
    path = tmp_path / "registry.yaml"
    path.write_text(of_kind(documents, "ConfigMap")["data"]["registry.yaml"])
    config = load(path)
    assert config.clusters == (
        ClusterConfig("home", in_cluster=True),
        ClusterConfig("a", kubeconfig="/etc/mesh-registry/kubeconfigs/a", network="net-a"),
    )
    assert config.service_entries.write
    assert config.domain == "example.org"
    assert (config.listen.grpc, config.listen.http) == ("0.0.0.0:15010", "0.0.0.0:15014")


def test_pod_is_replaced_for_what_needs_a_restart_and_not_for_members() -> None:
    def stamp(*values: str) -> str:
        template = of_kind(render("mesh", *values), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    assert stamp() == stamp(*MEMBERS)
    assert len({stamp(), stamp("config.domain=example.org"), stamp("remoteSecrets.enabled=true")}) == 3


def test_remote_secrets_are_read_in_one_namespace_and_run_nothing(tmp_path: Path) -> None:
    documents = render("mesh", "remoteSecrets.enabled=true")
    path = tmp_path / "registry.yaml"
    path.write_text(of_kind(documents, "ConfigMap")["data"]["registry.yaml"])
    assert load(path).remote_secrets == RemoteSecretsConfig(in_cluster=True, namespace="istio-system")
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
        path = tmp_path / "registry.yaml"
        path.write_text(of_kind(documents, "ConfigMap")["data"]["registry.yaml"])
        volumes = of_kind(documents, "Deployment")["spec"]["template"]["spec"]["volumes"]
        state = [volume for volume in volumes if volume["name"] == "state"]
        return load(path).snapshot.file, state[0] if state else None

    file = "/var/lib/mesh-registry/snapshot"
    assert rendered() == (file, {"name": "state", "emptyDir": {"sizeLimit": "256Mi"}})
    claim = {"name": "state", "persistentVolumeClaim": {"claimName": "mine"}}
    assert rendered("snapshot.existingClaim=mine") == (file, claim)
    assert rendered("snapshot.enabled=false") == (None, None)


def test_member_gets_an_identity_and_nothing_that_runs() -> None:
    kinds = sorted(document["kind"] for document in render("mesh", "mode=member"))
    assert kinds == ["ClusterRole", "ClusterRoleBinding", "Secret", "ServiceAccount"]


def test_wrong_value_is_refused_with_its_place() -> None:
    with pytest.raises(AssertionError, match="/mode"):
        render("mesh", "mode=both")


def test_chart_passes_lint() -> None:
    done = subprocess.run([tool("helm"), "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
