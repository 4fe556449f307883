"""What a member's API server, or who writes its kubeconfig, can do to the registry that follows it.

Each puts a kubeconfig into the folder of members, and takes it out at the end. The server says who it is as it should,
and answers every list as the attack does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from support.attackers import Report, Where

Send = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]
Answer = Callable[[asyncio.StreamWriter, str], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LIST = b'{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"10"%s},"items":['
SERVICE = (
    b'{"metadata":{"name":"stranger-%d","namespace":"stranger","resourceVersion":"1","uid":"%d"},'
    b'"spec":{"ports":[{"name":"http","port":80}]}},'
)
NAME = f"stranger-{os.getpid()}"
BOMB_PIECE = b" " * (1 << 20)


class Member:
    """An API server. ``sent`` counts the bytes of answers to lists, ``lists`` the requests for one."""

    def __init__(self, make: Callable[[Send], Answer]) -> None:
        self._answer = make(self.send)
        self.lists = 0
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
                if "fieldSelector" in request:
                    body = json.dumps(
                        {
                            "kind": "NamespaceList",
                            "apiVersion": "v1",
                            "metadata": {"resourceVersion": "10"},
                            "items": [{"metadata": {"name": "kube-system", "uid": NAME}}],
                        }
                    ).encode()
                    await self.send(writer, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                else:
                    self.lists += 1
                    await self._answer(writer, request)
        writer.close()

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)


@asynccontextmanager
async def member(where: Where, make: Callable[[Send], Answer]) -> AsyncIterator[Member]:
    """The server, with a name in the folder of members while the context lasts."""
    it = Member(make)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0, limit=1 << 20)
    address = "http://{}:{}".format(*server.sockets[0].getsockname())
    path = Path(where.members) / NAME
    path.write_text(json.dumps(kubeconfig(address)))
    try:
        async with server:
            yield it
    finally:
        path.unlink()


def kubeconfig(address: str) -> dict[str, object]:
    return {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": address}}],
        "users": [{"name": "it", "user": {"token": "it"}}],
    }


def a_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def a_service(number: int) -> bytes:
    """An item of a list, with a comma."""
    return SERVICE % (number, number)


async def endless_list(where: Where, seconds: float = 30) -> Report:
    """A list whose items do not end."""

    def make(send: Send) -> Answer:
        async def answer(writer: asyncio.StreamWriter, _request: str) -> None:
            await send(writer, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + a_chunk(LIST % b""))
            for number in itertools.count():
                await send(writer, a_chunk(b"".join(a_service(number * 200 + each) for each in range(200))))

        return answer

    return await _run(where, make, seconds)


async def endless_pages(where: Where, seconds: float = 30, pause: float = 0) -> Report:
    """A list in pages, each of which says that there is another; ``pause`` seconds before each."""
    numbers = itertools.count()

    def make(send: Send) -> Answer:
        async def answer(writer: asyncio.StreamWriter, _request: str) -> None:
            await asyncio.sleep(pause)
            number = next(numbers)
            items = b"".join(a_service(number * 500 + each) for each in range(1 if pause else 500))
            body = LIST % (b',"continue":"%d"' % number) + items[:-1] + b"]}"
            await send(writer, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        return answer

    return await _run(where, make, seconds)


async def gzip_bomb(where: Where, mib: int = 575, seconds: float = 10) -> Report:
    """A list that is small on the wire and large when it is unpacked."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(LIST % b""), *(packer.compress(BOMB_PIECE) for _ in range(mib))]
    body = b"".join([*pieces, packer.compress(b"]}"), packer.flush()])

    def make(send: Send) -> Answer:
        async def answer(writer: asyncio.StreamWriter, _request: str) -> None:
            await send(writer, HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        return answer

    return await _run(where, make, seconds)


async def endless_continue(where: Where, seconds: float = 10) -> Report:
    """``100 Continue``, again and again, and never an answer (RFC 9110 section 15.2.1)."""

    def make(send: Send) -> Answer:
        async def answer(writer: asyncio.StreamWriter, _request: str) -> None:
            while True:
                await send(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

        return answer

    return await _run(where, make, seconds)


async def endless_line(where: Where, seconds: float = 10) -> Report:
    """An object whose one text does not end."""

    def make(send: Send) -> Answer:
        async def answer(writer: asyncio.StreamWriter, _request: str) -> None:
            opening = LIST % b"" + b'{"metadata":{"name":"'
            await send(writer, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + a_chunk(opening))
            while True:
                await send(writer, a_chunk(b"x" * (1 << 16)))

        return answer

    return await _run(where, make, seconds)


async def aliases(where: Where, text: int = 100_000, count: int = 12_000, seconds: float = 10) -> Report:
    """A kubeconfig in YAML that repeats one text by aliases (YAML 1.2 section 3.2.2.2)."""
    path = Path(where.members) / NAME
    contexts = ", ".join(["{name: *t}"] * count)
    document = f"x: &t '{'x' * text}'\ncurrent-context: it\ncontexts: [{contexts}]\nusers: []\nclusters: []\n"
    path.write_text(document)
    try:
        await asyncio.sleep(seconds)
    finally:
        path.unlink()
    return {"bytes": len(document), "unpacked": text * count}


async def _run(where: Where, make: Callable[[Send], Answer], seconds: float) -> Report:
    began = time.monotonic()
    async with member(where, make) as it:
        await asyncio.sleep(seconds)
        return {"lists": it.lists, "sent": it.sent, "seconds": time.monotonic() - began}


ATTACKS = {
    each.__name__: each for each in (endless_list, endless_pages, gzip_bomb, endless_continue, endless_line, aliases)
}
