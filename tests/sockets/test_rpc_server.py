"""The gRPC server on real sockets, with the real gRPC client and with a raw one that does as it likes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.echo import Echo, echoing
from support.h2_client import HELLO, RawClient, message, request
from support.processes import until

from registry.rpc import frames
from registry.rpc.frames import ErrorCode, Setting
from registry.rpc.limits import Limits
from registry.rpc.link import Link
from registry.rpc.server import ListenError, RpcServer
from registry.rpc.tls import ServerTls, TlsError

SAY, WAIT, FAIL, WHO, CHAT, NEWEST = (f"/echo.Echo/{each}" for each in ("Say", "Wait", "Fail", "Who", "Chat", "Newest"))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RpcServer]:
    async with echoing() as it:
        yield it
        # Whatever the test did, somebody else is served.
        async with grpc.aio.insecure_channel(it.address) as channel:
            assert await channel.unary_unary(SAY)(b"still there", timeout=10) == b"still there"


async def test_unary_and_streaming_calls_of_any_size(server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        for size in (0, 1, 16_384, 70_000, 3_000_000):
            body = bytes(size)
            assert await channel.unary_unary(SAY)(body, timeout=20) == body
        call = channel.stream_stream(CHAT)(iter([b"a" * each for each in (0, 5, 200_000, 1)]))
        assert [len(each) async for each in call] == [0, 5, 200_000, 1]


def test_synchronous_client() -> None:
    async def main() -> bytes:
        async with echoing() as server:

            def ask() -> bytes:
                with grpc.insecure_channel(server.address) as channel:
                    answer: bytes = channel.unary_unary(SAY)(b"hello", timeout=10)
                    return answer

            return await asyncio.to_thread(ask)

    assert asyncio.run(main()) == b"hello"


async def test_statuses_and_their_messages_reach_the_client(server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        for body, code, text in (
            ("a reason: 100 % zoë\n", grpc.StatusCode.FAILED_PRECONDITION, "a reason: 100 % zoë\n"),
            ("bug", grpc.StatusCode.INTERNAL, "the server's log has the details"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(FAIL)(body.encode(), timeout=10)
            assert error.value.code() is code
            assert text in (error.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(FAIL)(("long " * 500_000).encode(), timeout=10)
        assert error.value.details() == ("long " * 1000)[:1024]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary("/echo.Echo/Nothing")(b"", timeout=10)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert error.value.details() == "no method /echo.Echo/Nothing"


async def test_handler_knows_its_caller(server: RpcServer) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        told = (await channel.unary_unary(WHO)(b"", metadata=[("x-custom", "1")], timeout=10)).decode()
    assert told.startswith("/echo.Echo/Who ipv4:127.0.0.1:")
    assert "('x-custom', '1')" in told


async def test_deadline_and_cancellation_end_the_call_and_its_handler() -> None:
    echo = Echo()
    async with echoing(echo) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(WAIT)(b"", timeout=0.2)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: echo.cancelled == 1, "the handler of the first is cancelled")
        call = channel.unary_unary(WAIT)(b"")
        stream = channel.stream_stream(CHAT)()
        await stream.write(b"x")
        assert await stream.read() == b"x"
        call.cancel()
        stream.cancel()
        await until(lambda: echo.cancelled == 2 and not echo.open, "the handlers of both are gone")


async def test_server_keeps_the_deadline_of_a_client_that_does_not(server: RpcServer) -> None:
    async with RawClient(server.address) as client:
        client.send(HELLO, request(1, path=WAIT, grpc_timeout="50m"), frames.data(1, message(b""), end_stream=True))
        await client.until_ended(1)
        assert client.trailers(1)["grpc-status"] == "4"


async def test_what_is_not_grpc_is_answered_as_http(server: RpcServer) -> None:
    async with RawClient(server.address) as client:
        client.send(HELLO, request(1, content_type="text/html", end=True))
        await client.until_ended(1)
        assert client.trailers(1)[":status"] in ("405", "415")
        assert b"speaks gRPC" in client.content(1)


async def test_compressed_and_oversized_messages_are_refused() -> None:
    async with echoing(limits=Limits(received_message_bytes=1000)) as server, RawClient(server.address) as client:
        client.send(HELLO, request(1, grpc_encoding="gzip", end=True))
        await client.until_ended(1)
        assert client.trailers(1)["grpc-status"] == "12"
        client.send(request(3), frames.data(3, b"\0\0\0\x10\0"))
        await client.until_ended(3)
        assert client.trailers(3)["grpc-status"] == "8"
        client.send(request(5), frames.data(5, b"\x01\0\0\0\x01x"))
        await client.until_ended(5)
        assert client.trailers(5)["grpc-status"] == "13"


async def test_unfinished_messages_of_a_connection_share_one_limit() -> None:
    async with echoing(limits=Limits(received_message_bytes=10_000)) as server, RawClient(server.address) as client:
        client.send(HELLO)
        for stream_id in (1, 3, 5):
            client.send(request(stream_id), frames.data(stream_id, b"\0\0\0\x20\0" + bytes(4000)))
        await client.until_ended(5)
        assert client.trailers(5)["grpc-status"] == "8"


async def test_reader_that_is_slow_gets_the_newest_and_holds_up_nobody() -> None:
    echo = Echo()
    echo.padding = 100_000
    async with echoing(echo) as server, RawClient(server.address) as slow:
        slow.send(frames.PREFACE, frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
        slow.send(request(1, path=NEWEST), frames.data(1, message(b"")))
        await slow.until_pong()
        async with grpc.aio.insecure_channel(server.address) as channel:
            quick = channel.unary_stream(NEWEST)(b"")
            for number in range(1, 51):
                echo.publish(number)
                assert int.from_bytes((await quick.read())[:4], "big") == number
            quick.cancel()
        assert slow.content(1) == b""
        slow.send(frames.window_update(1, 1_000_000), frames.window_update(0, 1_000_000))
        await until(lambda: len(slow.content(1)) == 2 * 100_009, "it has two messages")
        content = slow.content(1)
        assert [int.from_bytes(content[at + 5 : at + 9], "big") for at in (0, 100_009)] == [1, 50]


async def test_socket_that_is_never_read_costs_no_queue_and_is_closed() -> None:
    echo = Echo()
    echo.padding = 1 << 20
    limits = Limits(waiting_bytes=64 << 10, stalled_seconds=1.0)
    async with echoing(echo, limits=limits) as server:
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            big = frames.settings({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
            hello = frames.PREFACE + big + frames.window_update(0, (1 << 31) - 1 - 65_535)
            client.sendall(hello + request(1, path=NEWEST) + frames.data(1, message(b"")))
            await until(lambda: echo.open, "the stream is open")
            for number in range(1, 200):
                echo.publish(number)
                await asyncio.sleep(0)
            await until(lambda: not echo.open, "the server gave it up")
            assert server.connections == 0


async def test_reader_of_a_byte_at_a_time_is_closed_and_holds_up_nobody() -> None:
    echo = Echo()
    echo.padding = 4 << 20
    limits = Limits(waiting_bytes=64 << 10, stalled_seconds=1.0)
    async with echoing(echo, limits=limits) as server:
        loop = asyncio.get_running_loop()
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.setblocking(False)
            big = frames.settings({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
            hello = frames.PREFACE + big + frames.window_update(0, (1 << 31) - 1 - 65_535)
            await loop.sock_sendall(client, hello + request(1, path=NEWEST) + frames.data(1, message(b"")))
            await until(lambda: echo.open, "the stream is open")
            echo.publish(1)

            async def drip() -> None:
                while await loop.sock_recv(client, 1):
                    await asyncio.sleep(0.05)

            dripping = asyncio.create_task(drip())
            async with grpc.aio.insecure_channel(server.address) as channel:
                while echo.open:
                    assert await channel.unary_unary(SAY)(b"x", timeout=1) == b"x"
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


async def test_one_byte_at_a_time_is_a_request_like_any_other(server: RpcServer) -> None:
    async with RawClient(server.address) as client:
        for byte in HELLO + request(1) + frames.data(1, message(b"drip"), end_stream=True):
            client.send(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        await client.until_ended(1)
        assert client.content(1) == message(b"drip")


@pytest.mark.parametrize(
    ("flood", "count"),
    [
        (frames.ping(bytes(8)), 50_000),
        (frames.settings({}), 50_000),
        (frames.data(1, b""), 50_000),
        (frames.window_update(0, 1), 50_000),
        (frames.frame_header(10, frames.CONTINUATION, 0, 3) + bytes(10), 5_000),
        (frames.frame_header(16_380, frames.SETTINGS, 0, 0) + b"\0\4\0\0\0\1" * 2730, 50),
    ],
    ids=["PING", "SETTINGS", "empty DATA", "WINDOW_UPDATE", "CONTINUATION", "values in SETTINGS"],
)
async def test_floods_end_their_own_connection(server: RpcServer, flood: bytes, count: int) -> None:
    async with RawClient(server.address) as client:
        client.send(HELLO, request(1))
        if flood[3] == frames.CONTINUATION:
            client.send(frames.frame_header(1, frames.HEADERS, 0, 3) + b"\x82")
        client.send(flood * count)
        assert await client.until_goaway() == ErrorCode.ENHANCE_YOUR_CALM


async def test_rapid_reset_ends_its_connection(server: RpcServer) -> None:
    """CVE-2023-44487."""
    async with RawClient(server.address) as client:
        client.send(HELLO)
        for stream_id in range(1, 6001, 2):
            client.send(request(stream_id, path=WAIT, end=False), frames.rst_stream(stream_id, ErrorCode.CANCEL))
        assert await client.until_goaway() == ErrorCode.ENHANCE_YOUR_CALM


async def test_random_bytes_and_half_open_sockets_disturb_nobody() -> None:
    async with echoing(limits=Limits(handshake_seconds=0.3)) as server:
        async with (
            RawClient(server.address) as silent,
            RawClient(server.address) as half,
            RawClient(server.address) as noise,
        ):
            half.send(frames.PREFACE[:10])
            noise.send(bytes(range(256)) * 100)
            await until(lambda: silent.closed and half.closed and noise.closed, "all three are closed")
        await until(lambda: server.connections == 0, "nothing is left of them")


async def test_connections_beyond_the_limit_are_closed_at_once_and_room_comes_back() -> None:
    async with echoing(limits=Limits(connections=2)) as server:
        async with RawClient(server.address) as first, RawClient(server.address) as second:
            for client in (first, second):
                client.send(HELLO)
                await client.until_pong()
            async with RawClient(server.address) as third:
                await until(lambda: third.closed, "the third is closed")
        await until(lambda: server.connections == 0, "both are gone")
        async with RawClient(server.address) as again:
            again.send(HELLO)
            await again.until_pong()


async def test_sockets_in_the_middle_of_a_tls_handshake_count_as_connections(tmp_path: Path) -> None:
    tls = ServerTls(*Authority(tmp_path / "ca").issue("server"))
    async with echoing(tls=tls, limits=Limits(connections=2, handshake_seconds=0.5)) as server:
        async with RawClient(server.address) as first, RawClient(server.address) as second:
            async with RawClient(server.address) as third:
                await until(lambda: third.closed, "the third is closed")
            assert not first.closed
            assert not second.closed
            await until(lambda: first.closed and second.closed, "the others had their time")
        async with RawClient(server.address) as again:
            again.send(b"\x16")
            await until(lambda: again.closed, "there is room again, for as long as a handshake may take")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for both ends of 5,000 connections."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 12_000:
        pytest.skip(f"the limit of open files is {most}: raise it to 12,000 (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


async def test_five_thousand_connections_at_once_are_all_served(many_files: None) -> None:
    count = 5000
    async with echoing() as server:

        async def one() -> bytes:
            async with RawClient(server.address) as client:
                client.send(HELLO, request(1), frames.data(1, message(b"x"), end_stream=True))
                await client.until_ended(1)
                return client.content(1)

        assert await asyncio.gather(*(one() for _ in range(count))) == [message(b"x")] * count


def test_link_may_be_watched_for_a_time_that_is_past() -> None:
    """uvloop's ``call_at`` returns no timer then."""

    async def main() -> None:
        async with echoing() as server:
            loop = asyncio.get_running_loop()
            for _ in range(3):
                server.watch(Link(server, loop), loop.time())
            await asyncio.sleep(0.1)
            assert server._rounds.next() is None

    uvloop.run(main())


