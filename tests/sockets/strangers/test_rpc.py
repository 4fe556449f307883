"""What a stranger does to connections, streams and messages of the gRPC port costs others nothing."""

from __future__ import annotations

import pytest
from support.strangers import Stronghold, besieged


@pytest.mark.parametrize(
    ("attack", "size"),
    [
        ("connections_come_and_go", {"connections": 4000, "at_once": 100}),
        ("streams_take_nothing", {"rounds": 2, "connections": 4, "streams": 100, "names": 50}),
        ("cheap_requests", {"seconds": 3}),
        ("one_byte_at_a_time", {"seconds": 3}),
        ("zero_windows", {"connections": 8, "seconds": 3}),
        ("unfinished_messages", {"connections": 20, "size": (16 << 20) - 64, "seconds": 3}),
        ("slow_takers", {"connections": 20, "seconds": 3}),
    ],
)
async def test_siege_of_the_grpc_port(stronghold: Stronghold, attack: str, size: dict[str, float]) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack(attack, **size)
    siege.assert_unharmed()
