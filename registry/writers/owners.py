"""Who owns what of an object, as the API server records it (``metadata.managedFields``, a ``FieldsV1`` each). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry.writers.plan import is_ours

PORTS = "f:ports"


def with_ports_of_all(managers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The managers of a ServiceEntry, where what others own of ``spec.ports`` is ours."""
    fields: dict[str, Any] = {}
    for each in managers:
        fields = _united(fields, _spec(each).get(PORTS) or {})
    return [_with(each, fields if is_ours(each) else None) for each in managers]


def _spec(manager: Mapping[str, Any]) -> Mapping[str, Any]:
    if manager.get("subresource"):
        return {}
    return (manager.get("fieldsV1") or {}).get("f:spec") or {}


def _with(manager: Mapping[str, Any], ports: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The manager with these ports, or none."""
    spec = {key: value for key, value in _spec(manager).items() if key != PORTS}
    if ports is not None:
        spec[PORTS] = ports
    elif PORTS not in _spec(manager):
        return manager
    fields = {key: value for key, value in manager["fieldsV1"].items() if key != "f:spec"}
    return {**manager, "fieldsV1": {**fields, "f:spec": spec} if spec else fields}


def _united(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A set of fields with all of both."""
    return {key: _united(one.get(key) or {}, other.get(key) or {}) for key in (*one, *other)}
