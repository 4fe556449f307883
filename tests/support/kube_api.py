"""The tests' own client of an API server, which shares no code with the registry's, and the objects they make."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from support.away import AwayError, whole_answers
from support.processes import until

Object = dict[str, Any]
CORE, APPS, DISCOVERY = "/api/v1", "/apis/apps/v1", "/apis/discovery.k8s.io/v1"
ISTIO = "/apis/networking.istio.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ISTIO_CRD_NAMES = ("serviceentries.networking.istio.io",)


TOO_MANY_REQUESTS = 429
"""Also what an API server answers while its storage initializes."""


class ApiError(AssertionError):
    """The API server refused, and will refuse again."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class KubeApi:
    """JSON in, JSON out, as one user. An API server that is away, starts or stops is an AwayError."""

    def __init__(self, server: str, ca: Path, token: str) -> None:
        self._server = server
        self._ca = ca
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def ready(self) -> bool:
        try:
            with whole_answers(self._server):
                async with self._open().get(f"{self._server}/readyz") as response:
                    return response.status == 200
        except AwayError:
            return False

    async def get(self, path: str) -> Object:
        return await self._call("GET", path)

    async def items(self, path: str) -> list[Object]:
        found: list[Object] = (await self.get(path)).get("items") or []
        return found

    async def create(self, path: str, document: Mapping[str, Any]) -> Object:
        return await self._call("POST", path, document)

    async def replace(self, path: str, document: Mapping[str, Any]) -> Object:
        return await self._call("PUT", path, document)

    async def patch(self, path: str, document: Mapping[str, Any]) -> Object:
        """A merge patch (RFC 7386)."""
        return await self._call("PATCH", path, document, "application/merge-patch+json")

    async def delete(self, path: str, grace_seconds: int | None = None) -> Object:
        options = {"apiVersion": "v1", "kind": "DeleteOptions"}
        body = options if grace_seconds is None else {**options, "gracePeriodSeconds": grace_seconds}
        return await self._call("DELETE", path, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, content: str = "application/json"
    ) -> Object:
        headers = {"Content-Type": content}
        with whole_answers(self._server):
            async with self._open().request(method, self._server + path, json=document, headers=headers) as response:
                status, body = response.status, await response.read()
        if status >= 500 or status == TOO_MANY_REQUESTS:
            raise AwayError(f"{self._server} answers {status}: {body!r}")
        if status >= 400:
            raise ApiError(status, _message(body))
        with whole_answers(self._server):
            answer: Object = json.loads(body)
            return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=str(self._ca))
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=50),
                headers={"Authorization": f"Bearer {self._token}"},
            )
        return self._session


def _message(body: bytes) -> str:
    """The message of a Status; the body where it is none."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def service(name: str, selector: Mapping[str, str], ports: list[Object]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(selector)},
        "spec": {"selector": dict(selector), "ports": ports},
    }


def node(name: str, region: str, zone: str) -> Object:
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def pod(name: str, labels: Mapping[str, str], node_name: str, port: int = 8080) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {**pod_spec(port), "nodeName": node_name},
    }


def pod_spec(port: int = 8080) -> Object:
    container = {"name": "echo", "image": "example.org/echo", "ports": [{"name": "web", "containerPort": port}]}
    return {"serviceAccountName": "echo", "containers": [container]}


def pod_status(address: str, *further: str, ready: bool) -> Object:
    """What a kubelet reports of a running pod; ``further`` addresses are of the other family."""
    state = "True" if ready else "False"
    return {
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": each} for each in (address, *further)],
            "conditions": [{"type": "Ready", "status": state}, {"type": "ContainersReady", "status": state}],
        }
    }


async def install_crds(api: KubeApi, folder: Path, names: tuple[str, ...]) -> None:
    """Create the named custom resource definitions out of the YAML files in ``folder``; wait until they are served."""
    documents = _named_documents(folder)
    for name in names:
        await api.create(CRDS, documents[name])

    async def established() -> bool:
        states = [(await api.get(f"{CRDS}/{name}")).get("status", {}).get("conditions") or [] for name in names]
        return all(any(each["type"] == "Established" and each["status"] == "True" for each in one) for one in states)

    await until(established, f"{names} are established")


async def remove_namespace(api: KubeApi, namespace: str) -> None:
    """Delete a namespace, and wait until nothing is in it that a registry could see.

    The namespace controller begins after 5 seconds, which need not be waited for: slices that a test wrote are deleted
    here. There are no kubelets to end the pods: they are removed at once.
    """
    inside = f"namespaces/{namespace}"
    pods, slices = f"{CORE}/{inside}/pods", f"{DISCOVERY}/{inside}/endpointslices"
    owners = (f"{APPS}/{inside}/deployments", f"{APPS}/{inside}/replicasets", f"{CORE}/{inside}/services")
    for path in (*owners, f"{ISTIO}/{inside}/serviceentries"):
        await api.delete(path)
    await api.delete(f"{CORE}/{inside}")

    async def empty() -> bool:
        for path in (pods, slices):
            await api.delete(path, grace_seconds=0)
        return not await api.items(pods) and not await api.items(slices)

    await until(empty, f"namespace {namespace} is empty")


def _named_documents(folder: Path) -> dict[str, Object]:
    texts = (path.read_text() for path in sorted(folder.glob("*.yaml")))
    documents = (document for text in texts for document in yaml.load_all(text, yaml.CSafeLoader))
    return {document["metadata"]["name"]: document for document in documents if document}
