"""``mesh-registry demo`` as users run it: the tour holds, and however it ends, nothing of it stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support import missing
from support.processes import until
from support.registry import PROGRAM

MARK = "MESH_REGISTRY_DEMO_TEST"


class Demo:
    """A demo that is running; every process it starts inherits a mark of this test's own."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str, temporary: Path) -> None:
        self.process = process
        self.mark = mark
        self.temporary = temporary
        self.lines: list[str] = []

    async def until_line(self, text: str) -> None:
        """Read on until a line has ``text``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if text in line:
                    return
        raise AssertionError(f"the demo ended before it said {text!r}:\n{''.join(self.lines)}")

    async def finish(self) -> tuple[int, str]:
        """Its exit code, and all it said."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            self.lines.append((await self.process.stdout.read()).decode())
            return await self.process.wait(), "".join(self.lines)

    def processes(self) -> list[str]:
        """The command lines of all processes of this demo that are alive."""
        return [command for each in Path("/proc").iterdir() if each.name.isdigit() and (command := self._command(each))]

    def _command(self, process: Path) -> str:
        """Empty for a process of somebody else's, and for one that has ended."""
        try:
            if f"{MARK}={self.mark}".encode() not in (process / "environ").read_bytes().split(b"\0"):
                return ""
            return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[Demo]:
    """``mesh-registry demo``, with its temporary files in ``folder``."""
    temporary = folder / "tmp"
    temporary.mkdir()
    mark = str(folder)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "demo",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(temporary), MARK: mark, "COLUMNS": "200"},
    )
    try:
        yield Demo(process, mark, temporary)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture(autouse=True)
def envoy() -> None:
    missing.envoy()


linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@linux
async def test_every_step_of_the_tour_holds(tmp_path: Path) -> None:
    async with demo(tmp_path, "--once") as running:
        code, said = await running.finish()
        assert code == 0, said
        assert "Every step held" in said
        for pod in ("pod1", "pod2", "pod3", "pod4"):
            assert pod in said
        assert "kind: ServiceEntry" in said
        assert running.processes() == []
        assert list(running.temporary.iterdir()) == []


@linux
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("moment", ["pods answer", "Envoy is ready", "until Ctrl-C"])
async def test_interrupted_demo_leaves_nothing_behind(tmp_path: Path, moment: str, signum: signal.Signals) -> None:
    async with demo(tmp_path) as running:
        await running.until_line(moment)
        running.process.send_signal(signum)
        code, said = await running.finish()
        assert code == (0 if moment == "until Ctrl-C" else 1), said
        assert "Traceback" not in said
        assert running.processes() == []
        assert list(running.temporary.iterdir()) == []


@linux
async def test_killed_demo_takes_its_processes_with_it(tmp_path: Path) -> None:
    async with demo(tmp_path) as running:
        await running.until_line("until Ctrl-C")
        assert len(running.processes()) == 3
        running.process.kill()
        await running.process.wait()
        await until(lambda: running.processes() == [], "registry and Envoy ended with the demo", timeout=10)


@linux
async def test_demo_whose_envoy_does_not_start_says_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "envoy"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'this envoy is broken' >&2\nexit 3\n")
    broken.chmod(0o755)
    async with demo(tmp_path, "--once", f"--envoy={broken}") as running:
        code, said = await running.finish()
        assert code == 1
        assert "envoy exited with 3" in said
        assert "this envoy is broken" in said
        assert "Traceback" not in said
        assert running.processes() == []
