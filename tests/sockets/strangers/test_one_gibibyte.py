"""All strangers at once, on a registry that has the chart's memory: 1 GiB."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.chart import CHART
from support.strangers import FIRST_SHARE, Stronghold, besieged

SECONDS = 4
PROCESSES = 4
ALL: Mapping[str, Mapping[str, Any]] = {
    "connections_come_and_go": {"connections": 2000, "at_once": 50},
    "streams_take_nothing": {"rounds": 2, "connections": 10},
    "cheap_requests": {"seconds": SECONDS},
    "many_watches": {"seconds": SECONDS},
    "one_byte_at_a_time": {"seconds": SECONDS},
    "many_addresses": {"seconds": SECONDS},
    "empty_names": {"seconds": SECONDS},
    "many_names": {"connections": 5, "seconds": SECONDS},
    "unread_reflection": {"seconds": SECONDS},
    "zero_windows": {"seconds": SECONDS},
    "unfinished_messages": {"connections": 30, "seconds": SECONDS},
    "slow_takers": {"seconds": SECONDS},
    "all_connections": {"connections": 3000, "seconds": SECONDS},
    "slow_readers": {"seconds": SECONDS},
    "pipelined": {"seconds": SECONDS},
    "silent_connections": {"seconds": SECONDS},
    "endless_list": {"seconds": SECONDS},
    "endless_pages": {"seconds": SECONDS},
    "gzip_bomb": {"seconds": SECONDS},
    "endless_continue": {"seconds": SECONDS},
    "endless_line": {"seconds": SECONDS},
    "aliases": {"seconds": SECONDS},
}


def shared_out(attacks: Mapping[str, Any], processes: int) -> list[Mapping[str, Any]]:
    """Every one of them, in so many processes: to start one takes as long as some attacks."""
    return [dict(list(attacks.items())[each::processes]) for each in range(processes)]


def test_the_limit_is_the_charts() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["resources"]["limits"]["memory"] == "1Gi"


async def test_all_at_once_end_nobody(tmp_path: Path) -> None:
    """The process lives, and serves its honest client without an error.

    How soon is not held here: some twenty attackers and the registry share the CPUs of whoever runs this. So an answer
    that does not come in ``PATIENCE_SECONDS`` counts only where the registry had a CPU.
    """
    stronghold = Stronghold(tmp_path, 2000, memory=1 << 30)
    try:
        await stronghold.start()
        first = await stronghold.meet_strangers()
        assert first.after <= first.before * (1 + FIRST_SHARE), first.memory
        async with besieged(stronghold) as siege:
            await asyncio.gather(*(siege.attack_together(each) for each in shared_out(ALL, PROCESSES)))
        assert siege.alive, siege.registry.process.tail()
        late = "TimeoutError()" if siege.starved else "nothing"
        assert [each for each in siege.served.errors if not each.endswith(late)] == []
        assert "MemoryError" not in siege.registry.process.log.read_text()
        assert siege.memory_is_back, siege.memory
    finally:
        stronghold.stop()
