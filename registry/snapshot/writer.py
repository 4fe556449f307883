"""Keeps the snapshot current: soon after a change, a little at a time, and once more at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from registry.snapshot.file import Disk, Replacement
from registry.snapshot.format import ClusterFacts, encode
from registry.snapshot.pace import Pace, PaceRules
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

PIECE = 1 << 18
"""Bytes that are handed to the disk's thread at once."""


class SnapshotWriter:
    """Writes what ``clusters`` gives to ``path``.

    ``clusters`` is called for each write, and asked for the next cluster when the one before is encoded: what it gives
    of one cluster has to be of one moment. The loop is held for one batch at a time (``format.BATCH``); the disk is
    another thread's. Problems with the disk are logged, told in ``problem``, and tried again.
    """

    def __init__(
        self,
        path: Path,
        domain: str,
        clusters: Callable[[], Iterable[ClusterFacts]],
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rules: PaceRules | None = None,
        disk: Disk | None = None,
        tasks: Supervisor | None = None,
    ) -> None:
        self._path = path
        self._domain = domain
        self._clusters = clusters
        self._clock = clock
        self._wall_clock = wall_clock
        self._disk = disk or Disk()
        self._pace = Pace(rules or PaceRules())
        self._tasks = tasks or Supervisor()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the last write failed; empty when it did not."""
        self.written = 0
        self.failed = 0
        self.bytes = 0
        """Of the last snapshot written."""
        self.seconds = 0.0
        """That writing it took, waiting included."""

    def start(self) -> None:
        """Begin to write when something changes."""
        self._task = self._tasks.start("snapshot writer", self._run, may_end=True)

    def changed(self) -> None:
        """Something changed that a snapshot has. Costs next to nothing."""
        if not self._pace.dirty:
            self._pace.changed(self._clock())
            self._wake.set()

    async def stop(self) -> None:
        """Finish a write that is under way; write once more if something changed since; end."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            due = self._pace.due()
            try:
                async with asyncio.timeout(None if due is None else max(due - self._clock(), 0)):
                    await self._wake.wait()
            except TimeoutError:
                await self._attempt()
        if self._pace.dirty:
            await self._attempt()

    async def _attempt(self) -> None:
        self._pace.began(self._clock())
        try:
            size = await self._write()
        except OSError as error:
            self._failed(f"the snapshot {self._path} cannot be written ({error.strerror or error})")
        except Exception:
            log.exception("writing the snapshot failed by a bug")
            self._failed("the snapshot cannot be written: see the log")
        else:
            self._pace.ended(self._clock(), succeeded=True, size=size)
            self.written += 1
            self.bytes = size
            if self.problem:
                log.info("the snapshot %s is written again", self._path)
            self.problem = ""

    def _failed(self, problem: str) -> None:
        self._pace.ended(self._clock(), succeeded=False)
        self.failed += 1
        if problem != self.problem:
            log.warning("%s; the one before stays, and this is tried again", problem)
        self.problem = problem

    async def _write(self) -> int:
        """Write one snapshot; returns its size."""
        began, size = self._clock(), 0
        replacement = await asyncio.to_thread(Replacement, self._path, self._disk)
        try:
            piece = bytearray()
            for batch in self._batches():
                piece += batch
                if len(piece) >= PIECE:
                    await asyncio.to_thread(replacement.write, bytes(piece))
                    size += len(piece)
                    piece.clear()
                await asyncio.sleep(0)
            await asyncio.to_thread(replacement.write, bytes(piece))
            await asyncio.to_thread(replacement.commit)
        finally:
            replacement.close()
        self.seconds = self._clock() - began
        return size + len(piece)

    def _batches(self) -> Iterator[bytes]:
        return encode(self._domain, self._wall_clock(), self._clusters())
