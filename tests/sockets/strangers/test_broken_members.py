"""A member whose API server attacks: its own condition names it, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.broken_members import MEMBER
from support.strangers import Siege, Stronghold, besieged

SECONDS = 4


async def state(siege: Siege) -> dict[str, Any]:
    """What the registry says of the member that attacks."""
    found = json.loads(await siege.registry.text("/api/v1/clusters"))["clusters"]
    return next((each for each in found if each["name"] == MEMBER), {})


async def until_failing(siege: Siege, *reasons: str) -> None:
    while (await state(siege)).get("reason") not in reasons:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("attack", "reasons"),
    [
        ("gzip_bomb", ("LimitExceeded",)),
        ("tiny_objects", ("LimitExceeded", "BadResponse")),
        ("interim_answers", ("BadResponse",)),
        ("header_lines", ("BadResponse", "Unreachable")),
        ("chunk_extension", ("BadResponse",)),
    ],
)
async def test_answer_that_is_no_answer_is_that_members_fault(
    stronghold: Stronghold, attack: str, reasons: tuple[str, ...]
) -> None:
    async with besieged(stronghold) as siege:
        attacking = asyncio.create_task(siege.attack(attack, seconds=SECONDS))
        async with asyncio.timeout(SECONDS):
            await until_failing(siege, *reasons)
        await attacking
    siege.assert_unharmed()


@pytest.mark.parametrize("attack", ["endless_list", "endless_stream", "slow_list", "flood", "unasked_answers"])
async def test_member_without_an_end_holds_nobody_up(stronghold: Stronghold, attack: str) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack(attack, seconds=SECONDS)
    siege.assert_unharmed()
