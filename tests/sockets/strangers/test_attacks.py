"""Each attack on the gRPC port alone, in small: nobody else notices, and nothing of it is left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from support.strangers import Stronghold, besieged

SMALL: Mapping[str, Mapping[str, Any]] = {
    "connections_come_and_go": {"connections": 2000, "at_once": 50},
    "streams_take_nothing": {"rounds": 2, "connections": 5},
    "cheap_requests": {"seconds": 1},
    "many_watches": {"watches": 20, "seconds": 1},
    "one_watch": {"names": 2000, "seconds": 1},
    "one_byte_at_a_time": {"seconds": 1},
    "many_addresses": {"streams": 20, "seconds": 1},
    "empty_names": {"seconds": 1},
    "many_names": {"names": 100_000, "seconds": 1},
    "unread_reflection": {"connections": 2, "seconds": 1},
    "zero_windows": {"connections": 5, "seconds": 1},
    "unfinished_messages": {"connections": 5, "seconds": 1},
    "slow_takers": {"connections": 10, "seconds": 1},
    "all_connections": {"connections": 2000, "seconds": 1},
}


@pytest.mark.parametrize("name", SMALL)
async def test_others_are_unharmed(stronghold: Stronghold, name: str) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack(name, **SMALL[name])
    siege.assert_unharmed()
