"""Folders whose changes the system reports, or does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path

import pytest
from support.virtual_loop import virtually

from registry.sources.watching import LOOK_MS, RETRY_SECONDS, FolderWatch

FULL = "Error creating recommended watcher: Too many open files (os error 24)"
"""What ``watchfiles`` says where no inotify instance is free."""


class System:
    """Reports nothing, and raises ``error`` at each attempt to watch."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.attempts = 0

    async def notify(self, *_folders: Path, **_options: object) -> AsyncGenerator[object, None]:
        self.attempts += 1
        if self.error is not None:
            raise self.error
        while True:
            await asyncio.sleep(LOOK_MS / 1000)
            yield ()


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (RuntimeError(FULL), "fs.inotify.max_user_instances"),
        (OSError(24, "Too many open files (os error 24)"), "fs.inotify.max_user_instances"),
        (RuntimeError("OS file watch limit reached. about [/x]"), "fs.inotify.max_user_watches"),
        (OSError(28, "No space left on device (os error 28)"), "fs.inotify.max_user_watches"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_folder_that_cannot_be_watched_is_looked_at_and_the_watch_tried_again(error: Exception, mend: str) -> None:
    async def play() -> None:
        system = System(error)
        watch = FolderWatch(settle_ms=5, burst_ms=50, recursive=False, notify=system.notify)
        clock = asyncio.get_running_loop().time
        looks: list[float] = []
        for _ in range(2):
            looks += [clock() async for _ in watch.bursts([Path("/x")])]
        assert system.attempts == 2
        assert len(looks) == 2 * RETRY_SECONDS * 1000 / LOOK_MS
        assert max(later - before for before, later in pairwise(looks)) == LOOK_MS / 1000
        assert mend in watch.missing
        system.error = None
        async for _ in watch.bursts([Path("/x")]):
            break
        assert watch.missing == ""

    virtually(play())


def test_folder_that_is_gone_is_no_lack_of_reports() -> None:
    async def play() -> None:
        system = System(FileNotFoundError(2, "No such file"))
        watch = FolderWatch(settle_ms=5, burst_ms=50, recursive=False, notify=system.notify)
        assert [each async for each in watch.bursts([Path("/x")])] == []
        assert watch.missing == ""

    virtually(play())
