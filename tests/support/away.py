"""Questions to servers that a test stops, kills and starts again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import aiohttp


class AwayError(AssertionError):
    """A server is away, or went away during its answer: what it was asked to do is done, or is not.

    ``support.processes.until`` asks again; anywhere else it fails the test.
    """


@contextlib.contextmanager
def whole_answers(server: str) -> Iterator[None]:
    """Refused and cut connections, and bodies cut short, are an AwayError."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise AwayError(f"{server} is away: {error!r}") from error
