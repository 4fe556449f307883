"""Keeps the program's long-lived tasks running: one that fails is logged, counted, and started again after a wait.

The wait doubles with each failure in a row. A callback that fails is logged and counted in the same way and never
keeps its caller from going on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ParamSpec

from registry.endings import until_cancelled

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.5, 60.0)
"""The first wait and the longest, each less a random part of up to half."""

STEADY_SECONDS = 60.0
"""A task that ran for so long has recovered: its next failure is a first one, and it is reported no more."""

TRACEBACK_SECONDS = 60.0
"""The same failure is logged once in this time."""

MOST_KINDS = 256
"""So many kinds of failures are remembered for logs and reports; the oldest are forgotten first."""

FAILED = "TaskFailed"
ENDED = "it ended although it should run for as long as the program"

Sleep = Callable[[float], Awaitable[None]]
Params = ParamSpec("Params")


@dataclass(slots=True)
class _Failing:
    """``times`` in a row up to ``at``, and the last error."""

    times: int
    at: float
    text: str


@dataclass(slots=True)
class _Logged:
    at: float
    since: int = 0
    """How often it happened again without a log line."""


class EndedError(Exception):
    """A task that runs for as long as the program returned."""


class Supervisor:
    """``count`` is called with a task's name at each failure. ``clock`` is monotonic; ``rand`` gives [0, 1).

    A task has a name from a small fixed set, fit for a metric label, and a ``subject`` (a cluster, a place) for people.
    """

    def __init__(
        self,
        count: Callable[[str], None] = lambda _task: None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rand: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._count = count
        self._clock = clock
        self._random = rand
        self._sleep = sleep
        self._failing: dict[tuple[str, str], _Failing] = {}
        self._logged: dict[tuple[object, ...], _Logged] = {}

    def start(
        self,
        task: str,
        run: Callable[[], Awaitable[None]],
        *,
        subject: str = "",
        may_end: bool = False,
        failed: Callable[[Exception, float], None] | None = None,
    ) -> asyncio.Task[None]:
        """``supervise`` as a task of the running loop."""
        work = self.supervise(task, run, subject=subject, may_end=may_end, failed=failed)
        return asyncio.create_task(until_cancelled(work), name=_named(task, subject))

    async def supervise(
        self,
        task: str,
        run: Callable[[], Awaitable[None]],
        *,
        subject: str = "",
        may_end: bool = False,
        failed: Callable[[Exception, float], None] | None = None,
    ) -> None:
        """Run ``run`` until cancelled, again after each failure. ``may_end``: a return is no failure and ends it.

        ``failed`` receives each failure and the seconds until the next run.
        """
        while True:
            began = self._clock()
            try:
                await run()
                error: Exception = EndedError(ENDED)
                if may_end:
                    self._failing.pop((task, subject), None)
                    return
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                error = EndedError("something that it waited for was cancelled")
            except Exception as raised:  # noqa: BLE001 - logged with its traceback
                error = raised
            if self._clock() - began >= STEADY_SECONDS:
                self._failing.pop((task, subject), None)
            wait = self._wait(self._note(task, subject, error))
            self._log(task, subject, error, f"; it is started again in {wait:.1f} s")
            if failed is not None:
                self.attempt(task, failed, error, wait)
            del error  # its traceback holds this frame
            await self._sleep(wait)

    def attempt(self, task: str, call: Callable[Params, object], *args: Params.args, **kwargs: Params.kwargs) -> bool:
        """Call it; whether it did not fail. A failure is logged and counted and goes no further."""
        try:
            call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            self.failed(task, error)
            return False
        return True

    def failed(self, task: str, error: Exception, subject: str = "") -> None:
        """Log and count a failure that the caller survives."""
        self._note(task, subject, error)
        self._log(task, subject, error, "; the rest goes on")

    def troubles(self) -> Sequence[tuple[str, str, str]]:
        """What failed in the last ``STEADY_SECONDS``: who, one word, and what happened."""
        recent = self._clock() - STEADY_SECONDS
        text = "failed {} times in a row, by a bug: {}; the log has the details"
        return [
            (_named(*who), FAILED, text.format(each.times, each.text))
            for who, each in sorted(self._failing.items())
            if each.at > recent
        ]

    def _note(self, task: str, subject: str, error: Exception) -> int:
        """How often it has failed in a row."""
        self._count(task)
        now = self._clock()
        before = self._failing.pop((task, subject), None)
        # A wait of a minute is no time without a failure.
        in_a_row = before is not None and now - before.at < STEADY_SECONDS + BACKOFF_SECONDS[1]
        times = before.times + 1 if before is not None and in_a_row else 1
        self._failing[task, subject] = _Failing(times, now, _shown(error))
        if len(self._failing) > MOST_KINDS:
            del self._failing[next(iter(self._failing))]
        return times

    def _wait(self, times: int) -> float:
        first, longest = BACKOFF_SECONDS
        return min(longest, first * 2.0 ** min(times - 1, 16)) * (1 - self._random() / 2)

    def _log(self, task: str, subject: str, error: Exception, then: str) -> None:
        """With its traceback, once in ``TRACEBACK_SECONDS`` for each place that fails."""
        now, kind = self._clock(), (task, subject, type(error), *_origin(error))
        logged = self._logged.pop(kind, None)
        if logged is not None and now - logged.at < TRACEBACK_SECONDS:
            logged.since += 1
            self._logged[kind] = logged
            return
        again = f" ({logged.since} times more since it was logged last)" if logged is not None and logged.since else ""
        self._logged[kind] = _Logged(now)
        if len(self._logged) > MOST_KINDS:
            del self._logged[next(iter(self._logged))]
        log.error("%s failed%s%s: %s", _named(task, subject), again, then, _shown(error), exc_info=error)


def _is_cancelled() -> bool:
    """Whether the cancellation is of this task, and not of another that it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _origin(error: BaseException) -> Iterator[object]:
    """Where it was raised; of a group, each of its errors."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _origin(each)
        return
    last = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        last = frame.f_code, line
    yield last


def _shown(error: BaseException) -> str:
    """The error in a few words: what it quotes may be long."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:200]


def _named(task: str, subject: str) -> str:
    return f"{task} {subject}" if subject else task
