"""What a writer writes while members are not known: what is known; what entries have of the others stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio
from support.fake_entries import a_moment
from support.processes import until
from support.writer_world import OURS, a_service, writer_world
from support.writer_world import WriterWorld as World

from registry.model.conditions import ConditionType
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import Change
from registry.views.names import Names
from registry.views.service_entry import service_entries
from registry.writers.unknown import NOBODY, Unknown

B = ClusterId("b")
WITHOUT_B = Unknown([(B, "Unreachable")], known=[ClusterId("a")])
ECHO, CART = "mesh-registry-echo", "mesh-registry-cart"


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """b is not known; an earlier run wrote shop/echo of both, and shop/cart of b alone."""
    async with writer_world(tmp_path) as it:
        both = a_service("echo", "10.0.0.1", "10.0.0.9")
        of_b = a_service("echo", "10.1.0.1", of=B).endpoints
        wrote(it, replace(both, endpoints=tuple(sorted((*both.endpoints, *of_b)))))
        wrote(it, a_service("cart", "10.1.0.2", of=B))
        it.unknown = WITHOUT_B
        yield it


def wrote(world: World, service: Any) -> None:
    document: Any = service_entries(service, Names()).documents[0]
    world.api.put("shop", document["metadata"]["name"], document["spec"], "mesh-registry", OURS)


def by_hand(world: World, name: str, **spec: Any) -> None:
    world.api.edit("shop", name, **spec)


async def test_what_is_known_is_written_and_what_is_not_known_stays(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "what a has no more is gone")
        assert world.written()[CART] == ["10.1.0.2"]
        assert world.api.wrote == [("PATCH", ECHO)]
        world.tell(writer, a_service("echo", "10.0.0.2"))
        await until(lambda: world.written()[ECHO] == ["10.0.0.2", "10.1.0.1"], "changes of a follow")
        said = world.said[ConditionType.ENTRIES_COMPLETE]
        assert (said.status, said.reason) == (False, "MembersUnknown")
        assert "cluster b (Unreachable)" in said.message
        assert world.said[ConditionType.ENTRIES_WRITTEN].status
        assert writer.status().awaits == (B,)


async def test_once_the_member_is_known_its_word_counts(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        world.unknown = NOBODY
        writer.look_again()
        await until(lambda: world.written() == {ECHO: ["10.0.0.1"]}, "b has nothing of it any more")
        await until(lambda: world.said[ConditionType.ENTRIES_COMPLETE].status, "that is said")


async def test_entry_of_an_earlier_version_keeps_all_that_cannot_be_attributed(world: World) -> None:
    endpoints = [{"address": "10.0.0.9"}, {"address": "10.1.0.1"}]
    world.api.objects["shop", ECHO]["spec"]["endpoints"] = endpoints
    async with world.writing() as writer:
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.0.0.9", "10.1.0.1"], "all of it stays")
        world.unknown = NOBODY
        writer.look_again()
        await until(lambda: world.written()[ECHO] == ["10.0.0.1"], "until everybody is known")


async def test_service_that_the_known_members_have_no_more_keeps_what_is_of_the_unknown_one(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        world.services.clear()
        writer.publish((Change(ServiceKey("shop", "echo"), None, None),))
        await until(lambda: world.written()[ECHO] == ["10.1.0.1"], "a's is gone")
        world.put(a_service("echo", "10.0.0.3"))
        world.tell(writer, a_service("echo", "10.0.0.3"))
        await until(lambda: world.written()[ECHO] == ["10.0.0.3", "10.1.0.1"], "and comes again")


async def test_what_is_not_known_outlives_an_edit_and_a_deletion_by_hand(world: World) -> None:
    async with world.writing():
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        by_hand(world, ECHO, endpoints=[{"address": "6.6.6.6"}])
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "the edit is put back", 5)
        world.api.remove("shop", ECHO)
        await until(lambda: world.written().get(ECHO) == ["10.0.0.1", "10.1.0.1"], "it is back", 5)


async def test_entry_of_the_unknown_member_alone_is_put_back_too(world: World) -> None:
    async with world.writing():
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        by_hand(world, CART, endpoints=[{"address": "6.6.6.6"}])
        await until(lambda: world.written()[CART] == ["10.1.0.2"], "the edit is put back", 5)
        world.api.remove("shop", CART)
        await until(lambda: world.written().get(CART) == ["10.1.0.2"], "it is back", 5)


async def test_ports_that_somebody_renames_move_nobody_to_another_port(world: World) -> None:
    async with world.writing():
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        before = world.api.objects["shop", ECHO]["spec"]
        by_hand(world, ECHO, ports=[{"number": 80, "name": "web", "protocol": "HTTP"}])
        await until(lambda: world.api.objects["shop", ECHO]["spec"] == before, "it is as it was", 5)


async def test_member_that_is_known_meanwhile_does_not_come_back_with_an_entry(world: World) -> None:
    async with world.writing():
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        world.unknown = Unknown([(ClusterId("c"), "Unreachable")], known=[ClusterId("a"), B])
        world.api.remove("shop", ECHO)
        await until(lambda: world.written().get(ECHO) == ["10.0.0.1"], "b has no such endpoint", 5)


async def test_what_a_snapshot_lacks_of_a_member_stays_until_the_member_has_listed(world: World) -> None:
    known = [ClusterId("a"), B]
    world.unknown = Unknown(known=known, unverified=[B])
    world.put(a_service("echo", "10.0.0.1"))
    async with world.writing() as writer:
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "the entry may be newer")
        assert world.written()[CART] == ["10.1.0.2"]
        assert world.said[ConditionType.ENTRIES_COMPLETE].status
        world.unknown = Unknown(known=known)
        writer.look_again()
        await until(lambda: world.written() == {ECHO: ["10.0.0.1"]}, "its own word counts")


async def test_entry_that_another_replica_completes_is_left_alone(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written()[ECHO] == ["10.0.0.1", "10.1.0.1"], "b's stays")
        spec = world.api.objects["shop", ECHO]["spec"]
        of_b: Any = service_entries(a_service("echo", "10.1.0.7", of=B), Names()).documents[0]
        endpoints = [*spec["endpoints"], *of_b["spec"]["endpoints"]]
        world.api.put("shop", ECHO, {**spec, "endpoints": endpoints}, "mesh-registry", OURS)
        wrote_before = list(world.api.wrote)
        await a_moment()
        world.tell(writer, a_service("echo", "10.0.0.4"))
        await until(lambda: world.written()[ECHO] == ["10.0.0.4", "10.1.0.1", "10.1.0.7"], "its endpoints stay")
        assert len(world.api.wrote) == len(wrote_before) + 1