async def test_idle_connection_is_sent_away_and_quiet_one_is_pinged() -> None:
    async with echoing(limits=Limits(idle_seconds=0.3, ping_seconds=0.3, ping_timeout_seconds=0.3)) as server:
        async with RawClient(server.address) as idle:
            idle.send(HELLO)
            assert await idle.until_goaway() == ErrorCode.NO_ERROR
        async with RawClient(server.address) as endless:
            endless.send(HELLO, request(1, content_type="text/html"))
            await until(lambda: endless.closed, "a refused request that never ends keeps no connection")
        async with RawClient(server.address) as quiet:
            quiet.send(HELLO, request(1, path=NEWEST))
            await until(lambda: quiet.of_kind(frames.PING), "it is pinged")
            await until(lambda: quiet.closed, "and closed when it does not answer")


async def test_stop_says_goaway_twice_answers_what_runs_and_ends_streams() -> None:
    echo = Echo()
    server = RpcServer([echo.service()], "127.0.0.1:0")
    await server.start()
    async with RawClient(server.address) as client:
        client.send(
            HELLO, request(1, path=NEWEST), frames.data(1, message(b"")), request(3), frames.data(3, b"\0\0\0\0\x02a")
        )
        await client.until_pong()
        stopping = asyncio.create_task(server.stop(5))
        await until(lambda: client.of_kind(frames.GOAWAY), "it says that it is going")
        client.send(frames.ping(b"goaway  ", ack=True))
        await client.until_ended(1)
        client.send(frames.data(3, b"b", end_stream=True))
        await client.until_ended(3)
        await stopping
        await until(lambda: client.closed, "the connection is closed")
        last = [frames.word(payload) for _, _, _, payload in client.of_kind(frames.GOAWAY)]
        assert last == [(1 << 31) - 1, 3]
        assert client.content(3) == message(b"ab")
    assert not echo.open


