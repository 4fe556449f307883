"""The table of fields in ``registry/index/README.md``, as data."""

from __future__ import annotations

import re
from pathlib import Path

from registry.model.names import Kind

TABLE = Path(__file__).parents[2] / "registry" / "index" / "README.md"
WORDS = {"used", "ignored", "written"}
ROW = re.compile(r"\| `(?P<field>[^`]+)` \| (?P<word>\w+) \| (?P<why>.*)\|$")


def field_table() -> dict[Kind, dict[str, str]]:
    """Kind -> field -> the word on it. A field that is there twice, or has another word, fails."""
    found: dict[Kind, dict[str, str]] = {}
    rows: dict[str, str] = {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("## "):
            rows = found.setdefault(Kind(line.removeprefix("## ")), {})
        elif (row := ROW.match(line)) is not None:
            assert row["field"] not in rows, f"{row['field']} is there twice"
            assert row["word"] in WORDS, row["word"]
            rows[row["field"]] = row["word"]
    return found
