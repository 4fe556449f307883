"""What holds up a real event loop is counted, and named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import uvloop

from registry.stall_watch import StallWatch, work_for
from registry.stalls import Stalls

LONG_SECONDS = 0.15


@dataclass
class Counted:
    """What was counted, as far as it is more than a noisy machine does by itself."""

    works: list[tuple[str, float, float]] = field(default_factory=list)

    def __call__(self, work: str, wall: float, cpu: float) -> None:
        if wall > LONG_SECONDS * 0.6:
            self.works.append((work, wall, cpu))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as it:
        yield it


def spin() -> None:
    """Use so much of a CPU."""
    until = time.thread_time() + LONG_SECONDS
    while time.thread_time() < until:
        pass


async def watched(counted: Counted, work: Callable[[], None]) -> None:
    watch = StallWatch(Stalls(counted))
    watch.start()
    try:
        await asyncio.sleep(0.12)
        work()
        await asyncio.sleep(0.12)
    finally:
        watch.stop()


def test_step_of_a_task_is_named_after_it(runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted()

    async def busy() -> None:
        await asyncio.sleep(0)
        spin()

    runner.run(watched(counted, lambda: asyncio.create_task(busy(), name="the busy one") and None))
    assert [work for work, _, cpu in counted.works if cpu >= LONG_SECONDS * 0.9] == ["task"]
    assert "for task: the busy one (" in caplog.text
    assert "busy)" in caplog.text


def test_step_is_named_after_whom_the_task_works_for(runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted()

    async def busy() -> None:
        work_for("GET /metrics of 10.0.0.1")
        spin()

    runner.run(watched(counted, lambda: asyncio.create_task(busy(), name="a connection") and None))
    assert "for task: GET /metrics of 10.0.0.1 (" in caplog.text


def test_callback_that_nothing_names_is_found_by_its_stack(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    counted = Counted()
    runner.run(watched(counted, lambda: asyncio.get_running_loop().call_soon(spin) and None))
    assert [work for work, _, cpu in counted.works if cpu >= LONG_SECONDS * 0.6] == ["other"]
    assert "for other: spin (test_stall_watch.py:" in caplog.text


def test_thread_that_waits_has_used_no_cpu(runner: asyncio.Runner) -> None:
    counted = Counted()
    sleep = time.sleep
    runner.run(watched(counted, lambda: asyncio.get_running_loop().call_soon(sleep, LONG_SECONDS) and None))
    assert counted.works
    assert all(cpu < 0.05 for _, _, cpu in counted.works)


def test_task_is_cancelled_awaited_and_raises_as_without_it(runner: asyncio.Runner) -> None:
    """The coroutine is wrapped: nobody may notice."""
    seen: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("it")

    async def adding(number: int) -> int:
        async with asyncio.timeout(1):
            await asyncio.sleep(0)
        return number + 1

    async def main() -> None:
        watch = StallWatch(Stalls())
        watch.start()
        task = asyncio.create_task(forever(), name="forever")
        await asyncio.sleep(0.01)
        assert task.get_name() == "forever"
        task.cancel()
        found = await asyncio.gather(task, asyncio.create_task(failing()), adding(1), return_exceptions=True)
        seen.extend(map(repr, found))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.create_task(forever())
        watch.stop()

    runner.run(main())
    assert seen == [
        *("cancelled", "cleaned up", "CancelledError('')", "ValueError('it')", "2"),
        *("cancelled", "cleaned up"),
    ]
