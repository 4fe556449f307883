"""Completes ``values.schema.json`` of the Helm chart with the program's own schema of its configuration.

    python tests/tools/chart_schema.py PATH    rewrite the file's ``definitions``

The chart sets some keys of the configuration itself, from values of its own; these are no keys of ``config`` there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from registry.config.schema import Schema, definitions

OWN = ("clusters", "remoteSecrets", "kubeconfigFolder", "serviceEntries")
"""Keys of the configuration that the chart fills in from its own values."""

CHART_SECTION = "ChartConfig"


def completed(chart: dict[str, Any]) -> str:
    """The text of ``values.schema.json`` with the definitions of this program."""
    found = definitions()
    config = found["Config"]
    properties = {key: value for key, value in config["properties"].items() if key not in OWN}
    properties["listen"] = _only(found["ListenConfig"], "tls")
    properties["snapshot"] = _without(found["SnapshotConfig"], "file")
    title = "More of the configuration file: what the chart does not set by values of its own."
    found[CHART_SECTION] = config | {"title": CHART_SECTION, "description": title, "properties": properties}
    chart = {key: value for key, value in chart.items() if key != "definitions"}
    used = _reached(found, [CHART_SECTION, *_references(chart)])
    chart["definitions"] = {name: found[name] for name in sorted(used)}
    return json.dumps(chart, indent=2) + "\n"


def _only(section: Schema, *keys: str) -> Schema:
    return section | {"properties": {key: section["properties"][key] for key in keys}}


def _without(section: Schema, *keys: str) -> Schema:
    return _only(section, *(key for key in section["properties"] if key not in keys))


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = (
            [value["$ref"].removeprefix("#/definitions/").partition("/")[0]]
            if isinstance(value.get("$ref"), str)
            else []
        )
        return own + [name for each in value.values() for name in _references(each)]
    return [name for each in value for name in _references(each)] if isinstance(value, list) else []


def _reached(found: dict[str, Schema], names: list[str]) -> set[str]:
    reached: set[str] = set()
    while names:
        name = names.pop()
        if name not in reached:
            reached.add(name)
            names += _references(found[name])
    return reached


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(completed(json.loads(path.read_text())))
