"""How tasks end without leaving anything behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def until_cancelled(work: Coroutine[None, None, None]) -> None:
    """Run ``work`` as the whole of a task.

    A task keeps the ``CancelledError`` that ended it, which keeps the frames it passed. One of those often leads back
    to the task (``asyncio.timeout``) or to the error (``TaskGroup``). Such a cycle holds everything the frames know,
    such as a TLS context and its connections, until the garbage collector looks. So the error goes on without them.
    """
    try:
        await work
    except asyncio.CancelledError as error:
        error.__traceback__ = error.__context__ = error.__cause__ = None
        raise
