"""What the drivers ask of a client of one API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol

from registry.sources.kubernetes.bounds import ANSWER_BYTES


class Answer(Protocol):
    """A whole answer, whatever its status."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


class Stream(Protocol):
    """An answer whose body is still coming."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, in pieces of any size."""

    async def read(self) -> bytes:
        """The rest of the body, of an answer that turned out to be no stream."""


class Api(Protocol):
    """Raises ``TransportError`` where no answer comes; see ``registry.sources.kubernetes.client``."""

    @property
    def server(self) -> str: ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        most: int = ANSWER_BYTES,
        began: Callable[[], None] | None = None,
    ) -> Answer:
        """One request and its whole answer, of ``most`` bytes; ``began`` is called when the answer begins to come."""

    def stream(self, path: str, query: Mapping[str, str], *, silence: float) -> AbstractAsyncContextManager[Stream]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance. ``clock`` is monotonic; ``random`` gives numbers in [0, 1)."""

    random: Callable[[], float]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The header ``Retry-After`` in seconds, None without a usable one (RFC 9110 section 10.2.3).

    A date is taken relative to the answer's own ``Date``, so that neither clock has to be right.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
        return None  # what email.utils makes of wild dates
    return max(0.0, until.total_seconds())