async def test_unix_socket_is_served_and_its_file_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "registry.sock"
    for _ in range(2):
        async with echoing(address=f"unix:{path}") as server:
            assert server.address == f"unix:{path}"
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                assert await channel.unary_unary(SAY)(b"x", timeout=10) == b"x"
            with pytest.raises(ListenError, match="in use"):
                await RpcServer([], f"unix:{path}").start()
        assert not path.exists()


async def test_address_that_cannot_be_had_is_named(server: RpcServer) -> None:
    with pytest.raises(ListenError, match=server.address):
        await RpcServer([], server.address).start()


class Authority:
    """A CA of the test's own that writes certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.ca = folder / f"{name}.crt"
        basic = x509.BasicConstraints(True, None)
        certificate = (
            self._builder(self._name, self._key, 1).add_extension(basic, critical=True).sign(self._key, hashes.SHA256())
        )
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, days: int = 1) -> tuple[Path, Path]:
        """Certificate and key; ``days`` below 0: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = (
            self._builder(subject, key, days).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        )
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        form = (
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(*form))
        return paths

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=days))
        )


async def say(address: str, credentials: grpc.ChannelCredentials) -> bytes:
    target = address.replace("127.0.0.1", "localhost")
    async with grpc.aio.secure_channel(target, credentials) as channel:
        answer: bytes = await channel.unary_unary(SAY)(b"x", timeout=5)
        return answer


