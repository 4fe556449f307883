"""A ServiceEntry writer over a fake API server, and all that it looks at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.fake_apiserver import kubeconfig
from support.fake_entries import FakeEntries

from registry.model.conditions import Condition, ConditionType
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService, TargetPort
from registry.sources.kubernetes.client import KubernetesClient
from registry.views.names import Names
from registry.writers.service_entries import ServiceEntryWriter
from registry.writers.unknown import NOBODY, Unknown

A = ClusterId("a")
OURS = {"app.kubernetes.io/managed-by": "mesh-registry"}


def a_service(name: str, *addresses: str, of: ClusterId = A) -> MergedService:
    endpoints = tuple(Endpoint(Locality(), address, (TargetPort(80, 8080),), of) for address in addresses)
    return MergedService(ServiceKey("shop", name), (ServicePort(80, "http"),), endpoints, (of,))


@dataclass
class WriterWorld:
    """What the writer sees: services, namespaces, whether it is time; and the API server it writes to."""

    api: FakeEntries
    folder: Path
    services: dict[ServiceKey, MergedService] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset({"shop"})
    ready: bool = True
    family: str = ""
    unknown: Unknown = NOBODY
    waits: list[float] = field(default_factory=list)
    said: dict[ConditionType, Condition] = field(default_factory=dict)

    def put(self, *services: MergedService) -> None:
        self.services |= {service.key: service for service in services}

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[ServiceEntryWriter]:
        path = self.folder / "kubeconfig"
        path.write_text(kubeconfig(self.api.url))

        async def wait(seconds: float) -> None:
            self.waits.append(seconds)
            await asyncio.sleep(0.01)

        writer = ServiceEntryWriter(
            A,
            lambda: KubernetesClient.from_kubeconfig(path),
            services=lambda: tuple(self.services.values()),
            get=self.services.get,
            namespaces=lambda: self.namespaces,
            ready=lambda: self.ready,
            names=Names(),
            unknown=lambda: self.unknown,
            family=lambda: self.family,
            random=lambda: 0.0,
            sleep=wait,
            admit=lambda uid: None if uid == "uid-a" else f"{uid} is a stranger",
            say=lambda condition: self.said.update({condition.type: condition}),
        )
        task = asyncio.create_task(writer.run())
        try:
            yield writer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def written(self) -> dict[str, list[str]]:
        """Name -> addresses of every entry there is."""
        return {
            name: [endpoint["address"] for endpoint in each["spec"].get("endpoints", ())]
            for (_, name), each in self.api.objects.items()
        }

    def tell(self, writer: ServiceEntryWriter, service: MergedService) -> None:
        """The service changed."""
        self.put(service)
        writer.publish((Change(service.key, None, service),))


@asynccontextmanager
async def writer_world(folder: Path) -> AsyncIterator[WriterWorld]:
    """With the service ``shop/echo`` at 10.0.0.1."""
    api = FakeEntries()
    await api.start()
    it = WriterWorld(api, folder)
    it.put(a_service("echo", "10.0.0.1"))
    try:
        yield it
    finally:
        await api.stop()
