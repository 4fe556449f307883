"""A writer for each member cluster that has an API server, as members come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from registry.model.names import ClusterId
from registry.model.services import ChangeSet
from registry.model.status import WriterStatus
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import Connect
from registry.supervision import Supervisor
from registry.writers.departure import Left, remain
from registry.writers.loop import Writer

log = logging.getLogger(__name__)

MakeWriter = Callable[[ClusterId, Connect], Writer]

Depart = Callable[[ClusterId, Connect, str], Awaitable[Left | None]]
"""Removes what is ours from a cluster that left, of the UID that the writer knew; what remains there, if anything."""


@dataclass(slots=True)
class _Writing:
    """One writer, and how it reaches its cluster now."""

    connect: Connect
    writer: Writer
    task: asyncio.Task[None] | None = None


class WriterFleet:
    """Starts, reconnects and stops writers.

    When a member leaves, ``depart`` removes what was written into it; a program that stops removes nothing.
    ``joined`` is called when there is another member.
    """

    def __init__(
        self,
        make: MakeWriter,
        depart: Depart | None = None,
        joined: Callable[[], object] = lambda: None,
        tasks: Supervisor | None = None,
    ) -> None:
        self._make = make
        self._depart = depart
        self._joined = joined
        self._tasks = tasks or Supervisor()
        self._writing: dict[ClusterId, _Writing] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._departing: dict[ClusterId, asyncio.Task[None]] = {}
        self.remains: dict[ClusterId, Left] = {}
        """Clusters that left and in which entries may remain, until they are members again."""

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        for each in self._writing.values():
            self._tasks.attempt("writer", each.writer.publish, changes)

    def look_again(self) -> None:
        """Something else that matters changed: namespaces, or whether it is time to write."""
        for each in self._writing.values():
            self._tasks.attempt("writer", each.writer.look_again)

    def report(self) -> None:
        """Say anew how the writing goes."""
        for each in self._writing.values():
            self._tasks.attempt("writer", each.writer.report)

    def __bool__(self) -> bool:
        """Whether anything is written anywhere."""
        return bool(self._writing)

    @property
    def departing(self) -> tuple[ClusterId, ...]:
        """Clusters that left and that are being cleaned."""
        return tuple(sorted(self._departing))

    def status(self, cluster: ClusterId) -> WriterStatus | None:
        """How the writing into the cluster goes; None where nothing is written."""
        writing = self._writing.get(cluster)
        return writing.writer.status() if writing is not None else None

    def joined(self, _cluster: ClusterId, /) -> None:
        """It is written into when it is known how it is reached."""
        self._joined()

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """Write into the cluster over this from now on. What is on its way may have been written or not."""
        self.remains.pop(cluster, None)
        if connect is None:
            self.left(cluster)
            return
        writing = self._writing.get(cluster)
        if writing is None:
            writing = self._writing[cluster] = self._new(cluster, connect)
        writing.connect = connect
        ended = self._end(writing)
        writing.task = asyncio.create_task(self._run(writing.writer, ended), name=f"writer {cluster}")

    def changed(self, cluster: ClusterId) -> None:
        """How it is written into does not depend on it."""

    def left(self, cluster: ClusterId) -> None:
        """Write nothing into the cluster any more, and remove what was written."""
        writing = self._writing.pop(cluster, None)
        if writing is None:
            return
        ended = self._end(writing)
        if self._depart is not None:
            depart = partial(self._depart, cluster, writing.connect, writing.writer.uid)
            task = asyncio.create_task(self._clean(cluster, depart, ended), name=f"departure {cluster}")
            self._ending.add(task)
            self._departing[cluster] = task
            task.add_done_callback(self._ending.discard)

    async def stop(self) -> None:
        """End every writer. What they wrote stays."""
        for writing in self._writing.values():
            self._end(writing)
        self._writing.clear()
        for task in self._departing.values():
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _clean(
        self, cluster: ClusterId, depart: Callable[[], Awaitable[Left | None]], after: asyncio.Task[None] | None
    ) -> None:
        """Remove what was written into a cluster that left, once its writer has ended."""
        this = asyncio.current_task()
        try:
            if after is not None:
                await asyncio.wait([after])
            left = await depart()
        except Exception:
            log.exception("cluster %s: removing what was written there failed", cluster)
            left = remain("removing them failed by a bug: see the log")
        finally:
            if self._departing.get(cluster) is this:
                del self._departing[cluster]
        if left is not None and cluster not in self._writing:
            self.remains[cluster] = left

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

    async def _run(self, writer: Writer, after: asyncio.Task[None] | None) -> None:
        """Let the writer run, once its run before has ended."""
        if after is not None:
            await asyncio.wait([after])
        await self._tasks.supervise("writer", writer.run, subject=writer.cluster)
