"""Is somebody still there, and does he behave? The times of one connection. No IO; the clock is passed in."""

from __future__ import annotations

import math
from enum import Enum
from typing import Generic, TypeVar

from registry.rpc.limits import Limits

NEVER = -math.inf
Watched = TypeVar("Watched")
PING_STRIKES = 2
"""How many pings may come too soon before it is too many (grpc/proposal A8)."""


ROUNDS_PER_SECOND = 20


class Rounds(Generic[Watched]):
    """Who is to be looked at when, to a twentieth of a second: one timer for all, instead of one for each."""

    def __init__(self) -> None:
        self._rounds: dict[int, dict[Watched, None]] = {}
        self._round_of: dict[Watched, int] = {}

    def put(self, who: Watched, at: float) -> None:
        """Look at ``who`` then, or earlier if that was said before."""
        number = math.ceil(at * ROUNDS_PER_SECOND)
        before = self._round_of.get(who)
        if before is not None:
            if before <= number:
                return
            self.drop(who)
        self._round_of[who] = number
        self._rounds.setdefault(number, {})[who] = None

    def drop(self, who: Watched) -> None:
        """Look at ``who`` no more."""
        number = self._round_of.pop(who, None)
        if number is not None:
            members = self._rounds[number]
            del members[who]
            if not members:
                del self._rounds[number]

    def due(self, now: float) -> list[Watched]:
        """Those whose time has come, each once. They have to be put again."""
        due = [number for number in self._rounds if number <= now * ROUNDS_PER_SECOND]
        found = [who for number in sorted(due) for who in self._rounds.pop(number)]
        for who in found:
            del self._round_of[who]
        return found

    def next(self) -> float | None:
        """When the next is due."""
        return min(self._rounds) / ROUNDS_PER_SECOND if self._rounds else None


class Verdict(Enum):
    """What is to be done about a connection; the value says why."""

    PING = "nothing was heard for a while"
    NO_HANDSHAKE = "no HTTP/2 preface and SETTINGS in time"
    NO_ANSWER = "a ping was not answered in time"
    UNFINISHED = "a frame or a header block was not completed in time"
    STALLED = "what waits for it was not taken in time"
    IDLE = "it had no stream for a while"


class Vigil:
    """Watches over one connection that was made ``now``. Every method is told the time, in seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._made_at = now
        self._greeted = False
        self.heard_at = now
        self._pinged_at: float | None = None
        self._paused_at: float | None = None
        self._idle_since: float | None = now
        self._begun_at: float | None = None
        self._client_pinged_at = NEVER
        self._strikes = 0

    @property
    def idle_since(self) -> float | None:
        """Since when it has no stream; None: it has one."""
        return self._idle_since

    def heard(self, now: float) -> None:
        """Bytes came."""
        self.heard_at = now
        self._pinged_at = None

    def begun(self, now: float) -> None:
        """Part of a frame is here, another one than before."""
        self._begun_at = now

    def whole(self) -> None:
        """No part of a frame is here."""
        self._begun_at = None

    def greeted(self) -> None:
        """The handshake is complete."""
        self._greeted = True

    def paused(self, now: float) -> None:
        """The client does not take what waits for it."""
        self._paused_at = now

    def resumed(self) -> None:
        """It takes it again."""
        self._paused_at = None

    def streams(self, number: int, now: float) -> None:
        """So many streams are open now."""
        if number:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def sent(self) -> None:
        """Headers or data were sent: pings are in order again."""
        self._strikes = 0
        self._client_pinged_at = NEVER

    def client_pinged(self, now: float) -> bool:
        """The client pinged; whether that is in order (grpc/grpc doc/keepalive.md, "Server Enforcement")."""
        if now - self._client_pinged_at < self._limits.client_ping_seconds:
            self._strikes += 1
        self._client_pinged_at = now
        return self._strikes <= PING_STRIKES

    def check(self, now: float) -> Verdict | None:
        """What is to be done now. PING counts as done."""
        for verdict, at in self._deadlines():
            if now >= at:
                if verdict is Verdict.PING:
                    self._pinged_at = now
                return verdict
        return None

    def next_check(self) -> float:
        """When ``check`` should be asked again, at the latest."""
        return min(at for _, at in self._deadlines())

    def _deadlines(self) -> list[tuple[Verdict, float]]:
        limits = self._limits
        found = []
        if not self._greeted:
            found.append((Verdict.NO_HANDSHAKE, self._made_at + limits.handshake_seconds))
        if self._paused_at is not None:
            # Nothing is read meanwhile, so a ping could not be heard answered.
            found.append((Verdict.STALLED, self._paused_at + limits.stalled_seconds))
            return found
        if self._begun_at is not None:
            found.append((Verdict.UNFINISHED, self._begun_at + limits.message_seconds))
        if self._idle_since is not None:
            found.append((Verdict.IDLE, self._idle_since + limits.idle_seconds))
        if self._pinged_at is not None:
            found.append((Verdict.NO_ANSWER, self._pinged_at + limits.ping_timeout_seconds))
        else:
            found.append((Verdict.PING, self.heard_at + limits.ping_seconds))
        return found
