"""Watch bodies as lines, whatever the chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.sources.kubernetes.framing import LineFramer, LineTooLongError


def test_only_line_feeds_end_lines() -> None:
    text = '{"a":"x\u2028y\u2029z\x85w\r\x0b\x0c\x1c"}'.encode()
    assert LineFramer().feed(text + b"\n" + text + b"\n") == [text, text]


def test_what_follows_the_last_line_feed_waits_for_its_end() -> None:
    framer = LineFramer()
    assert framer.feed(b'{"a"') == []
    assert framer.feed(b":1}") == []
    assert framer.feed(b'\n{"b"') == [b'{"a":1}']
    assert framer.feed(b":2}\n") == [b'{"b":2}']


def test_empty_lines_are_passed_over() -> None:
    assert LineFramer().feed(b"\n\na\n\n") == [b"a"]


def test_line_without_an_end_is_refused() -> None:
    framer = LineFramer(max_line_bytes=10)
    assert framer.feed(b"0123456789") == []
    with pytest.raises(LineTooLongError, match="10 bytes"):
        framer.feed(b"x")


@given(st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    body = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)))))
    framer = LineFramer()
    out = [
        line for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) for line in framer.feed(body[start:end])
    ]
    assert out == lines


def test_lines_come_out_whole_cut_at_every_byte() -> None:
    body = '{"type":"ADDED"}\n{"type":"…\u2028"}\n'.encode()
    for cut in range(len(body) + 1):
        framer = LineFramer()
        assert [*framer.feed(body[:cut]), *framer.feed(body[cut:])] == body.strip(b"\n").split(b"\n")
