"""The folder on disk: scanned, read, watched."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from watchfiles import awatch

from registry.model.names import BASE_KINDS, ClusterId, Kind
from registry.model.status import Sink, SourceState, SourceStatus
from registry.sources.manifests.folder import ManifestFolder, changed_names

log = logging.getLogger(__name__)

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 64 << 20
SETTLE_MS = 5
"""A burst of file events is over after this long without another."""

BURST_MS = 50
RESCAN_MS = 500
"""How often the folder is looked at without having been told to: some file systems tell nothing."""

FOLDER_UNREADABLE = "FolderUnreadable"
MANIFEST_INVALID = "ManifestInvalid"
SLICE_WITHOUT_SERVICE = "SliceWithoutService"

Signature = tuple[int, ...]


class FolderError(Exception):
    """The folder is not there, or not what it was. The text says so."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The folder at one moment: which folder it is, and each manifest's name (relative) and signature."""

    identity: tuple[int, int]
    files: Mapping[str, Signature]


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
        self._watch = watch or _watch
        self._state = ManifestFolder()
        self._scan: Scan | None = None
        self._clock = clock
        self._heard_at: float | None = None
        self._relist = False

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
        while True:
            if await self._look(sink):
                try:
                    await self._look_when_told(sink)
                except OSError as error:
                    log.debug("watching %s: %s; looking again", self._folder, error)
            await asyncio.sleep(RESCAN_MS / 1000)

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

        Events and status follow each other without a pause, so that they are seen as one.
        """
        try:
            scan, contents, gone = await asyncio.to_thread(self._read_changes)
        except FolderError as error:
            listed = BASE_KINDS if self._scan else frozenset[Kind]()
            message = f"{error}; what was read before still counts"
            sink.status(self.cluster, SourceStatus(SourceState.FAILING, FOLDER_UNREADABLE, message, listed))
            return False
        first = self._scan is None
        self._scan = scan
        for name in gone:
            self._state.remove(name)
        for name, content in contents.items():
            if isinstance(content, bytes):
                self._state.put(name, content)
            else:
                self._state.unreadable(name, content)
        self._heard_at = self._clock()
        relist, self._relist = self._relist, False
        if relist:
            self._state.relist()
        if first or contents or gone or relist:
            for event in self._state.changes():
                sink.event(self.cluster, event)
        sink.status(self.cluster, self._status())
        return True

    def _status(self) -> SourceStatus:
        listed = BASE_KINDS
        if problems := self._state.problems():
            return SourceStatus(SourceState.FAILING, MANIFEST_INVALID, "; ".join(problems), listed)
        if oddities := self._state.oddities():
            return SourceStatus(SourceState.SYNCED, SLICE_WITHOUT_SERVICE, "; ".join(oddities), listed)
        return SourceStatus(SourceState.SYNCED, listed=listed)

    def _read_changes(self) -> tuple[Scan, dict[str, bytes | str], list[str]]:
        """What is new since the last scan: contents, or why there is none, and what is gone. Blocks on the disk."""
        scan = scan_folder(self._folder)
        before = self._scan
        if before is not None and before.files and not scan.files and scan.identity != before.identity:
            raise FolderError(f"{self._folder} is another folder than before, and empty (a volume not mounted?)")
        fresh, gone = changed_names(before.files if before else {}, scan.files)
        contents: dict[str, bytes | str] = {}
        for name in fresh:
            try:
                contents[name] = _read(self._folder / name)
            except FileNotFoundError:
                gone.append(name)
            except OSError as error:
                contents[name] = error.strerror or str(error)
        return Scan(scan.identity, {name: scan.files[name] for name in scan.files if name not in gone}), contents, gone


def scan_folder(folder: Path) -> Scan:
    """The manifests in the folder and its subfolders, without what is hidden (a name that begins with a dot).

    Raises:
        FolderError: it cannot be read.
    """
    files: dict[str, Signature] = {}
    try:
        identity = folder.stat()
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(parent, name)
                if name.startswith(".") or path.suffix not in SUFFIXES:
                    continue
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                if S_ISREG(found.st_mode):
                    signature = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
                    files[str(path.relative_to(folder))] = signature
    except OSError as error:
        raise FolderError(f"{folder} cannot be read: {error.strerror}") from error
    return Scan((identity.st_dev, identity.st_ino), files)


def _raise(error: OSError) -> None:
    raise error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(0, f"larger than {MAX_FILE_BYTES >> 20} MiB")
    return content


async def _watch(folder: Path) -> AsyncGenerator[object, None]:
    """Yields after each burst of file events, and every ``RESCAN_MS`` without one."""
    async for changes in awatch(
        folder, watch_filter=None, debounce=BURST_MS, step=SETTLE_MS, rust_timeout=RESCAN_MS, yield_on_timeout=True
    ):
        yield changes
