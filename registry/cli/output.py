"""What the commands print: columns for people, JSON and YAML for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
import yaml

TABLE, WIDE, JSON, YAML = "table", "wide", "json", "yaml"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Left-aligned columns, two spaces apart, never cut; an empty cell shows as ``-``, so that columns stay columns."""
    cells = [list(header)] + [[str(cell) if cell not in ("", None) else "-" for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def print_document(document: object, output: str) -> None:
    """The document as JSON or YAML, its keys in their own order."""
    if output == JSON:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
