"""YAML as sigs.k8s.io/yaml reads it: a corpus with the JSON that it made of each text (tests/oracles/yaml).

Where we differ, we refuse what it takes in silence (a key that is there twice), or take what only its older scanner
refuses.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from support.yaml_texts import document, mutated

from registry.documents import Builder, DocumentError, parse

CORPUS = Path(__file__).parent / "yaml_corpus.json"

MEANT = {
    "takes more": ('"\\/"', "%YAML 1.2"),
    "refuses more": ("{}: x\n", "[]: x\n"),
}
"""``\\/`` and YAML 1.2 are newer than go-yaml v2's scanner. Of a key that is an empty collection it makes nothing."""


def ours(text: bytes) -> dict[str, Any]:
    """What we make of the first document, in the corpus' form."""
    try:
        for tree in Builder(text).trees():
            return {"error": tree.problem.message} if tree.problem else {"json": tree.value}
    except DocumentError as error:
        return {"error": str(error)}
    return {"json": None}


def agree(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Empty, or in which way they differ."""
    if "error" in found:
        return "" if "error" in expected or expected.get("twice") or "strict" in expected else "refuses more"
    if "error" in expected:
        return "takes more"
    return "" if equal(found["json"], expected["json"]) else "another value"


def equal(one: Any, other: Any) -> bool:
    """Equal values of equal types; whole floats are integers, as in JSON."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= 1e-12 * abs(one)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


def test_values_are_those_of_sigs_k8s_io_yaml() -> None:
    wrong = []
    rows = json.loads(CORPUS.read_text())
    for row in rows:
        outcome = agree(ours(row["yaml"].encode()), row)
        if outcome and not any(each in row["yaml"] for each in MEANT.get(outcome, ())):
            wrong.append((outcome, row, ours(row["yaml"].encode())))
    assert len(rows) > 900
    assert not wrong


def test_broken_text_is_a_document_or_an_error_with_a_line() -> None:
    """No other exception, whatever the bytes; 100,000 of them were tried where time did not matter."""
    random = Random(12)
    for _ in range(2000):
        text = mutated(random, document(random).encode())
        lines = text.count(b"\n") + text.count(b"\r") + text.count(b"\xc2\x85") + text.count(b"\xe2\x80") + 2
        assert 1 <= line_of_error(text) <= lines, text


def line_of_error(text: bytes) -> int:
    """1 if there is none."""
    try:
        parse(text)
    except DocumentError as error:
        return error.line
    return 1
