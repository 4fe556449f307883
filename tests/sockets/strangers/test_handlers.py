"""Requests that are small and cost much: of the lookup API, of xDS, of reflection."""

from __future__ import annotations

from typing import Any

import pytest
from support.strangers import Stronghold, besieged

SECONDS = 2.5


@pytest.mark.parametrize(
    ("attack", "arguments"),
    [
        ("many_watches", {"watches": 50, "names": 2000}),
        ("one_watch", {"names": 2000}),
        ("many_addresses", {"streams": 100}),
        ("many_names", {"names": 200_000}),
        ("many_clusters", {"names": 20_000, "connections": 5}),
        ("fields_in_turn", {}),
        ("empty_names", {"size": (16 << 20) - 16, "connections": 4}),
        ("unread_reflection", {"streams": 100, "connections": 2}),
    ],
)
async def test_registry_is_unharmed_by(stronghold: Stronghold, attack: str, arguments: dict[str, Any]) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack(attack, seconds=SECONDS, **arguments)
    siege.assert_unharmed()
