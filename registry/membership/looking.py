"""Folders and files on disk, looked at when something changed in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

from registry.membership.spec import Unusable
from registry.sources.kubernetes.credentials import surroundings
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig
from registry.sources.regular import read_regular

SETTLE_MS = 50
"""How often the library's thread looks up from its sleep: at 5 ms that alone took 1 % of a core, all the time."""

BURST_MS = 200
LOOK_MS = 500
"""How often it is looked without having been told to: some file systems tell nothing."""

DOUBT_SECONDS = 1.0
"""A file written so short a time before it was read may have been written again without a trace in its times."""

Signature = tuple[int, ...]


async def looks(folders: Callable[[], Collection[Path]]) -> AsyncGenerator[None, None]:
    """Yields at once, and then whenever something changed in one of the folders (not below), or a while has passed.

    ``folders`` are those that matter now; they need not exist.
    """
    while True:
        yield
        watched = _existing(folders())
        try:
            if watched:
                bursts = awatch(
                    *watched,
                    watch_filter=None,
                    debounce=BURST_MS,
                    step=SETTLE_MS,
                    rust_timeout=LOOK_MS,
                    yield_on_timeout=True,
                    recursive=False,
                )
                async with aclosing(bursts):
                    async for _ in bursts:
                        yield
                        if _existing(folders()) != watched:
                            break
        except OSError:  # one of them is gone by now, or the system has no more watches to give
            pass
        await asyncio.sleep(LOOK_MS / 1000)


def _existing(folders: Collection[Path]) -> list[Path]:
    return sorted({folder for folder in folders if folder.is_dir()})


def signature(path: Path) -> Signature:
    """What changes when the file does, and when it is another (as in a mounted Secret); () for none."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, and the files it was made of with their signatures before that."""

    result: Kubeconfig | Unusable
    files: dict[Path, Signature]
    at: float

    def stands(self) -> bool:
        """Reading again would give the same."""
        if any(signature(path) != before for path, before in self.files.items()):
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

    def noted(name: str) -> bytes:
        whole = path.parent / name
        files[whole] = signature(whole)
        return around.read(name)

    try:
        content = read_regular(path)
        result: Kubeconfig | Unusable = read_kubeconfig(
            content, context, Surroundings(noted, around.absolute, around.folder)
        )
    except OSError as error:
        result = Unusable(f"kubeconfig {path}: {error.strerror}; mend the file")
    except KubeconfigError as error:
        result = Unusable(f"kubeconfig {path}: {error}; mend the file")
    return _Read(result, files, at)
