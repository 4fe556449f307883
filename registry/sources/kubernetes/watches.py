"""Judges watches by what they brought. Pure.

A watch works when it brings a version that is newer than the one it began with, or lasts ``STEADY_SECONDS``. One that
does neither is fruitless: an API server or a proxy may accept every watch and never say a word on it. Two fruitless
watches in a row are a fault, and from then on the kind is listed instead, at growing distances, with one more watch
tried after each list. (client-go lists anew after every watch of less than a second without an event.)
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from registry.sources.kubernetes.backoff import BACKOFF_SECONDS, Backoff
from registry.sources.kubernetes.conditions import Fault, Reason

STEADY_SECONDS = 5.0
"""A watch that ends after this long ended as watches and proxies do; before, something may be wrong: no spinning."""

FRUITLESS_WATCHES = 2
"""How many fruitless watches in a row are a fault."""

QUIET_SECONDS = 90.0
"""How long a watch that stays open may bring no line. An API server sends a bookmark about once a minute."""

CHECK_SECONDS = 60.0
"""After so long without a line, over however many watches, the server is asked for its version."""

DOUBT_SECONDS = 180.0
"""After so long, what is held is in doubt. Where watches end without a line, the first doubt comes after
``CHECK_SECONDS``, each next one after twice as long as the one before: they may have nothing to tell, or lose it."""


class Silence(Enum):
    """How long no line came."""

    SHORT = "Short"
    CHECK = "Check"
    DOUBT = "Doubt"


class Watches:
    """The watches of one kind. ``fault`` is what is wrong with them, None while they work.

    A refusal is over when a watch is accepted. Any other fault lasts until a watch works.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._pace = Backoff(random)
        self._fruitless = 0
        self._brought = False
        self._proven_at = 0.0
        self._silent = self._checked = 0.0
        self._patience = CHECK_SECONDS
        self._refusal: Fault | None = None
        self._fault: Fault | None = None

    @property
    def fault(self) -> Fault | None:
        return self._refusal or self._fault

    def opened(self) -> None:
        """The API server accepted the watch, which says nothing yet of what it brings."""
        self._proven_at = 0.0
        self._refusal = None

    def proven(self, seconds: float) -> None:
        """What is held was current when the watch had been open for ``seconds``."""
        self._proven_at = seconds
        self._silent = self._checked = 0.0

    def brought(self) -> None:
        """A line tells a newer version."""
        self._brought = True
        self._patience = CHECK_SECONDS
        self._fault = None

    def lasted(self) -> None:
        """The watch has been open for ``STEADY_SECONDS``, and was not idle."""
        self._fruitless = 0
        self._brought = False
        self._pace.succeeded()
        self._fault = None

    def ended(self, seconds: float, fault: Fault) -> bool:
        """A watch that was open for ``seconds`` is over; ``fault`` is how. Returns whether to list anew."""
        if self._brought or seconds >= STEADY_SECONDS:
            self.lasted()
            return False
        if self._is_one_too_many():
            self._fault = fault
            return True
        return False

    def refused(self, fault: Fault | None) -> bool:
        """A watch was not accepted. Returns whether that is so for the second time in a row, or more often."""
        if self._brought:
            self.lasted()
        if self._is_one_too_many():
            self._refusal = fault
            return True
        return False

    def useless(self, fault: Fault, seconds: float) -> bool:
        """A watch that was open for ``seconds`` showed that only a list helps. Returns as ``refused`` does.

        What it brought before is no excuse: a list that is always followed by the same line is no cure.
        """
        self._brought = False
        if seconds >= STEADY_SECONDS:
            self.lasted()
        if self._is_one_too_many():
            self._fault = fault
            return True
        return False

    def _is_one_too_many(self) -> bool:
        self._fruitless += 1
        return self._fruitless >= FRUITLESS_WATCHES

    def silent(self, seconds: float) -> Silence:
        """The watch ended after ``seconds``: how long it is, with those before, since a line came."""
        found = self._silence(seconds, self._patience)
        if found is Silence.DOUBT:
            self._patience = min(DOUBT_SECONDS, 2 * self._patience)
        return found

    def _silence(self, seconds: float, patience: float) -> Silence:
        self._silent += max(0.0, seconds - self._proven_at)
        if self._silent >= patience:
            self._silent = self._checked = 0.0
            return Silence.DOUBT
        if self._silent - self._checked >= CHECK_SECONDS:
            self._checked = self._silent
            return Silence.CHECK
        return Silence.SHORT

    def quiet(self) -> Silence:
        """The watch is given up after ``QUIET_SECONDS`` without a line."""
        self.lasted()
        self._proven_at = 0.0
        return self._silence(QUIET_SECONDS, DOUBT_SECONDS)

    def pause(self, retry_after: float | None = None) -> float:
        """How many seconds to let pass before the next request."""
        return self._pace.failed(retry_after)


def closed(resource: str) -> Fault:
    """The fault of watches that end by themselves."""
    text = (
        f"watch {resource}: watches end at once and bring nothing, so they are listed anew, at most"
        f" {BACKOFF_SECONDS[1]:g} s apart; look for a proxy that closes or buffers watches"
    )
    return Fault(Reason.WATCH_CLOSED, text)
