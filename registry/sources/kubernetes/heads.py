"""Bounds what may come of an HTTP answer besides its body.

RFC 9110 section 15.2 lets a server send any number of interim answers (1xx). aiohttp reads on as long as they come, and
each read parses as many as the buffer has. Chunk extensions, trailers and empty blocks of gzip have no end either.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import ClientConnectionError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

INTERIM_ANSWERS = 8
HEAD_BYTES = 128 << 10
"""Of an answer: the status lines and headers of all interim answers and of the final one."""

BARREN_BYTES = 1 << 20
"""Bytes in a row that bring nothing of the body."""

PIECE_BYTES = 8 << 10
"""As long as the head is awaited, so much is parsed at once."""


class HeadError(ClientConnectionError):
    """What comes besides the body is beyond the bounds."""


class BoundedHandler(ResponseHandler):
    """aiohttp's protocol of one connection, which is closed when the head of an answer does not end."""

    _head_bytes = 0
    _interim = 0
    _awaits_head = False
    _barren_bytes = 0
    _body_bytes = -1

    def set_response_params(self, **params: Any) -> None:
        """A request is sent; what comes is its answer."""
        self._head_bytes = self._interim = 0
        self._awaits_head = True
        self._barren_bytes, self._body_bytes = 0, -1
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """The head of an answer was parsed."""
        if self.exception() is not None:
            return
        if not self._awaits_head:
            self._give_up("an answer that nobody asked for")
        elif 100 <= data[0].code <= 199 and data[0].code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._interim += 1
            if self._interim > INTERIM_ANSWERS:
                self._give_up(f"more than {INTERIM_ANSWERS} interim answers (1xx)")
            else:
                super().feed_data(data, size)
        else:
            self._awaits_head = False
            super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes came; none of them where aiohttp goes on with what it held back."""
        while data and self._in_head():
            piece, data = data[:PIECE_BYTES], data[PIECE_BYTES:]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._in_head() and self._head_bytes > HEAD_BYTES:
                self._give_up(f"a head of more than {HEAD_BYTES} bytes")
            if not data or not self.is_connected():
                return
        super().data_received(data)
        self._barren_bytes += len(data)
        if self._barren_bytes > BARREN_BYTES:
            self._check_progress()

    def _check_progress(self) -> None:
        """Look whether the last ``BARREN_BYTES`` brought something of the body."""
        body = self._payload.total_bytes if self._payload is not None else -1
        if body == self._body_bytes:
            self._give_up(f"more than {BARREN_BYTES} bytes that bring nothing of the body")
        self._barren_bytes, self._body_bytes = 0, body

    def _in_head(self) -> bool:
        return self._awaits_head

    def _give_up(self, why: str) -> None:
        self._awaits_head = False
        error = HeadError(why)
        self.set_exception(error)
        if self._payload is not None:
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.abort()
