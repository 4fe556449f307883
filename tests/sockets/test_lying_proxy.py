"""The lying proxy itself: the truth by default, and each lie where and as often as it was asked for."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from support import kube_lies
from support.certificates import write_certificate
from support.fake_apiserver import FakeApiServer, stream
from support.kube_lies import INITIAL_EVENTS_END, Verb
from support.kube_wire import a_service, an_event
from support.lying_proxy import LyingProxy
from support.processes import until

from registry.model.names import Kind

SERVICES = "/api/v1/services"
WATCH = f"{SERVICES}?watch=true&resourceVersion="


@dataclass
class Rig:
    """A proxy over an API server with the Services ``one``, ``two`` and ``three``, and a client that trusts it."""

    server: FakeApiServer
    proxy: LyingProxy
    session: aiohttp.ClientSession

    async def names(self, query: str = "limit=500") -> set[str]:
        async with self.session.get(f"{self.proxy.url}{SERVICES}?{query}") as response:
            assert response.status == 200
            return {each["metadata"]["name"] for each in json.loads(await response.read())["items"]}

    @asynccontextmanager
    async def watching(self, query: str = "") -> AsyncIterator[aiohttp.StreamReader]:
        async with self.session.get(f"{self.proxy.url}{WATCH}{self.server.version}{query}") as response:
            assert response.status == 200
            yield response.content


async def event(lines: aiohttp.StreamReader) -> tuple[str, str]:
    """Type and name of the next."""
    async with asyncio.timeout(5):
        found: dict[str, Any] = json.loads(await lines.readline())
    return found["type"], found["object"].get("metadata", {}).get("name", "")


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    write_certificate(tmp_path, "ca", "server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    async with FakeApiServer(tls) as server:
        for name in ("one", "two", "three"):
            await server.put(Kind.SERVICE, a_service(name))
        async with LyingProxy(server.url, tmp_path / "ca.crt", tmp_path / "proxy") as proxy:
            trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(proxy.ca)))
            headers = {"Authorization": "Bearer secret"}
            async with aiohttp.ClientSession(connector=trusted, headers=headers) as session:
                yield Rig(server, proxy, session)


async def test_truth_by_default_of_lists_pages_and_watches(rig: Rig) -> None:
    assert await rig.names() == {"one", "two", "three"}
    assert await rig.names("limit=2") == {"one", "two"}
    assert rig.server.seen[-1].query == {"limit": "2"}
    assert rig.server.seen[-1].authorization == "Bearer secret"
    async with rig.watching() as lines:
        await rig.server.put(Kind.SERVICE, a_service("four"))
        assert await event(lines) == ("ADDED", "four")
    async with rig.session.get(f"{rig.proxy.url}/nowhere") as response:
        assert response.status == 404
    assert rig.proxy.told == 0


async def test_list_lacks_what_was_picked_as_often_as_asked(rig: Rig) -> None:
    rig.proxy.lie(kube_lies.without({"one", "two"}.__contains__), "services", times=1)
    rig.proxy.lie(kube_lies.empty(), "services")
    rig.proxy.lie(kube_lies.empty(), "pods")
    assert await rig.names() == {"three"}
    assert await rig.names() == set()
    async with rig.watching() as lines:
        await rig.server.put(Kind.SERVICE, a_service("one", version="9"))
        assert await event(lines) == ("MODIFIED", "one"), "a watch of an empty list goes on with the truth"
    rig.proxy.be_honest()
    assert await rig.names() == {"one", "two", "three"}


async def test_list_that_comes_as_a_watch_lacks_the_same_and_goes_on_with_the_truth(rig: Rig) -> None:
    end = {"metadata": {"name": "", "annotations": {INITIAL_EVENTS_END: "true"}}}
    initial = [an_event("ADDED", a_service(name)) for name in ("one", "two", "three")]
    pieces = [*initial, an_event("BOOKMARK", end), an_event("ADDED", a_service("one"))]
    rig.server.script("stream", Kind.SERVICE, stream(*(each + b"\n" for each in pieces)))
    rig.proxy.lie(kube_lies.without({"one", "two"}.__contains__), "services")
    async with rig.watching("&sendInitialEvents=true") as lines:
        assert [await event(lines) for _ in range(3)] == [("ADDED", "three"), ("BOOKMARK", ""), ("ADDED", "one")]


@pytest.mark.parametrize("status", [410, 429, 503])
async def test_refusals_carry_their_status_and_retry_after(rig: Rig, status: int) -> None:
    rig.proxy.lie(kube_lies.refused(status, retry_after=7), times=1)
    async with rig.session.get(f"{rig.proxy.url}{SERVICES}?limit=500") as response:
        assert (response.status, response.headers["Retry-After"]) == (status, "7")
        assert (await response.json())["code"] == status
    assert await rig.names() == {"one", "two", "three"}


async def test_watch_is_told_that_its_version_is_gone(rig: Rig) -> None:
    rig.proxy.lie(kube_lies.gone_event(), verbs=(Verb.WATCH,), times=1)
    async with rig.watching() as lines:
        assert await event(lines) == ("ERROR", "")
        assert await lines.read() == b""


async def test_open_watches_are_told_that_their_version_is_gone(rig: Rig) -> None:
    async with rig.watching() as lines:
        await rig.server.put(Kind.SERVICE, a_service("four"))
        await event(lines)
        assert rig.proxy.watches == 1
        await rig.proxy.expire_watches()
        assert await event(lines) == ("ERROR", "")
    await until(lambda: rig.proxy.watches == 0, "the watch is closed")


async def test_events_are_lost_and_the_watch_goes_on(rig: Rig) -> None:
    async with rig.watching() as lines:
        rig.proxy.lose_events("services")
        await rig.server.put(Kind.SERVICE, a_service("lost"))
        await until(lambda: rig.proxy.lost == 1, "the event is lost")
        rig.proxy.be_honest()
        await rig.server.put(Kind.SERVICE, a_service("told"))
        assert await event(lines) == ("ADDED", "told")
    assert await rig.names() == {"one", "two", "three", "lost", "told"}


async def test_a_look_at_the_version_is_no_list(rig: Rig) -> None:
    rig.proxy.lie(kube_lies.empty(), "services", times=1)
    assert await rig.names("limit=1") == {"one"}
    assert await rig.names() == set()


async def test_body_breaks_off_or_stalls_half_way(rig: Rig) -> None:
    url = f"{rig.proxy.url}{SERVICES}?limit=500"
    rig.proxy.lie(kube_lies.half(then_stall=False), times=1)
    async with rig.session.get(url) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    rig.proxy.lie(kube_lies.half(then_stall=True), times=1)
    async with rig.session.get(url) as response:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await response.read()


async def test_watches_are_cut_on_demand(rig: Rig) -> None:
    async with rig.watching() as lines:
        await rig.server.put(Kind.SERVICE, a_service("four"))
        await event(lines)
        rig.proxy.cut_watches()
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await lines.read()
