"""Constant requests, each answer counted: nothing may be lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Request = Callable[[], Awaitable[str]]
"""Sends one request; returns who answered. Whatever it raises counts as a lost request."""


class Load:
    """What came back so far: names of those who answered, and the text of each failure."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []


@asynccontextmanager
async def constant_load(request: Request, workers: int = 4, pause: float = 0.005) -> AsyncIterator[Load]:
    """``workers`` send one request after another, ``pause`` seconds apart, while the context lasts."""
    load = Load()

    async def work() -> None:
        while True:
            try:
                load.answers[await request()] += 1
            except Exception as error:  # noqa: BLE001 - every way to fail is a lost request
                load.failures.append(repr(error))
            await asyncio.sleep(pause)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
