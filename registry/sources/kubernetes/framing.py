"""A watch's body as lines. Pure: chunks in, lines out.

The API server ends each event with one ``\\n`` byte, which JSON never holds inside an object. Nothing else is a line
end: U+2028, U+0085 or a carriage return inside a string must not cut it, so ``bytes.splitlines`` is not for this.
"""

from __future__ import annotations

MAX_LINE_BYTES = 16 << 20
"""More than any object: etcd takes at most a few MiB per value. It is decoded in one piece."""


class LineTooLongError(Exception):
    """A line grew beyond the limit without an end; the stream is not a watch."""


class LineFramer:
    """Cuts chunks into lines. Bytes after the last ``\\n`` are kept, and are lost when the stream ends there."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = max_line_bytes
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, without their ends and without empty ones.

        Raises:
            LineTooLongError: the line in progress is longer than the limit.
        """
        *complete, rest = chunk.split(b"\n")
        if complete:
            complete[0] = b"".join((*self._parts, complete[0]))
            self._parts = []
            self._held = 0
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
        if self._held > self._limit:
            raise LineTooLongError(f"a watch line of more than {self._limit} bytes")
        return [line for line in complete if line]
