"""The harness itself: a registry that nobody attacks holds every bar, and one that is held up does not."""

from __future__ import annotations

import asyncio
import signal

from support.strangers import FIRST_SHARE, SERVED, Stronghold, besieged


async def test_first_strangers_leave_little(stronghold: Stronghold) -> None:
    first = stronghold.first
    assert first is not None
    assert first.alive
    assert first.after <= first.before * (1 + FIRST_SHARE), first.memory


async def test_registry_that_nobody_attacks_is_unharmed(stronghold: Stronghold) -> None:
    async with besieged(stronghold) as siege:
        await asyncio.sleep(2)
    siege.assert_unharmed()
    assert {what: len(times) >= 15 for what, times in siege.served.times.items()} == dict.fromkeys(
        ("lookup", "healthz", "newcomer", "change", "control"), True
    )


async def test_a_registry_that_stands_still_is_noticed(stronghold: Stronghold) -> None:
    """With all who wait for it, and for as long as they wait."""
    async with besieged(stronghold) as siege:
        siege.registry.process.signal(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        siege.registry.process.signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
    waited = {what: siege.served.quantile(what, 0.99) > 0.3 for what in SERVED}
    assert waited == dict.fromkeys(SERVED, True)
    assert siege.starved or len(siege.problems()) >= len(SERVED)
