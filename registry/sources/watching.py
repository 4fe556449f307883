"""Waits for changes in folders: inotify reports them; where it cannot, they are found by looking from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

LOOK_MS = 500
"""How often it is time to look without a report: some file systems have none."""

RETRY_SECONDS = 30.0
"""How long after inotify failed it is tried again."""

INOTIFY_UNAVAILABLE = "InotifyUnavailable"

_NO_INSTANCE, _NO_WATCH = "(os error 24)", "(os error 28)"

Notify = Callable[..., AsyncGenerator[object, None]]
"""``watchfiles.awatch``."""


class FolderWatch:
    """``settle_ms``: a burst of changes is over after so long without another, at the latest after ``burst_ms``.

    ``recursive``: also what is below the subfolders.
    """

    def __init__(self, *, settle_ms: int, burst_ms: int, recursive: bool, notify: Notify = awatch) -> None:
        self._settle_ms = settle_ms
        self._burst_ms = burst_ms
        self._recursive = recursive
        self._notify = notify
        self.missing = ""
        """Why nothing is reported, and the mend; empty while changes are reported."""

    async def bursts(self, folders: Collection[Path]) -> AsyncGenerator[None, None]:
        """Yields after each burst of changes, and every ``LOOK_MS`` without one, for as long as the watch lasts.

        It ends when a folder is gone, and from time to time where nothing is reported: begin again then.
        """
        try:
            changes = self._notify(
                *folders,
                watch_filter=None,
                debounce=self._burst_ms,
                step=self._settle_ms,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
                recursive=self._recursive,
            )
            async with aclosing(changes):
                async for _ in changes:
                    self.missing = ""
                    yield
        except FileNotFoundError:
            return
        except (OSError, RuntimeError) as error:  # the library's own error is a RuntimeError
            self.missing = _explained(str(error))
        else:
            return
        for _ in range(int(RETRY_SECONDS * 1000 / LOOK_MS)):
            await asyncio.sleep(LOOK_MS / 1000)
            yield


def _explained(error: str) -> str:
    if _NO_WATCH in error or "watch limit" in error:
        mend = "raise fs.inotify.max_user_watches with sysctl"
    elif _NO_INSTANCE in error:
        mend = "raise fs.inotify.max_user_instances with sysctl, or the limit of open files (ulimit -n)"
    else:
        mend = "watch another file system"
    return f"changes are not reported by inotify ({error}); they are found within {LOOK_MS / 1000:g} s; {mend}"
