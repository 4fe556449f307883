"""The Kubernetes source over real sockets to a fake API server, with short waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.fake_apiserver import FakeApiServer
from support.recording_sink import RecordingSink

from registry.model.events import Delete, Init, InitDone
from registry.model.facts import Fact
from registry.model.names import BASE_KINDS, ClusterId, Kind, ObjectRef
from registry.model.status import SourceState
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Reason
from registry.sources.kubernetes.credentials import CredentialsError, KubeconfigCredentials, load_kubeconfig
from registry.sources.kubernetes.kubeconfig import KubeconfigError
from registry.sources.kubernetes.reflector import KubernetesSource, SourceOptions

A = ClusterId("a")
SERVICE = Kind.SERVICE


@dataclass
class Rig:
    """A source over a fake API server with the Services ``one`` and ``two``. Waits are short, and written down."""

    server: FakeApiServer
    folder: Path
    sink: RecordingSink = field(default_factory=lambda: RecordingSink(A))
    waits: list[float] = field(default_factory=list)
    now: float = 0.0

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    async def connect(self) -> KubernetesClient:
        """As ``KubernetesClient.from_kubeconfig``, on the clock ``now``."""
        try:
            credentials = KubeconfigCredentials(load_kubeconfig(self.kubeconfig), f"kubeconfig {self.kubeconfig}")
            return KubernetesClient(credentials, await credentials.access(), clock=lambda: self.now)
        except (CredentialsError, KubeconfigError) as error:
            raise TransportError(Reason.KUBECONFIG_INVALID, str(error)) from error

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(
        self,
        random: Callable[[], float] = lambda: 0.0,
        *,
        kinds: Iterable[Kind] = BASE_KINDS,
        options: SourceOptions | None = None,
        audits: bool = False,
    ) -> AsyncIterator[KubernetesSource]:
        source = KubernetesSource(
            A,
            str(self.kubeconfig),
            self.connect,
            random=random,
            sleep=self.sleep,
            kinds=kinds,
            held=self.held if audits else None,
            options=options,
        )
        task = asyncio.create_task(source.run(self.sink))
        try:
            yield source
            assert not task.done(), "a source runs until it is cancelled"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def held(self, kind: Kind) -> Mapping[ObjectRef, Fact]:
        return {ref: fact for ref, fact in self.sink.listener.held.items() if ref.kind is kind}

    @property
    def services(self) -> set[str]:
        return self.sink.listener.names(SERVICE)

    @property
    def synced(self) -> bool:
        return self.sink.last.state is SourceState.SYNCED

    def failing(self, reason: str) -> bool:
        return self.sink.last.state is SourceState.FAILING and self.sink.last.reason == reason

    async def listed(self) -> None:
        await self.sink.until(lambda: self.synced, "every kind is listed")

    async def has(self, *names: str) -> None:
        await self.sink.until(lambda: self.services == set(names), f"exactly {names} are held")

    def lists(self) -> list[object]:
        """The Init and InitDone of Services, in order."""
        return [e for e in self.sink.events if isinstance(e, Init | InitDone) and e.kind is SERVICE]

    def nothing_was_deleted(self) -> None:
        assert not [event for event in self.sink.events if isinstance(event, Delete)]
