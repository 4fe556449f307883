"""ServiceEntries in real API servers over their life: edited, refused, half known, and left behind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from support.controlplane import ControlPlane
from support.fleet import replace_file
from support.kube_api import CORE, DISCOVERY, ISTIO, ApiError, service
from support.processes import free_port, until
from support.registry import RunningRegistry, at_once
from support.scene import Planes

NAME = "mesh-registry-echo"
WRITE = "--write-service-entries"
SOON = 2.0
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
MOST = 4
"""How many endpoints the policy allows an entry to have."""


async def test_entry_that_is_deleted_edited_or_refused(planes: Planes, tmp_path: Path) -> None:
    a, path = planes.a.api, path_of(planes)
    await write(planes.a, planes.namespace, "echo", 1, 2)
    await write(planes.b, planes.namespace, "echo", 3, 4)
    flags = [f"--kubeconfig={plane.name}={plane.kubeconfig()}" for plane in planes.both]
    async with RunningRegistry(tmp_path, *flags, WRITE) as registry:
        await until(lambda: has(planes, planes.a, 1, 2, 3, 4), "the entry is written")
        await until(lambda: has(planes, planes.b, 1, 2, 3, 4), "in both")

        await a.delete(path)
        await until(lambda: has(planes, planes.a, 1, 2, 3, 4), "it is back", SOON)
        edit = {
            "spec": {"hosts": ["changed.example.org"], "exportTo": ["."]},
            "metadata": {"annotations": {"theirs": "1"}},
        }
        await a.patch(path, edit)
        await until(lambda: host_is(planes, f"echo.{planes.namespace}.svc.clusterset.local"), "it is put back", SOON)
        held = await a.get(path)
        assert held["spec"]["exportTo"] == ["."]
        assert held["metadata"]["annotations"] == {"theirs": "1"}
        await a.patch(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
        await until(lambda: labelled(planes), "its label is put back", SOON)
        await until(lambda: mended(registry, 3), "that is counted")

        port = held["spec"]["ports"][0]
        foreign = {"number": 99, "name": "evil", "protocol": "HTTP"}
        await a.patch(path, {"spec": {"ports": [{**port, "name": "web"}, foreign]}})
        await until(lambda: ports_are(planes, [port]), "ports are put back, whoever owns them", SOON)
        assert await has(planes, planes.a, 1, 2, 3, 4)

        await forbid_many(planes)
        await write(planes.b, planes.namespace, "echo", 3, 4, 5, 6, 7)
        await until(lambda: has(planes, planes.b, 1, 2, 3, 4, 5, 6, 7), "b takes it")
        await write(planes.a, planes.namespace, "other", 9)
        await write(planes.a, planes.namespace, "echo", 1)
        await until(lambda: has(planes, planes.a, 1, 3, 4), "what is gone is gone in a too")
        await until(lambda: has(planes, planes.a, 9, name="mesh-registry-other"), "another service is written")
        said = await until(lambda: condition(registry, "a", "EntriesWritten", status=False), "it is said")
        assert said["reason"] == "Rejected"
        assert f"{planes.namespace}/echo: Denied" in said["message"]
        assert "at most four" in said["message"]
        metric = 'mesh_registry_write_failures{cluster="a",kind="ServiceEntry",reason="Denied"} 1.0'
        assert metric in await registry.text("/metrics")
        wide = registry.command("get", "clusters", "-o", "wide", "--server", registry.http)
        assert "1 failed: Denied" in wide.stdout
        assert "EntriesWritten=Rejected" in wide.stdout
        await write(planes.b, planes.namespace, "echo", 3, 5)
        await until(lambda: has(planes, planes.a, 1, 3, 5), "what may be written is")
        await until(lambda: condition(registry, "a", "EntriesWritten", status=True), "and all is well")


async def test_entries_while_a_member_is_not_known_and_after_it_left(planes: Planes, tmp_path: Path) -> None:
    folder = tmp_path / "kubeconfigs"
    folder.mkdir()
    for plane in planes.both:
        (folder / plane.name).write_text(plane.kubeconfig().read_text())
    await write(planes.a, planes.namespace, "echo", 1, 2)
    await write(planes.b, planes.namespace, "echo", 3, 4)
    await write(planes.b, planes.namespace, "cart", 5)
    flags = (f"--kubeconfig-dir={folder}", WRITE)
    async with RunningRegistry(tmp_path, *flags):
        await until(lambda: has(planes, planes.a, 1, 2, 3, 4), "the entry is written")
        await until(lambda: has(planes, planes.a, 5, name="mesh-registry-cart"), "and that of b alone")
        await until(lambda: has(planes, planes.b, 1, 2, 3, 4), "in both")

    assert await has(planes, planes.b, 1, 2, 3, 4), "a registry that stops removes nothing"
    away = planes.b.kubeconfig(server=f"https://127.0.0.1:{free_port()}").read_text()
    (folder / "b").write_text(away)
    await write(planes.a, planes.namespace, "echo", 1, 6)
    async with RunningRegistry(tmp_path, *flags, at_once(tmp_path), name="blind") as registry:
        await until(lambda: has(planes, planes.a, 1, 6, 3, 4), "what is known is written, and b's stays")
        assert await has(planes, planes.a, 5, name="mesh-registry-cart")
        said = await until(lambda: condition(registry, "a", "EntriesComplete", status=False), "it is said")
        assert said["reason"] == "MembersUnknown"
        assert "cluster b (Unreachable)" in said["message"]
        assert 'mesh_registry_member_unknown{name="b",reason="Unreachable"} 1.0' in await registry.text("/metrics")
        wide = registry.command("get", "clusters", "-o", "wide", "--server", registry.http)
        assert "EntriesComplete=MembersUnknown" in wide.stdout
        replace_file(folder / "b", planes.b.kubeconfig().read_text())
        await until(lambda: condition(registry, "a", "EntriesComplete", status=True), "b is known")
        await until(lambda: has(planes, planes.b, 1, 6, 3, 4), "b is written into")

        (folder / "b").unlink()
        await until(lambda: ours(planes.b, planes.namespace, 0), "what was written into b is gone")
        await until(lambda: has(planes, planes.a, 1, 6), "what b had is gone in a")
        await until(lambda: ours(planes.a, planes.namespace, 1), "and that of b alone")
    log = (tmp_path / "blind.log").read_text()
    assert log.count("goes on without what is not known") == 1
    assert log.count("every member is known") == 1


def path_of(planes: Planes, name: str = NAME) -> str:
    return f"{ISTIO}/namespaces/{planes.namespace}/serviceentries/{name}"


async def write(plane: ControlPlane, namespace: str, name: str, *numbers: int) -> None:
    """A service with the endpoints ``198.18.9.<number>``, as it is from now on: no controller has a say in it."""
    document = service(name, {"app": name}, [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}])
    del document["spec"]["selector"]
    endpoints = [{"addresses": [f"198.18.9.{each}"], "conditions": {"ready": True}} for each in numbers]
    slices = f"{DISCOVERY}/namespaces/{namespace}/endpointslices"
    try:
        await plane.api.create(f"{CORE}/namespaces/{namespace}/services", document)
    except ApiError:
        await plane.api.patch(f"{slices}/{name}-1", {"endpoints": endpoints})
        return
    made = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": endpoints,
    }
    await plane.api.create(slices, made)


async def has(planes: Planes, plane: ControlPlane, *numbers: int, name: str = NAME) -> bool:
    """The entry has just these endpoints."""
    try:
        found = await plane.api.get(path_of(planes, name))
    except ApiError:
        return False
    addresses = {each["address"] for each in found["spec"].get("endpoints", ())}
    return addresses == {f"198.18.9.{each}" for each in numbers}


async def host_is(planes: Planes, host: str) -> bool:
    return bool((await planes.a.api.get(path_of(planes)))["spec"]["hosts"] == [host])


async def ports_are(planes: Planes, ports: list[Any]) -> bool:
    return bool((await planes.a.api.get(path_of(planes)))["spec"]["ports"] == ports)


async def mended(registry: RunningRegistry, count: int) -> bool:
    return bool((await registry.cluster("a"))["serviceEntries"]["mended"] == count)


async def labelled(planes: Planes) -> bool:
    return "app.kubernetes.io/managed-by" in (await planes.a.api.get(path_of(planes)))["metadata"].get("labels", {})


async def ours(plane: ControlPlane, namespace: str, count: int) -> bool:
    return len(await plane.api.items(f"{ISTIO}/namespaces/{namespace}/serviceentries")) == count


async def condition(registry: RunningRegistry, cluster: str, kind: str, *, status: bool) -> Any:
    conditions = (await registry.cluster(cluster))["conditions"]
    return next((each for each in conditions if (each["type"], each["status"]) == (kind, status)), None)


async def forbid_many(planes: Planes) -> None:
    """Cluster a takes no entry with more than ``MOST`` endpoints from now on. Goes with the test's namespace."""
    name = f"few-endpoints-{planes.namespace}"
    here = {"matchLabels": {"kubernetes.io/metadata.name": planes.namespace}}
    rule = {
        "apiGroups": ["networking.istio.io"],
        "apiVersions": ["v1"],
        "resources": ["serviceentries"],
        "operations": ["CREATE", "UPDATE"],
    }
    allowed = {"expression": f"size(object.spec.endpoints) <= {MOST}", "message": "at most four"}
    policy = {"matchConstraints": {"resourceRules": [rule], "namespaceSelector": here}, "validations": [allowed]}
    await planes.a.api.create(POLICIES, {"metadata": {"name": name}, "spec": policy})
    binding = {"policyName": name, "validationActions": ["Deny"]}
    await planes.a.api.create(BINDINGS, {"metadata": {"name": name}, "spec": binding})
    endpoints = [{"address": f"198.18.9.{each}"} for each in range(MOST + 1)]
    ports = [{"number": 80, "name": "http"}]
    spec = {"hosts": ["probe.example.org"], "ports": ports, "resolution": "STATIC", "endpoints": endpoints}
    probe = json.loads(json.dumps({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "spec": spec}))
    probe["metadata"] = {"name": "probe"}

    async def refused() -> bool:
        try:
            await planes.a.api.create(f"{ISTIO}/namespaces/{planes.namespace}/serviceentries?dryRun=All", probe)
        except ApiError:
            return True
        await asyncio.sleep(0)
        return False

    await until(refused, "the policy is in force", poll=0.1)
