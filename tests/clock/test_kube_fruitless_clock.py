"""The Kubernetes source over watches that are accepted and bring nothing, on a clock that costs nothing."""

from __future__ import annotations

import asyncio

import pytest
from support.memory_api import MemoryApi
from support.source_rig import SERVICE, Rig, condition, now
from support.virtual_loop import virtually

from registry.model.conditions import ConditionType
from registry.model.names import BASE_KINDS, Kind
from registry.model.status import SourceState
from registry.sources.kubernetes.reflector import SourceOptions
from registry.sources.kubernetes.watches import DOUBT_SECONDS, QUIET_SECONDS

EVERY_KIND = frozenset(Kind)
STALE_SECONDS = 150.0
POLL_SECONDS = 35.0
"""The longest distance of the lists in the place of watches, and what they take."""

AUDIT_SECONDS = 15.0
SECOND_LOOK_SECONDS = 10.0


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("kinds", [EVERY_KIND, frozenset({SERVICE})], ids=["every kind", "one kind"])
@pytest.mark.parametrize("fault", ["short_seconds", "proxy_seconds"])
def test_watches_that_end_at_once_are_replaced_by_lists_and_said(
    fault: str, kinds: frozenset[Kind], streams: bool
) -> None:
    async def play() -> None:
        rig = Rig(MemoryApi(streams=streams))
        async with rig.running() as source:
            await asyncio.sleep(10)
            rig.api.mute, rig.api.faulty = kinds, kinds
            setattr(rig.api, fault, 0.0 if fault == "short_seconds" else 0.002)
            await rig.api.restart()
            reason = "WatchClosed" if fault == "short_seconds" else "Unreachable"
            await rig.until(lambda: rig.failing(reason), 5)
            assert "watch services: " in rig.last.message or fault == "proxy_seconds"
            asked, lists = now(), rig.lists()
            for number in range(20):
                await asyncio.sleep(60)
                await rig.api.put(f"new-{number}")
                await rig.until(lambda number=number: f"new-{number}" in rig.services, POLL_SECONDS)
                assert rig.failing(reason), "it is not called Synced meanwhile"
                assert source.heard_at is not None
                assert now() - source.heard_at < (POLL_SECONDS if kinds == EVERY_KIND else QUIET_SECONDS + 5)
            assert rig.lists() - lists <= (now() - asked) / 15, "no storm"
            rig.api.mute = rig.api.faulty = frozenset()
            await rig.until(rig.synced, 100)
            await rig.api.put("last")
            await rig.until(lambda: "last" in rig.services, 1)

    virtually(play())


def test_first_watches_that_end_at_once_are_said_too() -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.mute = rig.api.faulty = EVERY_KIND
        rig.api.short_seconds = 0.0
        async with rig.started():
            await rig.until(lambda: rig.failing("WatchClosed"), 10)
            assert rig.last.listed == BASE_KINDS
            await asyncio.sleep(2)
            await rig.api.put("three")
            await rig.has("one", "two", "three", within=POLL_SECONDS)

    virtually(play())


@pytest.mark.parametrize("seconds", [0.0, 20.0, None])
def test_audit_finds_what_the_watches_do_not_tell_though_none_is_open(seconds: float | None) -> None:
    """Watches that end at once, after 20 seconds, or stay open, and never bring a line."""

    async def play() -> None:
        rig = Rig(audits=True, options=SourceOptions(audit_seconds=AUDIT_SECONDS))
        async with rig.running() as source:
            await asyncio.sleep(100)
            rig.api.mute = rig.api.faulty = frozenset({SERVICE})
            rig.api.short_seconds = seconds
            await rig.api.restart()
            for number in range(8):
                await asyncio.sleep(60)
                await rig.api.put(f"new-{number}")
                await rig.until(
                    lambda number=number: f"new-{number}" in rig.services,
                    AUDIT_SECONDS * 1.25 + 2 * SECOND_LOOK_SECONDS,
                )
            assert bool(source.drifted) == (seconds != 0.0), "the lists in the place of watches are faster"
            await asyncio.sleep(1)
            assert condition(rig, ConditionType.CONSISTENT)

    virtually(play())


@pytest.mark.parametrize("seconds", [10.0, 30.0, 60.0])
@pytest.mark.parametrize("cut", [False, True])
def test_proxy_that_ends_quiet_watches_soon_keeps_the_cluster_fresh_with_few_lists(seconds: float, cut: bool) -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.bookmarks_off = True
        async with rig.running() as source:
            setattr(rig.api, "proxy_seconds" if cut else "short_seconds", seconds)
            await rig.api.restart()
            lists, began = rig.lists(), now()
            for _ in range(360):
                await asyncio.sleep(10)
                assert source.heard_at is not None
                assert now() - source.heard_at < STALE_SECONDS
            assert rig.lists() - lists <= (now() - began) / DOUBT_SECONDS
            assert not any(status.state is SourceState.FAILING for status in rig.sink.statuses)
            await rig.api.put("three")
            await rig.has("one", "two", "three", within=1)

    virtually(play())


def test_server_that_ends_quiet_watches_after_a_second_is_not_listed_without_end() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.short_seconds = 1.0
            await rig.api.restart()
            await asyncio.sleep(60)
            lists, asked, began = rig.lists(), len(rig.api.asked), now()
            for number in range(60):
                await asyncio.sleep(60)
                await rig.api.put("three", 80 + number)
                await rig.until(lambda number=number: rig.port_of("three") == 80 + number, POLL_SECONDS)
            passed = now() - began
            assert rig.lists() - lists <= passed / 15
            assert (len(rig.api.asked) - asked) / len(BASE_KINDS) <= passed / 5

    virtually(play())


def test_server_that_ends_busy_watches_after_a_second_is_followed_by_them_alone() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.short_seconds = 1.0
            await rig.api.restart()
            for number in range(600):
                await asyncio.sleep(0.5)
                await rig.api.put("three", 80 + number)
            await rig.until(lambda: rig.port_of("three") == 679, 2)
            assert rig.lists() == 1

    virtually(play())
