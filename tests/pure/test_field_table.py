"""The table of fields says of each whether the decoder reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support.field_table import field_table

from registry.model.names import Kind
from registry.sources.kubernetes.structs import struct_of

KINDS = [Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.SERVICE_EXPORT]


def paths(info: Any, at: str = "") -> Iterator[str]:
    """The fields that are read, down to values, lists of values and maps, as ``spec.ports[].port``."""
    match info:
        case msgspec.inspect.UnionType():
            for each in info.types:
                yield from paths(each, at)
        case msgspec.inspect.StructType():
            for field in info.fields:
                yield from paths(field.type, f"{at}.{field.encode_name}" if at else field.encode_name)
        case msgspec.inspect.ListType() if not isinstance(info.item_type, msgspec.inspect.StrType):
            yield from paths(info.item_type, f"{at}[]")
        case msgspec.inspect.NoneType():
            return
        case _:
            yield at


@pytest.mark.parametrize("kind", KINDS)
def test_fields_called_used_are_those_the_decoder_reads(kind: Kind) -> None:
    read = set(paths(msgspec.inspect.type_info(struct_of(kind)))) - {"metadata.uid", "metadata.creationTimestamp"}
    used = {field for field, word in field_table()[kind].items() if word == "used"}
    assert used - {"metadata.creationTimestamp"} - read == set()
    assert {field for field in read - used if not field.startswith("metadata.")} == set()
