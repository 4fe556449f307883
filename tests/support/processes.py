"""Child processes of the tests: logged, and gone when the tests are."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from support.away import AwayError

STOP_SECONDS = 10.0
DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended already")
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""The kernel kills the child when the tests die without having stopped it (prctl(2): 1 is PR_SET_PDEATHSIG).

The child asks for it itself, and then becomes the command: nothing of ours runs between fork and exec, where the fork
handlers of a gRPC client crash now and then.
"""
_ports = itertools.cycle(range(20_000, 32_000))
Value = TypeVar("Value")


class Process:
    """One child, the leader of a process group of its own, so that Ctrl-C reaches only us and we stop it in order.

    Its output goes to ``log``; it can be started again after it has ended.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = env
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._dying_with_parent() if sys.platform == "linux" else self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def _dying_with_parent(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *self._command]

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.name} is not running"
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.poll() if self._child else None

    def check(self) -> None:
        """Fails with the end of the log when the process has ended by itself."""
        if self._child is None or self._child.poll() is not None:
            raise AssertionError(f"{self.name} is not running ({self.returncode}):\n{self.tail()}")

    def signal(self, signum: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL to the process and its own children, and wait for its end."""
        if self._child is not None:
            self._kill_group(self._child)
            self._child.wait()
            self._child = None

    def stop(self) -> int | None:
        """SIGTERM, SIGKILL when that is not enough; the exit code."""
        if self._child is None:
            return None
        self._child.terminate()
        try:
            code = self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_group(self._child)
            code = self._child.wait()
        self._child = None
        return code

    @staticmethod
    def _kill_group(child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now, another one each time.

    Below the range from which Linux gives ports to clients (ip(7), ip_local_port_range), so that no connection can take
    it before the server does.
    """
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def until(
    condition: Callable[[], Awaitable[Value] | Value], what: str, timeout: float = 30.0, poll: float = 0.02
) -> Value:
    """Wait until ``condition`` gives something true, and return it; fails after ``timeout`` seconds, with ``what``.

    A server that is away (AwayError) is asked again.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen: object
        try:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            seen = found
        except AwayError as error:
            seen = error
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:.0f} s still not: {what} (last seen: {seen!r})")
        await asyncio.sleep(poll)
