"""The registry on real API servers with exactly the chart's roles: it works, and it could do nothing else."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from support.chart import of_kind, render
from support.controlplane import ControlPlane
from support.kube_api import CORE, ISTIO, ApiError
from support.processes import until
from support.scene import NAME, Planes, scene

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
READ = {
    ("", "services"): {"list", "watch"},
    ("", "pods"): {"list", "watch"},
    ("", "nodes"): {"list", "watch"},
    ("", "namespaces"): {"list", "watch"},
    ("discovery.k8s.io", "endpointslices"): {"list", "watch"},
}
EXPORTS = {
    ("multicluster.x-k8s.io", "serviceexports"): {"list", "watch", "get"},
    ("multicluster.x-k8s.io", "serviceexports/status"): {"patch"},
}
WRITE = {("networking.istio.io", "serviceentries"): {"list", "watch", "get", "create", "patch", "delete"}}
EVERYBODY = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
}
"""What the API server grants to every authenticated user (system:basic-user)."""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["serviceExports.read=true"], {("multicluster.x-k8s.io", "serviceexports"): {"list", "watch"}}),
        (["serviceExports.read=true", "serviceExports.writeConditions=true"], EXPORTS),
    ],
    ids=["read", "write"],
)
async def test_service_exports_are_read_and_written_only_where_that_is_on(
    planes: Planes, more: list[str], expected: dict[tuple[str, str], set[str]]
) -> None:
    await install(planes.a, planes.namespace, False, *more)
    assert await rules(planes.a) == READ | expected


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
async def test_registry_works_with_the_roles_of_the_chart_and_has_no_other_right(
    planes: Planes, tmp_path: Path, write: bool
) -> None:
    flags = ["--write-service-entries"] if write else []
    for plane in planes.both:
        await install(plane, planes.namespace, write)
    async with scene(planes, tmp_path, *flags, user="chart") as on:
        for plane in planes.both:
            assert await rules(plane) == (READ | WRITE if write else READ)
            assert (await on.registry.cluster(plane.name))["state"] == "Synced"
            if write:
                path = f"{ISTIO}/namespaces/{planes.namespace}/serviceentries/mesh-registry-{NAME}"
                await until(lambda plane=plane, path=path: exists(plane, path), "the entry is written")
        if write:
            for workload in (on.a, on.b):
                await workload.plane.api.delete(workload.path(CORE, "services", NAME))
            for plane in planes.both:
                path = f"{ISTIO}/namespaces/{planes.namespace}/serviceentries/mesh-registry-{NAME}"
                await until(lambda plane=plane, path=path: gone(plane, path), "the entry is deleted")


async def install(plane: ControlPlane, namespace: str, write: bool, *more: str) -> None:
    """Apply what the chart renders for a member cluster, and take its token for the user ``chart``."""
    values = ["mode=member", f"serviceEntries.write={str(write).lower()}", *more]
    documents = render(namespace, *values, release=f"{plane.name}-{namespace}")
    await plane.api.create(f"{CORE}/namespaces/{namespace}/serviceaccounts", of_kind(documents, "ServiceAccount"))
    await plane.api.create(f"{CORE}/namespaces/{namespace}/secrets", of_kind(documents, "Secret"))
    await plane.api.create(f"{RBAC}/clusterroles", of_kind(documents, "ClusterRole"))
    await plane.api.create(f"{RBAC}/clusterrolebindings", of_kind(documents, "ClusterRoleBinding"))
    path = f"{CORE}/namespaces/{namespace}/secrets/mesh-registry-token"

    async def token() -> str:
        data = (await plane.api.get(path)).get("data", {})
        return b64decode(data.get("token", "")).decode()

    plane.tokens["chart"] = await until(token, "the ServiceAccount has a token")


async def rules(plane: ControlPlane) -> dict[tuple[str, str], set[str]]:
    """(API group, resource) -> verbs of the chart's user, as the API server itself reckons them."""
    client = plane.client("chart")
    try:
        review = await client.create(REVIEWS, {"spec": {"namespace": "default"}})
    finally:
        await client.close()
    assert not review["status"]["incomplete"]
    found: dict[tuple[str, str], set[str]] = {}
    for rule in review["status"]["resourceRules"]:
        assert "resourceNames" not in rule
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                if (group, resource) not in EVERYBODY:
                    found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


async def exists(plane: ControlPlane, path: str) -> bool:
    return not await gone(plane, path)


async def gone(plane: ControlPlane, path: str) -> Any:
    try:
        await plane.api.get(path)
    except ApiError as error:
        return error.status == 404
    return False
