"""A queue in which each peer has its turn, however many items others have put in. No IO."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


def _nobody(_peer: str) -> bool:
    return False


class FairQueue(Generic[Item]):
    """Items in the order of their peers' turns: the first of each peer, then the second of each."""

    def __init__(self) -> None:
        self._peers: dict[str, deque[Item]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, peer: str, item: Item) -> None:
        """Last of its peer's."""
        self._peers.setdefault(peer, deque()).append(item)
        self._length += 1

    def take(self, passed: Callable[[str], bool] = _nobody) -> Item | None:
        """The next one of a peer that is not ``passed`` over; None: there is none."""
        peer = next((each for each in self._peers if not passed(each)), None)
        if peer is None:
            return None
        own = self._peers.pop(peer)
        item = own.popleft()
        if own:
            self._peers[peer] = own
        self._length -= 1
        return item
