"""What others change of our entries is noticed at once and put back; what is theirs stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from support.fake_entries import a_moment
from support.processes import until
from support.writer_world import OURS, a_service, writer_world
from support.writer_world import WriterWorld as World

from registry.model.conditions import ConditionType
from registry.writers.contests import FREE_MENDS, MEND_SECONDS

ECHO = "mesh-registry-echo"
SOON = 2.0


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with writer_world(tmp_path) as it:
        yield it


async def watched(world: World) -> None:
    await until(lambda: ECHO in world.written() and world.api.watches == 1, "the entry is written and watched")
    await a_moment()


def entry(world: World) -> Any:
    return world.api.objects["shop", ECHO]


async def test_entry_deleted_by_hand_comes_back(world: World) -> None:
    async with world.writing() as writer:
        await watched(world)
        world.api.remove("shop", ECHO)
        await until(lambda: world.written() == {ECHO: ["10.0.0.1"]}, "it is back", SOON)
        assert writer.status().mended == 1
        assert writer.status().contested == ()


async def test_owned_field_is_put_back_and_a_foreign_one_stays(world: World) -> None:
    async with world.writing():
        await watched(world)
        world.api.edit("shop", ECHO, endpoints=[{"address": "6.6.6.6"}], exportTo=["."])
        await until(lambda: world.written() == {ECHO: ["10.0.0.1"]}, "it is put back", SOON)
        assert entry(world)["spec"]["exportTo"] == ["."]
        wrote = len(world.api.wrote)
        world.api.edit("shop", ECHO, exportTo=["*"])
        await a_moment()
        assert len(world.api.wrote) == wrote


async def test_label_taken_off_by_hand_is_put_back(world: World) -> None:
    async with world.writing():
        await watched(world)
        it = entry(world)
        it["metadata"]["labels"] = {}
        world.api._tell("DELETED", {**it, "metadata": {**it["metadata"], "labels": OURS}})
        await until(lambda: entry(world)["metadata"]["labels"] == OURS, "it has our label again", SOON)


async def test_our_own_writes_are_not_answered(world: World) -> None:
    async with world.writing() as writer:
        await watched(world)
        for last in range(2, 6):
            world.tell(writer, a_service("echo", f"10.0.0.{last}"))
            await until(lambda last=last: world.written() == {ECHO: [f"10.0.0.{last}"]}, "the change is written")
        await a_moment()
        assert world.api.wrote == [("PATCH", ECHO)] * 5
        assert writer.status().mended == 0


async def test_write_of_another_replica_is_not_fought(world: World) -> None:
    async with world.writing() as writer:
        await watched(world)
        spec = {**entry(world)["spec"], "endpoints": [{"address": "10.0.0.2", "weight": 1}]}
        world.api.put("shop", ECHO, spec, "mesh-registry", OURS)
        world.tell(writer, a_service("other", "10.0.0.9"))
        await until(lambda: "mesh-registry-other" in world.written(), "something else is written")
        await asyncio.sleep(2 * MEND_SECONDS)
        assert world.written()[ECHO] == ["10.0.0.2"]
        world.tell(writer, a_service("echo", "10.0.0.3"))
        await until(lambda: world.written()[ECHO] == ["10.0.0.3"], "news of our own are written at once", 1)


async def test_edit_war_is_paced_and_said(world: World) -> None:
    async with world.writing() as writer:
        await watched(world)
        for _ in range(FREE_MENDS):
            world.api.edit("shop", ECHO, manager="other-controller", endpoints=[{"address": "6.6.6.6"}])
            await until(lambda: world.written() == {ECHO: ["10.0.0.1"]}, "it is put back", SOON)
        await until(lambda: not world.said[ConditionType.ENTRIES_WRITTEN].status, "the condition says it")
        said = world.said[ConditionType.ENTRIES_WRITTEN]
        assert said.reason == "Contested"
        assert "shop/mesh-registry-echo (other-controller)" in said.message
        assert writer.status().contested == ("shop/mesh-registry-echo",)
        world.api.edit("shop", ECHO, manager="other-controller", endpoints=[{"address": "6.6.6.6"}])
        await a_moment()
        world.tell(writer, a_service("echo", "10.0.0.2"))
        await until(lambda: world.written() == {ECHO: ["10.0.0.2"]}, "what changed is written all the same", 1)


async def test_watch_that_ends_goes_on_and_one_that_brings_nothing_leads_to_a_list(world: World) -> None:
    async with world.writing():
        await watched(world)
        before = world.api.requests
        for count in (2, 3, 4):
            world.api.cut()
            await until(lambda count=count: world.api.watches >= count, "it is watched again")
        lists = world.api.requests - before - 3
        assert lists == 1, "after two that brought nothing"
        world.api.remove("shop", ECHO)
        await until(lambda: ECHO in world.written(), "and it is noticed", SOON)


async def test_role_without_the_right_to_watch_is_said_and_entries_are_written_all_the_same(world: World) -> None:
    world.api.fault = lambda method, _name: (403, "cannot watch") if method == "WATCH" else None
    async with world.writing() as writer:
        await until(lambda: ECHO in world.written(), "it is written")
        await until(lambda: writer.status().reason == "NotWatched", "it is said")
        assert "watch serviceentries.networking.istio.io: 403 Forbidden" in writer.status().message
        assert world.said[ConditionType.ENTRIES_WRITTEN].status
        world.tell(writer, a_service("echo", "10.0.0.2"))
        await until(lambda: world.written() == {ECHO: ["10.0.0.2"]}, "changes follow")
