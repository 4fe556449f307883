"""Forward proxies: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929), on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Proxied:
    """What a proxy was asked. Every target is on 127.0.0.1, whatever name it was given."""

    port: int = 0
    targets: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    refuse: str = ""
    """The status line of every answer of an HTTP proxy."""


@asynccontextmanager
async def http_proxy(tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxied]:
    """Its credentials are the values of ``Proxy-Authorization``."""
    proxied = Proxied()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *headers = head.split("\r\n")
        proxied.targets.append(request)
        named = dict(line.split(": ", 1) for line in headers if line)
        proxied.credentials.append(named.get("Proxy-Authorization", ""))
        if proxied.refuse:
            writer.write(f"HTTP/1.1 {proxied.refuse}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        port = int(request.split()[1].rpartition(":")[2])
        await _join(reader, writer, port, b"HTTP/1.1 200 Connection established\r\n\r\n")

    async with _serving(handle, proxied, tls):
        yield proxied


@asynccontextmanager
async def socks_proxy(password: str = "") -> AsyncIterator[Proxied]:
    """It takes any user with ``password``, or nobody's name without one."""
    proxied = Proxied()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        chosen = 2 if password else 0
        writer.write(bytes((5, chosen if chosen in methods else 0xFF)))
        if password:
            name, given = [await _text(reader, skip) for skip in (1, 0)]
            proxied.credentials.append(f"{name}:{given}")
            writer.write(bytes((1, given != password)))
            if given != password:
                return
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = await _text(reader, 0)
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        proxied.targets.append(f"{host}:{port}")
        await _join(reader, writer, port, bytes((5, 0, 0, 1, 0, 0, 0, 0, 0, 0)))

    async with _serving(handle, proxied, None):
        yield proxied


async def _text(reader: asyncio.StreamReader, skip: int) -> str:
    await reader.readexactly(skip)
    (size,) = await reader.readexactly(1)
    return (await reader.readexactly(size)).decode()


@asynccontextmanager
async def _serving(handle: Handler, proxied: Proxied, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(handled, "127.0.0.1", 0, ssl=tls)
    proxied.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes) -> None:
    """Both ways between the client and the server on ``port``, once ``first`` was answered."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            to.write(data)
            await to.drain()
        to.close()

    try:
        await asyncio.gather(copy(reader, back), copy(there, writer))
    finally:
        back.close()
