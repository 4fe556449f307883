"""The folder on disk: scanned, read, watched."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from registry.model.events import SourceEvent
from registry.model.names import BASE_KINDS, ClusterId, Kind
from registry.model.status import Sink, SourceState, SourceStatus
from registry.sources.manifests.disk import MAX_FILE_BYTES, FolderError, Scan, read_file, scan_folder, size_of
from registry.sources.manifests.folder import Content, ManifestFolder, Unreadable, changed_names, content_of
from registry.sources.manifests.large import LARGE_BYTES, LargeFiles
from registry.sources.watching import INOTIFY_UNAVAILABLE, LOOK_MS, FolderWatch

log = logging.getLogger(__name__)

SETTLE_MS = 5
"""A burst of file events is over after this long without another."""

BURST_MS = 50
AGAIN_SECONDS = 10.0
"""How long after a large file could not be had it is tried again: that takes a process."""

FOLDER_UNREADABLE = "FolderUnreadable"
MANIFEST_INVALID = "ManifestInvalid"
SLICE_WITHOUT_SERVICE = "SliceWithoutService"

MAX_PROBLEMS = 20
"""So many are named in the source's status."""

TURN_SECONDS = 0.01
"""Events are handed on for so long before others get a turn of the loop."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at the folder found: changed files by name, large ones that are to be read, names that are gone."""

    scan: Scan
    read: dict[str, Content]
    large: tuple[str, ...]
    gone: tuple[str, ...]


