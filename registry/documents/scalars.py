"""YAML scalars as sigs.k8s.io/yaml turns them into JSON: go-yaml v2's resolver, in Python. Pure.

``yes`` and ``on`` are booleans, ``017`` and ``0o17`` are 15; ``22:30``, ``=`` and dates are strings.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from calendar import monthrange
from collections.abc import Mapping
from math import isfinite, isinf, isnan

Scalar = str | int | float | bool | None

PREFIX = "tag:yaml.org,2002:"
MERGE_TAG = f"{PREFIX}merge"
_INT64, _UINT64 = 2**63, 2**64

_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_TYPED = frozenset({"str", "bool", "int", "float", "null", "timestamp"})
_HINTS = frozenset("0123456789+-.yYnNtTfFoO~")
"""Only a text that begins with one of these can be anything but a string."""

_INTEGERS = (
    (10, re.compile(r"[-+]?[1-9][0-9]{0,19}")),
    (8, re.compile(r"[-+]?0[oO]?(?P<digits>[0-7]{1,30})")),
    (16, re.compile(r"[-+]?0[xX](?P<digits>[0-9a-fA-F]{1,30})")),
    (2, re.compile(r"[-+]?0[bB](?P<digits>[01]{1,80})")),
)
_ODD_BINARY = re.compile(r"0b(?P<number>[-+][01]{1,63})")
"""``0b+1``: no number in Go or YAML, but go-yaml reads it."""

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DOTTED = re.compile(r"\.[0-9][0-9_]*([eE][-+]?[0-9]+)?")
_STRAY = re.compile(r"[^0-9]_|_[^0-9]|_\Z")
"""An underscore that is not between two digits, which Go's ParseFloat refuses."""

_TIMESTAMP = re.compile(
    r"(?P<y>\d{4})-(?P<m>\d\d?)-(?P<d>\d\d?)"
    r"([Tt](?P<hh>\d\d?):(?P<mm>\d\d?):(?P<ss>\d\d?)(\.\d+)?(Z|[-+]\d\d:\d\d)"
    r"| (?P<h>\d\d?):(?P<min>\d\d?):(?P<s>\d\d?)(\.\d+)?)?"
)


class ScalarError(ValueError):
    """A scalar that JSON cannot hold, or whose text is not what its tag says."""


def plain(text: str) -> Scalar:
    """The value of a scalar without quotes and without a tag. A date is the text that it was written as."""
    if text and text[0] not in _HINTS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    number = _number(text)
    return text if number is None else number


def tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar with an explicit tag. A tag that is not of YAML's own is ignored, as go-yaml ignores it.

    Raises:
        ScalarError: the text is not what the tag says.
    """
    name = tag.removeprefix(PREFIX) if tag.startswith(PREFIX) else ""
    if name == "binary":
        return _binary(text)
    if name not in _TYPED or name == "str":
        return text
    value = _timestamp(text) if name == "timestamp" else plain(text)
    if name == "float" and type(value) is int and -_INT64 <= value < _INT64:
        value = float(value)
    if _name_of(value) != name and not (name == "timestamp" and value is not None):
        raise ScalarError(f"{text!r} is no {name}, as its tag !!{name} says; remove the tag")
    return value


def in_json(value: Scalar) -> Scalar:
    """The value as JSON writes it: a whole float is an integer.

    Raises:
        ScalarError: infinity, or not a number.
    """
    if type(value) is not float:
        return value
    if not isfinite(value):
        raise ScalarError(f"{key_of(value)} is a number that JSON does not have; write it in quotes")
    return int(value) if value.is_integer() and abs(value) < _INT64 else value


def key_of(value: Scalar) -> str:
    """The text of a key, which in JSON is always a string: ``on`` is ``"true"``, ``0x1F`` is ``"31"``.

    Raises:
        ScalarError: null, or an integer above int64.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise ScalarError("a key that is null; write it in quotes")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_key(value)
    if value >= _INT64:
        raise ScalarError(f"the key {value} is too large for an integer; write it in quotes")
    return str(value)


def _number(text: str) -> int | float | None:
    if text[0] == ".":
        return _float(text) if _DOTTED.fullmatch(text) and not _STRAY.search(text) else None
    digits = text.replace("_", "")
    if digits in {"0", "+0", "-0"}:
        return 0
    for base, pattern in _INTEGERS:
        match = pattern.fullmatch(digits)
        if match:
            number = int(digits) if base == 10 else _signed(digits, match["digits"], base)
            if -_INT64 <= number < _INT64 or (number < _UINT64 and digits[0] not in "+-"):
                return number
    odd = _ODD_BINARY.fullmatch(digits)
    if odd:
        return int(odd["number"], 2)
    return _float(digits) if _FLOAT.fullmatch(digits) else None


def _signed(text: str, digits: str, base: int) -> int:
    number = int(digits, base)
    return -number if text[0] == "-" else number


def _float(text: str) -> float | None:
    """None where it is beyond a double, as Go's ParseFloat fails."""
    number = float(text.replace("_", ""))
    return None if isinf(number) else number


def _name_of(value: Scalar) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", str: "str"}[type(value)]


def _timestamp(text: str) -> str | None:
    """The text, or None where it is no date or time that go-yaml knows."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match["y"]), int(match["m"]), int(match["d"])
    hour, minute, second = (int(match[a] or match[b] or 0) for a, b in (("hh", "h"), ("mm", "min"), ("ss", "s")))
    valid = 1 <= month <= 12 and 1 <= day <= monthrange(year or 2000, month)[1]
    return text if valid and hour < 24 and minute < 60 and second < 60 else None


def _binary(text: str) -> str:
    try:
        data = b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError as error:
        raise ScalarError("!!binary whose text is not base64; remove the tag") from error
    return data.decode(errors="replace")


def _float_key(value: float) -> str:
    """As Go's ``FormatFloat(value, 'g', -1, 32)``: the fewest digits that give the same 32-bit float again."""
    if isnan(value):
        return ".nan"
    try:
        single = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        single = float("inf") if value > 0 else float("-inf")
    if isinf(single):
        return ".inf" if single > 0 else "-.inf"
    for digits in range(9):
        text = f"{single:.{digits}e}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == single:
            break
    mantissa, exponent = text.split("e")
    power = int(exponent)
    if -4 <= power < 6:
        return f"{single:.{max(digits - power, 0)}f}"
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
