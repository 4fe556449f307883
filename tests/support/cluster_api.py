"""A whole cluster in memory: every kind, the objects that controllers would make, and doors that credentials open."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from support.kube_wire import a_status, an_event
from support.memory_api import MemoryApi, MemoryStream, Reply

from registry.model.names import BASE_KINDS, Kind
from registry.sources.kubernetes.bounds import ANSWER_BYTES
from registry.sources.kubernetes.resources import RESOURCES

Document = dict[str, Any]
SERVICE_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
SLICE_SIZE = 3
OPEN_SECONDS = 0.05
"""A watch that has been open for so long has told all that it had to catch up with."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A cluster's objects as they were once."""

    version: int
    documents: Mapping[Kind, Mapping[tuple[str, str], Document]]


class ClusterApi(MemoryApi):
    """``hides`` says which objects a list leaves out: a proxy, or a cache, that lies. Watches tell all the same.

    ``forbidden`` are kinds that nobody may read. ``revived_at`` is when the network last came back from the dead.
    """

    def __init__(self, uid: str) -> None:
        super().__init__()
        self.uid = uid
        self.documents: dict[Kind, dict[tuple[str, str], Document]] = {kind: {} for kind in Kind}
        self.hides: Callable[[Kind, Document], bool] | None = None
        self.forbidden: frozenset[Kind] = frozenset()
        self.revived_at = float("-inf")

    async def write(self, kind: Kind, name: str, namespace: str = "shop", **parts: Any) -> None:
        """Create or replace one object."""
        self.version += 1
        metadata = {"name": name, "resourceVersion": str(self.version), **parts.pop("metadata", {})}
        if namespace:
            metadata["namespace"] = namespace
        event = "MODIFIED" if (namespace, name) in self.documents[kind] else "ADDED"
        document = {"metadata": metadata, **parts}
        self.documents[kind][namespace, name] = document
        await self._tell(kind, an_event(event, document))

    async def remove(self, kind: Kind, name: str, namespace: str = "shop") -> None:
        self.version += 1
        document = copy.deepcopy(self.documents[kind].pop((namespace, name)))
        document["metadata"]["resourceVersion"] = str(self.version)
        await self._tell(kind, an_event("DELETED", document))

    def backup(self) -> Backup:
        return Backup(self.version, copy.deepcopy(self.documents))

    async def restore(self, backup: Backup) -> None:
        """As of ``backup``, over an API server that had to restart for it."""
        self.version = backup.version
        self.documents = {kind: dict(found) for kind, found in copy.deepcopy(dict(backup.documents)).items()}
        self._log.clear()
        self.compacted = 0
        await self.restart()

    def revive(self) -> None:
        """The network is back; connections that were open are not."""
        if self.dead:
            self.dead = False
            self.revived_at = asyncio.get_running_loop().time()

    def _documents(self, kind: Kind) -> list[Document]:
        found = self.documents[kind].values()
        return [each for each in found if self.hides is None or not self.hides(kind, each)]


class Door:
    """The API server by one credential: an ``Api``. ``locked``: it is not, or no longer, a good one."""

    def __init__(self, api: ClusterApi, *, locked: bool = False) -> None:
        self.api = api
        self.locked = locked
        self.server = api.server
        self._open: dict[Kind, list[float]] = {kind: [] for kind in Kind}
        """Since when each stream has been open."""

    @property
    def followed(self) -> bool:
        """Every kind has an open watch, over which comes what happens from now on."""
        now = asyncio.get_running_loop().time()
        return not self.api.dead and all(
            any(self.api.revived_at < since < now - OPEN_SECONDS for since in self._open[kind]) for kind in BASE_KINDS
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        most: int = ANSWER_BYTES,
        began: Callable[[], None] | None = None,
    ) -> Reply:
        answer = await self.api.request(method, path, query=query, accept=accept, most=most, began=began)
        return self._refusal(_kind(path)) or answer

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], *, silence: float) -> AsyncIterator[MemoryStream]:
        kind = _kind(path)
        async with self.api.stream(path, query, silence=silence) as stream:
            refusal = self._refusal(kind)
            if refusal is not None:
                yield MemoryStream(refusal.status, _once(refusal.body))
                return
            since = asyncio.get_running_loop().time()
            self._open[kind].append(since)
            try:
                yield stream
            finally:
                self._open[kind].remove(since)

    async def close(self) -> None:
        """Nothing is kept open but what is being read."""

    def _refusal(self, kind: Kind) -> Reply | None:
        if self.locked:
            return Reply(401, a_status(401, "Unauthorized", "Unauthorized"))
        if kind in self.api.forbidden:
            return Reply(403, a_status(403, "Forbidden", "no right to it"))
        return None


