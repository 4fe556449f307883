"""Bytes that the process keeps for each connection, and for all of them. No IO.

A connection's account is the sum of what its client sent and nothing has answered yet, of what waits for the client to
read it, and of what handlers keep for it (``Stream.charge``).
"""

from __future__ import annotations

from collections.abc import Callable


class Ledger:
    """The sum of all accounts. ``crowded`` is called each time an account grows while the sum is above ``limit``."""

    def __init__(self, limit: int, crowded: Callable[[], None]) -> None:
        self.limit = limit
        self.held = 0
        self._crowded = crowded

    def add(self, size: int) -> None:
        """Keep ``size`` bytes more; negative: less."""
        self.held += size
        if size > 0 and self.held > self.limit:
            self._crowded()


class Account:
    """Bytes kept for one connection."""

    __slots__ = ("_ledger", "held", "limit")

    def __init__(self, ledger: Ledger, limit: int) -> None:
        self._ledger = ledger
        self.limit = limit
        self.held = 0

    def add(self, size: int) -> bool:
        """Keep ``size`` bytes more, or less; whether the connection stays within its limit."""
        self.held += size
        self._ledger.add(size)
        return self.held <= self.limit

    def close(self) -> None:
        """The connection is gone, with all that was kept for it."""
        self._ledger.add(-self.held)
        self.held = 0
