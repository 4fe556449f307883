"""Streaming lists, watches that say nothing, relists, audits and kinds that may be missing, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from support.fake_apiserver import FakeApiServer, body, kubeconfig, silence, stream
from support.kube_rig import A, Rig
from support.kube_wire import a_bookmark, a_page_of_names, a_service, an_event

from registry.model.conditions import ConditionType
from registry.model.events import Delete, Init, InitDone
from registry.model.names import BASE_KINDS, Kind, ObjectRef
from registry.sources.kubernetes.reflector import SourceOptions

SERVICE, EXPORT = Kind.SERVICE, Kind.SERVICE_EXPORT
IMPATIENT = SourceOptions(quiet_seconds=0.2)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with FakeApiServer() as server:
        made = Rig(server, tmp_path)
        made.kubeconfig.write_text(kubeconfig(server.url))
        for name in ("one", "two"):
            await server.put(SERVICE, a_service(name))
        yield made


async def test_list_and_watch_are_one_stream_where_the_server_can(rig: Rig) -> None:
    rig.server.streams = True
    async with rig.running():
        await rig.listed()
        assert rig.services == {"one", "two"}
        await rig.server.put(SERVICE, a_service("three"))
        await rig.server.delete(SERVICE, "one")
        await rig.has("two", "three")
    assert rig.lists() == [Init(SERVICE), InitDone(SERVICE)]
    assert {each.verb for each in rig.server.seen} == {"stream"}
    assert len(rig.server.seen) == len(BASE_KINDS)


async def test_streaming_list_that_breaks_off_is_fetched_in_pages_and_nothing_of_it_counts(rig: Rig) -> None:
    rig.server.streams = True
    ghost = an_event("ADDED", a_service("ghost")) + b"\n"
    rig.server.script("stream", SERVICE, stream(ghost, an_event("ADDED", a_service("half"))[:20], then="cut"))
    async with rig.running():
        await rig.listed()
        assert rig.services == {"one", "two"}
    assert rig.lists() == [Init(SERVICE), Init(SERVICE), InitDone(SERVICE)]
    assert [each.verb for each in rig.server.seen if each.kind is SERVICE][:2] == ["stream", "list"]


@pytest.mark.parametrize(
    "pieces",
    [(), (an_event("DELETED", a_service("one", version="50"))[:-10],), (b" ", b" ")],
    ids=["a half-open connection", "a body that stalls within a line", "bytes that are no line"],
)
async def test_watch_that_stalls_is_opened_again_and_nothing_is_missed(rig: Rig, pieces: tuple[bytes, ...]) -> None:
    rig.server.script("watch", SERVICE, stream(*pieces, then="stall"))
    async with rig.running(options=IMPATIENT):
        await rig.listed()
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
    assert not any(isinstance(event, Delete) for event in rig.sink.events)
    first, second = (each for each in rig.server.seen if (each.verb, each.kind) == ("watch", SERVICE))
    assert second.query["resourceVersion"] == first.query["resourceVersion"]


async def test_server_that_takes_the_watch_and_never_answers_is_given_up_for_a_relist(rig: Rig) -> None:
    rig.server.script("watch", SERVICE, silence())
    async with rig.running() as source:
        await rig.server.requests("watch", SERVICE, 1)
        rig.server.betray(SERVICE, a_service("three"))
        source.relist([SERVICE])
        await rig.has("one", "two", "three")


async def test_relist_closes_the_connection_of_the_watch_at_once(rig: Rig) -> None:
    closed = asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        try:
            return await stream(then="stall")(request)
        finally:
            closed.set()

    rig.server.script("watch", SERVICE, watch)
    async with rig.running() as source:
        await rig.server.requests("watch", SERVICE, 1)
        await rig.listed()
        rig.server.betray(SERVICE, a_service("three"))
        source.relist([SERVICE, Kind.SERVICE_EXPORT])
        await rig.has("one", "two", "three")
        async with asyncio.timeout(5):
            await closed.wait()
    assert rig.lists() == [Init(SERVICE), InitDone(SERVICE)] * 2


async def test_service_exports_are_read_where_their_crd_is_and_when_it_comes(rig: Rig) -> None:
    rig.server.served[EXPORT] = None
    await rig.server.put(EXPORT, {"metadata": {"name": "cart", "namespace": "shop"}})
    cart = ObjectRef(EXPORT, "shop", "cart")
    async with rig.running(kinds=[SERVICE, EXPORT]) as source:
        await rig.listed()
        assert rig.sink.last.listed == {SERVICE, EXPORT}
        assert cart not in rig.sink.listener.held
        assert source.heard_at is not None
        rig.server.served[EXPORT] = "/apis/multicluster.x-k8s.io/v1alpha1/serviceexports"
        await rig.sink.until(lambda: cart in rig.sink.listener.held, "the export is read")
        await rig.server.put(EXPORT, {"metadata": {"name": "till", "namespace": "shop"}})
        await rig.sink.until(lambda: len(rig.sink.listener.names(EXPORT)) == 2, "the other is told by the watch")
        assert rig.synced


async def test_crd_that_goes_away_is_an_empty_list(rig: Rig) -> None:
    gone = asyncio.Event()
    rig.server.script("watch", EXPORT, stream(gate=gone, then="cut"))
    await rig.server.put(EXPORT, {"metadata": {"name": "cart", "namespace": "shop"}})
    async with rig.running(kinds=[SERVICE, EXPORT]):
        await rig.listed()
        assert rig.sink.listener.names(EXPORT) == {"cart"}
        rig.server.served[EXPORT] = None
        gone.set()
        await rig.sink.until(lambda: not rig.sink.listener.names(EXPORT), "the list is empty")
        assert rig.synced
    assert not any(isinstance(event, Delete) for event in rig.sink.events)


@pytest.mark.parametrize(("fault", "reason"), [("starting", "ServerError"), ("proxy", "NotFound")])
async def test_404_that_the_server_does_not_confirm_takes_no_export_however_long_it_lasts(
    rig: Rig, fault: str, reason: str
) -> None:
    """An API server that does not know its CRDs yet, and a proxy that lets nothing through to them."""
    broken = asyncio.Event()
    rig.server.script("watch", EXPORT, stream(gate=broken, then="cut"))
    await rig.server.put(EXPORT, {"metadata": {"name": "cart", "namespace": "shop"}})
    async with rig.running(kinds=[SERVICE, EXPORT]):
        await rig.listed()
        beta, rig.server.served[EXPORT] = rig.server.served[EXPORT], None
        if fault == "starting":
            rig.server.ready = False
        else:
            assert beta is not None
            rig.server.other_groups.append(beta)
        broken.set()
        await rig.sink.until(lambda: rig.failing(reason), "it is said")
        assert "404, which is no proof that there are none" in rig.sink.last.message
        asked = len(rig.server.seen)
        await rig.server.requests("list", EXPORT, 20)
        assert len(rig.server.seen) > asked
        assert rig.sink.listener.names(EXPORT) == {"cart"}
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        rig.server.served[EXPORT] = beta
        await rig.listed()
        assert rig.sink.listener.names(EXPORT) == {"cart"}
    assert [event for event in rig.sink.events if event == InitDone(EXPORT)] == [InitDone(EXPORT)] * 2


async def test_service_exports_are_not_asked_for_where_nobody_needs_them(rig: Rig) -> None:
    async with rig.running():
        await rig.listed()
    assert not [each for each in rig.server.seen if each.kind is EXPORT]


async def test_kind_whose_names_are_too_many_for_a_page_is_said_not_to_be_audited(rig: Rig) -> None:
    names = a_page_of_names([a_service(f"s{number}") for number in range(21_000)])
    for _ in range(50):
        rig.server.script("names", SERVICE, body(names))
    async with rig.running(audits=True):
        await rig.sink.until(lambda: any(each.reason == "NotAudited" for each in rig.sink.told), "it is told")
    (told, *_) = [each for each in rig.sink.told if each.reason == "NotAudited"]
    assert (told.status, "more than 20000 objects" in told.message) == (True, True)


async def test_object_that_no_watch_told_of_is_found_by_the_audit(rig: Rig) -> None:
    async with rig.running(audits=True) as source:
        await rig.listed()
        rig.server.betray(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        assert source.drifted == 1
        names = await rig.server.requests("names", SERVICE, 2)
        assert names[0].query == {"limit": "500"}
        await rig.sink.until(lambda: consistent(rig), "it is mended")


def consistent(rig: Rig) -> bool:
    found = {each.condition.type: each.condition.status for each in rig.sink.conditions.of(A)}
    return found.get(ConditionType.CONSISTENT, False)


@pytest.mark.parametrize(
    ("pieces", "then", "reason"),
    [
        ((), "end", "WatchClosed"),
        ((), "cut", "Unreachable"),
        ((b'{"type":"ADDED","object":{"kind"',), "end", "WatchClosed"),
        ((b'{"type":"ADDED","object":{"kind"',), "cut", "Unreachable"),
        ((b"<html>please log in</html>",), "end", "WatchClosed"),
        ((b"<html>please log in</html>\n",), "end", "BadResponse"),
        ((a_bookmark("1") + b"\n",), "end", "WatchClosed"),
    ],
)
async def test_watches_that_end_without_news_are_said_and_lists_tell_what_they_do_not(
    rig: Rig, pieces: tuple[bytes, ...], then: str, reason: str
) -> None:
    rig.server.script("watch", SERVICE, *[stream(*pieces, then=then)] * 1000)
    async with rig.running():
        await rig.sink.until(lambda: rig.failing(reason), "it is a fault")
        await rig.server.put(SERVICE, a_service("three"))
        await rig.has("one", "two", "three")
        await rig.sink.until(lambda: rig.failing(reason), "it still is")
        rig.nothing_was_deleted()
