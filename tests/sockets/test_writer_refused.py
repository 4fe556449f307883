"""An API server that does not take an entry: it is said, the old one loses what is gone, and no other waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.fake_entries import Fault, a_moment
from support.processes import until
from support.writer_world import WriterWorld as World
from support.writer_world import a_service, writer_world

from registry.model.conditions import ConditionType
from registry.model.services import Change

ECHO, OTHER = "mesh-registry-echo", "mesh-registry-other"


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with writer_world(tmp_path) as it:
        it.put(a_service("echo", "10.0.0.1", "10.0.0.2"))
        yield it


FAULTS: dict[str, Fault] = {
    "Invalid": (422, "ServiceEntry is invalid: too many"),
    "BadRequest": (400, "bad"),
    "TooLarge": (500, "etcdserver: request is too large"),
    "QuotaExceeded": (403, "is forbidden: exceeded quota: q"),
    "Denied": (403, 'admission webhook "w" denied the request: no'),
}


async def test_refused_entries_are_said_and_lose_what_is_gone(world: World) -> None:
    names = {reason: reason.lower() for reason in FAULTS}
    world.put(*(a_service(name, "10.0.0.1", "10.0.0.2") for name in names.values()))
    by_name = {f"mesh-registry-{names[reason]}": fault for reason, fault in FAULTS.items()}

    def addresses() -> set[tuple[str, ...]]:
        return {tuple(world.written().get(name, ())) for name in by_name}

    async with world.writing() as writer:
        await until(lambda: addresses() == {("10.0.0.1", "10.0.0.2")}, "all are written")
        world.api.refuse = lambda it: by_name.get(it["metadata"]["name"]) if len(it["spec"]["endpoints"]) > 2 else None
        for name in names.values():
            world.tell(writer, a_service(name, "10.0.0.2", "10.0.0.3", "10.0.0.4"))
        world.tell(writer, a_service("other", "10.0.0.9"))
        await until(lambda: addresses() == {("10.0.0.2",)}, "what is gone is taken out")
        await until(lambda: OTHER in world.written(), "the other is written")
        await until(lambda: len(writer.status().failures) == len(FAULTS), "they are reported")
        for failure in writer.status().failures:
            assert failure.service.name == names[failure.reason]
            assert failure.refused
            assert "1 endpoints that are gone were taken out" in failure.message
        await until(lambda: not world.said[ConditionType.ENTRIES_WRITTEN].status, "the condition says it")
        said = world.said[ConditionType.ENTRIES_WRITTEN]
        assert said.reason == "Rejected"
        assert "shop/badrequest: BadRequest" in said.message
        assert ": 400 bad" in said.message
        world.api.refuse = lambda _: None
        for name in names.values():
            world.tell(writer, a_service(name, "10.0.0.2", "10.0.0.3", "10.0.0.5"))
        await until(lambda: {len(each) for each in addresses()} == {3}, "the next change is tried soon")
        await until(lambda: world.said[ConditionType.ENTRIES_WRITTEN].status, "all is well again")
        assert writer.status().failures == ()


async def test_entry_that_nothing_can_be_taken_out_of_is_said(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: ECHO in world.written(), "it is written")
        world.api.refuse = lambda it: (422, "never") if it["metadata"]["name"] == ECHO else None
        world.tell(writer, a_service("echo", "10.0.0.2", "10.0.0.3"))
        await until(lambda: writer.status().failures != (), "it is reported")
        assert "1 endpoints that are gone, and taking them out is refused too" in writer.status().message
        assert world.written()[ECHO] == ["10.0.0.1", "10.0.0.2"], "what is there is not broken for it"
        world.tell(writer, a_service("echo", "10.0.0.3"))
        await until(lambda: ECHO not in world.written(), "an entry of which nothing is left is deleted")
        await until(lambda: "so it was deleted" in writer.status().message, "that is said")


@pytest.mark.parametrize("status", [(403, 'admission webhook "w" denied the request: no'), (403, "cannot delete")])
async def test_entry_that_may_not_be_deleted_is_emptied(world: World, status: Fault) -> None:
    async with world.writing() as writer:
        await until(lambda: ECHO in world.written(), "it is written")
        world.api.fault = lambda method, _: status if method == "DELETE" else None
        gone = world.services.popitem()[0]
        writer.publish((Change(gone, None, None),))
        await until(lambda: world.written() == {ECHO: []}, "nobody is sent to what is gone")
        await until(lambda: "2 endpoints that are gone were taken out" in writer.status().message, "that is said")


async def test_object_at_which_the_server_fails_holds_up_no_other(world: World) -> None:
    world.api.refuse = lambda it: (500, "webhook: EOF") if it["metadata"]["name"] == ECHO else None
    async with world.writing() as writer:
        world.tell(writer, a_service("other", "10.0.0.9"))
        await until(lambda: OTHER in world.written(), "the other is written")
        world.tell(writer, a_service("other", "10.0.0.8"))
        await until(lambda: world.written()[OTHER] == ["10.0.0.8"], "and its changes follow", 1)
        assert writer.status().reason == "ServerError"
        assert world.waits == [], "nothing waited"


async def test_role_without_the_right_to_write_is_asked_for_a_few_objects_only(world: World) -> None:
    text = 'is forbidden: User "r" cannot patch resource "serviceentries"'
    world.api.refuse = lambda _: (403, text)
    world.put(*(a_service(f"s{number}", "10.0.0.1") for number in range(100)))
    async with world.writing() as writer:
        await until(lambda: len(world.waits) >= 2, "it backs off")
        assert world.api.requests < 80
        assert writer.status().reason == "Forbidden"
        assert "grant the registry's user this verb" in writer.status().message
        world.api.refuse = lambda _: None
        await until(lambda: len(world.written()) == 101, "all are written once it may", 10)
        await until(lambda: writer.status().reason == "", "and all is well")


async def test_namespace_that_is_being_deleted_is_no_fault(world: World) -> None:
    world.api.refuse = lambda _: (403, "unable to create new content in namespace shop because it is being terminated")
    async with world.writing() as writer:
        await until(lambda: world.api.requests >= 3, "it was tried")
        await a_moment()
        assert writer.status().reason == ""
        requests = world.api.requests
        await a_moment()
        assert world.api.requests == requests


async def test_long_message_of_the_server_is_shortened(world: World) -> None:
    world.api.refuse = lambda _: (422, "x" * 10_000)
    async with world.writing() as writer:
        await until(lambda: writer.status().failures != (), "it is reported")
        assert len(writer.status().message) < 600
