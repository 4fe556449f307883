"""A service with pods in two real clusters, the registry over both: what most tests on real parts begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.controlplane import ControlPlane
from support.kube_api import APPS, CORE, pod_spec, service
from support.kubelet import Kubelet, Serve, serve_http
from support.processes import until
from support.registry import RunningRegistry

NAME = "echo"
LABELS = {"app": NAME}
PORTS = [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"}]


@dataclass(frozen=True, slots=True)
class Planes:
    """The control planes ``a`` and ``b``, and a namespace that is this test's alone in both."""

    a: ControlPlane
    b: ControlPlane
    namespace: str

    @property
    def both(self) -> tuple[ControlPlane, ControlPlane]:
        return self.a, self.b


class Workload:
    """The Service ``echo`` and a Deployment behind it, in one cluster."""

    def __init__(self, plane: ControlPlane, namespace: str, kubelet: Kubelet) -> None:
        self.plane = plane
        self.kubelet = kubelet
        self._namespace = namespace

    def path(self, group: str, kind: str, name: str = "") -> str:
        return f"{group}/namespaces/{self._namespace}/{kind}" + (f"/{name}" if name else "")

    async def create(self, replicas: int) -> None:
        await self.plane.api.create(self.path(CORE, "services"), service(NAME, LABELS, PORTS))
        template = {"metadata": {"labels": LABELS}, "spec": {**pod_spec(), "terminationGracePeriodSeconds": 30}}
        spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
        await self.plane.api.create(self.path(APPS, "deployments"), {"metadata": {"name": NAME}, "spec": spec})

    async def scale(self, replicas: int) -> None:
        await self.plane.api.patch(self.path(APPS, "deployments", NAME), {"spec": {"replicas": replicas}})

    async def restart(self) -> None:
        """What ``kubectl rollout restart`` does."""
        annotations = {"kubectl.kubernetes.io/restartedAt": "now"}
        template = {"metadata": {"annotations": annotations}}
        await self.plane.api.patch(self.path(APPS, "deployments", NAME), {"spec": {"template": template}})

    async def pods(self) -> dict[str, str]:
        """Name -> address of the pods that are ready and stay."""
        found = {}
        for pod in await self.plane.api.items(self.path(CORE, "pods")):
            conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
            if "deletionTimestamp" not in pod["metadata"] and conditions.get("Ready") == "True":
                found[pod["metadata"]["name"]] = pod["status"]["podIP"]
        return found


@dataclass(frozen=True, slots=True)
class Scene:
    """The running registry and the workload in each cluster."""

    planes: Planes
    registry: RunningRegistry
    a: Workload
    b: Workload

    @property
    def service(self) -> str:
        return f"{self.planes.namespace}/{NAME}"

    @property
    def host(self) -> str:
        return f"{NAME}.{self.planes.namespace}.svc.clusterset.local"

    @property
    def cluster(self) -> str:
        return f"outbound|80||{self.host}"

    async def pods(self) -> dict[str, str]:
        """Name -> address of the pods of both clusters that are ready and stay."""
        return await self.a.pods() | await self.b.pods()

    async def settled(self, replicas: int) -> set[str]:
        """Wait until the registry has exactly the ready pods, ``replicas`` in all; their addresses."""

        async def same() -> set[str]:
            pods = set((await self.pods()).values())
            listed = await self.registry.addresses(self.service)
            return pods if len(pods) == replicas and listed == pods else set()

        return await until(same, f"the registry has exactly {replicas} ready pods", timeout=60)


@asynccontextmanager
async def scene(
    planes: Planes, folder: Path, *arguments: str, replicas: int = 2, user: str = "admin", serve: Serve = serve_http
) -> AsyncIterator[Scene]:
    """``replicas`` pods in each cluster, and the registry, with ``arguments``, that has listed them all."""
    async with AsyncExitStack() as stack:
        workloads = []
        for subnet, plane in enumerate(planes.both):
            nodes = (f"{plane.name}-1", f"{plane.name}-2")
            kubelet = Kubelet(plane.api, planes.namespace, nodes, subnet, serve=serve)
            workload = Workload(plane, planes.namespace, await stack.enter_async_context(kubelet))
            await workload.create(replicas)
            workloads.append(workload)
        flags = [f"--kubeconfig={plane.name}={plane.kubeconfig(user)}" for plane in planes.both]
        registry = await stack.enter_async_context(RunningRegistry(folder, *flags, *arguments))
        ready = Scene(planes, registry, *workloads)
        await ready.settled(2 * replicas)
        yield ready


def endpoints_by_address(document: Any) -> dict[str, Any]:
    """The endpoints of a service of the HTTP API."""
    return {endpoint["address"]: endpoint for endpoint in document["endpoints"]}
