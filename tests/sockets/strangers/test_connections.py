"""Strangers who take connections of the gRPC port, and that others find some."""

from __future__ import annotations

import re

from support.strangers import Stronghold, besieged

REFUSED = re.compile(r'^mesh_registry_connections_refused_total\{port="grpc",reason="(\w+)"\} (\S+)$', re.MULTILINE)


async def refused(stronghold: Stronghold) -> dict[str, float]:
    registry = await stronghold.held()
    return {why: float(count) for why, count in REFUSED.findall(await registry.text("/metrics"))}


async def test_all_connections_taken_by_one_peer(stronghold: Stronghold) -> None:
    """It has half of them. Its older silent ones make room, and newcomers from elsewhere are served."""
    before = await refused(stronghold)
    async with besieged(stronghold) as siege:
        done = await siege.attack("all_connections", connections=7000, seconds=1)
    siege.assert_unharmed()
    assert done["left"] <= 5000
    assert sum((await refused(stronghold)).values()) - sum(before.values()) >= 1000
    assert "grpc: connections refused or closed: " in siege.registry.process.log.read_text()
