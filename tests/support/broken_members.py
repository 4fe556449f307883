"""What a member's API server does to the registry: each attack is a member for a while, and leaves."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.attackers import Report, Where
from support.fake_apiserver import kubeconfig
from support.kube_wire import a_page, a_service, an_event

from registry.model.names import Kind
from registry.sources.kubernetes.resources import RESOURCES

MEMBER = "broken"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
BATCH = 500
Writer = asyncio.StreamWriter
Serve = Callable[[Writer, str, "itertools.count[int]"], Awaitable[None]]
"""Answers a list or a watch of Services: the connection, the path, and numbers for objects."""


async def endless_list(where: Where, seconds: float = 10) -> Report:
    """Page after page of 500 new Services."""
    return await _attack(where, seconds, _endless_pages)


async def slow_list(where: Where, seconds: float = 10) -> Report:
    """The same, a page every 4 s."""

    async def serve(writer: Writer, path: str, numbers: itertools.count[int]) -> None:
        await asyncio.sleep(4)
        await _endless_pages(writer, path, numbers)

    return await _attack(where, seconds, serve)


async def endless_stream(where: Where, seconds: float = 10) -> Report:
    """A streaming list without an end."""

    async def serve(writer: Writer, _path: str, numbers: itertools.count[int]) -> None:
        writer.write(CHUNKED)
        while True:
            await _chunk(writer, _lines("ADDED", (a_service(f"s{next(numbers)}") for _ in range(BATCH))))

    return await _attack(where, seconds, serve, streams=True)


async def flood(where: Where, seconds: float = 10) -> Report:
    """A watch that changes one object as often as it can."""

    async def serve(writer: Writer, path: str, numbers: itertools.count[int]) -> None:
        if "watch=true" not in path:
            await _answer(writer, a_page([a_service("one")]))
            return
        writer.write(CHUNKED)
        while True:
            changes = ((number, next(numbers)) for number in range(BATCH))
            await _chunk(writer, _lines("MODIFIED", (a_service("one", 1 + port, str(at + 11)) for port, at in changes)))

    return await _attack(where, seconds, serve)


async def gzip_bomb(where: Where, seconds: float = 10) -> Report:
    """A page of 1 MB that is 1 GB unpacked."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[')
    bomb = head + b"".join(packer.compress(b" " * (1 << 20)) for _ in range(1000)) + packer.flush()

    async def serve(writer: Writer, _path: str, _numbers: itertools.count[int]) -> None:
        await _answer(writer, bomb, b"Content-Encoding: gzip\r\n")

    return await _attack(where, seconds, serve)


async def tiny_objects(where: Where, seconds: float = 10) -> Report:
    """A page of five million objects."""
    body = b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[' + b"{}," * 5_000_000 + b"{}]}"

    async def serve(writer: Writer, _path: str, _numbers: itertools.count[int]) -> None:
        await _answer(writer, body)

    return await _attack(where, seconds, serve)


async def interim_answers(where: Where, seconds: float = 10) -> Report:
    """``100 Continue`` without an end."""
    return await _attack(where, seconds, _repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000))


async def header_lines(where: Where, seconds: float = 10) -> Report:
    """A head without an end."""
    return await _attack(where, seconds, _repeating(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"a" * 1000 + b"\r\n"))


async def chunk_extension(where: Where, seconds: float = 10) -> Report:
    """A chunk whose extension does not end."""
    return await _attack(where, seconds, _repeating(CHUNKED + b"5;", b"a" * 65536))


async def unasked_answers(where: Where, seconds: float = 10) -> Report:
    """A good answer, and then others that nobody asked for."""
    page = a_page([a_service("one")])
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page) + page
    return await _attack(where, seconds, _repeating(good, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 100))


async def _endless_pages(writer: Writer, _path: str, numbers: itertools.count[int]) -> None:
    items = [a_service(f"s{next(numbers)}") for _ in range(BATCH)]
    await _answer(writer, a_page(items, token=str(next(numbers))))


def _repeating(first: bytes, then: bytes) -> Serve:
    async def serve(writer: Writer, _path: str, _numbers: itertools.count[int]) -> None:
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()

    return serve


async def _attack(where: Where, seconds: float, serve: Serve, *, streams: bool = False) -> Report:
    """Be a member for so long, whose Services are served so and whose other kinds are empty."""
    numbers, asked = itertools.count(), itertools.count()

    async def handle(reader: asyncio.StreamReader, writer: Writer) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
                next(asked)
                await _serve(writer, path, serve, numbers, streams=streams)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    file = Path(where.members, MEMBER)
    file.write_text(kubeconfig(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        await asyncio.sleep(seconds)
    finally:
        file.unlink()
        server.close()
    return {"requests": next(asked)}


async def _serve(writer: Writer, path: str, serve: Serve, numbers: itertools.count[int], *, streams: bool) -> None:
    base = path.partition("?")[0]
    kind = next((each for each in Kind if base in RESOURCES[each].paths), None)
    if kind is None:
        await _answer(writer, b"", status=b"404 Not Found")
    elif "fieldSelector" in path:
        system = {"metadata": {"name": "kube-system", "uid": MEMBER}}
        await _answer(writer, a_page([system], kind=kind))
    elif "sendInitialEvents" in path and not (streams and kind is Kind.SERVICE):
        await _answer(writer, b"{}", status=b"422 Unprocessable Entity")
    elif kind is Kind.SERVICE:
        await serve(writer, path, numbers)
    elif "watch=true" in path:
        writer.write(CHUNKED)
        await asyncio.Event().wait()
    else:
        await _answer(writer, a_page(kind=kind))


async def _answer(writer: Writer, body: bytes, headers: bytes = b"", status: bytes = b"200 OK") -> None:
    writer.write(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body)) + body)
    await writer.drain()


async def _chunk(writer: Writer, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    await writer.drain()


def _lines(event: str, documents: Any) -> bytes:
    return b"".join(an_event(event, each) + b"\n" for each in documents)


ATTACKS = {
    each.__name__: each
    for each in (
        endless_list,
        slow_list,
        endless_stream,
        flood,
        gzip_bomb,
        tiny_objects,
        interim_answers,
        header_lines,
        chunk_extension,
        unasked_answers,
    )
}
