"""Bytes that the process keeps for each connection, and for all of them. No IO.

A connection's account has two parts. ``kept`` is what its client sent and what handlers keep for it
(``Stream.charge``): beyond the bound a call ends. ``waiting`` is what the client does not take: beyond the bound
nothing more is made.
"""

from __future__ import annotations

from collections.abc import Callable

from registry.rpc.seam import Code, RpcError


class Ledger:
    """The sum of all accounts. ``crowded`` is called each time it grows beyond ``limit``.

    A message that many clients are to take is one object, and counts once.
    """

    def __init__(self, limit: int, crowded: Callable[[], None]) -> None:
        self.limit = limit
        self.held = 0
        self._crowded = crowded
        self._messages: dict[int, tuple[bytes, int]] = {}
        """Those that some client does not take, by ``id``, and how many do not."""

    def add(self, size: int) -> None:
        """Keep ``size`` bytes more; negative: less."""
        self.held += size
        if size > 0 and self.held > self.limit:
            self._crowded()

    def wait(self, message: bytes) -> None:
        """One more client does not take ``message``."""
        _, clients = self._messages.get(id(message), (message, 0))
        self._messages[id(message)] = (message, clients + 1)
        if not clients:
            self.add(len(message))

    def waited(self, message: bytes) -> None:
        """One less."""
        _, clients = self._messages[id(message)]
        if clients > 1:
            self._messages[id(message)] = (message, clients - 1)
        else:
            del self._messages[id(message)]
            self.add(-len(message))


class Account:
    """Bytes kept for one connection, of which each part has the bound ``limit``."""

    __slots__ = ("_ledger", "kept", "limit", "waiting")

    def __init__(self, ledger: Ledger, limit: int) -> None:
        self._ledger = ledger
        self.limit = limit
        self.kept = 0
        self.waiting = 0

    @property
    def held(self) -> int:
        return self.kept + self.waiting

    def add(self, size: int) -> None:
        """Keep ``size`` bytes more; negative: less.

        Raises:
            RpcError: RESOURCE_EXHAUSTED. They count all the same, until they are taken back.
        """
        self.kept += size
        self._ledger.add(size)
        if size > 0 and self.kept > self.limit:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"the server keeps {self.kept} bytes for this connection; at most {self.limit} are kept for one",
            )

    def wait(self, message: bytes) -> None:
        """The client does not take ``message`` yet."""
        self.waiting += len(message)
        self._ledger.wait(message)

    def waited(self, message: bytes) -> None:
        """The message waits no more."""
        self.waiting -= len(message)
        self._ledger.waited(message)

    def buffer(self, size: int) -> None:
        """``size`` bytes more wait in buffers, of what was read or of what is to be written."""
        self.waiting += size
        self._ledger.add(size)
