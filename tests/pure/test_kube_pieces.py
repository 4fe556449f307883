"""A list that comes in one large body, cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.sources.kubernetes.bounds import TooMuchError
from registry.sources.kubernetes.decode import DecodeError
from registry.sources.kubernetes.pieces import ListReader

ITEMS: list[Any] = [
    {"metadata": {"name": "ä€𝄞", "labels": {'a"},{': "]}\\"}}},
    {},
    {"a": [[], {"items": [1, {"b": None}]}, -1.5e3, True]},
]
METADATA = {"resourceVersion": "10", "remainingItemCount": 12}


def read(body: bytes, size: int, bound: int = 1 << 20) -> tuple[list[Any], Any]:
    reader = ListReader(bound)
    found = [item for at in range(0, len(body), size) for item in reader.feed(body[at : at + size])]
    found += reader.feed(b"", last=True)
    assert reader.items == len(found)
    return [json.loads(each) for each in found], json.loads(reader.beside)


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_", [True, False])
@pytest.mark.parametrize("order", [("kind", "metadata", "items"), ("items", "metadata", "kind")])
@pytest.mark.parametrize("items", [ITEMS, [], ITEMS * 20])
def test_objects_are_found_wherever_the_body_is_cut(
    size: int, indent: int | None, ascii_: bool, order: tuple[str, ...], items: list[Any]
) -> None:
    document = {"kind": "PodList", "metadata": METADATA, "items": items}
    body = json.dumps({key: document[key] for key in order}, indent=indent, ensure_ascii=ascii_).encode()
    assert read(body + b"\n", size) == (items, {"kind": "PodList", "metadata": METADATA})


def test_items_that_are_null_are_none() -> None:
    assert read(b'{"items":null,"kind":"PodList"}', 3) == ([], {"items": None, "kind": "PodList"})


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"items":[{}', b'{"items":[{}]', b'{"items":[{]}}', b"<html>", b'{"items":[' + b"[" * 100_000],
)
def test_what_is_no_list_or_ends_early_is_an_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        read(body, 100)


@pytest.mark.parametrize(
    "body", [b'{"items":[{"a":"', b'{"a":"', b'{"items":[' + b" " * 100_000, b'{"' + b"k" * 10_000]
)
def test_piece_that_does_not_end_is_given_up_at_the_bound(body: bytes) -> None:
    filled = body if len(body) > 5000 else body + b'x":"' + b"y" * 10_000
    with pytest.raises(TooMuchError):
        read(filled, 100, bound=5000)
