"""A member whose API server, or kubeconfig, attacks: its own condition names it, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.attacks_member import member_of
from support.strangers import Siege, Stronghold, besieged

SECONDS = 3
OBJECTS = 15_000
"""Of a list without an end: what comes in ``SECONDS`` also where others use the CPUs."""


async def reason(siege: Siege, attack: str) -> str:
    """What the registry says of the member that attacks."""
    found = json.loads(await siege.registry.text("/api/v1/clusters"))["clusters"]
    member: dict[str, Any] = next((each for each in found if each["name"] == member_of(attack)), {})
    return str(member.get("reason", ""))


async def until_failing(siege: Siege, attack: str, expected: str) -> None:
    while await reason(siege, attack) != expected:
        await asyncio.sleep(0.1)


async def attacked_until_failing(siege: Siege, attack: str, expected: str, arguments: dict[str, Any]) -> None:
    """Attack until the member's condition says so; a second time, for longer, on a machine that is slow."""
    for seconds in (SECONDS, 5 * SECONDS):
        attacking = asyncio.create_task(siege.attack(attack, seconds=seconds, **arguments))
        failing = asyncio.create_task(until_failing(siege, attack, expected))
        await asyncio.wait({attacking, failing}, return_when=asyncio.FIRST_COMPLETED)
        await attacking
        if failing.done():
            await failing
            return
        failing.cancel()
    raise AssertionError(f"{attack}: the member is {await reason(siege, attack)!r}, and not {expected}")


@pytest.mark.parametrize(
    ("attack", "arguments", "expected"),
    [
        ("endless_line", {}, "LimitExceeded"),
        ("gzip_bomb", {"mib": 200}, "LimitExceeded"),
        ("endless_continue", {}, "BadResponse"),
        ("header_lines", {}, "BadResponse"),
        ("chunk_extension", {}, "BadResponse"),
        ("aliases", {}, "KubeconfigInvalid"),
    ],
)
async def test_answer_that_is_no_answer_is_that_members_fault(
    stronghold: Stronghold, attack: str, arguments: dict[str, Any], expected: str
) -> None:
    async with besieged(stronghold) as siege:
        await attacked_until_failing(siege, attack, expected, arguments)
    siege.assert_unharmed()


@pytest.mark.parametrize(
    ("attack", "arguments"),
    [("endless_pages", {"pause": 2}), ("tiny_objects", {}), ("flood", {}), ("unasked_answers", {})],
)
async def test_member_without_an_end_holds_nobody_up(
    stronghold: Stronghold, attack: str, arguments: dict[str, Any]
) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack(attack, seconds=SECONDS, **arguments)
    siege.assert_unharmed()


@pytest.mark.parametrize("attack", ["endless_list", "endless_pages", "endless_stream"])
async def test_list_without_an_end_holds_nobody_up(stronghold: Stronghold, attack: str) -> None:
    async with besieged(stronghold) as siege:
        await siege.attack(attack, seconds=SECONDS, objects=OBJECTS)
    siege.assert_unharmed()
