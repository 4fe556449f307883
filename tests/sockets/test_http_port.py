"""The HTTP port: time-outs, slow readers, answers piece by piece, and what one peer may have."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from dataclasses import replace

import pytest
from support.http_port import QUICK, client, fetched, get, http_port
from support.processes import until

from registry.admission import Refusal

LIST = "/api/v1/services"
TOLD = ("POST /api/v1/guard/release HTTP/1.1", "Host: it", "Content-Type: application/json", "Content-Length: 10")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", Refusal.HEADERS),
        (b"G", Refusal.HEADERS),
        (get("/healthz")[:-2], Refusal.HEADERS),
        (b"\r\n", Refusal.HEADERS),
        (("\r\n".join([*TOLD, "", ""]) + '{"all"').encode(), Refusal.BODY),
    ],
)
async def test_a_request_that_does_not_come_to_its_end_is_closed_in_time(said: bytes, why: Refusal) -> None:
    async with http_port() as port, client(port.address, said) as one:
        async with asyncio.timeout(5):
            await one.ended()
        assert port.refused == {why: 1}
        await until(lambda: port.server.connections == 0, "nothing of it is left")


async def test_a_header_line_now_and_then_gains_no_time() -> None:
    async with http_port() as port, client(port.address, b"GET / HTTP/1.1\r\n") as one:
        began = time.monotonic()
        ended = asyncio.create_task(one.ended())
        while not ended.done() and time.monotonic() - began < 5:
            one.writer.write(b"A: b\r\n")
            await asyncio.sleep(0.05)
        assert await ended
        assert time.monotonic() - began < QUICK.headers_seconds + 2


async def test_an_idle_connection_and_half_of_a_further_request_have_their_time() -> None:
    async with (
        http_port() as port,
        client(port.address, get("/healthz")) as idle,
        client(port.address, get("/healthz")) as half,
    ):
        for one in (idle, half):
            assert await one.answer() == (200, b"ok\n")
        half.writer.write(b"GET /he")
        async with asyncio.timeout(5):
            await asyncio.gather(idle.ended(), half.ended())
        assert port.refused == {Refusal.HEADERS: 1}


async def test_a_client_that_reads_nothing_has_a_bounded_part_made_for_it_and_is_closed() -> None:
    async with http_port(3000) as port, client(port.address, get(LIST), buffer=4096):
        await until(lambda: port.refused[Refusal.WRITE] == 1, "it was too slow")
        made = len(port.reports.asked)
        assert 0 < made < 1500, "each is 5 KB; the rest is what the kernel takes"
        await until(lambda: port.server.connections == 0, "it is closed")
        await asyncio.sleep(0.1)
        assert len(port.reports.asked) == made


async def test_a_slow_reader_that_keeps_reading_has_the_whole_list() -> None:
    limits = replace(QUICK, write_seconds=5)
    async with (
        http_port(600, limits) as port,
        client(port.address, get(LIST, "Connection: close"), buffer=65536) as one,
    ):
        text = bytearray()
        while data := await one.reader.read(48 << 10):
            text += data
            await asyncio.sleep(0.01)
        assert text.count(b'"host"') == 600
        assert not port.refused


async def test_pipelined_requests_are_answered_as_far_as_they_are_read() -> None:
    """Each answer is small: without a bound the transport would hold all of them."""
    async with http_port() as port, client(port.address, get("/nowhere") * 20_000, buffer=4096):
        await until(lambda: port.refused[Refusal.WRITE] == 1, "it was too slow")
        await until(lambda: port.server.connections == 0, "it is closed")


async def test_pipelined_requests_have_their_answers_in_order() -> None:
    async with http_port(3) as port, client(port.address, get("/healthz") + get(LIST) + get("/nowhere")) as one:
        assert await one.answer() == (200, b"ok\n")
        status, body = await one.answer()
        assert (status, len(json.loads(body)["services"])) == (200, 3)
        assert (await one.answer())[0] == 404


async def test_small_requests_do_not_wait_for_lists() -> None:
    async with http_port(500, replace(QUICK, connections=100, write_seconds=30)) as port:
        lists = [asyncio.create_task(fetched(port.address, LIST)) for _ in range(10)]
        await until(lambda: len(port.reports.asked) > 20, "lists are being made")
        before = port.reports.asked.total()
        for path in ("/healthz", "/readyz", f"{LIST}/shop/service-00001"):
            assert (await fetched(port.address, path))[0] == 200
        assert port.reports.asked.total() - before < 500, "less than one of the ten lists was made meanwhile"
        found = await asyncio.gather(*lists)
        assert {body.count(b'"host"') for _, body in found} == {500}


async def test_a_peer_that_asks_for_many_lists_delays_anothers_by_one() -> None:
    async with http_port(300, replace(QUICK, connections=100, write_seconds=30)) as port:
        many = [asyncio.create_task(fetched(port.address, LIST, source="127.6.6.6")) for _ in range(20)]
        await until(lambda: len(port.reports.asked) > 20, "lists are being made")
        before = port.reports.asked.total()
        assert (await fetched(port.address, LIST))[0] == 200
        assert port.reports.asked.total() - before < 4 * 300
        await asyncio.gather(*many)


async def test_services_that_come_and_go_meanwhile_break_no_list() -> None:
    async with http_port(2000) as port, client(port.address, get(LIST), buffer=4096) as one:
        await until(lambda: len(port.reports.asked) > 10, "it is begun")
        gone = port.reports.keys[-1]
        port.reports.gone.add(gone)
        port.reports.keys.append(gone._replace(name="later"))
        _, body = await one.answer()
        names = [each["name"] for each in json.loads(body)["services"]]
        assert len(names) == 1999
        assert gone.name not in names


async def test_an_answer_that_fails_midway_is_cut_off_and_says_so_to_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with http_port(2000) as port:
        port.reports.fails = port.reports.keys[1500]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ValueError)):
            await fetched(port.address, LIST)
        assert (await fetched(port.address, "/healthz"))[0] == 200
    assert "failed in the middle of its answer" in caplog.text


async def test_an_answer_that_fails_at_once_is_an_error() -> None:
    async with http_port(2) as port:
        port.reports.fails = port.reports.keys[0]
        status, body = await fetched(port.address, LIST)
        assert (status, "internal error" in json.loads(body)["error"]) == (500, True)


async def test_lists_come_in_pages() -> None:
    async with http_port(25) as port:
        names: list[str] = []
        path = f"{LIST}?limit=10"
        for _ in range(3):
            _, body = await fetched(port.address, path)
            document = json.loads(body)
            names += [each["name"] for each in document["services"]]
            path = f"{LIST}?limit=10&continue={document['metadata'].get('continue')}"
        assert names == [key.name for key in port.reports.keys]
        assert document["metadata"] == {}
        _, body = await fetched(port.address, "/api/v1/serviceentries?limit=10")
        entries = json.loads(body)
        assert (len(entries["items"]), entries["metadata"]["remainingItemCount"]) == (10, 15)
        for bad in ("limit=x", "continue=x"):
            status, body = await fetched(port.address, f"{LIST}?{bad}")
            assert (status, "expected a number" in str(body) or "no token" in str(body)) == (400, True)


async def test_one_peer_has_its_share_and_another_is_served() -> None:
    async with http_port(limits=replace(QUICK, headers_seconds=10, idle_seconds=10), share=0.5) as port:
        silent = [client(port.address, source="127.6.6.6") for _ in range(30)]
        opened = [await each.__aenter__() for each in silent]
        try:
            await until(lambda: port.refused[Refusal.PEER_SHARE] == 20, "it has its share")
            assert (await fetched(port.address, "/healthz"))[0] == 200
            # Those that say nothing make room for one of the same peer that does.
            await asyncio.sleep(1.1)
            assert (await fetched(port.address, "/healthz", source="127.6.6.6"))[0] == 200
            assert port.refused[Refusal.EVICTED] == 1
        finally:
            for each in silent:
                await each.__aexit__(None, None, None)
        assert len(opened) == 30


async def test_probes_are_answered_when_files_are_short() -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with http_port() as port, client(port.address, get("/healthz")) as one:
        assert (await one.answer())[0] == 200
        waiting = client(port.address, get("/healthz"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            one.writer.write(get("/healthz"))
            assert (await one.answer())[0] == 200
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
        async with waiting as later:
            assert (await later.answer())[0] == 200


async def test_readiness_says_when_nobody_can_connect() -> None:
    async with http_port() as port:
        assert (await fetched(port.address, "/readyz"))[0] == 200
        port.reports.short = True
        status, body = await fetched(port.address, "/readyz")
        assert status == 503
        assert "ulimit -n" in json.loads(body)["message"]


async def test_a_head_of_a_list_has_no_body() -> None:
    async with http_port(2000) as port, client(port.address) as one:
        one.writer.write(get(LIST, "Connection: close").replace(b"GET", b"HEAD"))
        head = await one.reader.read()
        assert head.startswith(b"HTTP/1.1 200")
        assert head.endswith(b"\r\n\r\n")


async def test_http_1_0_has_the_list_and_then_the_end() -> None:
    async with http_port(500) as port, client(port.address, get(LIST).replace(b"1.1", b"1.0")) as one:
        head, _, body = (await one.reader.read()).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert len(json.loads(body)["services"]) == 500