async def test_tls_is_served_and_a_renewed_certificate_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "two", "other")
    certificate, key = authority.issue("server")
    async with echoing(tls=ServerTls(certificate, key)) as server:
        trusting = grpc.ssl_channel_credentials(authority.ca.read_bytes())
        async with grpc.aio.secure_channel(server.address.replace("127.0.0.1", "localhost"), trusting) as channel:
            stream = channel.stream_stream(CHAT)()
            await stream.write(b"before")
            assert await stream.read() == b"before"
            new_certificate, new_key = other.issue("server")
            certificate.write_bytes(new_certificate.read_bytes())
            assert await say(server.address, trusting) == b"x", "half a renewal changes nothing"
            key.write_bytes(new_key.read_bytes())
            assert await say(server.address, grpc.ssl_channel_credentials(other.ca.read_bytes())) == b"x"
            await stream.write(b"after")
            assert await stream.read() == b"after"
            stream.cancel()


def test_tls_carries_messages_of_any_size_on_the_loop_that_the_registry_runs_on(tmp_path: Path) -> None:
    """uvloop reads TLS in another way than asyncio."""
    authority = Authority(tmp_path)
    bodies = [bytes([number]) * size for number, size in enumerate((0, 1, 16_384, 70_000, 3_000_000))]

    def ask(address: str) -> tuple[list[bytes], list[bytes]]:
        trusting = grpc.ssl_channel_credentials(authority.ca.read_bytes())
        anything = [("grpc.max_receive_message_length", -1)]
        with grpc.secure_channel(address.replace("127.0.0.1", "localhost"), trusting, anything) as channel:
            say, chat = channel.unary_unary(SAY), channel.stream_stream(CHAT)
            return [say(body, timeout=20) for body in bodies], list(chat(iter(bodies), timeout=20))

    async def main() -> tuple[list[bytes], list[bytes]]:
        async with echoing(tls=ServerTls(*authority.issue("server"))) as server:
            return await asyncio.to_thread(ask, server.address)

    said, chatted = uvloop.run(main())
    assert said == bodies
    assert chatted == bodies


