"""Folders and files on disk, looked at when something changed in them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from watchfiles import awatch

from registry.membership.spec import Trouble, Unusable
from registry.sources.kubernetes.credentials import surroundings
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig
from registry.sources.regular import YAML_BYTES, read_regular
from registry.sources.watching import INOTIFY_UNAVAILABLE, LOOK_MS, FolderWatch, Notify

SETTLE_MS = 50
"""How often the library's thread looks up from its sleep: at 5 ms that alone took 1 % of a core, all the time."""

BURST_MS = 200
DOUBT_SECONDS = 1.0
"""A file written so short a time before it was read may have been written again without a trace in its times."""

Signature = tuple[int, ...]


class Looks:
    """When to look. ``notify`` reports changes in folders."""

    def __init__(self, notify: Notify = awatch) -> None:
        self._notices = FolderWatch(settle_ms=SETTLE_MS, burst_ms=BURST_MS, recursive=False, notify=notify)

    async def at(self, folders: Callable[[], Collection[Path]]) -> AsyncGenerator[None, None]:
        """Yields at once, and then whenever something changed in one of the folders (not below), or a while has passed.

        ``folders`` are those that matter now; they need not exist.
        """
        while True:
            yield
            watched = _existing(folders())
            if watched:
                async with aclosing(self._notices.bursts([path for path, _ in watched])) as bursts:
                    async for _ in bursts:
                        yield
                        if _existing(folders()) != watched:
                            break
            await asyncio.sleep(LOOK_MS / 1000)

    @property
    def trouble(self) -> Trouble | None:
        """What is worth a word where there is nothing worse."""
        missing = self._notices.missing
        return Trouble(INOTIFY_UNAVAILABLE, missing) if missing else None


def _existing(folders: Collection[Path]) -> list[tuple[Path, tuple[int, int]]]:
    """The folders that are there, and which they are: one that is made anew is another."""
    found: dict[Path, tuple[int, int]] = {}
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            state = folder.stat()
            if S_ISDIR(state.st_mode):
                found[folder] = state.st_dev, state.st_ino
    return sorted(found.items())


def signature(path: Path) -> Signature:
    """What changes when the file does, and when it is another (as in a mounted Secret); () for none."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino, state.st_dev


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, and the files it was made of with their signatures before that."""

    result: Kubeconfig | Unusable
    files: dict[Path, Signature]
    at: float
    passing: bool = False
    """A file could not be read, which may be over without a change of the file: files short, permissions, a disk."""

    def stands(self) -> bool:
        """Reading again would give the same."""
        if self.passing or any(signature(path) != before for path, before in self.files.items()):
            return False
        newest = max((before[0] for before in self.files.values() if before), default=0)
        return self.at - newest / 1e9 > DOUBT_SECONDS


class KubeconfigFiles:
    """Kubeconfigs by path, read again only when they, or a file they name, changed. Blocks on the disk."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, str | None], _Read] = {}

    def read(self, path: Path, context: str | None = None) -> Kubeconfig | Unusable:
        """What the kubeconfig says now, or what is wrong with it."""
        before = self._read.get((path, context))
        if before is None or not before.stands():
            before = self._read[path, context] = _read(path, context)
        return before.result

    def keep(self, wanted: Collection[tuple[Path, str | None]]) -> None:
        """Forget all others."""
        for key in self._read.keys() - wanted:
            del self._read[key]


def _read(path: Path, context: str | None) -> _Read:
    files: dict[Path, Signature] = {path: signature(path)}
    at = time.time()
    around = surroundings(path.parent)

    passing = False

    def noted(name: str) -> bytes:
        nonlocal passing
        whole = path.parent / name
        files[whole] = signature(whole)
        try:
            return around.read(name)
        except OSError:
            passing = True
            raise

    try:
        content = read_regular(path, YAML_BYTES)
        result: Kubeconfig | Unusable = read_kubeconfig(
            content, context, Surroundings(noted, around.absolute, around.folder)
        )
    except OSError as error:
        passing = True
        result = Unusable(f"kubeconfig {path}: {error.strerror}; mend the file")
    except KubeconfigError as error:
        result = Unusable(f"kubeconfig {path}: {error}; mend the file")
    return _Read(result, files, at, passing)
