"""Times as people and programs read them."""

from __future__ import annotations

from datetime import UTC, datetime


def time_text(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def when(seconds: float) -> str | None:
    """The same; None for 0, which stands for never."""
    return time_text(seconds) if seconds else None
