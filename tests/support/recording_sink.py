"""A sink that keeps what it is told, and can be waited on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from support.listener import Listener

from registry.index import Index
from registry.model.conditions import Condition, ConditionBoard
from registry.model.events import SourceEvent
from registry.model.names import ClusterId
from registry.model.status import SourceStatus


class RecordingSink:
    """Events go into an index of its own too, so that a test can ask what they come to."""

    def __init__(self, cluster: ClusterId) -> None:
        self.events: list[SourceEvent] = []
        self.statuses: list[SourceStatus] = []
        self.told: list[Condition] = []
        self.conditions: ConditionBoard[ClusterId] = ConditionBoard(lambda: 0.0)
        self.index = Index()
        self.index.add_cluster(cluster)
        self.listener = Listener()
        self._changed = asyncio.Event()

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        self.events.append(event)
        self.index.apply(cluster, event)
        self.listener.hear(event)
        self._changed.set()

    def status(self, cluster: ClusterId, status: SourceStatus) -> None:
        if not self.statuses or self.statuses[-1] != status:
            self.statuses.append(status)
            self._changed.set()

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        if self.conditions.set(cluster, condition):
            self.told.append(condition)
            self._changed.set()

    @property
    def last(self) -> SourceStatus:
        return self.statuses[-1]

    def addresses(self) -> set[str]:
        """The addresses of all endpoints of all services."""
        self.index.commit()
        return {endpoint.address for service in self.index.services() for endpoint in service.endpoints}

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Wait for events and statuses until ``condition`` holds."""
        try:
            async with asyncio.timeout(timeout):
                while not (self.statuses and condition()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"still not: {what}; last status: {self.statuses[-1:]}") from None
