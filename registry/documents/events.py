"""The events of a YAML stream, as libyaml reads it. Pure.

Only flat events leave this module: nothing here or in libyaml recurses into nested text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml._yaml import CParser

from registry.documents.errors import DocumentError

Event = Any
"""An event of PyYAML's C parser: ``start_mark``, and by its class ``anchor``, ``tag``, ``implicit`` and ``value``."""


def events(content: bytes) -> Iterator[Event]:
    """Every event of the stream: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        DocumentError: it is no YAML, with the line and what libyaml says of it.
    """
    following: Callable[[], Event] = CParser(content).get_event
    try:
        while True:
            event = following()
            yield event
            if event.__class__ is yaml.StreamEndEvent:
                return
    except yaml.MarkedYAMLError as error:
        raise _explained(content, error) from error
    except yaml.reader.ReaderError as error:
        raise _unreadable(content, error) from error
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(str(error), 1) from error


def _explained(content: bytes, error: yaml.MarkedYAMLError) -> DocumentError:
    mark = error.problem_mark or error.context_mark
    message = ", ".join(part for part in (error.context, error.problem) if part)
    if "nesting depth" in message:
        message = "nested deeper than 1000 levels"
    if mark is None:
        return DocumentError(message, 1)
    lines = content.split(b"\n", mark.line + 1)
    text = lines[mark.line].decode(errors="replace") if mark.line < len(lines) else ""
    if text[mark.column : mark.column + 1] == "\t":
        message = "a tab where only spaces may indent; replace it by spaces"
    return DocumentError(message, mark.line + 1, mark.column + 1)


def _unreadable(content: bytes, error: yaml.reader.ReaderError) -> DocumentError:
    """libyaml gives no position in a stream; Python knows where the first byte is that is not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        return DocumentError(f"not UTF-8: byte 0x{content[wrong.start]:02x}", line)
    line = content.count(b"\n", 0, error.position) + 1
    if isinstance(error.character, int):
        return DocumentError(f"a character YAML does not allow: U+{error.character:04X}", line)
    return DocumentError(f"{error.reason}", line)
