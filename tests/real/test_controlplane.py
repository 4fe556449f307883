"""The harness itself: two control planes whose own controllers make EndpointSlices, and that outlast kill -9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.controlplane import ControlPlane
from support.kube_api import APPS, CORE, DISCOVERY, ISTIO, ApiError, pod, pod_spec, pod_status, service
from support.processes import until
from support.scene import Planes

LABELS = {"app": "echo"}
PORTS = [{"name": "http", "port": 80, "targetPort": "web"}]
PODS = {"echo-1": "198.18.9.1", "echo-2": "198.18.9.2"}


async def test_service_and_ready_pods_make_an_endpoint_slice_that_follows_them(planes: Planes) -> None:
    for plane in planes.both:
        await create_service_and_pods(plane, planes.namespace)
        await until(lambda plane=plane: slices_have(plane, planes.namespace, PODS), "the slice has both pods")
        (held,) = await slices(plane, planes.namespace)
        assert held["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert {each["nodeName"] for each in held["endpoints"]} == {f"{plane.name}-1"}
        assert {each["zone"] for each in held["endpoints"]} == {f"{plane.name}-1"}

    pods = f"{CORE}/namespaces/{planes.namespace}/pods"
    await planes.a.api.patch(f"{pods}/echo-1/status", pod_status(PODS["echo-1"], ready=False))
    await until(lambda: slices_have(planes.a, planes.namespace, {"echo-2": PODS["echo-2"]}), "only echo-2 is ready")
    await planes.a.api.delete(f"{pods}/echo-2", grace_seconds=0)
    await until(lambda: slices_have(planes.a, planes.namespace, {}), "no endpoint is ready")
    assert await slices_have(planes.b, planes.namespace, PODS), "the other cluster is another cluster"


async def test_deployment_is_scaled_by_the_controllers(planes: Planes) -> None:
    template = {"metadata": {"labels": LABELS}, "spec": pod_spec()}
    spec = {"replicas": 3, "selector": {"matchLabels": LABELS}, "template": template}
    path = f"{APPS}/namespaces/{planes.namespace}/deployments"
    await planes.a.api.create(path, {"metadata": {"name": "echo"}, "spec": spec})
    await until(lambda: pods_are(planes.a, planes.namespace, 3), "three pods")
    await planes.a.api.patch(f"{path}/echo", {"spec": {"replicas": 1}})
    await until(lambda: pods_are(planes.a, planes.namespace, 1), "one pod is left")


async def test_rbac_is_on_and_a_user_without_a_role_may_do_nothing(planes: Planes) -> None:
    nobody = planes.a.client("nobody")
    stranger = planes.a.client("not-a-token-of-this-cluster")
    try:
        for client, status in ((nobody, 403), (stranger, 401)):
            with pytest.raises(ApiError) as refused:
                await client.items(f"{CORE}/services")
            assert refused.value.status == status
    finally:
        await nobody.close()
        await stranger.close()


async def test_service_entries_are_validated_by_the_definition_of_istio(planes: Planes) -> None:
    path = f"{ISTIO}/namespaces/{planes.namespace}/serviceentries"
    bad = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "bad"},
        "spec": {"hosts": ["a.example.org"], "location": "SOMEWHERE"},
    }
    with pytest.raises(ApiError, match=r"spec\.location: Unsupported value"):
        await planes.a.api.create(path, bad)


@pytest.mark.timeout(180)
async def test_killed_processes_come_back_with_what_they_had(tmp_path: Path) -> None:
    plane = ControlPlane("c", tmp_path / "c")
    try:
        await plane.start()
        await plane.add_nodes()
        namespace = "kept"
        await plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": namespace}})
        await create_service_and_pods(plane, namespace)
        await until(lambda: slices_have(plane, namespace, PODS), "the slice has both pods")
        for process in (plane.apiserver, plane.etcd):
            before = process.pid
            process.kill()
            if process is plane.apiserver:
                assert not await plane.api.ready()
            process.start()
            await plane.ready()
            assert process.pid != before
            assert await slices_have(plane, namespace, PODS)
        path = f"{CORE}/namespaces/{namespace}/pods/echo-1"
        await plane.api.patch(f"{path}/status", pod_status(PODS["echo-1"], ready=False))
        await until(lambda: slices_have(plane, namespace, {"echo-2": PODS["echo-2"]}), "the controllers go on", 60)
    finally:
        await plane.stop()


async def create_service_and_pods(plane: ControlPlane, namespace: str) -> None:
    path = f"{CORE}/namespaces/{namespace}"
    await plane.api.create(f"{path}/services", service("echo", LABELS, PORTS))
    for name, address in PODS.items():
        await plane.api.create(f"{path}/pods", pod(name, LABELS, f"{plane.name}-1"))
        await plane.api.patch(f"{path}/pods/{name}/status", pod_status(address, ready=True))


async def slices(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    return await plane.api.items(f"{DISCOVERY}/namespaces/{namespace}/endpointslices")


async def slices_have(plane: ControlPlane, namespace: str, ready: dict[str, str]) -> bool:
    """The slices' ready endpoints are exactly these pods at these addresses."""
    endpoints = [each for held in await slices(plane, namespace) for each in held.get("endpoints") or ()]
    found = {each["targetRef"]["name"]: each["addresses"][0] for each in endpoints if each["conditions"]["ready"]}
    return found == ready


async def pods_are(plane: ControlPlane, namespace: str, number: int) -> bool:
    return len(await plane.api.items(f"{CORE}/namespaces/{namespace}/pods")) == number
