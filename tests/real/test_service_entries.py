"""ServiceEntries written into two real API servers: what the registry renders, ours alone, and no more than needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.controlplane import ControlPlane
from support.kube_api import ISTIO, ApiError
from support.processes import until
from support.registry import RunningRegistry
from support.scene import NAME, Planes, Scene, scene

OURS = f"mesh-registry-{NAME}"
WRITE = "--write-service-entries"
FOREIGN_SPEC = {"hosts": ["theirs.example.org"], "location": "MESH_EXTERNAL", "resolution": "NONE"}


async def test_entries_in_every_cluster_are_as_rendered_and_follow_the_pods(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path, WRITE) as on:
        await until(lambda: written(on), "both clusters have the rendered entry")
        await on.b.scale(3)
        await on.settled(5)
        await until(lambda: written(on), "both clusters have the new rendering")
        for plane in planes.both:
            (manager,) = (await entry(plane, planes.namespace))["metadata"]["managedFields"]
            assert (manager["manager"], manager["operation"]) == ("mesh-registry", "Apply")
        for name in ("a", "b"):
            report = (await on.registry.cluster(name))["serviceEntries"]
            assert report["conflicts"] == []
            assert report["reason"] == ""


async def test_what_is_equal_is_not_written_again(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path, WRITE) as on:
        await until(lambda: written(on), "both clusters have the rendered entry")
        before = [(await entry(plane, planes.namespace))["metadata"] for plane in planes.both]
    async with scene_again(on, tmp_path) as registry:
        await until(lambda: writer_has(registry, 1), "a new registry has listed the entries")
        wrote = [(await registry.cluster(name))["serviceEntries"]["written"] for name in ("a", "b")]
        after = [(await entry(plane, planes.namespace))["metadata"] for plane in planes.both]
        assert [each["resourceVersion"] for each in after] == [each["resourceVersion"] for each in before]
        assert wrote == [0, 0]


async def test_what_is_not_ours_is_left_alone(planes: Planes, tmp_path: Path) -> None:
    label = {"app.kubernetes.io/managed-by": "mesh-registry"}
    same_name = await create(planes.a, planes.namespace, OURS)
    same_label = await create(planes.b, planes.namespace, "theirs", labels=label)
    async with scene(planes, tmp_path, WRITE) as on:
        await until(lambda: conflict(on, "a"), "the conflict in a is reported")
        await until(lambda: matches(on, planes.b), "b has the rendered entry")
        for workload in (on.a, on.b):
            await workload.plane.api.delete(workload.path("/api/v1", "services", NAME))
        await until(lambda: absent(planes.b, planes.namespace), "our entry in b is gone")
    assert (await entry(planes.a, planes.namespace))["metadata"] == same_name["metadata"]
    assert (await entry(planes.b, planes.namespace, "theirs"))["metadata"] == same_label["metadata"]


async def test_a_change_by_somebody_else_is_mended_on_the_next_start(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path, WRITE) as on:
        await until(lambda: written(on), "both clusters have the rendered entry")
    path = f"{ISTIO}/namespaces/{planes.namespace}/serviceentries/{OURS}"
    await planes.a.api.patch(path, {"spec": {"hosts": ["changed.example.org"]}})
    async with scene_again(on, tmp_path):
        await until(lambda: hosts_are(planes.a, planes.namespace, [on.host]), "the entry is as rendered again")


async def test_entries_go_when_the_service_is_gone(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path, WRITE) as on:
        await until(lambda: written(on), "both clusters have the rendered entry")
        for workload in (on.a, on.b):
            await workload.plane.api.delete(workload.path("/api/v1", "services", NAME))
        for plane in planes.both:
            await until(lambda plane=plane: absent(plane, planes.namespace), f"the entry in {plane.name} is gone")


async def test_nothing_is_written_unless_asked(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on:
        await on.b.scale(3)
        await on.settled(5)
        for plane in planes.both:
            assert await plane.api.items(f"{ISTIO}/namespaces/{planes.namespace}/serviceentries") == []
        assert (await on.registry.cluster("a"))["serviceEntries"] is None


def scene_again(on: Scene, folder: Path) -> RunningRegistry:
    """Another registry over the same clusters, as after a restart."""
    flags = [f"--kubeconfig={plane.name}={plane.kubeconfig()}" for plane in on.planes.both]
    return RunningRegistry(folder, *flags, WRITE, name="another")


async def entry(plane: ControlPlane, namespace: str, name: str = OURS) -> Any:
    return await plane.api.get(f"{ISTIO}/namespaces/{namespace}/serviceentries/{name}")


async def create(plane: ControlPlane, namespace: str, name: str, labels: dict[str, str] | None = None) -> Any:
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": FOREIGN_SPEC,
    }
    return await plane.api.create(f"{ISTIO}/namespaces/{namespace}/serviceentries", document)


async def matches(on: Scene, plane: ControlPlane) -> bool:
    """The cluster's entry is what ``mesh-registry serviceentry`` prints."""
    rendered = await on.registry.get(f"/api/v1/serviceentries/{on.service}")
    try:
        held = await entry(plane, on.planes.namespace)
    except ApiError:
        return False
    labels = rendered["metadata"]["labels"]
    return bool(held["spec"] == rendered["spec"] and held["metadata"]["labels"] == labels)


async def written(on: Scene) -> bool:
    return await matches(on, on.planes.a) and await matches(on, on.planes.b)


async def conflict(on: Scene, cluster: str) -> bool:
    report = (await on.registry.cluster(cluster))["serviceEntries"]
    return f"{on.planes.namespace}/{OURS}" in report["conflicts"]


async def writer_has(registry: RunningRegistry, entries: int) -> bool:
    reports = [(await registry.cluster(name))["serviceEntries"] for name in ("a", "b")]
    return all(report["entries"] >= entries and not report["reason"] for report in reports)


async def absent(plane: ControlPlane, namespace: str) -> bool:
    try:
        await entry(plane, namespace)
    except ApiError as error:
        return error.status == 404
    return False


async def hosts_are(plane: ControlPlane, namespace: str, hosts: list[str]) -> bool:
    return bool((await entry(plane, namespace))["spec"]["hosts"] == hosts)
