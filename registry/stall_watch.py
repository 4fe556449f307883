"""Finds what held up the event loop: each step of a task, and by a heartbeat what nothing else names."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import PurePath
from types import FrameType, TracebackType
from typing import Any

from registry.stalls import LONGEST_SECONDS, Stalls

BEAT_SECONDS = 0.05
FRAMES = 4
"""So many callers are named."""


class StallWatch:
    """Watches the running loop, between ``start`` and ``stop``.

    uvloop says nothing of when it runs what. So every task's coroutine is wrapped, which times each step; callbacks are
    timed where they matter (``Stalls``); and a timer that comes late tells that something else ran too long, of which
    another thread has seen the stack. Frames of compiled modules are not in it, only those that called them.
    """

    def __init__(self, stalls: Stalls) -> None:
        self._stalls = stalls
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._look, name="stalls", daemon=True)
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._due = 0.0
        self._seen = ""
        """The stack, since the timer should have come."""

    def start(self) -> None:
        self._loop.set_task_factory(self._task)  # type: ignore[arg-type]  # typeshed wants a Future's type parameter
        self._set()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._loop.set_task_factory(None)
        if self._timer is not None:
            self._timer.cancel()

    def _set(self) -> None:
        self._seen = ""
        self._stalls.begin()
        self._due = time.monotonic() + BEAT_SECONDS
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        """It comes as late as what ran before it is long."""
        self._stalls.end(self._due, "other", self._seen or "seen too late to tell")
        self._set()

    def _look(self) -> None:
        """In a thread of its own: what runs, when the timer is late."""
        while not self._stopped.wait(LONGEST_SECONDS):
            if not self._seen and time.monotonic() > self._due + LONGEST_SECONDS / 2:
                self._seen = _stack(sys._current_frames().get(self._watched))

    def _task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(_Timed(work, self._stalls), loop=loop, **options)


def work_for(whom: str) -> None:
    """Name the task that runs after what it works for from now on."""
    task = asyncio.current_task()
    if task is not None:
        task.set_name(whom)


class _Timed(Coroutine[Any, Any, Any]):
    """A task's coroutine, each step of which is a slice."""

    __slots__ = ("_stalls", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any], stalls: Stalls) -> None:
        self._work = work
        self._stalls = stalls

    def send(self, value: Any) -> Any:
        began = self._stalls.begin()
        try:
            return self._work.send(value)
        finally:
            self._stalls.end(began, "task", self)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        began = self._stalls.begin()
        try:
            return self._work.throw(kind) if value is None else self._work.throw(kind, value, trace)  # type: ignore[arg-type]
        finally:
            self._stalls.end(began, "task", self)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()

    def __str__(self) -> str:
        task = asyncio.current_task()
        name = task.get_name() if task is not None else ""
        return f"{name} ({getattr(self._work, '__qualname__', self._work)})"


def _stack(frame: FrameType | None) -> str:
    """The innermost frames, the callers behind those they called."""
    found: list[str] = []
    while frame is not None and len(found) < FRAMES:
        code = frame.f_code
        found.append(f"{code.co_qualname} ({PurePath(code.co_filename).name}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(found)
