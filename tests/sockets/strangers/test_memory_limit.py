"""A process that takes more memory than it may ends, and one that takes less does not: by either means."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from support.memory_limit import DataLimit, MemoryLimit, memory_limit

LIMIT = 200 << 20


@pytest.mark.parametrize("made", [memory_limit, DataLimit], ids=["the best there is", "RLIMIT_DATA"])
@pytest.mark.parametrize(("mebibytes", "lives"), [(100, True), (300, False)])
def test_process_ends_beyond_its_limit(made: Callable[[int], MemoryLimit], mebibytes: int, lives: bool) -> None:
    limit = made(LIMIT)
    try:
        command = limit.command([sys.executable, "-c", f"bytearray({mebibytes} << 20)"])
        done = subprocess.run(command, capture_output=True, check=False)
    finally:
        limit.close()
    assert (done.returncode == 0) is lives, (limit.kind, done)
