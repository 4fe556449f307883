"""What fails goes on: tasks on a virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest
from support.virtual_loop import virtually

from registry.supervision import BACKOFF_SECONDS, FAILED, MOST_KINDS, STEADY_SECONDS, TRACEBACK_SECONDS, Supervisor

FIRST, LONGEST = BACKOFF_SECONDS


class Task:
    """Fails at each run after ``lasts`` seconds of it, until ``good``."""

    def __init__(self, lasts: float = 0.0) -> None:
        self.lasts = lasts
        self.good = False
        self.runs: list[float] = []
        self.counted: Counter[str] = Counter()
        self.failures: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()
        self.supervisor = Supervisor(self._count, clock=loop.time, rand=lambda: 0.0)

    def _count(self, task: str) -> None:
        self.counted[task] += 1

    async def run(self) -> None:
        self.runs.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.lasts)
        if self.good:
            await asyncio.Event().wait()
        raise ZeroDivisionError("a bug")

    def failed(self, error: Exception, wait: float) -> None:
        self.failures.append((str(error), wait))

    @property
    def waits(self) -> list[float]:
        return [later - before for before, later in zip(self.runs, self.runs[1:], strict=False)]


def test_task_that_fails_is_run_again_after_twice_the_wait_each_time() -> None:
    async def play() -> None:
        it = Task()
        running = it.supervisor.start("writer", it.run, subject="a", failed=it.failed)
        await asyncio.sleep(600)
        assert it.waits[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        assert it.counted == {"writer": len(it.runs)}
        assert it.failures[1] == ("a bug", 1.0)
        ((who, reason, text),) = it.supervisor.troubles()
        assert (who, reason) == ("writer a", FAILED)
        assert "ZeroDivisionError: a bug" in text
        it.good = True
        await asyncio.sleep(LONGEST + STEADY_SECONDS + 1)
        assert it.supervisor.troubles() == []
        runs = len(it.runs)
        await asyncio.sleep(600)
        assert len(it.runs) == runs
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    virtually(play())


def test_task_that_ran_well_for_a_while_waits_for_the_first_time_only() -> None:
    async def play() -> None:
        it = Task(lasts=STEADY_SECONDS)
        running = it.supervisor.start("writer", it.run)
        await asyncio.sleep(10 * STEADY_SECONDS)
        assert set(it.waits) == {STEADY_SECONDS + FIRST}
        running.cancel()

    virtually(play())


def test_task_that_ends_is_run_again_unless_it_may() -> None:
    async def play() -> None:
        it, runs = Task(), 0

        async def run() -> None:
            nonlocal runs
            runs += 1

        running = it.supervisor.start("writer", run)
        await asyncio.sleep(FIRST * 1.5)
        assert (runs, it.counted) == (2, {"writer": 2})
        running.cancel()
        await it.supervisor.start("once", run, may_end=True)
        assert (runs, it.counted) == (3, {"writer": 2})

    virtually(play())


def test_cancellation_of_what_a_task_waits_for_is_a_failure_of_the_task() -> None:
    """A CancelledError ends a task without a word, also where nobody cancelled it."""

    async def play() -> None:
        it, runs = Task(), 0

        async def run() -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                inner = asyncio.create_task(asyncio.sleep(1))
                asyncio.get_running_loop().call_soon(inner.cancel)
                await inner
            await asyncio.Event().wait()

        running = it.supervisor.start("writer", run)
        await asyncio.sleep(FIRST * 1.5)
        assert (runs, it.counted, running.done()) == (2, {"writer": 1}, False)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    virtually(play())


def test_task_is_cancelled_while_it_waits() -> None:
    async def play() -> None:
        it = Task()
        running = it.supervisor.start("writer", it.run)
        await asyncio.sleep(FIRST / 2)
        running.cancel()
        await asyncio.wait([running])
        assert (running.cancelled(), len(it.runs)) == (True, 1)

    virtually(play())


def test_bug_in_who_hears_of_failures_ends_no_task() -> None:
    async def play() -> None:
        it = Task()

        def deaf(_error: Exception, _wait: float) -> None:
            raise KeyError("another bug")

        running = it.supervisor.start("writer", it.run, failed=deaf)
        await asyncio.sleep(FIRST * 1.5)
        assert len(it.runs) == 2
        running.cancel()

    virtually(play())


def test_traceback_is_logged_once_for_each_place_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        it = Task()

        def one(number: int) -> None:
            raise ValueError(number)

        def other() -> None:
            raise ValueError

        with caplog.at_level(logging.ERROR):
            for number in range(1000):
                assert not it.supervisor.attempt("audience", one, number)
            it.supervisor.attempt("audience", other)
            await asyncio.sleep(TRACEBACK_SECONDS)
            it.supervisor.attempt("audience", one, 1000)
        assert it.supervisor.attempt("audience", len, "") is True
        first, second, third = (record.getMessage() for record in caplog.records)
        assert first.startswith("audience failed; ")
        assert "999 times more" not in first + second
        assert "999 times more" in third
        assert all(record.exc_info is not None for record in caplog.records)
        assert it.counted == {"audience": 1002}

    virtually(play())


def test_what_is_remembered_of_failures_is_bounded() -> None:
    async def play() -> None:
        it = Task()
        for number in range(3 * MOST_KINDS):
            it.supervisor.failed("commit", ValueError("x" * 10_000), f"shop/{number}")
        troubles = it.supervisor.troubles()
        assert len(troubles) == MOST_KINDS
        assert max(len(text) for _, _, text in troubles) < 400

    virtually(play())
