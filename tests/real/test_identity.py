"""Who we are to a real API server: whom the kubeconfig impersonates, and whose token its file has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from support.controlplane import ControlPlane
from support.kube_api import CORE, RBAC
from support.processes import until
from support.scene import Planes

from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.credentials import KubeconfigCredentials, load_kubeconfig

REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


@asynccontextmanager
async def client_of(plane: ControlPlane, path: Path, **user: Any) -> AsyncIterator[KubernetesClient]:
    document = yaml.safe_load(plane.kubeconfig("registry").read_text())
    document["users"][0]["user"] |= {name.replace("_", "-"): value for name, value in user.items()}
    path.write_text(yaml.safe_dump(document))
    client = await KubernetesClient.connect(KubeconfigCredentials(load_kubeconfig(path), "it"))
    try:
        yield client
    finally:
        await client.close()


async def whoami(client: KubernetesClient) -> dict[str, Any]:
    body = json.dumps(REVIEW).encode()
    answer = await client.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
    assert answer.status == 201, answer.body
    info: dict[str, Any] = json.loads(answer.body)["status"]["userInfo"]
    return info


async def let(plane: ControlPlane, name: str, subject: dict[str, str], *rules: dict[str, Any]) -> None:
    group = "rbac.authorization.k8s.io"
    reference = {"kind": "ClusterRole", "name": name, "apiGroup": group}
    await plane.api.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [{**subject, "apiGroup": group}]}
    await plane.api.create(f"{RBAC}/clusterrolebindings", binding)


async def test_requests_are_made_as_whom_the_kubeconfig_impersonates(planes: Planes, tmp_path: Path) -> None:
    plane, name = planes.a, planes.namespace
    reader, readers = f"system:serviceaccount:{name}:reader", f"{name}-readers"
    await let(
        plane,
        f"{name}-impersonator",
        {"kind": "User", "name": "registry"},
        {"apiGroups": [""], "resources": ["serviceaccounts", "groups"], "verbs": ["impersonate"]},
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["uids", "userextras/example.org/why"],
            "verbs": ["impersonate"],
        },
    )
    configmaps = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch", "create"]}
    await let(plane, f"{name}-reader", {"kind": "Group", "name": readers}, configmaps)
    path = f"{CORE}/namespaces/{name}/configmaps"
    identity = {
        "as": reader,
        "as_uid": "7",
        "as_groups": [readers, "system:authenticated"],
        "as_user_extra": {"Example.org/why": ["it is late", "spät"]},
    }
    async with client_of(plane, tmp_path / "kubeconfig", **identity) as client:

        async def allowed() -> bool:
            return (await client.request("GET", path)).status == 200

        await until(allowed, "the API server knows the roles")
        info = await whoami(client)
        assert (info["username"], info["uid"]) == (reader, "7")
        assert set(info["groups"]) == {readers, "system:authenticated"}
        assert info["extra"] == {"example.org/why": ["it is late", "spät"]}
        async with client.stream(path, {"watch": "1", "timeoutSeconds": "1"}, silence=10) as stream:
            assert stream.status == 200
        written = await client.request("POST", path, body=json.dumps({"metadata": {"name": "x"}}).encode())
        assert written.status == 201
    async with client_of(plane, tmp_path / "kubeconfig") as client:
        refused = await client.request("GET", path)
        assert refused.status == 403
        assert b'User \\"registry\\"' in refused.body
    async with client_of(plane, tmp_path / "kubeconfig", **{**identity, "as": "admin"}) as client:
        assert (await client.request("GET", path)).status == 403, "that one may not be impersonated"


async def test_token_of_the_file_is_the_one_that_counts(planes: Planes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("nobody\n")
    async with client_of(planes.a, tmp_path / "kubeconfig", tokenFile="token") as client:
        assert (await whoami(client))["username"] == "nobody"
