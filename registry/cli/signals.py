"""What signals do to ``mesh-registry serve``."""

from __future__ import annotations

import asyncio
import logging
import signal

log = logging.getLogger(__name__)

STOPPING = (signal.SIGINT, signal.SIGTERM)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
"""Their default is to end the process without a word."""


class Signals:
    """Sets ``stop`` on SIGTERM and SIGINT, and ``reload`` on SIGHUP, of the running loop.

    A second SIGTERM or SIGINT ends the process at once, as the signal does by default. Python ignores SIGPIPE, so
    whatever reads our output may go.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for signum in STOPPING:
            self._loop.add_signal_handler(signum, self._stop, signum)
        self._loop.add_signal_handler(signal.SIGHUP, self.reload.set)
        for signum in IGNORED:
            self._loop.add_signal_handler(signum, log.warning, "%s is ignored; SIGHUP reloads", signum.name)

    def _stop(self, signum: signal.Signals) -> None:
        for each in STOPPING:
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        log.info("%s: stopping; a second one ends the process at once", signum.name)
        self.stop.set()
