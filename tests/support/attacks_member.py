"""What a member's API server, or who writes its kubeconfig, can do to the registry that follows it.

Each attack puts a kubeconfig into the folder of members, and takes it out at the end. The member's name is the
attack's, with dashes. Its API server has a good UID and is empty; its Services are served as the attack does.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.attackers import Report, Where
from support.fake_apiserver import kubeconfig
from support.kube_wire import a_page, a_service, an_event

from registry.model.names import Kind
from registry.sources.kubernetes.resources import RESOURCES

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
OPENING = b'{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"10"},"items":['
SERVICE = (
    b'{"metadata":{"name":"s%d","namespace":"shop","resourceVersion":"1","uid":"%d"},'
    b'"spec":{"ports":[{"name":"http","port":80}]}},'
)
BATCH = 500
ENDLESS = 1 << 40
MIB = 1 << 20
Writer = asyncio.StreamWriter
Serve = Callable[[Writer, str, "itertools.count[int]"], Awaitable[None]]
"""Answers a list or a watch of Services: the connection, the path, and numbers for objects."""


def member_of(attack: str) -> str:
    """The name of the member that does it."""
    return attack.replace("_", "-")


async def endless_list(where: Where, seconds: float = 30, objects: int = ENDLESS) -> Report:
    """A list in one body whose items do not end; after so many ``objects`` nothing comes."""

    async def serve(writer: Writer, _path: str, numbers: itertools.count[int]) -> None:
        writer.write(CHUNKED)
        await _chunk(writer, OPENING)
        while True:
            await _chunk(writer, b"".join(SERVICE % (number, number) for number in itertools.islice(numbers, BATCH)))
            if next(numbers) > objects:
                await asyncio.Event().wait()

    return await _attack("endless_list", where, seconds, serve)


async def endless_pages(where: Where, seconds: float = 30, pause: float = 0, objects: int = ENDLESS) -> Report:
    """A list in pages of 500 new Services, each of which says that there is another; ``pause`` seconds before each.

    After so many ``objects`` the next page does not come.
    """

    async def serve(writer: Writer, _path: str, numbers: itertools.count[int]) -> None:
        await asyncio.sleep(pause)
        await _answer(writer, a_page(await _services(numbers, objects), token=str(next(numbers))))

    return await _attack("endless_pages", where, seconds, serve)


async def endless_stream(where: Where, seconds: float = 10, objects: int = ENDLESS) -> Report:
    """A streaming list without an end; after so many ``objects`` nothing comes."""

    async def serve(writer: Writer, _path: str, numbers: itertools.count[int]) -> None:
        writer.write(CHUNKED)
        while True:
            found = await _services(numbers, objects)
            await _chunk(writer, b"".join(an_event("ADDED", each) + b"\n" for each in found))

    return await _attack("endless_stream", where, seconds, serve, streams=True)


async def flood(where: Where, seconds: float = 10) -> Report:
    """A watch that changes one object as often as it can."""

    async def serve(writer: Writer, path: str, numbers: itertools.count[int]) -> None:
        if "watch=true" not in path:
            await _answer(writer, a_page([a_service("one")]))
            return
        writer.write(CHUNKED)
        while True:
            changes = (a_service("one", 1 + port, str(next(numbers) + 11)) for port in range(BATCH))
            await _chunk(writer, b"".join(an_event("MODIFIED", each) + b"\n" for each in changes))

    return await _attack("flood", where, seconds, serve)


async def gzip_bomb(where: Where, mib: int = 575, seconds: float = 10) -> Report:
    """A list that is small on the wire and large when it is unpacked."""
    packer = zlib.compressobj(1, wbits=31)
    pieces = [packer.compress(OPENING), *(packer.compress(b" " * MIB) for _ in range(mib))]
    bomb = b"".join([*pieces, packer.compress(b"]}"), packer.flush()])
    return await _attack("gzip_bomb", where, seconds, _always(bomb, b"Content-Encoding: gzip\r\n"))


async def tiny_objects(where: Where, seconds: float = 10) -> Report:
    """A page of five million objects."""
    return await _attack("tiny_objects", where, seconds, _always(OPENING + b"{}," * 5_000_000 + b"{}]}"))


async def endless_continue(where: Where, seconds: float = 10) -> Report:
    """``100 Continue``, again and again, and never an answer (RFC 9110 section 15.2.1)."""
    return await _attack("endless_continue", where, seconds, _repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000))


async def header_lines(where: Where, seconds: float = 10) -> Report:
    """A head without an end."""
    return await _attack("header_lines", where, seconds, _repeating(HEAD, b"X-More: " + b"a" * 1000 + b"\r\n"))


async def chunk_extension(where: Where, seconds: float = 10) -> Report:
    """A chunk whose extension does not end."""
    return await _attack("chunk_extension", where, seconds, _repeating(CHUNKED + b"5;", b"a" * 65536))


async def endless_line(where: Where, seconds: float = 10) -> Report:
    """An object whose one text does not end."""
    first = CHUNKED + _chunked(OPENING + b'{"metadata":{"name":"')
    return await _attack("endless_line", where, seconds, _repeating(first, _chunked(b"x" * 65536)))


async def unasked_answers(where: Where, seconds: float = 10) -> Report:
    """A good answer, and then others that nobody asked for."""
    page = a_page([a_service("one")])
    good = HEAD + b"Content-Length: %d\r\n\r\n" % len(page) + page
    return await _attack("unasked_answers", where, seconds, _repeating(good, HEAD + b"Content-Length: 0\r\n\r\n"))


async def aliases(where: Where, text: int = 100_000, count: int = 12_000, seconds: float = 10) -> Report:
    """A kubeconfig in YAML that repeats one text by aliases (YAML 1.2 section 3.2.2.2)."""
    contexts = ", ".join(["{name: *t}"] * count)
    document = f"x: &t '{'x' * text}'\ncurrent-context: it\ncontexts: [{contexts}]\nusers: []\nclusters: []\n"
    with _named("aliases", where, document):
        await asyncio.sleep(seconds)
    return {"bytes": len(document), "unpacked": text * count}


async def _services(numbers: itertools.count[int], most: int) -> list[dict[str, Any]]:
    """The next of them; for ever after so many."""
    found = [a_service(f"s{next(numbers)}") for _ in range(BATCH)]
    if next(numbers) > most:
        await asyncio.Event().wait()
    return found


def _always(body: bytes, headers: bytes = b"") -> Serve:
    async def serve(writer: Writer, _path: str, _numbers: itertools.count[int]) -> None:
        await _answer(writer, body, headers)

    return serve


def _repeating(first: bytes, then: bytes) -> Serve:
    async def serve(writer: Writer, _path: str, _numbers: itertools.count[int]) -> None:
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()

    return serve


@contextmanager
def _named(attack: str, where: Where, text: str) -> Iterator[None]:
    """The kubeconfig is in the folder of members."""
    path = Path(where.members, member_of(attack))
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


async def _attack(attack: str, where: Where, seconds: float, serve: Serve, *, streams: bool = False) -> Report:
    """Be a member for so long. ``streams``: ``serve`` is asked for streaming lists too."""
    numbers = itertools.count()
    asked = 0

    async def handle(reader: asyncio.StreamReader, writer: Writer) -> None:
        nonlocal asked
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
                asked += 1
                await _serve(writer, path, serve, numbers, uid=attack, streams=streams)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    with _named(attack, where, kubeconfig(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")):
        await asyncio.sleep(seconds)
    server.close()
    return {"requests": asked, "objects": next(numbers)}


async def _serve(
    writer: Writer, path: str, serve: Serve, numbers: itertools.count[int], *, uid: str, streams: bool
) -> None:
    base = path.partition("?")[0]
    kind = next((each for each in Kind if base in RESOURCES[each].paths), None)
    if kind is None:
        await _answer(writer, b"", status=b"404 Not Found")
    elif "fieldSelector" in path:
        system = {"metadata": {"name": "kube-system", "uid": uid}}
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
    writer.write(_chunked(data))
    await writer.drain()


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


ATTACKS = {
    each.__name__: each
    for each in (
        endless_list,
        endless_pages,
        endless_stream,
        flood,
        gzip_bomb,
        tiny_objects,
        endless_continue,
        header_lines,
        chunk_extension,
        endless_line,
        unasked_answers,
        aliases,
    )
}
