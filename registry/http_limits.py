"""What a client of the HTTP port may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Times in seconds, sizes in bytes.

    ``headers_seconds``: from the connection, or the first byte of a further request, until its headers are complete.
    ``body_seconds``: from then until its body is. ``idle_seconds``: without another request. ``write_seconds``: until a
    client takes three quarters of the ``waiting_bytes`` that wait for it at most.
    """

    connections: int = 512
    headers_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 60.0
    write_seconds: float = 20.0
    waiting_bytes: int = 64 << 10
    line_bytes: int = 8190
    header_bytes: int = 4096
    """Of one header."""
    headers: int = 64
    body_bytes: int = 64 << 10
