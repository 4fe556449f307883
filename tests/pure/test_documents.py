"""Documents with positions, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.documents import DocumentError, parse

TEXT = b"""\
# a comment
kind: Service
spec:
  ports:
  - port: 80
    name: http
  - port: 90
---
---
kind: Pod
"""


def test_positions_are_those_of_keys_and_items() -> None:
    first, second = parse(TEXT)
    assert first.value["spec"]["ports"][1] == {"port": 90}
    assert first.line() == 2
    assert first.line("$.spec") == 3
    assert first.line("$.spec.ports[0].name") == 6
    assert first.line("$.spec.ports[1].port") == 7
    assert second.line("$.kind") == 10


def test_position_of_what_is_not_there_is_that_of_the_innermost_part_that_is() -> None:
    (document,) = parse(b"a:\n  b:\n    c: 1\n")
    assert document.line("$.a.b.x.y[3]") == 2


def test_dates_stay_the_text_they_are() -> None:
    (document,) = parse(b"when: 2026-11-24\nat: 2026-11-24T10:00:00Z\n")
    assert document.value == {"when": "2026-11-24", "at": "2026-11-24T10:00:00Z"}


def test_json_may_be_indented_by_tabs() -> None:
    (document,) = parse(b'{\n\t"a": [1,\t2],\n\t"b": "x"\n}', json=True)
    assert document.value == {"a": [1, 2], "b": "x"}
    assert document.line("$.b") == 3


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"a:\n\t- b\n", 2, "tab"),
        (b"a: 1\nb: 2\na: 3\n", 3, "'a' twice"),
        (b"a: [1, 2\nb: 3\n", 2, "expected ',' or ']'"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8: byte 0xff"),
        (b"a: \x07\n", 1, "U+0007"),
        (b"a: &x [*x]\n", 1, "contains itself"),
        (b"[" * 5000, 1, "nest"),  # newer versions of libyaml have a limit of their own and say it in their words
        (b"- " * 5000, 1, "nested deeper"),
        (b"a: *unknown\n", 1, "alias"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(text: bytes, line: int, message: str) -> None:
    with pytest.raises(
        DocumentError, match=message.replace("[", r"\[").replace("]", r"\]").replace("+", r"\+")
    ) as error:
        parse(text)
    assert error.value.line == line


def test_aliases_of_aliases_are_refused_before_they_are_expanded() -> None:
    levels = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)]
    with pytest.raises(DocumentError, match="more values"):
        parse(b"\n".join(levels))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(st.characters(codec="ascii", min_codepoint=32)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcdef", min_size=1), values, min_size=1))
def test_json_reads_as_json_does(value: dict[str, object]) -> None:
    (document,) = parse(json.dumps(value, indent="\t").encode(), json=True)
    assert document.value == value


@given(st.binary(max_size=200))
def test_any_bytes_are_documents_or_an_error_with_a_line(content: bytes) -> None:
    try:
        parse(content)
    except DocumentError as error:
        line = error.line
    else:
        return
    assert 1 <= line <= content.count(b"\n") + 2
