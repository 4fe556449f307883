"""The Kubernetes source over real sockets, against an API server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from support.fake_apiserver import Answer, FakeApiServer, body, kubeconfig, refuse, silence, stream
from support.kube_rig import Rig
from support.kube_wire import a_page, a_service, an_error, an_event

from registry.model.events import Delete, Init, InitDone, InitKeep
from registry.model.names import BASE_KINDS, Kind, ObjectRef
from registry.sources.kubernetes.bounds import MemberBounds
from registry.sources.kubernetes.client import (
    CREDENTIALS_SECONDS,
    REJECTED_CREDENTIALS_SECONDS,
)
from registry.sources.kubernetes.reflector import SourceOptions

SERVICE = Kind.SERVICE


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with FakeApiServer() as server:
        made = Rig(server, tmp_path)
        made.kubeconfig.write_text(kubeconfig(server.url))
        for name in ("one", "two"):
            await server.put(SERVICE, a_service(name))
        yield made


async def test_lists_and_follows_every_kind(rig: Rig) -> None:
    async with rig.running():
        await rig.listed()
        assert rig.services == {"one", "two"}
        for kind in (Kind.NODE, Kind.NAMESPACE):
            await rig.server.put(kind, {"metadata": {"name": "n"}})
        await rig.server.put(Kind.POD, {"metadata": {"name": "p", "namespace": "shop"}})
        slice_ = {"metadata": {"name": "s", "namespace": "shop"}, "addressType": "IPv4"}
        await rig.server.put(Kind.ENDPOINT_SLICE, slice_)
        await rig.server.delete(SERVICE, "one")
        await rig.has("two")
        await rig.sink.until(lambda: len(rig.sink.listener.held) == 5, "one of each kind is held")
    assert Delete(ObjectRef(SERVICE, "shop", "one")) in rig.sink.events
    assert {each.authorization for each in rig.server.seen} == {"Bearer secret"}


async def test_long_list_comes_in_pages_and_counts_as_one(rig: Rig) -> None:
    for number in range(1198):
        await rig.server.put(SERVICE, a_service(f"s{number}"))
    async with rig.running():
        await rig.listed()
        assert len(rig.services) == 1200
        assert rig.lists() == [Init(SERVICE), InitDone(SERVICE)]
        pages = await rig.server.requests("list", SERVICE, 3)
    assert [page.query.get("continue") for page in pages] == [None, "500", "1000"]
    assert {page.query["limit"] for page in pages} == {"500"}
    assert not any("resourceVersion" in page.query for page in pages)


@pytest.mark.parametrize(("objects", "padding"), [(25_000, 0), (9_000, 2000)])
async def test_server_that_ignores_limit_is_read_all_the_same(rig: Rig, objects: int, padding: int) -> None:
    """It has more objects than a page may have, or more bytes."""
    items = [a_service(f"s{number}") | {"status": {"x": "x" * padding}} for number in range(objects)]
    whole = a_page(items, version=str(rig.server.version))
    rig.server.script("list", SERVICE, body(whole), body(whole))
    async with rig.running():
        await rig.listed()
        assert len(rig.services) == objects
        assert rig.lists() == [Init(SERVICE), InitDone(SERVICE)]
        await rig.server.put(SERVICE, a_service("late"))
        await rig.sink.until(lambda: "late" in rig.services, "the watch goes on from the list")


async def test_objects_without_a_name_in_one_body_count_too(rig: Rig) -> None:
    rig.server.script("list", SERVICE, *[body(a_page([{}] * 21_000))] * 2)
    async with rig.running(options=SourceOptions(bounds=MemberBounds(objects=20_000))):
        await rig.sink.until(lambda: rig.sink.last.reason == "LimitExceeded", "it is refused")
        assert "objects in one body, more than 20000" in rig.sink.last.message


async def test_large_body_that_ends_early_says_nothing_and_is_asked_for_anew(rig: Rig) -> None:
    whole = a_page([a_service(f"s{number}") for number in range(25_000)])
    rig.server.script("list", SERVICE, body(whole), body(whole[:-1]), refuse(503, "Busy"), body(whole))
    async with rig.running():
        await rig.sink.until(lambda: rig.synced, "every kind is listed, after two failures", timeout=60)
    assert rig.lists() == [Init(SERVICE), Init(SERVICE), Init(SERVICE), InitDone(SERVICE)]
    assert any("ends early" in each.message for each in rig.sink.statuses)


async def test_expired_continue_token_abandons_the_list_and_begins_another(rig: Rig) -> None:
    first = a_page([a_service("stale")], token="500")
    rig.server.script("list", SERVICE, body(first), refuse(410, "Expired"))
    async with rig.running():
        await rig.listed()
        await rig.has("one", "two")
    assert rig.lists() == [Init(SERVICE), Init(SERVICE), InitDone(SERVICE)]


@pytest.mark.parametrize("where", ["status", "event"])
async def test_410_lists_anew_without_deleting_what_lives(rig: Rig, where: str) -> None:
    expired = refuse(410, "Expired") if where == "status" else stream(an_error(410, "Expired") + b"\n")
    rig.server.script("watch", SERVICE, expired)
    async with rig.running():
        watches = await rig.server.requests("watch", SERVICE, 2)
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        assert len(await rig.server.requests("list", SERVICE, 2)) == 2
    assert rig.lists() == [Init(SERVICE), InitDone(SERVICE)] * 2
    assert watches[1].query["resourceVersion"] == "3"
    rig.nothing_was_deleted()


async def test_what_was_deleted_in_a_gap_is_gone_after_the_relist(rig: Rig) -> None:
    rig.server.script("watch", SERVICE, stream(then="cut"))
    async with rig.running():
        await rig.server.requests("watch", SERVICE, 1)
        rig.server.forget(SERVICE, "one")
        await rig.has("two")
    assert len(rig.lists()) == 4


async def test_watch_goes_on_from_where_it_was_cut_and_a_half_line_counts_for_nothing(rig: Rig) -> None:
    rig.server.version = 50
    whole = an_event("ADDED", a_service("three", version="50"))
    half = an_event("DELETED", a_service("one", version="51"))[:-20]
    rig.server.script("watch", SERVICE, stream(whole + b"\n", half, then="cut"))
    async with rig.running():
        await rig.has("one", "two", "three")
        watches = await rig.server.requests("watch", SERVICE, 2)
    assert watches[1].query["resourceVersion"] == "50"
    assert len(rig.lists()) == 2, "no fresh list was needed"
    rig.nothing_was_deleted()


async def test_half_a_line_before_an_orderly_end_counts_for_nothing_either(rig: Rig) -> None:
    rig.server.script("watch", SERVICE, stream(an_event("DELETED", a_service("one"))))
    async with rig.running():
        await rig.server.requests("watch", SERVICE, 2)
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
    rig.nothing_was_deleted()


async def test_line_that_drips_in_byte_by_byte_is_one_event(rig: Rig) -> None:
    line = an_event("ADDED", a_service("three", version="50")) + b"\n"
    rig.server.script("watch", SERVICE, stream(*(line[at : at + 1] for at in range(len(line))), then="stall"))
    async with rig.running():
        await rig.has("one", "two", "three")


@pytest.mark.parametrize(
    "line",
    [b"{]\n", b'{"type":"ADDED","object":{"metadata":{"name":"\xff\xfe"}}}\n', b"<html>\n"],
    ids=["no JSON", "no UTF-8", "a page of HTML"],
)
async def test_watch_nobody_can_read_is_told_of_and_listed_anew(rig: Rig, line: bytes) -> None:
    rig.server.script("watch", SERVICE, stream(line, then="stall"))
    async with rig.running():
        await rig.server.requests("list", SERVICE, 2)
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        await rig.listed()
    rig.nothing_was_deleted()


@pytest.mark.parametrize(
    "answer", [b"<html>please sign in</html>", b'{"ok":true}', b"", a_page([a_service("x")])[:-5], b"\xff"]
)
async def test_relist_that_answers_nonsense_with_200_removes_nothing(rig: Rig, answer: bytes) -> None:
    expire, mend = asyncio.Event(), asyncio.Event()
    rig.server.script("watch", SERVICE, after(expire, refuse(410)))
    async with rig.running():
        await rig.listed()
        rig.server.script("list", SERVICE, body(answer), after(mend, body(answer)))
        rig.server.forget(SERVICE, "one")
        expire.set()
        await rig.sink.until(lambda: rig.failing("BadResponse"), "the nonsense is told of")
        assert rig.services == {"one", "two"}
        mend.set()
        await rig.has("two")
        await rig.listed()


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Unauthorized"), (403, "Forbidden"), (404, "NotFound"), (429, "TooManyRequests"), (503, "ServerError")],
)
@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_refusal_is_told_with_verb_and_resource_while_other_kinds_go_on(
    rig: Rig, verb: str, status: int, reason: str
) -> None:
    gate = asyncio.Event()
    rig.server.script(verb, Kind.ENDPOINT_SLICE, refuse(status, reason), after(gate, refuse(status, reason)))
    async with rig.running():
        await rig.sink.until(lambda: rig.failing(reason), f"{reason} is told")
        said = rig.sink.last
        assert f"{verb} endpointslices.discovery.k8s.io: {status} " in said.message
        assert "scripted" not in said.message, "what an answer says is not shown"
        others = BASE_KINDS - {Kind.ENDPOINT_SLICE}
        await rig.sink.until(lambda: rig.sink.last.listed >= others, "the other kinds are listed")
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        gate.set()
        await rig.listed()


async def test_retry_after_is_waited_for(rig: Rig) -> None:
    rig.server.script("list", SERVICE, refuse(429, "TooManyRequests", Retry_After="7"))
    rig.server.script("watch", SERVICE, refuse(503, "", Retry_After="11"))
    async with rig.running():
        await rig.listed()
        await rig.server.requests("watch", SERVICE, 2)
    assert 7.0 in rig.waits
    assert 11.0 in rig.waits


async def test_list_that_breaks_off_is_asked_for_again_and_nothing_of_it_counts(rig: Rig) -> None:
    rig.server.script("list", SERVICE, stream(a_page([a_service("ghost")])[:-30], then="cut"))
    async with rig.running():
        await rig.listed()
        assert rig.services == {"one", "two"}
    assert rig.lists() == [Init(SERVICE), InitDone(SERVICE)]


async def test_unreachable_api_server_is_told_of_and_removes_nothing(rig: Rig) -> None:
    async with rig.running():
        await rig.listed()
        await rig.server.__aexit__()
        await rig.sink.until(lambda: rig.failing("Unreachable"), "Unreachable is told")
        said = rig.sink.last
        assert said.message == f"{rig.server.url}: Connection refused; is the address right?"
        assert said.listed == BASE_KINDS
        assert rig.services == {"one", "two"}
    rig.nothing_was_deleted()


async def test_kubeconfig_that_is_lost_later_does_no_harm(rig: Rig) -> None:
    rig.server.script("watch", SERVICE, stream())
    async with rig.running():
        await rig.listed()
        rig.kubeconfig.unlink()
        rig.now += CREDENTIALS_SECONDS
        await rig.server.requests("watch", SERVICE, 2)
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        assert rig.synced


async def test_rejected_token_is_replaced_by_the_one_now_in_its_file(rig: Rig) -> None:
    file = rig.folder / "token"
    file.write_text("secret\n")
    rig.kubeconfig.write_text(kubeconfig(rig.server.url, user={"tokenFile": "token"}))
    rig.server.accepts = "Bearer secret"
    expire = asyncio.Event()
    rig.server.script("watch", SERVICE, after(expire, refuse(410)))
    async with rig.running():
        await rig.listed()
        rig.server.accepts = "Bearer rotated"
        expire.set()
        await rig.sink.until(lambda: rig.failing("Unauthorized"), "the rejection is told of")
        assert ": 401 Unauthorized; renew the credentials" in rig.sink.last.message
        file.unlink()
        rig.now += REJECTED_CREDENTIALS_SECONDS
        await rig.sink.until(lambda: rig.failing("KubeconfigInvalid"), "its cause is told of")
        assert "No such file" in rig.sink.last.message
        file.write_text("rotated")
        rig.now += REJECTED_CREDENTIALS_SECONDS
        await rig.listed()
    assert rig.services == {"one", "two"}


async def test_what_is_written_into_the_kubeconfig_later_is_no_matter_of_the_source(rig: Rig) -> None:
    rig.server.script("watch", SERVICE, stream())
    async with rig.running():
        await rig.listed()
        rig.kubeconfig.write_text(kubeconfig("http://127.0.0.1:1", user={"token": "other"}))
        rig.now += CREDENTIALS_SECONDS
        await rig.server.requests("watch", SERVICE, 2)
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        assert rig.synced
    assert {each.authorization for each in rig.server.seen} == {"Bearer secret"}


async def test_object_that_cannot_be_read_is_a_warning_and_keeps_its_last_content(rig: Rig) -> None:
    expired = asyncio.Event()
    rig.server.version = 50
    bad = an_event("MODIFIED", a_service("two", port=99999, version="50")) + b"\n"
    rig.server.script("watch", SERVICE, stream(bad, gate=expired, then="cut"), refuse(410))
    async with rig.running():
        await rig.listed()
        await rig.sink.until(lambda: rig.sink.last.reason == "BadObject", "the object is told of")
        assert rig.synced
        assert "Service shop/two cannot be read" in rig.sink.last.message
        assert rig.services == {"one", "two"}
        rig.server.script("list", SERVICE, body(a_page([a_service("one"), a_service("two", port="x")], version="50")))
        expired.set()
        await rig.server.requests("watch", SERVICE, 3)
        assert InitKeep(ObjectRef(SERVICE, "shop", "two")) in rig.sink.events
        assert rig.services == {"one", "two"}
        await rig.server.put(SERVICE, a_service("two", port=81))
        await rig.sink.until(lambda: rig.sink.last.reason == "", "the warning is over")
    rig.nothing_was_deleted()


async def test_bug_in_one_kind_is_told_of_and_the_kind_begun_anew(rig: Rig) -> None:
    draws = iter(range(1_000_000))

    def random() -> float:
        if next(draws) == len(BASE_KINDS):
            raise ZeroDivisionError("a bug")
        return 0.0

    async with rig.running(random):
        await rig.listed()
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
    told = [status for status in rig.sink.statuses if status.reason == "InternalError"]
    assert told
    assert "a bug" in told[0].message


async def test_kubeconfig_that_is_mended_is_taken_up(rig: Rig) -> None:
    rig.kubeconfig.write_text("clusters: [")
    async with rig.running():
        await rig.sink.until(lambda: rig.failing("KubeconfigInvalid"), "the kubeconfig is told of")
        assert str(rig.kubeconfig) in rig.sink.last.message
        rig.kubeconfig.write_text(kubeconfig(rig.server.url))
        await rig.listed()


async def test_cancelling_closes_every_connection(rig: Rig) -> None:
    gone = asyncio.Event()

    async def wait_for_the_end(request: web.Request) -> web.StreamResponse:
        try:
            return await silence()(request)
        finally:
            gone.set()

    rig.server.script("list", Kind.NODE, wait_for_the_end)
    async with rig.running():
        await rig.server.requests("list", Kind.NODE, 1)
        await rig.has("one", "two")
    async with asyncio.timeout(10):
        await gone.wait()


def after(gate: asyncio.Event, answer: Answer) -> Answer:
    async def late(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return await answer(request)

    return late
