"""A list that comes in one large body, object by object. Pure: chunks in, the JSON of each object out.

An API server honours ``limit``. Caches and aggregating proxies may ignore it, and answer with 50,000 Pods at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from json.decoder import WHITESPACE, scanstring  # type: ignore[attr-defined]
from typing import Any

from registry.sources.kubernetes.bounds import TooMuchError
from registry.sources.kubernetes.decode import DecodeError

PIECE_BYTES = 2 << 20
"""Of one object, or of all that is beside the objects. It is scanned in one piece, in some 30 ms."""

_VALUE = json.JSONDecoder().raw_decode


class ListReader:
    """``feed`` it the body, and exhaust what it gives before the next chunk; ``metadata`` is there after the last."""

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self._most = piece_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._at = 0
        self._enough = 0
        """So much text has to be there before a value is looked for again: it was cut off when there was half of it."""
        self._key = ""
        self._place = "{"
        """What comes next: ``{``, a key, its value, an item, or the end ``.``."""
        self._beside: dict[str, Any] = {}
        self._beside_bytes = 0
        self.items = 0

    def feed(self, chunk: bytes, *, last: bool = False) -> Iterator[bytes]:
        """The JSON of the objects that ``chunk`` completes.

        Raises:
            DecodeError: it is no JSON, or ends early.
            TooMuchError: a piece is beyond the bound.
        """
        self._text = self._text[self._at :] + self._decode(chunk, last)
        self._at = 0
        while self._place != "." and (last or len(self._text) - self._at >= self._enough):
            before = self._place, self._at
            try:
                found = self._next()
            except (ValueError, IndexError) as error:  # cut off, or no JSON
                self._place, self._at = before
                left = len(self._text) - self._at
                if last:
                    raise DecodeError("the list ends early, or is no JSON") from error
                if left > self._most:
                    raise TooMuchError(f"an object of more than {self._most} bytes in one body") from error
                self._enough = 2 * left
                return
            except RecursionError as error:
                raise DecodeError("JSON that is nested too deeply") from error
            self._enough = 0
            if found is not None:
                self.items += 1
                yield found

    @property
    def beside(self) -> bytes:
        """The document without its objects, in JSON."""
        return json.dumps(self._beside).encode()

    def _next(self) -> bytes | None:
        """Take one step; an object if that was one."""
        at = self._skip(self._at)
        text, place = self._text, self._place
        if place == "{":
            self._expect(at, "{")
            self._place = "key"
        elif place == "key":
            if text[at] == ",":
                at = self._skip(at + 1)
            if text[at] == "}":
                self._at, self._place = at + 1, "."
                return None
            self._expect(at, '"')
            key, at = scanstring(text, at + 1)
            at = self._skip(at)
            self._expect(at, ":")
            self._key, self._place = key, "value"
        elif place == "value":
            if self._key == "items" and text[at] == "[":
                self._at, self._place = at + 1, "item"
                return None
            self._value(at)
            self._place = "key"
        else:
            return self._item(at)
        if place != "value":
            self._at = at + 1
        return None

    def _value(self, at: int) -> None:
        """A value beside the objects. It is complete only where something follows: a number may go on."""
        found, end = _VALUE(self._text, at)
        self._text[end]
        self._beside_bytes += end - at
        if self._beside_bytes > self._most:
            raise TooMuchError(f"more than {self._most} bytes beside the objects")
        self._beside[self._key] = found
        self._at = end

    def _item(self, at: int) -> bytes | None:
        text = self._text
        if text[at] == ",":
            at = self._skip(at + 1)
        if text[at] == "]":
            self._at, self._place = at + 1, "key"
            return None
        _, end = _VALUE(text, at)
        text[end]
        self._at = end
        return text[at:end].encode()

    def _skip(self, at: int) -> int:
        """Where the next character is that is no space."""
        end: int = WHITESPACE.match(self._text, at).end()
        if end == len(self._text):
            raise ValueError("cut off")
        return end

    def _expect(self, at: int, character: str) -> None:
        if self._text[at] != character:
            raise ValueError(f"{character!r} was expected")
