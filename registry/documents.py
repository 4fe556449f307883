"""YAML and JSON as plain values that remember where they stood. No IO, nothing of this program's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

MAX_NODES = 5_000_000
"""Values one document may come to once its aliases are expanded."""

MAX_DEPTH = 100

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class DocumentError(Exception):
    """Text that is no document. ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its plain value (dicts, lists, strings, numbers, booleans, None), and where each part stood."""

    value: Any
    _node: yaml.Node

    def line(self, path: str = "$") -> int:
        """The line of the value at ``path`` (``$.spec.ports[0].port``), or of the innermost part of it that exists."""
        node = self._node
        line = node.start_mark.line
        for key, position in _STEP.findall(path):
            found = _child(node, key, position)
            if found is None:
                break
            line, node = found
        return line + 1


def parse(content: bytes, *, json: bool = False) -> list[Document]:
    """Every document of a YAML stream, or the one of a JSON text; empty documents are left out.

    Values are those of JSON: a date stays the text it is. The same key twice in a mapping is an error.

    Raises:
        DocumentError: the content is not UTF-8, not YAML, or unreasonable (deeper or larger than anybody writes).
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(f"not UTF-8: byte 0x{content[error.start]:02x}", line) from error
    if json:
        text = text.replace("\t", " ")  # JSON allows tabs between tokens, YAML does not; inside strings neither does
    try:
        _check_depth(text)
        return [
            Document(_Constructor().construct_document(_checked(node)), node)
            for node in yaml.compose_all(text, Loader=yaml.CSafeLoader)
            if node.tag != "tag:yaml.org,2002:null"
        ]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        if mark and _character(text, mark) == "\t":
            message = "a tab where only spaces may indent; replace it by spaces"
        raise DocumentError(message, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = content.count(b"\n", 0, error.position) + 1  # the C library counts bytes
        raise DocumentError(f"a character YAML does not allow: U+{error.character:04X}", line) from error
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(str(error), 1) from error


class _Constructor(yaml.constructor.SafeConstructor):
    """Plain values; what YAML 1.1 would make a date of is the string it was written as."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str)  # type: ignore[type-var]


def _check_depth(text: str) -> None:
    """Refuse deep nesting before anything recurses into it: the C library would run out of its stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise DocumentError(
                    f"nested deeper than {MAX_DEPTH} levels", event.start_mark.line + 1 if event.start_mark else 1
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _character(text: str, mark: yaml.Mark) -> str:
    lines = text.split("\n")
    return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""


def _checked(node: yaml.Node) -> yaml.Node:
    """The node, once it is known that expanding it is harmless."""
    _expanded_size(node, {})
    return node


def _expanded_size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """How many values the node comes to. ``sizes`` has None for a node that is being counted."""
    known = sizes.get(id(node), 0)
    if known is None:
        raise DocumentError("an alias that contains itself", node.start_mark.line + 1)
    if known:
        return known
    sizes[id(node)] = None
    size = 1
    for child in _children(node):
        size += _expanded_size(child, sizes)
        if size > MAX_NODES:
            raise DocumentError("more values than any document needs (aliases of aliases?)", node.start_mark.line + 1)
    sizes[id(node)] = size
    return size


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise DocumentError(f"the key {key.value!r} twice in one mapping", key.start_mark.line + 1)
                seen.add(key.value)
            yield value


def _child(node: yaml.Node, key: str, position: str) -> tuple[int, yaml.Node] | None:
    """The part of ``node`` under ``key`` or at ``position``, with the line its key or item begins on."""
    if position and isinstance(node, yaml.SequenceNode) and int(position) < len(node.value):
        item = node.value[int(position)]
        return item.start_mark.line, item
    if key and isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == key:
                return name.start_mark.line, value
    return None