async def test_client_certificates_are_asked_for_and_checked(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "one"), Authority(tmp_path / "two", "stranger")
    root = authority.ca.read_bytes()
    async with echoing(tls=ServerTls(*authority.issue("server"), client_ca=authority.ca)) as server:

        async def ask(certificate: Path, key: Path) -> bytes:
            return await say(
                server.address, grpc.ssl_channel_credentials(root, key.read_bytes(), certificate.read_bytes())
            )

        assert await ask(*authority.issue("client")) == b"x"
        for refused in (authority.issue("late", days=-1), stranger.issue("unknown")):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await ask(*refused)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError):
            await say(server.address, grpc.ssl_channel_credentials(root))
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port))) as garbage:
            garbage.sendall(b"\x16\x03\x01garbage" * 100)
            garbage.settimeout(5)
            with contextlib.suppress(ConnectionError):
                await asyncio.to_thread(garbage.recv, 100)
        assert await ask(*authority.issue("client")) == b"x"


def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "ca").issue("server")
    with pytest.raises(TlsError, match=r"missing\.crt: No such file"):
        ServerTls(tmp_path / "missing.crt", key)
    with pytest.raises(TlsError, match="no certificate and its key"):
        ServerTls(certificate, certificate)
    with pytest.raises(TlsError, match="has no certificate"):
        ServerTls(certificate, key, client_ca=key)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key.write_bytes(plain.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(TlsError, match="without a passphrase"):
        ServerTls(certificate, key)
