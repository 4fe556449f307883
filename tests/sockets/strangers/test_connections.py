"""Strangers who take connections of the gRPC port, and that others find some."""

from __future__ import annotations

import re
from pathlib import Path

from support.authorities import issue
from support.strangers import Stronghold, besieged

REFUSED = re.compile(r'^mesh_registry_connections_refused_total\{port="grpc",reason="(\w+)"\} (\S+)$', re.MULTILINE)


async def refused(stronghold: Stronghold) -> dict[str, float]:
    registry = await stronghold.held()
    return {why: float(count) for why, count in REFUSED.findall(await registry.text("/metrics"))}


async def test_all_connections_taken_by_one_peer(stronghold: Stronghold) -> None:
    """It has half of them at most, and brings so many a second; newcomers from elsewhere are served meanwhile."""
    before = await refused(stronghold)
    async with besieged(stronghold) as siege:
        done = await siege.attack("all_connections", connections=4000, seconds=1)
    siege.assert_unharmed()
    assert done["left"] <= 3000
    assert sum((await refused(stronghold)).values()) - sum(before.values()) >= 1000
    assert "grpc: connections refused or closed: " in siege.registry.process.log.read_text()


async def test_handshakes_of_tls(tmp_path: Path) -> None:
    """A handshake costs more than most requests, and half of one takes nobody else's place.

    OpenSSL keeps some memory of the first siege for the next one.
    """
    stronghold = Stronghold(tmp_path, 1000, tls=issue("served", None))
    try:
        await stronghold.start()
        async with besieged(stronghold, calm_seconds=1) as first:
            await first.attack("tls_handshakes", silent=300, seconds=2)
        async with besieged(stronghold) as siege:
            done = await siege.attack("tls_handshakes", silent=0, seconds=3)
    finally:
        stronghold.stop()
    assert [each for each in first.problems() if each != first.memory] == []
    siege.assert_unharmed()
    assert done["handshakes"] >= 100
