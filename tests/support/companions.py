"""The processes of a siege: the registry, the programs beside it, and what the kernel says of each."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from support.memory_limit import MemoryLimit
from support.processes import DIE_WITH_PARENT, Process, free_port
from support.registry import PROGRAM

SUPPORT = Path(__file__).parent
WATCH_SECONDS = 0.02


class Companion:
    """A program of these tests that says a line of JSON for each line it is sent."""

    def __init__(self, folder: Path, module: str, *arguments: str, nice: int = 0) -> None:
        self._log = folder / f"{module}.log"
        program = f"import os; os.nice({nice}); import runpy; runpy.run_module('support.{module}', run_name='__main__')"
        dying_with_us = [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())]
        path = os.pathsep.join([str(SUPPORT.parent), os.environ.get("PYTHONPATH", "")])
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*dying_with_us, sys.executable, "-P", "-c", program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )

    def ask(self, line: str | None = None) -> Any:
        """The next line of it, after it is sent ``line``."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        if line is not None:
            self._child.stdin.write(f"{line}\n")
            self._child.stdin.flush()
        reply = self._child.stdout.readline()
        assert reply, f"{self._log.stem} has ended:\n{self._log.read_text()[-3000:]}"
        return json.loads(reply)

    def bound_memory(self, limit: int) -> None:
        """It may have no more than ``limit`` bytes of private memory."""
        resource.prlimit(self._child.pid, resource.RLIMIT_DATA, (limit, limit))

    def stop(self) -> None:
        self._child.kill()
        self._child.communicate()


@dataclass(frozen=True, slots=True)
class Account:
    """What the kernel says of a process."""

    pid: int

    def resident(self) -> int:
        """Bytes."""
        return self._status("VmRSS")

    def most_resident(self) -> int:
        """Bytes, since ``forget_most``."""
        return self._status("VmHWM")

    def forget_most(self) -> None:
        """proc(5), clear_refs."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_seconds(self) -> float:
        """Of all its threads that live, as the scheduler counts it."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9

    def scheduled(self) -> tuple[float, float]:
        """Seconds for which its main thread had a CPU, and for which it was ready to run and had none (schedstat)."""
        had, waited, _ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        return int(had) / 1e9, int(waited) / 1e9

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) << 10


class Watcher:
    """Looks at a process all the time, from a thread of its own."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._waits: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self.open_files = 0
        """At most."""

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def longest_wait(self, window: float) -> float:
        """Seconds for which the process waited for a CPU, in the worst ``window`` of that many seconds."""
        longest, first = 0.0, 0
        for at, waited in self._waits:
            while self._waits[first + 1][0] <= at - window:
                first += 1
            longest = max(longest, waited - self._waits[first][1])
        return longest

    def _watch(self) -> None:
        with contextlib.suppress(OSError):  # the process has ended
            while not self._stopped.wait(WATCH_SECONDS):
                self._waits.append((time.monotonic(), self._account.scheduled()[1]))
                self.open_files = max(self.open_files, self._account.open_files())


class Registry:
    """``mesh-registry serve`` on free ports. It keeps nothing that belongs to an event loop: tests have one each."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        limit: MemoryLimit | None,
    ) -> None:
        self.grpc = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self.limit = limit
        command = [*PROGRAM, "serve", "--grpc", self.grpc, "--http", self.http, *arguments]
        if limit is not None:
            command = limit.command(command)
        self.process = Process("registry", command, folder / "registry.log", environment)

    def end(self) -> None:
        """SIGKILL, and nothing is left of it."""
        self.process.kill()
        if self.limit is not None:
            self.limit.close()

    async def text(self, path: str) -> str:
        """What is at ``path`` of the HTTP port."""
        async with aiohttp.request("GET", f"http://{self.http}{path}") as response:
            return await response.text()

    async def ready(self) -> bool:
        self.process.check()
        try:
            async with aiohttp.request("GET", f"http://{self.http}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False
