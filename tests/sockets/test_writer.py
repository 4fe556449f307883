"""The ServiceEntry writer against an API server that fails in chosen ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from support.fake_entries import a_moment
from support.processes import until
from support.writer_world import OURS, a_service, writer_world
from support.writer_world import WriterWorld as World

from registry.model.conditions import ConditionType
from registry.model.facts import ServicePort
from registry.model.names import ServiceKey
from registry.model.services import Change


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with writer_world(tmp_path) as it:
        yield it


async def test_an_entry_has_the_addresses_of_the_clusters_own_family_once_that_is_known(world: World) -> None:
    service = a_service("echo", "10.0.0.1")
    both = service.endpoints[0]._replace(additional_addresses=("2001:db8::1",))
    world.put(replace(service, endpoints=(both,)))
    async with world.writing() as writer:
        await until(lambda: world.written() == {"mesh-registry-echo": ["10.0.0.1"]}, "the entry is written")
        world.family = "IPv6"
        writer.look_again()
        await until(lambda: world.written() == {"mesh-registry-echo": ["2001:db8::1"]}, "its own family is written")


async def test_what_is_missing_is_written_and_changes_follow(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written() == {"mesh-registry-echo": ["10.0.0.1"]}, "the entry is written")
        world.tell(writer, a_service("echo", "10.0.0.1", "10.0.0.2"))
        await until(lambda: world.written()["mesh-registry-echo"] == ["10.0.0.1", "10.0.0.2"], "the change is written")
        world.services.clear()
        writer.publish((Change(ServiceKey("shop", "echo"), None, None),))
        await until(lambda: world.written() == {}, "the entry is deleted")
        assert (writer.status().written, writer.status().deleted, writer.status().entries) == (2, 1, 0)


async def test_what_is_equal_is_not_written(world: World) -> None:
    async with world.writing():
        await until(lambda: world.written() != {}, "the entry is written")
    world.api.wrote.clear()
    async with world.writing() as writer:
        await until(lambda: writer.status().entries == 1, "the entry is listed")
        await a_moment()
        assert world.api.wrote == []


async def test_nothing_is_written_or_asked_before_the_cluster_is_known(world: World) -> None:
    world.ready = False
    async with world.writing() as writer:
        await a_moment()
        assert world.api.requests == 0
        assert writer.status().reason == "Waiting"
        world.ready = True
        writer.look_again()
        await until(lambda: world.written() != {}, "the entry is written")
        assert writer.status().reason == ""


async def test_entry_goes_where_the_namespace_is_and_comes_when_it_comes(world: World) -> None:
    world.namespaces = frozenset()
    async with world.writing() as writer:
        await until(lambda: world.api.requests > 0, "the writer has listed")
        await a_moment()
        assert world.written() == {}
        world.namespaces = frozenset({"shop"})
        writer.look_again()
        await until(lambda: world.written() != {}, "the entry is written")


async def test_namespaces_that_a_list_lacks_take_no_entry_with_them(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written() != {}, "the entry is written")
        world.namespaces = frozenset()
        writer.look_again()
        await a_moment()
        assert world.written() == {"mesh-registry-echo": ["10.0.0.1"]}
        world.namespaces = frozenset({"shop"})
        world.tell(writer, a_service("echo", "10.0.0.2"))
        await until(lambda: world.written() == {"mesh-registry-echo": ["10.0.0.2"]}, "changes follow again")


async def test_nothing_is_written_into_or_deleted_from_another_cluster(world: World) -> None:
    world.api.put("shop", "mesh-registry-gone", {}, "mesh-registry", OURS)
    world.api.uid = "uid-b"
    async with world.writing() as writer:
        await until(lambda: writer.status().reason == "IdentityRefused", "the stranger is refused")
        assert "uid-b is a stranger" in writer.status().message
        assert (set(world.written()), world.api.wrote) == ({"mesh-registry-gone"}, [])
        world.api.uid = "uid-a"
        await until(lambda: set(world.written()) == {"mesh-registry-echo"}, "its own is written")
        await until(lambda: writer.status().reason == "", "and nothing is wrong any more")


async def test_cluster_that_is_another_after_a_failure_is_left_alone(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: writer.status().entries == 1, "the entry is written")
        world.api.fault = lambda method, _name: 503 if method == "PATCH" else None
        world.tell(writer, a_service("echo", "10.0.0.2"))
        await until(lambda: writer.status().reason != "", "it fails")
        world.api.uid = "uid-b"
        await until(lambda: writer.status().reason == "IdentityRefused", "the stranger is noticed")
        world.api.fault = lambda _method, _name: None
        await a_moment()
        assert world.written() == {"mesh-registry-echo": ["10.0.0.1"]}


async def test_orphan_of_ours_is_deleted_and_what_only_looks_like_ours_is_not(world: World) -> None:
    world.api.put("shop", "mesh-registry-gone", {}, "mesh-registry", OURS)
    world.api.put("shop", "mesh-registry-theirs", {}, "somebody", OURS)
    world.api.put("shop", "mesh-registry-unlabelled", {}, "mesh-registry", {})
    async with world.writing():
        expected = {"mesh-registry-echo", "mesh-registry-theirs", "mesh-registry-unlabelled"}
        await until(lambda: set(world.written()) == expected, "only the orphan is gone")


async def test_entry_of_somebody_else_under_our_name_is_left_alone_and_said(world: World) -> None:
    world.api.put("shop", "mesh-registry-echo", {"endpoints": [{"address": "theirs"}]}, "somebody", {})
    world.put(a_service("other", "10.0.0.9"))
    async with world.writing() as writer:
        await until(lambda: "mesh-registry-other" in world.written(), "the other entry is written")
        await until(lambda: writer.status().conflicts == ("shop/mesh-registry-echo",), "the conflict is said")
        assert world.written()["mesh-registry-echo"] == ["theirs"]
        assert writer.status().reason == "Conflict"


async def test_object_the_server_rejects_is_said_and_holds_up_no_other(world: World) -> None:
    world.put(a_service("bad", "10.0.0.8"), a_service("other", "10.0.0.9"))
    world.api.fault = lambda method, name: 422 if (method, name) == ("PATCH", "mesh-registry-bad") else None
    async with world.writing() as writer:
        await until(
            lambda: set(world.written()) == {"mesh-registry-echo", "mesh-registry-other"}, "the others are there"
        )
        await until(lambda: writer.status().reason == "Rejected", "the rejection is said")
        assert "shop/mesh-registry-bad: 422 fault 422" in writer.status().message
        before = world.api.requests
        await a_moment()
        assert world.api.requests == before
        world.api.fault = lambda _method, _name: None
        world.tell(writer, a_service("bad", "10.0.0.7"))
        await until(lambda: "mesh-registry-bad" in world.written(), "its next change is tried")
        assert writer.status().reason == ""


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (403, "Forbidden", "grant the registry's user this verb"),
        (404, "NotFound", "install Istio's custom resources"),
        (401, "Unauthorized", "renew the credentials"),
        (500, "ServerError", "500 Internal Server Error"),
    ],
)
async def test_server_that_refuses_is_named_and_asked_again(world: World, status: int, reason: str, text: str) -> None:
    world.api.fault = lambda _method, name: status if not name else None
    async with world.writing() as writer:
        await until(lambda: len(world.waits) >= 7, "it was asked again")
        assert writer.status().reason == reason
        assert "list serviceentries.networking.istio.io" in writer.status().message
        assert text in writer.status().message
        assert world.waits[:7] == [1, 2, 4, 8, 16, 32, 60]
        world.api.fault = lambda _method, _name: None
        await until(lambda: world.written() != {}, "the entry is written once it may be")
        await until(lambda: writer.status().reason == "", "all is well")


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"{}", b'{"kind": "Status", "metadata": {}}', b"[1]"])
async def test_answer_that_is_no_api_servers_is_said_and_asked_for_again(world: World, body: bytes) -> None:
    world.api.garbage = body
    async with world.writing() as writer:
        await until(lambda: len(world.waits) >= 2, "it was asked again")
        assert writer.status().reason == "BadResponse"
        world.api.garbage = b""
        await until(lambda: world.written() != {}, "the entry is written")


async def test_object_replaced_behind_our_back_is_looked_at_again(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written() != {}, "the entry is written")
        world.api.put("shop", "mesh-registry-echo", {"endpoints": [{"address": "theirs"}]}, "somebody", {})
        world.tell(writer, a_service("echo", "10.0.0.5"))
        await until(lambda: writer.status().conflicts != (), "it is found to be somebody else's")
        assert world.written()["mesh-registry-echo"] == ["theirs"]


async def test_endpoints_that_one_entry_cannot_hold_are_in_another_that_goes_with_them(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written() != {}, "the entry is written")
        world.tell(writer, a_service("echo", *(f"10.1.{n // 250}.{n % 250}" for n in range(4097))))
        await until(lambda: len(world.written()) == 2, "the second is written")
        assert [len(each) for each in world.written().values()] == [4096, 1]
        world.tell(writer, a_service("echo", "10.0.0.1"))
        await until(lambda: world.written() == {"mesh-registry-echo": ["10.0.0.1"]}, "it is gone")
        assert writer.status().entries == 1


async def test_server_that_is_away_for_a_while_gets_the_newest_state(world: World) -> None:
    async with world.writing() as writer:
        await until(lambda: world.written() != {}, "the entry is written")
        world.api.fault = lambda _method, _name: 503
        for last in range(2, 6):
            world.tell(writer, a_service("echo", f"10.0.0.{last}"))
        await until(lambda: writer.status().reason == "ServerError", "the trouble is said")
        world.api.wrote.clear()
        world.api.fault = lambda _method, _name: None
        await until(lambda: world.written()["mesh-registry-echo"] == ["10.0.0.5"], "the newest state is written")
        assert world.api.wrote == [("PATCH", "mesh-registry-echo")]


async def test_what_entries_lack_is_a_condition_until_they_have_it(world: World) -> None:
    port = ServicePort(3306, "mysql")
    world.put(replace(a_service("db", "10.0.0.9"), ports=(port,)))
    async with world.writing() as writer:
        kind = ConditionType.ENTRIES_COMPLETE
        await until(lambda: kind in world.said and not world.said[kind].status, "it is reported")
        said = world.said[kind]
        assert said.reason == "TCPPortsLeftOut"
        assert said.message.startswith("shop/db: no entry, since left out: 3306 (MySQL).")
        assert set(world.written()) == {"mesh-registry-echo"}
        world.tell(writer, a_service("db", "10.0.0.9"))
        await until(lambda: world.said[kind].status, "it has all")
        assert set(world.written()) == {"mesh-registry-echo", "mesh-registry-db"}
