"""The JSON schema of the configuration, and with it the chart's, refuses what the program refuses of one field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from registry.config.problems import problems
from registry.config.schema import schema
from registry.config.sections import Config

SCHEMA = Path(__file__).parents[2] / "deploy" / "helm" / "mesh-registry" / "values.schema.json"

PROBE = {"tcp": "gw:15443", "intervalSeconds": 1, "timeoutSeconds": 1, "up": 1, "down": 1}
FULL: dict[str, Any] = {
    "clusters": [
        {"name": "c1", "kubeconfig": "a", "context": "c", "network": "n", "probe": PROBE},
        {"name": "c2", "manifests": "b", "probe": {"grpc": "gw:1", "tls": {"ca": "ca", "serverName": "n"}}},
        {"name": "c3", "inCluster": True, "probe": {"endpoints": 2}},
    ],
    "remoteSecrets": {"inCluster": True, "namespace": "n", "allowExec": False},
    "listen": {"grpc": "[::1]:1", "http": "h:2", "tls": {"certificate": "c", "key": "k", "clientCa": "a"}},
    "export": {"mode": "selector", "selector": {"a": "b"}, "excludeNamespaces": ["n"], "excludeServices": ["a/b"]},
    "traffic": [
        {
            "namespace": "n",
            "name": "m",
            "distribution": "PreferSameZone",
            "failover": [{"region": "r"}],
            "fallback": "Any",
        }
    ],
    "networks": [{"name": "n", "gatewayPort": 5, "gateways": [{"address": "192.0.2.1", "port": 5, "region": "r"}]}],
    **{
        key: msgspec.to_builtins(getattr(Config(), key.replace("E", "_e")))
        for key in ("guard", "follow", "liveness", "coalesce", "envoy", "serviceEntries")
    },
    "limits": {"streams": 5, "idleSeconds": 0.5},
    "snapshot": {"file": "f", "minSeconds": 1},
}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 0.5, 1.5, 65536, 10**12, 1e300),
    *(
        "",
        "a",
        "A_b",
        "a/b",
        "a b",
        "x" * 300,
        "h:0",
        "h:1",
        "h:65535",
        "h:65536",
        "h:99999",
        "h:-1",
        "[::1]:5",
        "::1:5",
    ),
    *("unix:/s", "192.0.2.1", "fd00::1", "192.0.2.256", "all", "ServiceExport", "PreferSameZone", "nonsense"),
    *([], ["a"], [5], [{}], {}, {"a": "b"}, {"a": 5}, {"nonsense": 1}),
]
TOGETHER = ("expected 0 <= confirmSeconds", "expected seconds, confirmSeconds or more", "expected 0 <= quietMs")
"""Problems of several numbers together, which a schema cannot say."""


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from paths(each, (*at, key))


def with_value(path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    changed = deepcopy(FULL)
    holder: Any = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


def refused(document: Any) -> str | None:
    """Where the program finds the first problem, but for those of several numbers."""
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        return str(error)
    return next((where for where, problem in problems(config) if not problem.startswith(TOGETHER)), None)


VALIDATOR = jsonschema.Draft7Validator(schema(), format_checker=jsonschema.FormatChecker())


def test_whole_configuration_passes_both() -> None:
    assert refused(FULL) is None
    VALIDATOR.validate(FULL)


@pytest.mark.parametrize("path", list(paths(FULL)), ids=lambda path: ".".join(map(str, path)) or "file")
def test_schema_and_program_refuse_the_same_values(path: tuple[str | int, ...]) -> None:
    for value in VALUES:
        document = with_value(path, value)
        why = refused(document)
        assert VALIDATOR.is_valid(document) == (why is None), f"{value!r}: the program says {why}"


@pytest.mark.parametrize("path", [path for path in paths(FULL) if path], ids=lambda path: ".".join(map(str, path)))
def test_schema_and_program_agree_on_keys(path: tuple[str | int, ...]) -> None:
    """Each key left out, and one beside it that neither knows."""
    without = deepcopy(FULL)
    holder: Any = without
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    assert VALIDATOR.is_valid(without) == (refused(without) is None)
    if isinstance(holder, dict) and "selector" not in path and "labels" not in path:
        holder["nonsense"] = 1
        assert not VALIDATOR.is_valid(without)


def test_every_number_has_bounds() -> None:
    for name, section in schema()["definitions"].items():
        for key, each in section.get("properties", {}).items():
            for kind in (each, *each.get("anyOf", ())):
                if kind.get("type") in ("number", "integer"):
                    assert "maximum" in kind, f"{name}.{key}"


def test_chart_has_the_schema_of_the_program() -> None:
    """``make chart-schema`` writes it."""
    from tools.chart_schema import completed

    assert SCHEMA.read_text() == completed(json.loads(SCHEMA.read_text()))
