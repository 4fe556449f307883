"""The configuration as a JSON schema (draft 7), for editors and for the Helm chart's values.

It refuses what the program refuses of one field: unknown keys, types, bounds, forms. What only several fields together
tell (``confirmSeconds <= holdSeconds``, names that are given twice) ``mesh-registry check-config`` finds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from registry.config.sections import (
    ClusterConfig,
    Config,
    ExportConfig,
    LivenessConfig,
    ProbeConfig,
    RemoteSecretsConfig,
    Section,
    SelectorConfig,
)

DRAFT = "http://json-schema.org/draft-07/schema#"

Schema = dict[str, Any]


def _is_given(*keys: str) -> Schema:
    """All these keys are there, and none is null."""
    return {"required": list(keys), "properties": {key: {"not": {"type": "null"}} for key in keys}}


def _is_not_empty(key: str, size: str) -> Schema:
    return {"required": [key], "properties": {key: {size: 1}}}


_IN_CLUSTER: Schema = {"required": ["inCluster"], "properties": {"inCluster": {"const": True}}}
_MODE = {"required": ["mode"], "properties": {"mode": {"const": "ServiceExport"}}}
_SELECTOR_MODE = {"required": ["mode"], "properties": {"mode": {"const": "selector"}}}

_TOGETHER: dict[type[Section], Schema] = {
    ProbeConfig: {
        "oneOf": [_is_given("tcp"), _is_given("grpc"), _is_given("endpoints")],
        "if": _is_given("tls"),
        "then": _is_given("grpc"),
    },
    ClusterConfig: {
        "oneOf": [_is_given("kubeconfig"), _is_given("manifests"), _IN_CLUSTER],
        "if": _is_given("context"),
        "then": _is_given("kubeconfig"),
    },
    RemoteSecretsConfig: {
        "oneOf": [_is_given("kubeconfig"), _IN_CLUSTER],
        "if": _is_given("context"),
        "then": _is_given("kubeconfig"),
    },
    LivenessConfig: {
        "if": {"required": ["probe"], "properties": {"probe": {"type": "object"}}},
        "then": {"properties": {"probe": _is_given("endpoints")}},
    },
    SelectorConfig: {
        "anyOf": [
            *(_is_not_empty(key, "minLength") for key in ("cluster", "region", "zone")),
            _is_not_empty("labels", "minProperties"),
        ]
    },
    ExportConfig: {
        "allOf": [
            {
                "if": {"required": ["writeConditions"], "properties": {"writeConditions": {"const": True}}},
                "then": _MODE,
            },
            {"if": _SELECTOR_MODE, "then": _is_not_empty("selector", "minProperties")},
            {"if": _is_not_empty("selector", "minProperties"), "then": _SELECTOR_MODE},
        ]
    },
}
"""What fields of one section ask of each other, where a schema can say it."""


def definitions() -> dict[str, Schema]:
    """The schema of each section by its class's name; one refers to another as ``#/definitions/NAME``."""
    _, found = msgspec.json.schema_components([Config], ref_template="#/definitions/{name}")
    for section, more in _TOGETHER.items():
        found[section.__name__] |= more
    for each in found.values():
        if "description" in each:
            each["description"] = " ".join(each["description"].split())
    return found


def schema() -> Schema:
    """The schema of a configuration file."""
    return {"$schema": DRAFT, "title": "mesh-registry configuration", "$ref": "#/definitions/Config"} | {
        "definitions": definitions()
    }
