"""The HTTP port alone, over a list that a test makes up, with time-outs that a test can wait for."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from registry.admission import Admission, Refusal, Room
from registry.http_limits import HttpLimits
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Endpoint, MergedService
from registry.servers.http import HttpServer
from registry.servers.reports import Reports, StartReport
from registry.views.names import Names
from registry.views.policy import ResolvedPolicy
from registry.views.service_entry import ServiceEntries, service_entries

QUICK = HttpLimits(
    connections=20, headers_seconds=0.5, body_seconds=0.5, idle_seconds=1.0, write_seconds=0.5, waiting_bytes=16 << 10
)
ENDPOINTS = tuple(
    Endpoint(Locality("region", "zone"), f"10.0.0.{number}", (), ClusterId("a"), pod=f"pod-{number}")
    for number in range(20)
)


class Made:
    """``count`` services; ``asked`` counts how often each was looked at. It stands in for ``Reports``."""

    def __init__(self, count: int) -> None:
        self.keys = [ServiceKey("shop", f"service-{number:05}") for number in range(count)]
        self.asked: Counter[ServiceKey] = Counter()
        self.gone: set[ServiceKey] = set()
        self.fails: ServiceKey | None = None
        self.short = False

    def service_keys(self) -> list[ServiceKey]:
        return list(self.keys)

    def service(self, key: ServiceKey) -> MergedService | None:
        self.asked[key] += 1
        if key == self.fails:
            raise ValueError("a bug")
        if key in self.gone:
            return None
        return MergedService(key, (ServicePort(80, "http"),), ENDPOINTS, (ClusterId("a"),))

    def policy(self, _service: MergedService) -> ResolvedPolicy:
        return ResolvedPolicy()

    def service_entries(self, service: MergedService, _cluster: ClusterId | None) -> ServiceEntries:
        return service_entries(service, Names())

    def cluster_names(self) -> list[ClusterId]:
        return []

    def start(self) -> StartReport:
        return StartReport(ready=True)

    def short_of_files(self) -> bool:
        return self.short

    def client_numbers(self) -> list[int]:
        return []


@dataclass
class Port:
    """A running one; ``refused`` counts by reason."""

    server: HttpServer
    address: str
    reports: Made
    refused: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def http_port(services: int = 0, limits: HttpLimits = QUICK, share: float = 1.0) -> AsyncIterator[Port]:
    """The port on any free one of 127.0.0.1."""
    reports = Made(services)
    refused: Counter[str] = Counter()

    def count(why: Refusal, _peer: str) -> None:
        refused[why] += 1

    def exposition() -> Iterator[bytes]:
        yield b"metric 1\n"

    admission = Admission(Room(limits.connections, share), count)
    server = HttpServer(cast(Reports, reports), Names(), exposition, "127.0.0.1", 0, limits=limits, admission=admission)
    address = await server.start()
    try:
        yield Port(server, address, reports, refused)
    finally:
        await server.stop()


class Client:
    """One connection, on which a test writes what it likes, from ``source``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ended(self) -> bool:
        """Wait until the server closes it."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
        return True

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if b"content-length" in fields:
            return status, await self.reader.readexactly(int(fields[b"content-length"]))
        body = bytearray()
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return status, bytes(body)


@asynccontextmanager
async def client(
    address: str, data: bytes = b"", *, source: str = "127.0.0.1", buffer: int = 0
) -> AsyncIterator[Client]:
    """Connected, after ``data``; ``buffer`` bytes are taken by its kernel before anybody reads."""
    host, _, port = address.rpartition(":")
    made = socket.socket()
    made.setblocking(False)
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=made, limit=1 << 10 if buffer else 1 << 16)
    writer.write(data)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


def get(path: str, *headers: str) -> bytes:
    """A request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: it", *headers, "", ""]).encode()


async def fetched(address: str, path: str, **more: Any) -> tuple[int, bytes]:
    """What is answered to one request."""
    async with client(address, get(path), **more) as one:
        return await one.answer()
