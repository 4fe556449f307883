"""Values that nobody expects, at each place of a document, and texts with some of their bytes changed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, 2**63, -(2**63) - 1, 1e308),
    *("", "x" * 300, "\0", "\ud800", "\x1b[31m", "::ffff:1.2.3.4", "2020-01-01", "-"),
    *([], [None], [[]], [{}], ["a"], {}, {"a": None}, {"": {}}, {"__class__": "x"}),
)
"""One of each JSON type, and some that are odd within theirs."""

TAGGED = (
    *(
        "!!int ''",
        "!!int 'x'",
        "!!float ''",
        "!!bool ''",
        "!!null x",
        "!!binary ''",
        "!!binary '***'",
        "!!binary '/w=='",
    ),
    *("!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!timestamp ''", "!!timestamp 2001-02-30", "!!merge <<"),
    *(
        "!!python/object/apply:os.system [x]",
        "!!python/name:os.system",
        "!!str []",
        "!!seq x",
        "!!map x",
        "!<> x",
        "! x",
    ),
    *(".nan", "-.inf", "1e999999999", "1" * 5000, "0x" + "f" * 5000, "1_", "0b", "0o", "-", ".", "._", "=", "<<", "~"),
    *("{[a]: b}", "{{a: b}: c}", "? [a]", "{a: 1, a: 2}", "&a [*a]", "&a {<<: *a}", "{<<: [1]}", "{<<: 1}", "*nobody"),
    *('"\\ud800"', '"\\0"', "[" * 120, "{a: " * 120, "[[[[", "'", '"', "|", ">", "%YAML", "\t", "\u2028", "\ufeff"),
)
"""YAML for one value: tags, numbers, keys and nesting that are no JSON."""

BYTES = (
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\xc2\x85"),
    *(b"[", b"{", b'"', b"'", b": ", b"- ", b",", b"&a ", b"*a", b"!!", b"<<: ", b"\n---\n", b"\n...\n", b"#", b"? "),
    *(value.encode(errors="surrogatepass") for value in TAGGED),
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1")


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of each value in the document, itself included."""
    yield path
    if isinstance(document, dict | list):
        for key, each in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(each, (*path, key))


def replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The document with another value at ``path``."""
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = replaced(document[path[0]], path[1:], value)
    return copy


def as_yaml(document: Any, path: tuple[str | int, ...], text: str) -> bytes:
    """The document in flow style, with ``text`` as it is at ``path``."""
    mark = "MARK-OF-A-VALUE"
    whole = json.dumps(replaced(document, path, mark))
    return whole.replace(f'"{mark}"', f" {text} ").replace('{"', '{ "').encode(errors="surrogatepass")


def mutated(text: bytes, draw: random.Random) -> bytes:
    """The text with some of it changed."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(text) + 1)
        end = min(len(text), at + draw.randrange(1, 20))
        match draw.randrange(6):
            case 0:
                text = text[:at] + draw.choice(BYTES) + text[at:]
            case 1:
                text = text[:at] + draw.choice(BYTES) + text[end:]
            case 2:
                text = text[:at] + text[end:]
            case 3:
                text = text[:at] + bytes([draw.randrange(256)]) + text[at + 1 :]
            case 4:
                other = draw.randrange(len(text) + 1)
                text = text[:other] + text[at:end] + text[other:]
            case _:
                text = text.decode(errors="replace").encode(draw.choice(ENCODINGS), errors="replace")
    return text
