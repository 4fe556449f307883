"""A process that may have so much memory and no more, as a container may.

A memory cgroup where one can be made (version 2 or 1, as root): the kernel counts resident memory, page cache and
socket buffers, and kills the process beyond the limit. Elsewhere RLIMIT_DATA (getrlimit(2)), which needs no rights: the
kernel counts private writable memory, touched or not, and refuses more, with which a Python program ends. Both bound
what the registry allocates; only the cgroup also bounds what the kernel allocates for its sockets.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

CGROUPS = Path("/sys/fs/cgroup")
JOIN = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execvp(sys.argv[2], sys.argv[2:])"
RESTRICT = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class MemoryLimit(Protocol):
    """A limit for one process."""

    @property
    def kind(self) -> str:
        """For people."""

    def command(self, command: Sequence[str]) -> list[str]:
        """``command``, under the limit from its first byte on."""

    def most(self) -> int | None:
        """The most bytes that were counted; None where the kernel does not say."""

    def close(self) -> None:
        """The process has ended."""


class Cgroup:
    def __init__(self, folder: Path, limit: int, *, version: int) -> None:
        """Raises OSError where it cannot be made."""
        self.kind = f"memory cgroup, version {version}"
        self._folder = folder
        self._most = "memory.peak" if version == 2 else "memory.max_usage_in_bytes"
        folder.mkdir()
        try:
            names = ("memory.max", "memory.swap.max") if version == 2 else ("memory.limit_in_bytes", None)
            (folder / names[0]).write_text(str(limit))
            if names[1] is not None and (folder / names[1]).exists():
                (folder / names[1]).write_text("0")
        except OSError:
            folder.rmdir()
            raise

    def command(self, command: Sequence[str]) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", JOIN, str(self._folder / "cgroup.procs"), *command]

    def most(self) -> int | None:
        with contextlib.suppress(OSError):
            return int((self._folder / self._most).read_text())
        return None

    def close(self) -> None:
        self._folder.rmdir()


class DataLimit:
    kind = "RLIMIT_DATA"

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def command(self, command: Sequence[str]) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", RESTRICT, str(self._limit), *command]

    def most(self) -> int | None:
        return None

    def close(self) -> None:
        pass


def memory_limit(limit: int) -> MemoryLimit:
    """The nearest to a container's limit of ``limit`` bytes that this machine lets us have."""
    name = f"mesh-registry-{os.getpid()}"
    for folder, version in ((CGROUPS, 2), (CGROUPS / "memory", 1)):
        if (folder / "cgroup.procs").exists():
            with contextlib.suppress(OSError):
                return Cgroup(folder / name, limit, version=version)
    return DataLimit(limit)
