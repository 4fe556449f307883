"""The tests' child processes do not outlive the tests, however these end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from support.processes import Process, free_port, until

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
PARENT = """
import sys, time
from pathlib import Path
from support.processes import Process
child = Process("child", sys.argv[2:], Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a child when its parent dies")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
async def test_child_ends_with_a_parent_that_is_killed(tmp_path: Path, signum: signal.Signals) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "child.log"), *SLEEPER),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert runs(pid)
    parent.send_signal(signum)
    await parent.wait()
    await until(lambda: not runs(pid), "the child is gone")


def runs(pid: int) -> bool:
    """The process is there, and not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_killed_process_can_be_started_again(tmp_path: Path) -> None:
    process = Process("sleeper", SLEEPER, tmp_path / "sleeper.log")
    process.start()
    try:
        first = process.pid
        process.kill()
        assert not runs(first)
        process.start()
        await until(lambda: process.tail().count("up") >= 1, "it is up again")
        process.check()
        assert process.pid != first
    finally:
        process.kill()


async def test_process_that_ended_by_itself_is_reported_with_its_log(tmp_path: Path) -> None:
    process = Process(
        "failing", [sys.executable, "-c", "raise SystemExit('what went wrong')"], tmp_path / "failing.log"
    )
    process.start()
    await until(lambda: process.returncode is not None, "it has ended")
    with pytest.raises(AssertionError, match=r"(?s)failing is not running \(1\).*what went wrong"):
        process.check()


async def test_stop_is_a_request_first(tmp_path: Path) -> None:
    polite = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
    process = Process("polite", [sys.executable, "-c", polite], tmp_path / "polite.log")
    process.start()
    await until(lambda: "up" in process.tail(), "it is up")
    assert process.stop() == 7


def test_free_port_is_never_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
