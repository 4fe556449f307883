"""DATA frames that many connections send, made once for all of them."""

from __future__ import annotations

from typing import Final

from registry.rpc import frames, messages

SHARED_MESSAGES: Final = 8
SHARED_BYTES: Final = 256 << 10
"""Larger messages are framed for each stream, as its windows let them through."""

SHARED_STREAMS: Final = 16
"""Frames are shared for so many stream numbers: clients that have one stream, or one for each type, have the lowest."""


class SharedFrames:
    """The DATA frames of the last few messages, made once for all connections that send them on a stream of one number.

    Messages are told apart by being the same object, not by being equal: comparing would cost more than it saves.
    """

    def __init__(self) -> None:
        self._frames: dict[int, tuple[bytes, bytes, dict[int, bytes]]] = {}

    def framed(self, message: bytes) -> bytes:
        """The message with its gRPC prefix."""
        return self._found(message)[1]

    def frame(self, stream_id: int, message: bytes) -> bytes:
        """The DATA frames with all of it."""
        _, framed, by_stream = self._found(message)
        frame = by_stream.get(stream_id)
        if frame is None:
            frame = frames.all_data(stream_id, framed)
            if len(by_stream) < SHARED_STREAMS:
                by_stream[stream_id] = frame
        return frame

    def _found(self, message: bytes) -> tuple[bytes, bytes, dict[int, bytes]]:
        key = id(message)
        found = self._frames.get(key)
        if found is None:
            if len(self._frames) >= SHARED_MESSAGES:
                del self._frames[next(iter(self._frames))]
            # The message is kept with its frames, so that its id is not given to another.
            found = self._frames[key] = (message, messages.framed(message), {})
        return found
