"""When a member that was removed goes: in a moment, or when another that may be the same cluster has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from registry.membership.succession import Succession

log = logging.getLogger(__name__)

SUCCESSION_SECONDS = 10.0
"""How long a member that was removed stays while a new one, which may be the same cluster, has not come."""


class Leaving:
    """``succession`` by the clock of the running loop: ``drop`` is called once for each member that is to go, and not
    from within ``begin``.
    """

    def __init__(self, settle_seconds: float, drop: Callable[[str], None]) -> None:
        """``settle_seconds``: the moment in which a member that is removed may be named again."""
        self.settle_seconds = settle_seconds
        self._drop = drop
        self._succession = Succession()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def settling(self) -> tuple[str, ...]:
        """Those that were removed a moment ago."""
        return self._succession.settling

    def leaving(self, name: str) -> bool:
        """Whether it was removed, and is not gone."""
        return self._succession.leaving(name)

    def begin(self, name: str, heirs: Iterable[str]) -> None:
        """``name`` was removed; any of ``heirs`` may be the same cluster."""
        self._succession.leave(name, heirs)
        self._wait(name, self.settle_seconds, self._settled)

    def expect(self, heir: str, leaving: str) -> None:
        """``heir``, who came just after, may be the same cluster as ``leaving``."""
        self._succession.expect(heir, leaving)

    def waiting_for(self, heir: str) -> tuple[str, ...]:
        """The members that go when ``heir`` has come, or is known to be another cluster."""
        return self._succession.expects(heir)

    def rule_out(self, heir: str, leaving: str) -> None:
        """``heir`` is another cluster than ``leaving``, or has come, or gone itself."""
        if self._succession.rule_out(heir, leaving):
            self._drop(leaving)

    def end(self, name: str) -> None:
        """``name`` is gone, or is to stay after all."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._succession.end(name)

    def stop(self) -> None:
        """Nobody goes any more."""
        for name in tuple(self._timers):
            self.end(name)

    def _settled(self, name: str) -> None:
        if self._succession.settle(name):
            self._drop(name)
            return
        heirs = ", ".join(self._succession.heirs(name))
        log.info("cluster %s: leaves when %s has come, which may be the same cluster", name, heirs)
        self._wait(name, SUCCESSION_SECONDS, self._drop)

    def _wait(self, name: str, seconds: float, then: Callable[[str], None]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, then, name)
