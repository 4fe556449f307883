"""The registry under test: the real command, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from support.away import AwayError, whole_answers
from support.processes import Process, free_port, until

PROGRAM = (sys.executable, "-P", "-m", "registry.cli")
"""-P: as it is installed, not as it happens to lie in the present folder (``make wheel`` installs it compiled)."""


class RunningRegistry:
    """``mesh-registry serve`` with ``arguments``, on free ports. Use as an async context.

    ``before``: a command that runs the one that follows it. ``files``: how many it may have open, where that is not
    what the tests may.
    """

    def __init__(
        self, folder: Path, *arguments: str, name: str = "registry", before: Sequence[str] = (), files: int = 0
    ) -> None:
        self.grpc = _given("--grpc", arguments) or f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        command = [*before, *(limited(files) if files else ()), *PROGRAM]
        listen = ("--grpc", self.grpc, "--http", self.http)
        self.process = Process(name, [*command, "serve", *listen, *arguments], folder / f"{name}.log")
        self._session: aiohttp.ClientSession | None = None

    def begin(self) -> None:
        """Start it, and do not wait until it is ready."""
        self._session = aiohttp.ClientSession()
        self.process.start()

    async def __aenter__(self) -> RunningRegistry:
        self.begin()
        try:
            await until(self.ready, "the registry is ready")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._session is not None
        await self._session.close()
        code = self.process.stop()
        if not _exception or _exception[0] is None:
            assert code == 0, f"the registry exited with {code}:\n{self.process.tail()}"

    async def kill(self) -> None:
        """``kill -9``. There is nothing to be closed after that."""
        if self._session is not None:
            await self._session.close()
        self.process.kill()

    async def ready(self) -> bool:
        self.process.check()
        assert self._session is not None
        try:
            with whole_answers(self.process.name):
                async with self._session.get(f"http://{self.http}/readyz") as response:
                    return response.status == 200
        except AwayError:
            return False

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """Fails at once, with the log, where the process has ended by itself."""
        try:
            with whole_answers(self.process.name):
                yield
        except AwayError:
            self.process.check()
            raise

    async def get(self, path: str) -> Any:
        """The JSON at ``path``, None for 404."""
        assert self._session is not None
        with self._answering():
            async with self._session.get(f"http://{self.http}{path}") as response:
                return None if response.status == 404 else await response.json()

    async def text(self, path: str) -> str:
        """What is at ``path``, as it is."""
        assert self._session is not None
        with self._answering():
            async with self._session.get(f"http://{self.http}{path}") as response:
                return await response.text()

    async def addresses(self, service: str) -> set[str]:
        """The addresses of the healthy endpoints of ``NS/NAME``; empty when there is no such service."""
        document = await self.get(f"/api/v1/services/{service}")
        endpoints = document["endpoints"] if document else []
        return {endpoint["address"] for endpoint in endpoints if endpoint["health"] == "HEALTHY"}

    async def cluster(self, name: str) -> Any:
        """How a member cluster is doing."""
        document = await self.get("/api/v1/clusters")
        return next(cluster for cluster in document["clusters"] if cluster["name"] == name)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another ``mesh-registry`` command to its end."""
        return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def limited(files: int) -> tuple[str, ...]:
    """What a command is put behind, to have so many open files at most."""
    become = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); "
    return (sys.executable, "-I", "-S", "-c", become + "os.execvp(sys.argv[2], sys.argv[2:])", str(files))


def at_once(folder: Path) -> str:
    """The flag for a start that does not wait for members that fail."""
    path = folder / "at-once.yaml"
    path.write_text("startup: {maxWaitSeconds: 0}\n")
    return f"--config={path}"


def _given(flag: str, arguments: Sequence[str]) -> str | None:
    return arguments[arguments.index(flag) + 1] if flag in arguments else None
