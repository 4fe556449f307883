"""ServiceExports on real API servers with the MCS CRDs: conflicts are decided by age and said in their status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml
from support.controlplane import ControlPlane
from support.kube_api import CORE, DISCOVERY
from support.mcs import service_exports
from support.processes import until
from support.registry import RunningRegistry
from support.scene import Planes

MCS = "/apis/multicluster.x-k8s.io/v1beta1"
MANAGER = "mesh-registry-exports"


@pytest_asyncio.fixture
async def exporting(planes: Planes) -> AsyncIterator[Planes]:
    """Both control planes know ServiceExports."""
    async with service_exports(*planes.both):
        yield planes


@asynccontextmanager
async def registry(planes: Planes, folder: Path, name: str = "registry") -> AsyncIterator[RunningRegistry]:
    config = folder / "registry.yaml"
    clusters = [{"name": plane.name, "kubeconfig": str(plane.kubeconfig())} for plane in planes.both]
    config.write_text(
        yaml.safe_dump({"clusters": clusters, "export": {"mode": "ServiceExport", "writeConditions": True}})
    )
    async with RunningRegistry(folder, "--config", str(config), name=name) as running:
        yield running


def service(name: str, *ports: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": list(ports), **spec}}


async def put(plane: ControlPlane, namespace: str, document: Mapping[str, Any], address: str) -> None:
    """A Service without a selector, and a slice by hand."""
    name = document["metadata"]["name"]
    await plane.api.create(f"{CORE}/namespaces/{namespace}/services", document)
    ports = [{"name": each["name"], "port": 8080, "protocol": "TCP"} for each in document["spec"]["ports"]]
    await plane.api.create(
        f"{DISCOVERY}/namespaces/{namespace}/endpointslices",
        {
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": ports,
        },
    )


def exports_path(namespace: str, name: str = "") -> str:
    return f"{MCS}/namespaces/{namespace}/serviceexports" + (f"/{name}" if name else "")


async def export(plane: ControlPlane, namespace: str, name: str) -> Any:
    document = {"apiVersion": MCS.removeprefix("/apis/"), "kind": "ServiceExport", "metadata": {"name": name}}
    return await plane.api.create(exports_path(namespace), document)


async def export_later(plane: ControlPlane, namespace: str, name: str, than: str) -> None:
    """Export, so that the creationTimestamp, which has seconds, is later."""

    async def later() -> bool:
        made = await export(plane, namespace, name)
        if made["metadata"]["creationTimestamp"] > than:
            return True
        await plane.api.delete(exports_path(namespace, name))
        return False

    await until(later, "the export is a later one", poll=0.3)


async def conditions(plane: ControlPlane, namespace: str, name: str) -> dict[str, tuple[str, str]]:
    """Type -> status and reason."""
    found = await plane.api.get(exports_path(namespace, name))
    said = found.get("status", {}).get("conditions") or []
    return {each["type"]: (each["status"], each["reason"]) for each in said}


CONFLICT = {"Valid": ("True", "Valid"), "Ready": ("True", "Exported"), "Conflict": ("True", "PortConflict")}
AGREED = CONFLICT | {"Conflict": ("False", "NoConflicts")}


async def test_conflict_is_decided_by_age_and_said_on_every_export_until_it_is_mended(
    exporting: Planes, tmp_path: Path
) -> None:
    namespace = exporting.namespace
    a, b = exporting.both
    await put(a, namespace, service("echo", {"name": "http", "port": 81}), "198.18.0.1")
    await put(b, namespace, service("echo", {"name": "http", "port": 80}), "198.18.1.1")
    oldest = await export(b, namespace, "echo")
    await export_later(a, namespace, "echo", oldest["metadata"]["creationTimestamp"])
    async with registry(exporting, tmp_path) as running:
        for plane in exporting.both:

            async def conflict(plane: ControlPlane = plane) -> bool:
                return await conditions(plane, namespace, "echo") == CONFLICT

            await until(conflict, f"the conflict is said in {plane.name}")
        shown = await running.get(f"/api/v1/services/{namespace}/echo")
        assert [port["port"] for port in shown["ports"]] == [80]
        assert [(each["field"], each["value"], each["winner"]) for each in shown["conflicts"]] == [
            ("ports[80].port", "80", "b")
        ]
        assert {each["address"] for each in shown["endpoints"]} == {"198.18.0.1", "198.18.1.1"}
        assert 'mesh_registry_service_conflicts{reason="PortConflict"} 1.0' in await running.text("/metrics")
        assert running.process.log.read_text().count("Conflicting ports[80].port") == 1
        held = await a.api.get(exports_path(namespace, "echo"))
        (manager,) = (each for each in held["metadata"]["managedFields"] if each["manager"] == MANAGER)
        assert (manager["operation"], manager["subresource"]) == ("Apply", "status")
        path = f"{CORE}/namespaces/{namespace}/services/echo"
        await a.api.patch(path, {"spec": {"ports": [{"name": "http", "port": 80}]}})
        for plane in exporting.both:

            async def agreed(plane: ControlPlane = plane) -> bool:
                return await conditions(plane, namespace, "echo") == AGREED

            await until(agreed, f"{plane.name} is told that the exports agree")
    versions = [await version(plane, namespace, "echo") for plane in exporting.both]
    async with registry(exporting, tmp_path, name="another") as running:
        for plane in exporting.both:

            async def compared(plane: ControlPlane = plane) -> bool:
                report = (await running.cluster(plane.name))["exportConditions"]
                return bool(report["entries"] == 1 and not report["reason"])

            await until(compared, "the writer has compared")
        wrote = [(await running.cluster(plane.name))["exportConditions"]["written"] for plane in exporting.both]
        assert wrote == [0, 0]
    assert [await version(plane, namespace, "echo") for plane in exporting.both] == versions


async def test_export_of_what_is_no_service_of_many_clusters_is_said_to_be_invalid(
    exporting: Planes, tmp_path: Path
) -> None:
    namespace, plane = exporting.namespace, exporting.a
    external = {"metadata": {"name": "away"}, "spec": {"type": "ExternalName", "externalName": "example.org"}}
    await plane.api.create(f"{CORE}/namespaces/{namespace}/services", external)
    async with registry(exporting, tmp_path) as running:
        for name in ("away", "none"):
            await export(plane, namespace, name)

        async def said(name: str, reason: str) -> bool:
            pending = {"Valid": ("False", reason), "Ready": ("False", "Pending")}
            return await conditions(plane, namespace, name) == pending

        await until(lambda: said("away", "InvalidServiceType"), "the ExternalName is said to be invalid")
        await until(lambda: said("none", "NoService"), "an export of nothing is said to be invalid")
        refused = (await running.get(f"/api/v1/services?namespace={namespace}"))["refused"]
        assert [(each["name"], each["reason"]) for each in refused] == [
            ("away", "InvalidServiceType"),
            ("none", "NoService"),
        ]
        shown = running.command("get", "services", "--server", running.http)
        assert f"refused: {namespace}/away of cluster a: InvalidServiceType" in shown.stdout
        await put(plane, namespace, service("none", {"name": "http", "port": 80}), "198.18.0.2")

        async def valid() -> bool:
            return await conditions(plane, namespace, "none") == AGREED

        await until(valid, "the export of a Service that came later is valid")


async def test_conditions_of_another_controller_are_left_alone(exporting: Planes, tmp_path: Path) -> None:
    namespace, plane = exporting.namespace, exporting.a
    await put(plane, namespace, service("echo", {"name": "http", "port": 80}), "198.18.0.1")
    await export(plane, namespace, "echo")
    theirs = {
        "type": "Ready",
        "status": "False",
        "reason": "Theirs",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await plane.api.patch(f"{exports_path(namespace, 'echo')}/status", {"status": {"conditions": [theirs]}})
    async with registry(exporting, tmp_path) as running:

        async def reported() -> bool:
            report = (await running.cluster("a"))["exportConditions"]
            return bool(report["conflicts"] == [f"{namespace}/echo"])

        await until(reported, "the conflict of controllers is reported")
        assert await conditions(plane, namespace, "echo") == {"Ready": ("False", "Theirs")}


async def version(plane: ControlPlane, namespace: str, name: str) -> str:
    found = await plane.api.get(exports_path(namespace, name))
    return str(found["metadata"]["resourceVersion"])
