"""The streams of one HTTP/2 connection: those that are open, and what is known of those that are not (RFC 9113 section
5.1)."""

from __future__ import annotations

from typing import Final

from registry.rpc.frames import MAX_STREAM_ID, ConnectionFaultError, ErrorCode, StreamFaultError

STREAM_WINDOW: Final = 256 << 10
RESETS_REMEMBERED: Final = 256
"""Frames for a stream that we reset may be on their way still (section 5.1); of so many streams they are ignored."""


class Stream:
    """One open stream.

    ``window`` is what the client still takes of us, ``waiting`` what that holds back, ``trailers`` the block that ends
    the stream after it. ``credit`` is what the client sent and has not been allowed to send again.
    """

    __slots__ = ("content_left", "credit", "id", "remote_open", "trailers", "waiting", "window")

    def __init__(self, stream_id: int, window: int) -> None:
        self.id = stream_id
        self.window = window
        self.credit = 0
        self.remote_open = True
        self.content_left: int | None = None
        self.waiting: memoryview | None = None
        self.trailers: bytes | None = None

    def charge(self, size: int) -> None:
        """DATA of ``size`` bytes came, padding included (sections 5.1 and 6.9.1).

        Raises:
            StreamFaultError: it should not have.
        """
        if not self.remote_open:
            raise StreamFaultError(self.id, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        self.credit += size
        if self.credit > STREAM_WINDOW:
            raise StreamFaultError(self.id, ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window")

    def count(self, size: int, ended: bool) -> None:
        """So much of the content came. Its ``content-length`` has to be true (section 8.1.1).

        Raises:
            StreamFaultError: it is not.
        """
        if self.content_left is None:
            return
        self.content_left -= size
        if self.content_left < 0 or (ended and self.content_left > 0):
            raise StreamFaultError(self.id, ErrorCode.PROTOCOL_ERROR, "content-length is not the length of the content")


class Streams:
    """All streams of a connection, by number. Clients number theirs upwards, with odd numbers."""

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.blocked: dict[int, Stream] = {}
        """Those with something that waits for the connection's window or for room, the one served last at the end. What
        waits for its stream's own window is not here: only that window's growth helps it."""
        self.highest = 0
        self.last_accepted = MAX_STREAM_ID
        """Streams above are not served: the connection is being closed."""
        self._reset_by_us: dict[int, None] = {}

    def expect_late(self, stream_id: int, what: str, tolerate_closed: bool = False) -> None:
        """A frame of a stream that is not open came. Some may come when a stream is over (section 5.1).

        Raises:
            StreamFaultError: not this one.
            ConnectionFaultError: the stream never was.
        """
        if stream_id == 0 or stream_id > self.highest or stream_id % 2 == 0:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"{what} of a stream that never was")
        if not tolerate_closed and not self.ignores(stream_id):
            raise StreamFaultError(stream_id, ErrorCode.STREAM_CLOSED, f"{what} on a closed stream")

    def ignores(self, stream_id: int) -> bool:
        """The client may not know yet that the stream is over, or never began."""
        return stream_id in self._reset_by_us or stream_id > self.last_accepted

    def remember_reset(self, stream_id: int) -> None:
        """We reset it."""
        self._reset_by_us[stream_id] = None
        if len(self._reset_by_us) > RESETS_REMEMBERED:
            del self._reset_by_us[next(iter(self._reset_by_us))]

    def forget(self, stream_id: int) -> bool:
        """The stream is over; whether it was not before."""
        self.blocked.pop(stream_id, None)
        return self.open.pop(stream_id, None) is not None

    def clear(self) -> None:
        """All are over."""
        self.open.clear()
        self.blocked.clear()
