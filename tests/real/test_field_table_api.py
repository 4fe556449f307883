"""The table of fields has every field that a real API server knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.field_table import field_table
from support.mcs import service_exports
from support.processes import until
from support.scene import Planes

from registry.model.names import Kind

SCHEMAS = {
    Kind.SERVICE: ("api/v1", "io.k8s.api.core.v1.Service"),
    Kind.ENDPOINT_SLICE: ("apis/discovery.k8s.io/v1", "io.k8s.api.discovery.v1.EndpointSlice"),
    Kind.SERVICE_EXPORT: ("apis/multicluster.x-k8s.io/v1beta1", "io.x-k8s.multicluster.v1beta1.ServiceExport"),
}
WHOLE = {"addresses", "selector", "deprecatedTopology", "conditions", "forZones", "forNodes"}
"""Lists and maps that count as one field; of an endpoint, ``conditions`` is an object and is gone into."""


def fields(schemas: Mapping[str, Any], schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The fields of an object but its metadata, as ``spec.ports[].port``."""
    schema = resolved(schemas, schema)
    if schema.get("type") == "array" and "properties" in resolved(schemas, schema["items"]):
        yield from fields(schemas, schema["items"], f"{at}[]")
    elif "properties" in schema:
        for name, each in schema["properties"].items():
            if at or name not in ("apiVersion", "kind", "metadata"):
                whole = name in WHOLE and resolved(schemas, each).get("type") == "array"
                path = f"{at}.{name}" if at else name
                yield from (path,) if whole else fields(schemas, each, path)
    else:
        yield at


def resolved(schemas: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema or "allOf" in schema:
        ref = schema.get("$ref") or schema["allOf"][0]["$ref"]
        schema = schemas[ref.rpartition("/")[2]]
    return schema


@pytest.mark.parametrize("kind", SCHEMAS)
async def test_every_field_of_the_api_is_in_the_table(planes: Planes, kind: Kind) -> None:
    api = planes.a.api
    group, name = SCHEMAS[kind]
    wanted = planes.both[:1] if kind is Kind.SERVICE_EXPORT else ()
    async with service_exports(*wanted):

        async def document() -> Any:
            listed = (await api.get("/openapi/v3"))["paths"]
            return await api.get(listed[group]["serverRelativeURL"]) if group in listed else None

        schemas = (await until(document, "the schema is served"))["components"]["schemas"]
    there = set(fields(schemas, schemas[name]))
    said = {field for field in field_table()[kind] if not field.startswith("metadata.")}
    assert there - said == set()
    assert said - there == set()