@dataclass
class Workloads:
    """What runs in the cluster: Services with Pods or without, and the slices that a controller makes of them.

    ``site`` is a number of the cluster's own, from which its addresses are made; none is ever given out twice.
    """

    site: int
    api: ClusterApi
    _given: int = 0
    _addresses: dict[str, str] = field(default_factory=dict)
    """Pod -> its address."""

    async def begin(self) -> None:
        for name in ("kube-system", "shop"):
            await self.api.write(Kind.NAMESPACE, name, "", metadata={"uid": self.api.uid})
        for number in range(2):
            await self.label_node(number, "z1")

    async def label_node(self, number: int, zone: str) -> None:
        await self.api.write(Kind.NODE, f"node-{number}", "", metadata={"labels": {ZONE_LABEL: zone}})

    def services(self) -> list[str]:
        return [name for _, name in self.api.documents[Kind.SERVICE]]

    def selectors(self) -> dict[str, dict[str, str]]:
        """What each Service selects its Pods by: those of another selection bear no witness for its endpoints."""
        return {name: dict(each["spec"]["selector"]) for (_, name), each in self.api.documents[Kind.SERVICE].items()}

    def endpoints(self, service: str) -> list[Document]:
        """The endpoints of the service's slices, in the order in which they came."""
        return [end for each in self._slices(service) for end in each["endpoints"]]

    async def write_service(self, name: str, *, colour: str = "", note: str = "") -> None:
        """``colour`` is what the Service selects its Pods by; ``note`` a label that matters to nobody."""
        before = self.api.documents[Kind.SERVICE].get(("shop", name))
        selector = {"app": name, "colour": colour} if colour else (before or {}).get("spec", {}).get("selector", {})
        spec = {"ports": [{"name": "http", "port": 80}], "selector": selector}
        await self.api.write(Kind.SERVICE, name, metadata={"labels": {"note": note}}, spec=spec)

    async def delete_service(self, name: str) -> None:
        """With all that belongs to it."""
        await self.api.remove(Kind.SERVICE, name)
        for each in self._slices(name):
            await self.api.remove(Kind.ENDPOINT_SLICE, each["metadata"]["name"])
        for pod in self._pods(name):
            await self.api.remove(Kind.POD, pod)

    async def add(self, service: str, count: int, *, podded: bool = True) -> None:
        """So many endpoints more."""
        ends = [await self._made(service, podded=podded) for _ in range(count)]
        await self._write_slices(service, [*self.endpoints(service), *ends])

    async def take(self, service: str, count: int) -> None:
        """The oldest so many endpoints go, and their Pods."""
        ends = self.endpoints(service)
        await self._write_slices(service, ends[count:])
        for each in ends[:count]:
            if "targetRef" in each:
                await self.api.remove(Kind.POD, each["targetRef"]["name"])

    async def set_ready(self, service: str, position: int, ready: bool) -> None:
        ends = copy.deepcopy(self.endpoints(service))
        end = ends[position]
        end["conditions"] = {"ready": ready}
        if "targetRef" in end:
            await self._write_pod(service, end["targetRef"]["name"], ready)
        await self._write_slices(service, ends)

    async def rename_slices(self, service: str) -> None:
        """Slices with the same endpoints under other names; then the old ones go."""
        for each in self._slices(service):
            await self._write_slice(service, self._unused(service), each["endpoints"])
            await self.api.remove(Kind.ENDPOINT_SLICE, each["metadata"]["name"])

    async def select_others(self, service: str) -> None:
        """The Service selects other Pods: as many new endpoints as there were old ones, whose Pods stay."""
        before = self.endpoints(service)
        await self.write_service(service, colour=f"colour-{self._given}")
        await self._write_slices(service, [await self._made(service, podded=True) for _ in before])

    async def _made(self, service: str, *, podded: bool) -> Document:
        self._given += 1
        number = self._given
        end: Document = {
            "addresses": [f"10.{self.site}.{number // 250}.{number % 250 + 1}"],
            "conditions": {"ready": True},
            "nodeName": f"node-{number % 2}",
        }
        if podded:
            name = f"{service}-{number}"
            await self._write_pod(service, name, True)
            end["targetRef"] = {"kind": "Pod", "name": name}
        return end

    async def _write_pod(self, service: str, name: str, ready: bool) -> None:
        selector = self.api.documents[Kind.SERVICE]["shop", service]["spec"]["selector"]
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
        await self.api.write(
            Kind.POD, name, metadata={"labels": selector}, spec={"serviceAccountName": service}, status=status
        )

    async def _write_slices(self, service: str, ends: list[Document]) -> None:
        """As the controller does: slices are filled up, and those that are not needed go."""
        names = [each["metadata"]["name"] for each in self._slices(service)]
        parts = [ends[at : at + SLICE_SIZE] for at in range(0, len(ends), SLICE_SIZE)] or [[]]
        for position, part in enumerate(parts):
            name = names[position] if position < len(names) else self._unused(service)
            await self._write_slice(service, name, part)
        for name in names[len(parts) :]:
            await self.api.remove(Kind.ENDPOINT_SLICE, name)

    async def _write_slice(self, service: str, name: str, ends: list[Document]) -> None:
        await self.api.write(
            Kind.ENDPOINT_SLICE,
            name,
            metadata={"labels": {SERVICE_LABEL: service}},
            addressType="IPv4",
            ports=[{"name": "http", "port": 8080}],
            endpoints=ends,
        )

    def _unused(self, service: str) -> str:
        taken = self.api.documents[Kind.ENDPOINT_SLICE]
        return next(name for number in range(100) if ("shop", name := f"{service}-{number}") not in taken)

    def _slices(self, service: str) -> list[Document]:
        found = self.api.documents[Kind.ENDPOINT_SLICE].values()
        return sorted(
            (each for each in found if each["metadata"]["labels"][SERVICE_LABEL] == service),
            key=lambda each: str(each["metadata"]["name"]),
        )

    def _pods(self, service: str) -> Iterator[str]:
        for pod in list(self.api.documents[Kind.POD].values()):
            if pod["spec"]["serviceAccountName"] == service:
                yield pod["metadata"]["name"]


def _kind(path: str) -> Kind:
    return next(kind for kind, resource in RESOURCES.items() if path in resource.paths)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
