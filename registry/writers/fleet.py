"""A writer for each member cluster that has an API server, as members come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from registry.model.names import ClusterId
from registry.model.services import ChangeSet
from registry.model.status import WriterStatus
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import Connect
from registry.writers.loop import Writer

log = logging.getLogger(__name__)

MakeWriter = Callable[[ClusterId, Connect], Writer]


@dataclass(slots=True)
class _Writing:
    """One writer, and how it reaches its cluster now."""

    connect: Connect
    writer: Writer
    task: asyncio.Task[None] | None = None


class WriterFleet:
    """Starts, reconnects and stops writers. A member that is gone keeps the entries it has: it is not ours any more."""

    def __init__(self, make: MakeWriter) -> None:
        self._make = make
        self._writing: dict[ClusterId, _Writing] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        for each in self._writing.values():
            each.writer.publish(changes)

    def look_again(self) -> None:
        """Something else that matters changed: namespaces, or whether it is time to write."""
        for each in self._writing.values():
            each.writer.look_again()

    def status(self, cluster: ClusterId) -> WriterStatus | None:
        """How the writing into the cluster goes; None where nothing is written."""
        writing = self._writing.get(cluster)
        return writing.writer.status() if writing is not None else None

    def joined(self, cluster: ClusterId) -> None:
        """It is written into when it is known how it is reached."""

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """Write into the cluster over this from now on. What is on its way may have been written or not."""
        if connect is None:
            self.left(cluster)
            return
        writing = self._writing.get(cluster)
        if writing is None:
            writing = self._writing[cluster] = self._new(cluster, connect)
        writing.connect = connect
        ended = self._end(writing)
        writing.task = asyncio.create_task(_run(writing.writer, ended), name=f"writer {cluster}")

    def changed(self, cluster: ClusterId) -> None:
        """How it is written into does not depend on it."""

    def left(self, cluster: ClusterId) -> None:
        """Write nothing into the cluster any more."""
        writing = self._writing.pop(cluster, None)
        if writing is not None:
            self._end(writing)

    async def stop(self) -> None:
        """End every writer."""
        for cluster in list(self._writing):
            self.left(cluster)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _new(self, cluster: ClusterId, connect: Connect) -> _Writing:
        async def current() -> KubernetesClient:
            return await self._writing[cluster].connect()

        return _Writing(connect, self._make(cluster, current))

    def _end(self, writing: _Writing) -> asyncio.Task[None] | None:
        task, writing.task = writing.task, None
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        return task


async def _run(writer: Writer, after: Awaitable[None] | None) -> None:
    """Let the writer run, once its run before has ended. A bug in it is logged and takes nothing else down."""
    if after is not None:
        await asyncio.wait([asyncio.ensure_future(after)])
    try:
        await writer.run()
    except Exception:
        log.exception("writer %s failed and will not be restarted", writer.cluster)
