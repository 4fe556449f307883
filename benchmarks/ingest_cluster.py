"""What ``ingest.py`` fills an API server with: services, their slices and, where wanted, Pods and Nodes.

Objects look as the controllers write them, with the fields the registry does not read: an API server sends those too.
Endpoints name their Pods and Nodes whether or not these exist; each Pod is behind two services.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from support.controlplane import ADMIN, ControlPlane
from support.kube_api import CORE, DISCOVERY

Object = dict[str, Any]
IN_FLIGHT = 64
NAMESPACES = 20
NODES = 500
ZONES = 3
REGION = "region-1"


@dataclass(frozen=True, slots=True)
class Fleet:
    """``services`` with ``endpoints`` each, in one slice each."""

    services: int
    endpoints: int

    @property
    def pods(self) -> int:
        return self.services * self.endpoints // 2

    def pod_of(self, service: int, endpoint: int) -> int:
        """Services 0 and 1 share their Pods, and so on."""
        return service // 2 * self.endpoints + endpoint


def namespace_of(service: int) -> str:
    return f"team-{service // 2 % NAMESPACES:02}"


def service_name(number: int) -> str:
    return f"service-{number:05}"


def slice_path(number: int) -> str:
    return f"{DISCOVERY}/namespaces/{namespace_of(number)}/endpointslices"


def slice_name(number: int) -> str:
    return f"{service_name(number)}-x{number:05}"


def pod_name(pod: int) -> str:
    return f"workload-{pod // 25:05}-7d9c5b6f4-p{pod:05}"


def service(number: int) -> Object:
    name = service_name(number)
    return {
        "metadata": {"name": name, "labels": {"app": name, "app.kubernetes.io/part-of": "bench"}},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def endpoint_slice(fleet: Fleet, number: int, change: int = 0) -> Object:
    """The slice of service ``number``; ``change`` is the address of its last endpoint."""
    name = service_name(number)
    endpoints = [endpoint(number, fleet.pod_of(number, each)) for each in range(fleet.endpoints)]
    if change:
        endpoints[-1]["addresses"] = [f"10.255.{change // 250 % 250}.{change % 250 + 1}"]
    return {
        "metadata": {
            "name": slice_name(number),
            "generateName": f"{name}-",
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
            "labels": {
                "app": name,
                "app.kubernetes.io/part-of": "bench",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": name,
                "service.kubernetes.io/headless": "",
            },
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": name,
                    "uid": uid(f"service {number}"),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def endpoint(service_number: int, pod: int) -> Object:
    return {
        "addresses": [f"10.{pod // 62500}.{pod // 250 % 250}.{pod % 250 + 1}"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": node_name(pod % NODES),
        "zone": zone_of(pod % NODES),
        "targetRef": {
            "kind": "Pod",
            "namespace": namespace_of(service_number),
            "name": pod_name(pod),
            "uid": uid(f"pod {pod}"),
        },
    }


def node_name(number: int) -> str:
    return f"node-{number:03}.{REGION}.compute.example.org"


def zone_of(node: int) -> str:
    return f"{REGION}-{'abc'[node % ZONES]}"


def node(number: int) -> Object:
    labels = {
        "kubernetes.io/hostname": node_name(number),
        "topology.kubernetes.io/region": REGION,
        "topology.kubernetes.io/zone": zone_of(number),
    }
    return {"metadata": {"name": node_name(number), "labels": labels}}


def pod(namespace: str, number: int) -> Object:
    """A Pod as a Deployment makes them: two containers, environment, probes, volumes."""
    app = f"workload-{number // 25:05}"
    environment = [{"name": f"SETTING_{each}", "value": f"value of setting {each}"} for each in range(8)]
    mounts = [{"name": "configuration", "mountPath": "/etc/app", "readOnly": True}]
    probe = {"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 5}
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    containers = [
        {
            "name": name,
            "image": f"registry.example.org/bench/{name}:1.2.3",
            "ports": [{"name": port, "containerPort": number_of_port}],
            "env": environment,
            "resources": resources,
            "readinessProbe": {**probe, "httpGet": {"path": "/ready", "port": port}},
            "volumeMounts": mounts,
        }
        for name, port, number_of_port in (("app", "web", 8080), ("sidecar", "metrics", 9090))
    ]
    return {
        "metadata": {
            "name": pod_name(number),
            "generateName": f"{app}-7d9c5b6f4-",
            "labels": {"app": app, "pod-template-hash": "7d9c5b6f4", "version": "v1", "team": namespace},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"{app}-7d9c5b6f4",
                    "uid": uid(app),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "serviceAccountName": f"account-{number // 25 % 200:03}",
            "nodeName": node_name(number % NODES),
            "containers": containers,
            "volumes": [{"name": "configuration", "configMap": {"name": f"{app}-configuration"}}],
        },
    }


def touches(change: int) -> Iterator[tuple[str, str, Object]]:
    """Changes of one object of each kind, made the first time, that nothing the registry shows depends on."""
    inside = f"/namespaces/{namespace_of(0)}"
    container = {"name": "app", "image": "registry.example.org/bench/app:1"}
    objects: tuple[tuple[str, str, Object], ...] = (
        (f"{CORE}/namespaces", "Namespace", {}),
        (f"{CORE}/nodes", "Node", {}),
        (f"{CORE}{inside}/pods", "Pod", {"spec": {"containers": [container]}}),
        (f"{CORE}{inside}/services", "Service", {"spec": {"type": "ExternalName", "externalName": "example.org"}}),
        (f"{DISCOVERY}{inside}/endpointslices", "EndpointSlice", {"addressType": "IPv4", "endpoints": []}),
    )
    for path, kind, content in objects:
        version = "discovery.k8s.io/v1" if path.startswith(DISCOVERY) else "v1"
        metadata = {"name": "touched", "labels": {"change": str(change)}}
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **content}
        yield "PATCH", f"{path}/touched?fieldManager=bench&force=true", document


def uid(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


class Writer:
    """Writes to the API server as fast as it takes it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        tls = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=IN_FLIGHT),
            headers={"Authorization": f"Bearer {ADMIN}"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def write(self, method: str, path: str, document: Object) -> None:
        """One request; PATCH is a server-side apply, which makes the object where there is none."""
        content = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        request = self._session.request(
            method, self._plane.server + path, data=msgspec.json.encode(document), headers={"Content-Type": content}
        )
        async with request as response:
            text = await response.text()
            if response.status >= 400:
                raise AssertionError(f"{method} {path}: {response.status} {text[:500]}")

    async def create_all(self, objects: Iterable[tuple[str, Object]]) -> None:
        """Create each object at its path, many at a time."""
        await self.write_all(("POST", path, document) for path, document in objects)

    async def write_all(self, requests: Iterable[tuple[str, str, Object]]) -> None:
        pending = iter(requests)

        async def work() -> None:
            for request in pending:
                await self.write(*request)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(work())


def services(fleet: Fleet, first: int = 0) -> Iterator[tuple[str, Object]]:
    """The services from number ``first`` on, and their slices."""
    for number in range(first, fleet.services):
        yield f"{CORE}/namespaces/{namespace_of(number)}/services", service(number)
        yield slice_path(number), endpoint_slice(fleet, number)


def namespaces() -> Iterator[tuple[str, Object]]:
    for number in range(NAMESPACES):
        yield f"{CORE}/namespaces", {"metadata": {"name": namespace_of(2 * number)}}


def pods(fleet: Fleet) -> Iterator[tuple[str, Object]]:
    """The Nodes and Pods behind the fleet."""
    for number in range(NODES):
        yield f"{CORE}/nodes", node(number)
    for number in range(fleet.pods):
        namespace = namespace_of(number // fleet.endpoints * 2)
        yield f"{CORE}/namespaces/{namespace}/pods", pod(namespace, number)