class ManifestsSource:
    """Follows ``folder`` and its subfolders. ``watch`` yields whenever it is worth looking again."""

    def __init__(
        self,
        cluster: ClusterId,
        folder: Path,
        watch: Callable[[Path], AsyncGenerator[object, None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self._folder = folder
        self._notices = FolderWatch(settle_ms=SETTLE_MS, burst_ms=BURST_MS, recursive=True)
        self._watch = watch or (lambda folder: self._notices.bursts([folder]))
        self._state = ManifestFolder()
        self._scan: Scan | None = None
        self._clock = clock
        self._heard_at: float | None = None
        self._relist = False
        self._large = LargeFiles()
        self._kept = False
        """The last events left out what was missing."""
        self._status: SourceStatus | None = None
        self._unreadable: dict[str, Content] = {}
        self._again: dict[str, float] = {}
        """Large files that could not be had, and when to try again."""

    @property
    def heard_at(self) -> float | None:
        return self._heard_at

    @property
    def drifted(self) -> int:
        """Each look reads all there is."""
        return 0

    def relist(self, kinds: Iterable[Kind]) -> None:
        self._relist = self._relist or any(kinds)

    @property
    def origin(self) -> str:
        return f"manifests {self._folder}"

    async def run(self, sink: Sink) -> None:
        """Follow the folder until cancelled. While it cannot be read, what was read of it stands."""
        self._begin_anew()
        try:
            while True:
                if await self._look(sink):
                    try:
                        await self._look_when_told(sink)
                    except OSError as error:
                        log.debug("watching %s: %s; looking again", self._folder, error)
                await asyncio.sleep(LOOK_MS / 1000)
        finally:
            await self._large.close()

    def _begin_anew(self) -> None:
        """Read every file again, whatever became of it in a run before."""
        if self._scan is not None:
            self._scan = replace(self._scan, files=dict.fromkeys(self._scan.files, ()))

    async def _look_when_told(self, sink: Sink) -> None:
        """Returns when the folder is gone or another: a watch is on what the folder was when it began."""
        watched = self._identity
        async with aclosing(self._watch(self._folder)) as bursts:
            async for _ in bursts:
                if not await self._look(sink) or self._identity != watched:
                    return

    @property
    def _identity(self) -> tuple[int, int] | None:
        return self._scan.identity if self._scan else None

    async def _look(self, sink: Sink) -> bool:
        """Read what changed; whether the folder could be read.

        A large file that changed is read meanwhile (``LargeFiles``) and counts at a later look; until then nothing that
        is missing is taken for deleted. The first look waits for all files.
        """
        first = self._scan is None
        self._try_again()
        try:
            look = await asyncio.to_thread(self._read_changes, self._large.pending)
        except FolderError as error:
            listed = frozenset[Kind]() if first else BASE_KINDS
            message = f"{error}; what was read before still counts"
            sink.status(self.cluster, SourceStatus(SourceState.FAILING, FOLDER_UNREADABLE, message, listed))
            return False
        self._scan = look.scan
        for name in look.gone:
            self._large.forget(name)
        for name in look.large:
            self._large.ask(name, self._folder / name)
        if first:
            await self._large.done()
        read = look.read | self._large.take()
        self._heard_at = self._clock()
        for name, content in read.items():
            if isinstance(content, Unreadable) and content.again:
                self._again[name] = self._heard_at + AGAIN_SECONDS
        relist, self._relist = self._relist, False
        if first or read or look.gone or relist or (self._kept and not self._large.pending):
            await self._tell(sink, read, look.gone, relist)
        if self._status is not None:
            sink.status(self.cluster, self._noted(self._status))
        return True

    def _noted(self, status: SourceStatus) -> SourceStatus:
        """The status, with what is worth a word where there is nothing worse."""
        if status.reason or not self._notices.missing:
            return status
        return replace(status, reason=INOTIFY_UNAVAILABLE, message=self._notices.missing)

    def _try_again(self) -> None:
        """Have files read whose time has come."""
        now = self._clock()
        due = [name for name, at in self._again.items() if at <= now]
        for name in due:
            del self._again[name]
        if due and self._scan is not None:
            files = {**self._scan.files, **{name: () for name in due if name in self._scan.files}}
            self._scan = replace(self._scan, files=files)

    async def _tell(self, sink: Sink, read: dict[str, Content], gone: Sequence[str], relist: bool) -> None:
        """Events and status follow each other without a pause, so that they are seen as one, unless there are many."""
        keep = bool(self._large.pending)
        events = await asyncio.to_thread(self._digest, read, gone, relist, keep)
        self._kept = keep
        began = time.monotonic()
        for event in events:
            sink.event(self.cluster, event)
            if time.monotonic() - began > TURN_SECONDS:
                await asyncio.sleep(0)
                began = time.monotonic()

    def _digest(self, read: dict[str, Content], gone: Sequence[str], relist: bool, keep: bool) -> list[SourceEvent]:
        """The events that come of what was read. Takes its time: it looks at every object of the folder."""
        for name in gone:
            self._state.remove(name)
        while read:
            self._state.place(*read.popitem())
        if relist:
            self._state.relist()
        self._status = _status(self._state)
        return list(self._state.changes(keep=keep))

    def _read_changes(self, pending: Collection[str]) -> _Look:
        """What is new since the last look. Blocks on the disk, and reads all files but large ones."""
        scan = scan_folder(self._folder)
        before = self._scan
        if before is not None and before.files and not scan.files and scan.identity != before.identity:
            raise FolderError(f"{self._folder} is another folder than before, and empty (a volume not mounted?)")
        known = before.files if before else {}
        faults = _of_files(scan.faults, known)
        files = {**scan.files, **dict.fromkeys(faults, ())}
        fresh, gone = changed_names(known, files)
        fresh = [name for name in fresh if name not in faults]
        read: dict[str, Content] = {
            name: Unreadable(why) for name, why in faults.items() if self._unreadable.get(name) != Unreadable(why)
        }
        self._unreadable.update(read)
        large = []
        for name in fresh:
            if name in pending:  # looked at again once it has been read
                files[name] = known.get(name, ())
            elif LARGE_BYTES <= size_of(scan.files[name]) <= MAX_FILE_BYTES:
                self._unreadable.pop(name, None)
                large.append(name)
            else:
                content = self._content(name)
                if content is None:
                    gone.append(name)
                elif isinstance(content, Unreadable) and size_of(scan.files[name]) <= MAX_FILE_BYTES:
                    files[name] = ()  # tried again at the next look
                    if self._unreadable.get(name) != content:
                        self._unreadable[name] = read[name] = content
                else:
                    self._unreadable.pop(name, None)
                    read[name] = content
        for name in gone:
            files.pop(name, None)
            self._unreadable.pop(name, None)
        return _Look(Scan(scan.identity, files), read, tuple(large), tuple(gone))

    def _content(self, name: str) -> Content | None:
        """What a file comes to; None if it is gone."""
        try:
            return content_of(name, read_file(self._folder / name))
        except FileNotFoundError:
            return None
        except OSError as error:
            return Unreadable(error.strerror or str(error))


def _status(state: ManifestFolder) -> SourceStatus:
    if problems := state.problems():
        return SourceStatus(SourceState.FAILING, MANIFEST_INVALID, _listed(problems), BASE_KINDS)
    if oddities := state.oddities():
        return SourceStatus(SourceState.SYNCED, SLICE_WITHOUT_SERVICE, _listed(oddities), BASE_KINDS)
    return SourceStatus(SourceState.SYNCED, listed=BASE_KINDS)


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - MAX_PROBLEMS} more" if len(texts) > MAX_PROBLEMS else ""
    return "; ".join(texts[:MAX_PROBLEMS]) + more


def _of_files(faults: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """Of each file that cannot be looked at why. A subfolder's fault is that of each file that was known in it."""
    found: dict[str, str] = {}
    for name, why in faults.items():
        inside = [each for each in known if each.startswith(name) and each != name] if name.endswith("/") else []
        found |= dict.fromkeys(inside or [name], why)
    return found
