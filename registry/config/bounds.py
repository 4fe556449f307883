"""The values a field accepts beyond its type: one annotation for the check, its message, and the JSON schema.

``Share = Annotated[float, within("a part of one, from 0 to 1", low=0, high=1)]`` refuses ``2`` with the message
"expected a part of one, from 0 to 1, got 2", and gives the property ``minimum: 0, maximum: 1`` in the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

MAX = 2**31 - 1
"""The largest limit: HTTP/2 knows no larger sizes, and nobody waits as many seconds."""


def within(
    expected: str, *, low: float | None = None, above: float | None = None, high: float | None = None
) -> msgspec.Meta:
    """Bounds of a number: at least ``low`` or more than ``above``, at most ``high``. NaN is outside all of them."""
    bounds = {"minimum": low, "exclusiveMinimum": above, "maximum": high}
    return _described(expected, {key: bound for key, bound in bounds.items() if bound is not None})


def matching(expected: str, pattern: re.Pattern[str]) -> msgspec.Meta:
    """The form of a whole text, as a regular expression that Python, Go and JavaScript read alike."""
    return _described(expected, {"pattern": f"^(?:{pattern.pattern})$"})


def form(pattern: str) -> msgspec.Meta:
    """The form of a text for the schema alone: the program reads it by a function that says more of what is wrong."""
    return msgspec.Meta(extra_json_schema={"pattern": pattern})


def _described(expected: str, schema: dict[str, Any]) -> msgspec.Meta:
    return msgspec.Meta(description=f"Expected: {expected}.", extra_json_schema=schema, extra={"expected": expected})


Seconds = Annotated[float, within(f"seconds, 0 or more, at most {MAX}", low=0, high=MAX)]
PositiveSeconds = Annotated[float, within(f"seconds above 0, at most {MAX}", above=0, high=MAX)]
Limit = Annotated[int, within(f"a number above 0, at most {MAX}", above=0, high=MAX)]
Count = Annotated[int, within("1 or more", low=1, high=MAX)]
Port = Annotated[int, within("a port from 1 to 65535", low=1, high=65535)]
Name = Annotated[str, matching("a name, not an empty text", re.compile(r"[^\x00]+"))]


def outside(value: object, where: str = "$") -> Iterator[tuple[str, str]]:
    """Each field of this section, and of those in it, that is outside its bounds: its path and what is expected."""
    if isinstance(value, msgspec.Struct):
        for name, key, bound in _fields(type(value)):
            field, path = getattr(value, name), f"{where}.{key}"
            if bound is not None and field is not None and not _holds(bound, field):
                yield path, f"expected {(bound.extra or {})['expected']}, got {field!r}"
            yield from outside(field, path)
    elif isinstance(value, tuple):
        for position, each in enumerate(value):
            yield from outside(each, f"{where}[{position}]")


def _holds(bound: msgspec.Meta, value: Any) -> bool:
    schema = bound.extra_json_schema or {}
    if "pattern" in schema:
        return re.fullmatch(schema["pattern"], value) is not None and not value.endswith("\n")
    return bool(
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
    )


@cache
def _fields(section: type[msgspec.Struct]) -> tuple[tuple[str, str, msgspec.Meta | None], ...]:
    """(attribute, key in the file, bound) of each field."""
    hints = get_type_hints(section, include_extras=True)
    return tuple((each.name, each.encode_name, _bound(hints[each.name])) for each in msgspec.structs.fields(section))


def _bound(hint: Any) -> msgspec.Meta | None:
    """The bound in ``Annotated[T, bound]``, also where that is one of a union."""
    if get_origin(hint) is Annotated:
        return next((each for each in hint.__metadata__ if isinstance(each, msgspec.Meta) and each.extra), None)
    return next((found for each in get_args(hint) if (found := _bound(each))), None)
