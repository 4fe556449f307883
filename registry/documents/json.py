"""JSON texts (RFC 8259), one after the other as kubectl takes them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from registry.documents.errors import DocumentError, Problem
from registry.documents.scalars import ScalarError, in_json

SPACE = b" \t\r\n"
_SPACES = re.compile(rb"[ \t\r\n]*")
MAX_TEXTS = 10_000
"""Texts in one file: to find the end of one costs as much as to read some hundred bytes."""

_TRAILING = re.compile(r"trailing characters \(byte (?P<end>\d+)\)")
_AT_BYTE = re.compile(r"(?P<what>.*) \(byte (?P<at>\d+)\)")
_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _TwiceError(ValueError):
    """A key that is there twice."""


def begins(content: bytes) -> bool:
    """Whether it looks like JSON to kubectl: the first thing in it is a brace."""
    return content[:256].lstrip(SPACE).startswith(b"{") or content.lstrip(SPACE).startswith(b"{")


def repaired(content: bytes) -> bytes:
    """The text with U+FFFD for each half of a surrogate pair that stands alone, as Go reads it. No offset changes."""
    if not _SURROGATE.search(content):
        return content
    mended = _ESCAPES.sub(lambda match: rb"\ufffd" if match["lone"] else match[0], content)
    return content if mended == content else mended


def texts(content: bytes) -> tuple[list[tuple[int, int]], int, DocumentError | None]:
    """Where each text begins and ends, where the first thing begins that is none, and what is wrong with that.

    The texts are read no closer than to find their ends.
    """
    found: list[tuple[int, int]] = []
    at = _after_space(content, 0)
    while content[at : at + 1] == b"{":
        try:
            msgspec.json.decode(memoryview(content)[at:], type=msgspec.Raw)
            end = len(content)
        except msgspec.DecodeError as error:
            trailing = _TRAILING.search(str(error))
            if trailing is None:
                return found, at, _explained(content, at, str(error))
            end = at + int(trailing["end"]) - 1  # of the character before it
        except RecursionError:
            return found, at, DocumentError("nested too deep", line_of(content, at))
        found.append((at, end))
        if len(found) > MAX_TEXTS:
            text = f"more than {MAX_TEXTS} JSON texts; put the objects into a List"
            raise DocumentError(text, line_of(content, at))
        at = _after_space(content, end)
    if at < len(content):
        return found, at, DocumentError("text after the end of the JSON", line_of(content, at))
    return found, at, None


def value_of(text: bytes) -> tuple[Any, Problem | None]:
    """The value of one text, and what is wrong in it; lines count from the text's first."""
    try:
        # Of bytes ``loads`` takes halves of surrogate pairs, and other encodings.
        return json.loads(text.decode(), object_pairs_hook=_unique, parse_float=_float, parse_constant=_refused), None
    except json.JSONDecodeError as error:
        return None, Problem(error.msg, error.lineno)
    except UnicodeDecodeError as error:
        return None, Problem(f"not UTF-8: byte 0x{text[error.start]:02x}", line_of(text, error.start))
    except RecursionError:
        return None, Problem("nested too deep", 1)
    except _TwiceError as error:
        (key,) = error.args
        return None, Problem(f"the key {key!r} twice in one object", _second(text, key))
    except ValueError as error:
        return None, Problem("a number of too many digits" if "digits" in str(error) else str(error), 1)


def line_of(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1


def for_yaml(text: bytes) -> bytes:
    """JSON that a YAML reader takes, line by line the same: it is read to find places only."""
    return _ESCAPES.sub(lambda match: rb"\u0020" * (len(match[0]) // 6) or match[0], text.replace(b"\t", b" "))


def _after_space(content: bytes, at: int) -> int:
    match = _SPACES.match(content, at)
    return match.end() if match else at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwiceError(key)
            seen.add(key)
    return value


def _float(text: str) -> Any:
    try:
        return in_json(float(text))
    except ScalarError as error:
        raise ValueError(f"the number {text[:40]} is too large") from error


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _second(text: bytes, key: str) -> int:
    """The line of the second place where the key is written: good enough where a text has it in one object only."""
    places: Iterator[re.Match[bytes]] = re.finditer(re.escape(json.dumps(key).encode()) + rb"\s*:", text)
    found = [place.start() for _, place in zip(range(2), places, strict=False)]
    return line_of(text, found[-1]) if found else 1


def _explained(content: bytes, at: int, message: str) -> DocumentError:
    match = _AT_BYTE.fullmatch(message)
    if match is None:
        return DocumentError(f"the JSON is cut off ({message})", line_of(content, len(content)))
    return DocumentError(match["what"], line_of(content, at + int(match["at"])))
