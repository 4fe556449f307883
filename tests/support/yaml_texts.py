"""Texts that are YAML or nearly so: scalars that readers disagree on, documents made of them, and broken ones."""

from __future__ import annotations

from random import Random

SCALARS = (
    "0",
    "1",
    "-1",
    "+1",
    "0x1F",
    "0o17",
    "017",
    "08",
    "0b1",
    "0b12",
    "-0b1",
    "+0b1",
    "0b+1",
    "-0b-1",
    "1_000",
    "_1",
    "1_",
    "1e3",
    "1E-3",
    ".5",
    "-.5",
    "+.5",
    "1.",
    "1.e2",
    ".e2",
    ".inf",
    "-.inf",
    ".nan",
    ".NaN",
    "~",
    "null",
    "Null",
    "",
    "yes",
    "No",
    "on",
    "OFF",
    "y",
    "N",
    "true",
    "True",
    "TRUE",
    "tRUE",
    "22:30",
    "1:30:00",
    "190:20:30.15",
    "2020-01-01",
    "2020-1-1",
    "2001-12-14t21:59:43.10-05:00",
    "2020-01-01 10:00:00",
    "2020-13-01",
    "=",
    "<<",
    "'x'",
    '"x"',
    "'1'",
    '"1"',
    "!!int ''",
    "!!int 1",
    "!!int '1'",
    "!!int 1.0",
    "!!float 1",
    "!!float x",
    "!!str 1",
    "!!str",
    "!!str ~",
    "!!null x",
    "!!null ''",
    "!!bool yes",
    "!!bool 1",
    "!!binary aGVsbG8=",
    "!!binary x",
    "!!binary /w==",
    "!!timestamp 2020-01-01",
    "!!timestamp x",
    "!local x",
    "!<tag:yaml.org,2002:int> 7",
    "! 1",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!python/object:os.system {}",
    "{}",
    "[]",
    "{a: 1}",
    "[1, x]",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "+9223372036854775808",
    "1e400",
    "1e-400",
    "-0",
    "-0.0",
    "0x",
    "0xg",
    "0o8",
    "00",
    "0_0",
    "+",
    "-",
    ".",
    "..",
    "...x",
    "- x",
    "? x",
    "1.5",
    "1e6",
    "1e20",
    "1e21",
    "123456789.125",
    "1e-7",
    "0.1",
    "&a x",
    "*a",
    "a: b",
    "a #b",
    "#b",
    "|\n  x\n  y",
    "|-\n  x\n\n",
    ">\n  x\n  y\n",
    "|2\n   x",
    "'it''s'",
    '"\\u00e9\\x41\\n"',
    '"\\/"',
    '"\\ud83d"',
    "\xe9",
    "\u2028",
    "@x",
    "`x",
    "%x",
    "a\tb",
    "\tb",
    "1 ",
    "1,2",
    "a,b",
    "[a",
    "]",
    "{",
    "}",
    "x: y: z",
    "0777777777777777777777777",
    "1.2.3",
    "1__0",
    "0x_1F",
    ".5_0",
    "1_0.5_0",
    "._5",
    ".5_",
    "1e_3",
    "12e03",
    "0b1111111111111111111111111111111111111111111111111111111111111111",
    "0xFFFFFFFFFFFFFFFF",
    "0x10000000000000000",
    "+0xFF",
    "-0xFF",
    "0X1f",
    "0O17",
    "0B1",
    "-017",
    "+.inf",
    "+.nan",
    "Infinity",
    ".Infinity",
    "NaN",
    "nan",
    "inf",
    "0.",
    "-",
    "--",
    "---",
    "1-1",
    "2020-01-01x",
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00.5+01:00",
    "0000-01-01",
    "99999-01-01",
)
KEYS = (
    "a",
    "b",
    "1",
    "1.5",
    "on",
    "y",
    "~",
    "null",
    "'x'",
    "x y",
    "0x1F",
    "1e6",
    "1e3",
    "0.1",
    "2020-01-01",
    "22:30",
    "=",
    "<<",
    "'<<'",
    "!!str 1",
    "!!int '2'",
    "&k c",
    "*k",
    "? [a]\n",
    "",
    ".inf",
    "18446744073709551615",
    "-1",
    "true",
    "True",
    "123456789.125",
    "1e-7",
    "!!binary aGk=",
    "\xe9",
)
SPLICES = (
    *(b"\n", b"---\n", b"...\n", b"\t", b": ", b"- ", b"&a ", b"*a", b"!!int ", b"'", b'"', b"\r\n", b"<<: ", b"? "),
    *(b"#", b"|\n", b"\xef\xbb\xbf", b"\xc2\x85", b"%YAML 1.1\n", b"{", b"}", b"[", b"]", b"\x00", b"\\ud83d"),
)


def document(random: Random) -> str:
    """A document: one scalar, a mapping, a list, one with merges, one with aliases, or a nested one."""
    way = random.randrange(10)
    if way < 3:
        return f"{random.choice(('a: ', '- ', ''))}{random.choice(SCALARS)}\n"
    if way < 5:
        return "".join(f"{random.choice(KEYS)}: {random.choice(SCALARS)}\n" for _ in range(random.randint(1, 3)))
    if way == 5:
        return "[" + ", ".join(random.choice(SCALARS) for _ in range(random.randint(1, 4))) + "]\n"
    if way == 6:
        pairs = (f"{random.choice(KEYS)}: {random.choice(SCALARS)}" for _ in range(random.randint(1, 4)))
        return "{" + ", ".join(pairs) + "}\n"
    one, other = random.choice(SCALARS), random.choice(SCALARS)
    if way == 7:
        merged = random.choice(("*m", "[*m, {a: 2}]", "*n", "x", "{a: 5}"))
        return f"x: &m {{a: 1, b: {one}}}\ny:\n  <<: {merged}\n  a: {other}\n  c: *m\n"
    if way == 8:
        return f"x: &k {one}\nl: &l [*k, {other}]\nz: [*l, *k]\n"
    return _nested(random, 0)


def _nested(random: Random, depth: int) -> str:
    text = ""
    for _ in range(random.randint(1, 3)):
        text += f"{'  ' * depth}{random.choice(KEYS)}:"
        text += (
            f" {random.choice(SCALARS)}\n" if depth > 2 or random.random() < 0.6 else f"\n{_nested(random, depth + 1)}"
        )
    return text


def mutated(random: Random, text: bytes) -> bytes:
    """The text with a few bytes changed, put in or taken out."""
    content = bytearray(text)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(content) + 1)
        way = random.randrange(3)
        if way == 0 and content:
            content[min(at, len(content) - 1)] = random.randrange(256)
        elif way == 1:
            content[at:at] = random.choice(SPLICES)
        else:
            del content[at : at + random.randint(1, 4)]
    return bytes(content)
