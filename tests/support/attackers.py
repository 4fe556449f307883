"""Connections of strangers: bytes by hand, from an address that no honest client has, and read or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from support.h2_client import message, request

from registry.rpc import frames
from registry.rpc.frames import FrameReader

STRANGER = "127.6.6.6"
Report = dict[str, float]
READ_BYTES = 1 << 18
PATIENCE_SECONDS = 5.0
LOOKUP = "/registry.v1.Registry/Lookup"
WATCH = "/registry.v1.Registry/Watch"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA = f"{ADS}/DeltaAggregatedResources"
SOTW = f"{ADS}/StreamAggregatedResources"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
GREEDY = frames.PREFACE + frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW})
"""The greeting of a client that takes everything, together with ``frames.window_update(0, ...)``."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is attacked: addresses, and the folder whose kubeconfigs are members. ``source`` is the stranger's."""

    grpc: str
    http: str
    members: str = ""
    source: str = STRANGER


class Stranger:
    """One connection. It reads, and forgets, what comes while ``reading``."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None] | None = None
        self.read = 0
        """Bytes."""
        self._windows = defaultdict[int, int](lambda: frames.DEFAULT_WINDOW)
        """Of each stream, 0: of the connection; only counted while ``windows`` are read."""
        self._opened = asyncio.Event()
        self.over = asyncio.Event()
        """The other side has closed, as far as that was read."""

    async def send(self, *data: bytes) -> bool:
        """False when the connection is gone, or nobody reads it."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._loop.sock_sendall(self._socket, b"".join(data))
        except TimeoutError:
            return False
        except OSError:
            self.over.set()
            return False
        return True

    def start_reading(self, bytes_per_second: float = 0, *, windows: bool = False) -> None:
        """Read all that comes; or slowly. With ``windows`` also look at what the server lets us send."""
        self._reading = asyncio.create_task(self._read_windows() if windows else self._read(bytes_per_second))

    async def send_in_windows(self, stream_id: int, content: bytes) -> None:
        """DATA frames, as far as the server's windows go (RFC 9113 section 5.2)."""
        at = 0
        while at < len(content) and not self.over.is_set():
            size = min(len(content) - at, frames.DEFAULT_FRAME_BYTES, self._windows[0], self._windows[stream_id])
            if size <= 0:
                self._opened.clear()
                await self._opened.wait()
                continue
            await self.send(frames.data(stream_id, content[at : at + size]))
            self._windows[0] -= size
            self._windows[stream_id] -= size
            at += size

    def is_over(self) -> bool:
        """Whether the other side has closed, as the kernel knows without anything being read."""
        if self.over.is_set():
            return True
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] != 1  # TCP_ESTABLISHED

    def close(self, *, reset: bool = False) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _read_windows(self) -> None:
        reader = FrameReader(frames.MAX_FRAME_BYTES)
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(self._socket, READ_BYTES):
                self.read += len(data)
                for kind, flags, stream_id, payload in reader.feed(data):
                    if kind == frames.WINDOW_UPDATE:
                        self._windows[stream_id] += frames.word(payload)
                    elif kind == frames.SETTINGS and not flags & frames.ACK:
                        said = dict(struct.iter_unpack(">HL", payload))
                        initial = said.get(frames.Setting.INITIAL_WINDOW_SIZE, frames.DEFAULT_WINDOW)
                        self._windows[1] += initial - frames.DEFAULT_WINDOW
                self._opened.set()
        self.over.set()
        self._opened.set()

    async def _read(self, rate: float) -> None:
        size = READ_BYTES if not rate else max(1, int(rate / 10))
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(self._socket, size):
                self.read += len(data)
                if rate:
                    await asyncio.sleep(0.1)
        self.over.set()


async def connected(address: str, source: str, *, buffer: int | None = None) -> Stranger:
    """A connection from ``source``; ``buffer`` is how many bytes its kernel takes before anybody reads.

    Raises:
        OSError: there is none to be had.
    """
    host, _, port = address.rpartition(":")
    made = socket.socket()
    made.setblocking(False)
    if buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    try:
        made.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
    except OSError:
        made.close()
        raise
    return Stranger(made)


@asynccontextmanager
async def strangers(
    address: str, source: str, count: int, greeting: bytes = b"", *, buffer: int | None = None
) -> AsyncIterator[list[Stranger]]:
    """As many of ``count`` connections as there are to be had, each after its ``greeting``."""
    found: list[Stranger] = []
    try:
        for _ in range(count):
            try:
                found.append(await connected(address, source, buffer=buffer))
            except OSError:
                continue
            await found[-1].send(greeting)
        yield found
    finally:
        for each in found:
            each.close()


def open_streams(path: str, messages: Iterable[bytes]) -> bytes:
    """A stream of its own for each message, left open."""
    return b"".join(
        request(2 * number + 1, path=path) + data_of(2 * number + 1, each) for number, each in enumerate(messages)
    )


def data_of(stream_id: int, body: bytes) -> bytes:
    """A gRPC message as DATA frames of the size that every peer takes (RFC 9113 section 4.2)."""
    whole = message(body)
    pieces = (whole[at : at + frames.DEFAULT_FRAME_BYTES] for at in range(0, len(whole), frames.DEFAULT_FRAME_BYTES))
    return b"".join(frames.data(stream_id, each) for each in pieces)


async def for_a_while(seconds: float, *found: Stranger) -> Report:
    """Wait so long, or until nobody is left; how many are, and what they have read."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(each.is_over() for each in found):
        await asyncio.sleep(0.1)
    left = sum(not each.is_over() for each in found)
    return {"connected": len(found), "left": left, "read": sum(each.read for each in found)}
