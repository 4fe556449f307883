"""What the commands print: columns and lines for people, JSON and YAML for programs.

All that is printed goes through here, since much of it was written by others: see ``registry.printable``.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Sequence

import click
import yaml

from registry.errors import RegistryError
from registry.printable import harmless

TABLE, WIDE, JSON, YAML = "table", "wide", "json", "yaml"


def say(*lines: str, err: bool = False) -> None:
    """Print these lines, each as one, to standard output or standard error."""
    for line in lines:
        _echo(harmless(line) + "\n", err=err)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of left-aligned columns, two spaces apart, never cut.

    An empty cell shows as ``-``, so that columns stay columns.
    """
    cells = [list(header)] + [[harmless(str(cell)) if cell not in ("", None) else "-" for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def print_document(document: object, output: str) -> None:
    """The document as JSON or YAML, its keys in their own order."""
    if output == JSON:
        _print(lambda plain: json.dumps(document, indent=2, ensure_ascii=plain) + "\n")
    else:
        _print(lambda plain: yaml.safe_dump(document, sort_keys=False, allow_unicode=not plain))


def print_json_line(document: object) -> None:
    """The document as JSON on one line."""
    _print(lambda plain: json.dumps(document, ensure_ascii=plain) + "\n")


def print_yaml_documents(documents: Iterable[object]) -> None:
    """Each as a YAML document of its own, apart by ``---``."""
    items = list(documents)
    _print(lambda plain: yaml.safe_dump_all(items, sort_keys=False, allow_unicode=not plain, explicit_start=True))


def _print(encode: Callable[[bool], str]) -> None:
    """What ``encode`` makes; in ASCII alone where it has anything that is no plain character. It says the same so."""
    text = encode(False)
    plain = all(map(str.isprintable, text.split("\n")))
    _echo(text if plain else encode(True))


def _echo(text: str, *, err: bool = False) -> None:
    """Print it; click ends the command in silence where nobody reads it any more (``| head``).

    Raises:
        RegistryError: it cannot be written for another reason (a full disk).
    """
    try:
        click.echo(text, nl=False, err=err)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        # What is buffered would be written, and fail, once more when the interpreter ends.
        sys.stdout = None
        raise RegistryError(f"cannot write the output: {error.strerror}") from error
