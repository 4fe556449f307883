"""ServiceEntries as istiod reads them; tests/real/test_istiod.py holds this against a real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Document = Mapping[str, Any]


def listed(documents: Iterable[Document]) -> dict[int, Counter[tuple[str, str, int]]]:
    """By port of the service: network, address and port of each endpoint, over all entries of one host and namespace.

    An endpoint has each port of its entry: at its own number for the port's name, else at the port's ``targetPort``,
    else at the port's number.
    """
    found: dict[int, Counter[tuple[str, str, int]]] = {}
    for spec in (document["spec"] for document in documents):
        for port in spec["ports"]:
            at = found.setdefault(port["number"], Counter())
            for endpoint in spec["endpoints"]:
                own = endpoint.get("ports", {}).get(port["name"]) or port.get("targetPort") or port["number"]
                at[endpoint.get("network", ""), endpoint["address"], own] += 1
    return found


def joins(documents: Iterable[Document]) -> bool:
    """Istiod joins the entries: they are alike in what it compares, and name each port the same."""
    entries = list(documents)
    alike = {
        repr((each["metadata"]["namespace"], each["metadata"]["labels"], each["metadata"].get("annotations")))
        + repr([each["spec"].get(field) for field in ("hosts", "resolution", "location", "exportTo")])
        for each in entries
    }
    names: dict[int, set[tuple[str, str]]] = {}
    for port in (port for each in entries for port in each["spec"]["ports"]):
        names.setdefault(port["number"], set()).add((port["name"], port.get("protocol", "")))
    return len(alike) <= 1 and all(len(each) == 1 for each in names.values())
