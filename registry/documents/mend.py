"""What to write instead of a scalar whose type is not the one expected. Pure."""

from __future__ import annotations

import re

from registry.documents.places import Place

_MISMATCH = re.compile(r"Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")
_SHOWN = 60


def mended(message: str, place: Place) -> str:
    """msgspec's ``message``, and the mend where the text at ``place`` shows it."""
    match = _MISMATCH.search(message)
    if match is None or place.text is None:
        return message
    expected = set(match["expected"].split(" | "))
    text = place.text[:_SHOWN]
    if "str" in expected and match["got"] in {"int", "float", "bool"} and not place.quoted:
        return f'{message}; write it in quotes: "{text}"'
    if "int" in expected and match["got"] == "str" and _NUMBER.fullmatch(text):
        return f"{message}; write it without quotes: {text}"
    if "bool" in expected and match["got"] == "str" and text in {"true", "false"}:
        return f"{message}; write it without quotes: {text}"
    return message
