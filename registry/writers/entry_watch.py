"""Follows our own ServiceEntries in one cluster, so that what others change of them is noticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from registry.model.names import ClusterId
from registry.sources.kubernetes.backoff import Backoff
from registry.sources.kubernetes.client import TransportError
from registry.writers.answers import WriteError
from registry.writers.entry_api import EntryApi, ExpiredError, Heard

log = logging.getLogger(__name__)

STEADY_SECONDS = 5.0
"""A watch that lasted so long, or brought something, ended as watches and proxies end them."""

BARREN_WATCHES = 2
"""So many watches in a row that ended early and brought nothing lead to a new list."""

WITHOUT_WATCH = (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


class EntryWatch:
    """``hear`` takes each event. ``random`` gives numbers in [0, 1).

    ``fault`` says why entries are not watched; then they are compared from time to time only.
    """

    def __init__(
        self,
        cluster: ClusterId,
        hear: Callable[[Heard], None],
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._hear = hear
        self._random = random
        self._sleep = sleep
        self._backoff = Backoff(random)
        self.fault = ""

    async def follow(self, api: EntryApi, version: str, confirm: Callable[[], Awaitable[None]]) -> None:
        """Follow from a list's ``version``; returns when the entries are to be listed anew.

        ``confirm`` returns once it is certain that the API server is the right one: asked where the connection broke.

        Raises:
            TransportError, WriteError: they cannot be watched now.
        """
        barren = 0
        clock = asyncio.get_running_loop().time
        while True:
            began, brought = clock(), False
            try:
                async for heard in api.watch(version, self._random()):
                    version, brought, self.fault = heard.version or version, True, ""
                    self._hear(heard)
            except ExpiredError:
                await self._sleep(self._backoff.failed())
                return
            except TransportError:
                if not brought and clock() - began < STEADY_SECONDS:
                    raise
                await confirm()
            except WriteError as error:
                if error.status not in WITHOUT_WATCH:
                    raise
                self._say(str(error))
                await asyncio.Event().wait()
            steady = clock() - began >= STEADY_SECONDS
            if steady or brought:
                barren = 0
                self._backoff.succeeded()
            else:
                barren += 1
            if not steady:
                await self._sleep(self._backoff.failed())
            if barren >= BARREN_WATCHES:
                return

    def _say(self, fault: str) -> None:
        if fault != self.fault:
            log.warning("cluster %s: ServiceEntries are not watched: %s", self._cluster, fault)
        self.fault = fault
