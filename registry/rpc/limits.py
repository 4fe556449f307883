"""What a server puts up with, and how it counts. The defaults are for a server that strangers can reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds, rates per second and connection."""

    connections: int = 10_000
    streams: int = 250
    """Open streams of one connection."""
    header_list_bytes: int = 16_384
    received_message_bytes: int = 16 << 20
    """An xDS request of 200,000 names fits in, or of 100,000 with their initial versions."""
    sent_message_bytes: int = 256 << 20
    connection_bytes: int = 32 << 20
    """How much is kept for one connection: its unfinished messages, what it does not read, what handlers charge."""
    process_bytes: int = 256 << 20
    """How much is kept for all connections together."""
    waiting_bytes: int = 256 << 10
    """How much may wait in one connection's socket buffer before nothing more is made for it."""
    stalled_seconds: float = 120.0
    """How long a client may take nothing of what waits for it, in the socket or on its windows."""
    message_seconds: float = 60.0
    """How long the rest of a message may take that has begun to come."""
    handshake_seconds: float = 10.0
    """How long TLS and the first SETTINGS may take together, each."""
    idle_seconds: float = 300.0
    """How long a connection may have no stream."""
    ping_seconds: float = 60.0
    """After this long without a byte from the client it is asked for a sign of life."""
    ping_timeout_seconds: float = 20.0
    client_ping_seconds: float = 5.0
    """How often a client may ping that is not sent anything."""
    new_streams: int = 1_000
    resets: int = 100
    control_frames: int = 500
    """PING, SETTINGS and each value in them, PRIORITY, WINDOW_UPDATE, empty DATA, unknown frames, and what comes for
    streams that are over, beyond those that requests explain."""
    burst_seconds: int = 10
    """A rate may be saved up for this long."""


class Allowance:
    """A rate that may be exceeded for a while: what is not used is saved up, to a limit.

    Times are those of one monotonic clock, in seconds.
    """

    __slots__ = ("_at", "_full", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._full = self._left = burst
        self._at = now

    def spend(self, now: float) -> bool:
        """Whether there is one more to be had."""
        if self._left < 1:
            self._left = min(self._full, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
        self._left -= 1
        return True

    def earn(self, amount: float) -> None:
        """Useful work explains some more."""
        self._left = min(self._full, self._left + amount)
