"""The Kubernetes source over an API server without sockets, on whatever clock the loop has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from support.memory_api import MemoryApi
from support.recording_sink import RecordingSink

from registry.model.conditions import ConditionType
from registry.model.events import Delete, Init
from registry.model.facts import Fact, Service
from registry.model.names import ClusterId, Kind, ObjectRef
from registry.model.status import SourceState, SourceStatus
from registry.sources.kubernetes.api import Api
from registry.sources.kubernetes.reflector import KubernetesSource, SourceOptions

A = ClusterId("a")
SERVICE = Kind.SERVICE


@dataclass
class Rig:
    """A source that follows an API server with the Services ``one`` and ``two``."""

    api: MemoryApi = field(default_factory=MemoryApi)
    sink: RecordingSink = field(default_factory=lambda: RecordingSink(A))
    admit: Callable[[str], str | None] | None = None
    audits: bool = False
    options: SourceOptions = field(default_factory=SourceOptions)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[KubernetesSource]:
        """From when everything is listed."""
        async with self.started() as source:
            await self.until(self.synced, 60)
            yield source

    @asynccontextmanager
    async def started(self) -> AsyncIterator[KubernetesSource]:
        for name in ("one", "two"):
            await self.api.put(name)
        source = KubernetesSource(
            A,
            "it",
            self.connect,
            random=lambda: 0.5,
            clock=asyncio.get_running_loop().time,
            admit=self.admit,
            held=self.held if self.audits else None,
            options=self.options,
        )
        task = asyncio.create_task(source.run(self.sink))
        try:
            yield source
            assert not task.done(), "a source runs until it is cancelled"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def connect(self) -> Api:
        return self.api

    def held(self, kind: Kind) -> Mapping[ObjectRef, Fact]:
        return {ref: fact for ref, fact in self.sink.listener.held.items() if ref.kind is kind}

    @property
    def last(self) -> SourceStatus:
        return self.sink.statuses[-1] if self.sink.statuses else SourceStatus(SourceState.CONNECTING)

    @property
    def services(self) -> set[str]:
        return self.sink.listener.names(SERVICE)

    def port_of(self, name: str) -> int:
        """The first port of a Service that is held; 0 where it is not."""
        service = self.sink.listener.held.get(ObjectRef(SERVICE, "shop", name))
        return service.ports[0].port if isinstance(service, Service) else 0

    async def until(self, condition: Callable[[], bool], within: float) -> float:
        """Wait until ``condition`` holds; how long that took."""
        began = now()
        while not condition():
            assert now() - began <= within, f"not within {within} s; {self.sink.statuses[-1:]}, {self.services}"
            await asyncio.sleep(0.25)
        return now() - began

    async def has(self, *names: str, within: float) -> float:
        return await self.until(lambda: self.services == set(names), within)

    def lists(self) -> int:
        return sum(event == Init(SERVICE) for event in self.sink.events)

    def deleted(self) -> list[str]:
        return [event.ref.name for event in self.sink.events if isinstance(event, Delete)]

    def failing(self, reason: str) -> bool:
        return self.last.state is SourceState.FAILING and self.last.reason == reason

    def synced(self) -> bool:
        return self.last.state is SourceState.SYNCED


def now() -> float:
    return asyncio.get_running_loop().time()


def condition(rig: Rig, kind: ConditionType) -> bool:
    found = {dated.condition.type: dated.condition.status for dated in rig.sink.conditions.of(A)}
    return found[kind]
