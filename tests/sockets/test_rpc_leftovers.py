"""A connection that is gone leaves nothing, however it ended: no object waits for the garbage collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from support.certificates import write_certificate
from support.echo import echoing
from support.h2_client import HELLO, message, request
from support.processes import until

from registry.rpc import frames
from registry.rpc.frames import ErrorCode, Setting
from registry.rpc.limits import Limits
from registry.rpc.server import RpcServer
from registry.rpc.tls import ServerTls

SAY, WAIT, CHAT, NEWEST = (f"/echo.Echo/{each}" for each in ("Say", "Wait", "Chat", "Newest"))
WIDE = frames.settings({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1}) + frames.window_update(0, (1 << 31) - 1 - 65_535)
OTHERS = {"TCPTransport", "SSLProtocol", "SSLObject", "_SSLProtocolTransport", "coroutine", "Task", "TimerHandle"}
ROUNDS = 20


def living() -> Counter[str]:
    """How many objects there are of the server's types, and of those that carry it."""
    return Counter(
        type(each).__qualname__
        for each in gc.get_objects()
        if str(type(each).__module__).startswith(("registry.rpc", "support.echo")) or type(each).__name__ in OTHERS
    )


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Peer:
    """A client's socket, and what it does with it."""

    def __init__(self, server: RpcServer, context: ssl.SSLContext | None = None) -> None:
        self.server = server
        self._context = context

    async def __aenter__(self) -> Peer:
        host, _, port = self.server.address.rpartition(":")
        self._loop = asyncio.get_running_loop()
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setblocking(False)
        if self._context is not None:
            self._tls = self._context.wrap_socket(self.socket, do_handshake_on_connect=False)
            await asyncio.to_thread(self._shake_hands)
        return self

    def _shake_hands(self) -> None:
        self._tls.settimeout(10)
        self._tls.do_handshake()
        self.socket = self._tls

    async def __aexit__(self, *_error: object) -> None:
        self.socket.close()

    async def send(self, *data: bytes) -> None:
        if self._context is None:
            await self._loop.sock_sendall(self.socket, b"".join(data))
        else:
            await asyncio.to_thread(self.socket.sendall, b"".join(data))

    async def until_closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._loop.sock_recv(self.socket, 1 << 16):
                pass

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


async def _says_and_closes(peer: Peer) -> None:
    await peer.send(HELLO, request(1), frames.data(1, message(b"x"), end_stream=True))
    await peer.send(request(3, path=CHAT), frames.data(3, message(b"x")))
    await until(lambda: peer.server.ledger.held > 0, "the stream is open")


async def _resets_the_connection(peer: Peer) -> None:
    await _says_and_closes(peer)
    peer.reset()


async def _says_goaway(peer: Peer) -> None:
    await peer.send(HELLO, request(1, path=NEWEST), frames.goaway(0, ErrorCode.NO_ERROR))


async def _breaks_a_rule(peer: Peer) -> None:
    streams = [request(at, path=NEWEST) for at in range(1, 21, 2)]
    await peer.send(HELLO, *streams, frames.frame_header(0, frames.PUSH_PROMISE, 0, 1))
    await peer.until_closed()


async def _is_no_http2(peer: Peer) -> None:
    await peer.send(b"GET / HTTP/1.1\r\n\r\n")
    await peer.until_closed()


async def _lets_a_deadline_pass(peer: Peer) -> None:
    await peer.send(HELLO, request(1, path=WAIT, grpc_timeout="10m"), frames.data(1, message(b""), end_stream=True))
    await peer.send(request(3, path=CHAT, grpc_timeout="10m"), request(5, path=CHAT, grpc_timeout="1H"))
    await asyncio.sleep(0.02)


async def _reads_nothing(peer: Peer) -> None:
    await peer.send(frames.PREFACE, WIDE, request(1, path=CHAT), frames.data(1, message(bytes(10_000))))
    for _ in range(100):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(peer.send(frames.data(1, message(bytes(16_000)))), 0.05)


async def _closes_its_windows(peer: Peer) -> None:
    shut = frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
    streams = [request(at, path=CHAT) + frames.data(at, message(bytes(1000))) for at in range(1, 41, 2)]
    await peer.send(frames.PREFACE, shut, *streams)
    await until(lambda: peer.server.ledger.held > 20_000, "the answers wait")


