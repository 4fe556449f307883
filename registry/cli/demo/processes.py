"""The demo's child processes: started together, gone together."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from registry.errors import StartError

STOP_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
LOG_TAIL_LINES = 12


class Children:
    """Child processes that do not outlive this one, however it ends. Each one's output goes to ``NAME.log``."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, command: Sequence[str]) -> None:
        """Start ``command`` in a session of its own, so that Ctrl-C reaches only us and we stop it in order.

        Raises:
            StartError: the program cannot be run.
        """
        with self._log(name).open("wb") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                )
            except OSError as error:
                raise StartError(f"cannot run {command[0]}: {error.strerror}") from error
        self._running[name] = process

    def check(self, name: str) -> None:
        """Raises ``StartError`` with the end of its log when the child has exited."""
        process = self._running[name]
        if process.returncode is not None:
            tail = self._log(name).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            raise StartError("\n  ".join([f"{name} exited with {process.returncode}; the end of its log:", *tail]))

    async def stop_all(self) -> None:
        """Ask each child to stop, the last started first; kill what has not stopped after ``STOP_SECONDS``."""
        while self._running:
            _, process = self._running.popitem()
            if process.returncode is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _log(self, name: str) -> Path:
        return self._log_folder / f"{name}.log"


def free_port(preferred: int) -> int:
    """``preferred`` on 127.0.0.1, or a free port where something already listens there."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            bound: int = probe.getsockname()[1]
            return bound
    raise StartError("no free port on 127.0.0.1")


def _die_with_parent() -> None:
    """Between fork and exec: the kernel kills the child when we die without having stopped it (prctl(2))."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
