"""Nothing about a member cluster depends on what the wall clock says: it may jump."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from registry.sources.kubernetes.api import retry_after

FOLDER = Path(__file__).parents[2] / "registry" / "sources" / "kubernetes"
WALL = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}
FOLLOWING = ("api", "audit", "auditor", "follower", "identity", "listwatch", "reflector", "steps", "backoff", "decode")


@pytest.mark.parametrize("name", FOLLOWING)
def test_module_never_asks_the_wall_clock(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    asked = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert not asked & WALL


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "-7"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "\u0667"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2115 07:28:30 GMT", "Date": "Wed, 21 Oct 2115 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_as_a_date_is_relative_to_the_answers_own(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