async def _cancels(peer: Peer) -> None:
    await peer.send(HELLO, request(1, path=WAIT), frames.data(1, message(b"x"), end_stream=True))
    await peer.send(request(3, path=CHAT), frames.data(3, b"\0\0\0\x10\0half"))
    await peer.send(frames.rst_stream(1, ErrorCode.CANCEL), frames.rst_stream(3, ErrorCode.CANCEL))


async def _is_answered_with_errors(peer: Peer) -> None:
    await peer.send(HELLO, request(1, path="/echo.Echo/Nothing", end=True), request(3, content_type="text/html"))
    await peer.send(request(5, path="/echo.Echo/Fail"), frames.data(5, message(b"no"), end_stream=True))
    await peer.send(request(7, path=SAY), frames.data(7, b"\x01\0\0\0\x01x"))


async def _is_in_the_middle_of_everything(peer: Peer) -> None:
    await peer.send(HELLO, request(1, path=WAIT), frames.data(1, message(b"x"), end_stream=True))
    await peer.send(frames.ping(bytes(8)), frames.frame_header(100, frames.HEADERS, 0, 3), bytes(50))


async def _is_silent(peer: Peer) -> None:
    await peer.until_closed()


async def _is_aborted(peer: Peer) -> None:
    await _closes_its_windows(peer)
    peer.server.ledger.limit = 1
    await peer.send(request(101, path=CHAT))
    await peer.until_closed()
    peer.server.ledger.limit = 1 << 30


ENDS: list[Callable[[Peer], Awaitable[None]]] = [
    _says_and_closes,
    _resets_the_connection,
    _says_goaway,
    _breaks_a_rule,
    _is_no_http2,
    _lets_a_deadline_pass,
    _reads_nothing,
    _closes_its_windows,
    _cancels,
    _is_answered_with_errors,
    _is_in_the_middle_of_everything,
    _is_silent,
    _is_aborted,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__.strip("_"))
def test_nothing_is_left_of_a_connection(end: Callable[[Peer], Awaitable[None]], no_collector: None) -> None:
    async def main() -> None:
        async with echoing(limits=Limits(handshake_seconds=0.1, stalled_seconds=1)) as server:
            await _leave_nothing(server, lambda: Peer(server), end)

    uvloop.run(main())


TLS_ENDS = [_says_and_closes, _resets_the_connection, _says_goaway, _is_in_the_middle_of_everything]


@pytest.mark.parametrize("end", TLS_ENDS, ids=lambda end: end.__name__.strip("_"))
def test_nothing_is_left_of_a_tls_connection(
    end: Callable[[Peer], Awaitable[None]], no_collector: None, tmp_path: Path
) -> None:
    async def main() -> None:
        write_certificate(tmp_path, "ca", "server")
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        context.set_alpn_protocols(["h2"])
        context.check_hostname = False
        async with echoing(tls=ServerTls(tmp_path / "server.crt", tmp_path / "server.key")) as server:
            await _leave_nothing(server, lambda: Peer(server, context), end)

    uvloop.run(main())


def test_nothing_is_left_of_a_tls_handshake_that_fails(no_collector: None, tmp_path: Path) -> None:
    async def main() -> None:
        write_certificate(tmp_path, "ca", "server")
        tls = ServerTls(tmp_path / "server.crt", tmp_path / "server.key")
        async with echoing(tls=tls, limits=Limits(handshake_seconds=0.1)) as server:
            for end in (_is_no_http2, _is_silent, _resets_before_the_handshake):
                await _leave_nothing(server, lambda: Peer(server), end)

    uvloop.run(main())


async def _resets_before_the_handshake(peer: Peer) -> None:
    await peer.send(b"\x16\x03\x01")
    peer.reset()


async def _leave_nothing(
    server: RpcServer, connect: Callable[[], Peer], end: Callable[[Peer], Awaitable[None]]
) -> None:
    async def one() -> None:
        async with connect() as peer:
            await end(peer)
        await until(lambda: not server.connections, "the connection is gone", timeout=5, poll=0.001)
        await asyncio.sleep(0.005)

    await one()
    await asyncio.sleep(0.05)
    before = living()
    for _ in range(ROUNDS):
        await one()
    deadline = time.monotonic() + 5
    while (left := living() - before) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert left == Counter(), "nothing is left"
    assert server.ledger.held == 0
