"""One manifest file: its text as facts, or what is wrong with it and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from registry.model.facts import Fact
from registry.sources.kubernetes.decode import decode_object
from registry.sources.manifests.objects import ManifestError, Row, read_rows

__all__ = ["ManifestError", "Placed", "placed", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A fact and where it stands, as ``NAME:LINE``."""

    fact: Fact
    place: str


def read_manifest(name: str, content: bytes) -> tuple[Placed, ...]:
    """The facts of the file ``name``, in their order; objects of other kinds are passed over.

    Raises:
        ManifestError: the file is empty, is no YAML or JSON, or an object in it is not what its kind says.
    """
    return tuple(placed(name, read_rows(name, content)))


def placed(name: str, rows: Iterable[Row]) -> Iterator[Placed]:
    """The facts of rows of the file ``name``."""
    for row in rows:
        yield Placed(decode_object(row.kind, row.body), f"{name}:{row.line}")
