"""What the chart renders: a Pod that may do little, and a configuration that the registry reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.chart import CHART, of_kind, render
from support.missing import tool

from registry.config import ClusterConfig, load

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
    assert mounts == {"/etc/mesh-registry/registry.yaml", "/etc/mesh-registry/kubeconfigs", state, "/tmp"}


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
