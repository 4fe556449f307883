"""Gateways between networks: where clients of other networks enter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from registry.model.names import Locality


class Gateway(NamedTuple):
    """Where clients of other networks enter a network. ``locality`` is its own; what is not known of it is empty."""

    address: str
    port: int
    locality: Locality = Locality()


Gateways = Mapping[str, Sequence[Gateway]]
"""Network -> its gateways, ordered, at least one."""
