"""What commands say of servers that are no registry, of the wrong port, of proxies, and of their own output."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.certificates import write_certificate
from support.processes import free_port
from support.registry import PROGRAM, RunningRegistry

import registry.cli.demo
from registry.cli.api import fetch
from registry.cli.main import cli
from registry.cli.server import parse_server
from registry.errors import RegistryError, ServerUnavailableError

CLUSTERS = Path(registry.cli.demo.__file__).with_name("clusters")
DEAD_PROXY = "http://127.0.0.1:9"


@asynccontextmanager
async def answering(
    answer: bytes, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says ``answer`` to whatever it is asked and closes; its address, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65536))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=context)
    async with server:
        yield f"{host}:{server.sockets[0].getsockname()[1]}", asked


def http(status: str, body: str, kind: str = "text/html", *further: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body.encode())}", *further]
    return "\r\n".join([*head, "", body]).encode()


SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
JSON = "application/json"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(http("404 Not Found", "<h1>nginx</h1>"), ["404 Not Found", "text/html", "nginx"], id="404"),
        pytest.param(http("200 OK", "<html>\nHello</html>"), ["200 OK", "text/html", "Hello"], id="HTML"),
        pytest.param(http("200 OK", "[1, 2]", JSON), ["200 OK", "[1, 2]"], id="a list"),
        pytest.param(http("200 OK", '{"servi', JSON), ["200 OK", '{"servi'], id="half a document"),
        pytest.param(http("200 OK", ""), ["200 OK"], id="nothing"),
        pytest.param(http("200 OK", "[" * 100_000, JSON), ["200 OK", "[["], id="deep"),
        pytest.param(http("403 Forbidden", '{"kind": "Status"}', JSON), ["403", "Status"], id="an API server"),
        pytest.param(http("503 Service Unavailable", "no healthy upstream"), ["503", "no healthy"], id="503"),
        pytest.param(
            http("502 Bad Gateway", '{"error": {"code": 1}}', JSON), ["502", "code"], id="another's JSON error"
        ),
        pytest.param(
            http("302 Found", "", "text/html", "Location: https://login/"), ["302", "https://login/"], id="302"
        ),
        pytest.param(http("200 OK", "x" * 9)[:-5], ["cut off"], id="cut off"),
        pytest.param(b"", ["closed without an answer"], id="closed"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", ["not HTTP"], id="SSH"),
        pytest.param(SETTINGS, ["is a gRPC port", "--server 127.0.0.1:15014"], id="a gRPC port"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x46" * 2, ["over TLS", "--server https://127.0.0.1:"], id="TLS"),
    ],
)
async def test_an_answer_that_is_no_registrys_is_said_in_one_line(answer: bytes, said: list[str]) -> None:
    async with answering(answer) as (address, _):
        with pytest.raises(ServerUnavailableError) as error:
            await asyncio.to_thread(fetch, parse_server(address, 15014), "/api/v1/services")
    text = str(error.value)
    assert all(each in text for each in (*said, address)), text
    assert text.isprintable()


async def test_what_a_registry_says_is_wrong_is_passed_on() -> None:
    async with answering(http("404 Not Found", '{"error": "no service a/b"}', JSON)) as (address, _):
        with pytest.raises(RegistryError, match=r"^no service a/b$"):
            await asyncio.to_thread(fetch, parse_server(address, 15014), "/api/v1/services/a/b")


async def test_no_connection_is_said_with_its_reason(tmp_path: Path) -> None:
    for server, said in (
        (f"127.0.0.1:{free_port()}", "Connection refused"),
        (f"[::1]:{free_port()}", "Connection refused"),
        ("nowhere.invalid:1", "the name nowhere.invalid does not resolve"),
        (f"{'a' * 64}.example:1", "label"),
        ("[fe80::1%none]:1", "start one"),
    ):
        with pytest.raises(ServerUnavailableError, match=said):
            await asyncio.to_thread(fetch, parse_server(server, 15014), "/")
    write_certificate(tmp_path, "ca", "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    async with answering(http("200 OK", "{}", JSON), context=context) as (address, _):
        with pytest.raises(ServerUnavailableError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
            await asyncio.to_thread(fetch, parse_server(f"https://{address}", 15014), "/")
    async with answering(http("400 Bad Request", "")) as (address, _):
        with pytest.raises(ServerUnavailableError, match=f"not served over TLS: use --server {address}"):
            await asyncio.to_thread(fetch, parse_server(f"https://{address}", 15014), "/")


def invoke(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command here, without the proxies of the environment; its exit code, and all that it said."""
    plain = {key: None for key in os.environ if "proxy" in key.lower()}
    done = CliRunner().invoke(cli, arguments, env={**plain, **environment})
    if isinstance(done.exception, RegistryError):
        return done.exception.exit_code, f"{done.exception}\n"
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


COMMANDS = (
    ["get", "services"],
    ["get", "clusters", "-o", "wide"],
    ["explain", "shop/echo"],
    ["guard", "list"],
    ["guard", "release", "--all"],
    ["serviceentry"],
)


async def test_json_of_something_else_is_no_traceback() -> None:
    other = http("200 OK", '{"services": "none", "clusters": [{}], "held": 1, "items": 7}', JSON)
    async with answering(other) as (address, _):
        for command in COMMANDS:
            code, said = await asyncio.to_thread(invoke, *command, "--server", address)
            assert (code, said.count("\n")) == (1, 1), (command, said)
            assert "does not understand" in said


async def test_other_hosts_are_asked_through_the_proxy_that_the_environment_names() -> None:
    server = ("--server", "198.18.41.1:1")  # is nobody's; only the proxy answers
    async with answering(http("200 OK", '{"services": [], "refused": []}', JSON)) as (proxy, asked):
        code, said = await asyncio.to_thread(invoke, "get", "services", *server, http_proxy=f"http://{proxy}")
        assert code == 0, said
        assert asked[0].startswith(b"GET http://198.18.41.1:1/api/v1/services HTTP/1.1")
        await asyncio.to_thread(invoke, "watch", "a/b", *server, HTTPS_PROXY=f"http://{proxy}")
        assert asked[1].startswith(b"CONNECT 198.18.41.1:1 HTTP/1.1")
        excepted = {"http_proxy": f"http://{proxy}", "HTTPS_PROXY": f"http://{proxy}", "NO_PROXY": "198.18.0.0/15"}
        for arguments in (["get", "services"], ["watch", "a/b"]):
            code, said = await asyncio.to_thread(invoke, *arguments, *server, **excepted)
            assert (code, said.count("\n")) == (1, 1), said
        assert len(asked) == 2


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with asyncio.Runner() as runner:
        it = RunningRegistry(tmp_path_factory.mktemp("registry"), f"--manifests=a={CLUSTERS / 'a'}")
        runner.run(it.__aenter__())
        yield it
        runner.run(it.__aexit__())


def test_a_url_is_a_server(running: RunningRegistry) -> None:
    for form in (f"http://{running.http}", f"http://{running.http}/", f"HTTP://{running.http}"):
        assert "echo" in invoke("get", "services", "--server", form)[1]
    assert invoke("get", "services", MESH_REGISTRY_HTTP=f"http://{running.http}")[0] == 0
    assert f'"server_uri": "{running.grpc}"' in invoke("bootstrap", "grpc", "--server", f"http://{running.grpc}/")[1]
    assert invoke("bootstrap", "envoy", "--server", "https://host:1")[0] == 2
    assert invoke("get", "services", "--server", "ftp://host:1")[0] == 2


def test_the_other_port_is_named(running: RunningRegistry) -> None:
    assert invoke("get", "services", "--server", running.grpc) == (
        1,
        f"{running.grpc} is a gRPC port; this command needs the HTTP port: use --server 127.0.0.1:15014\n",
    )
    assert invoke("watch", "shop/echo", "--server", running.http) == (
        1,
        f"{running.http} is an HTTP port; this command needs the gRPC port: use --server 127.0.0.1:15010\n",
    )
    assert invoke("watch", "shop/echo", "--server", f"https://{running.grpc}") == (
        1,
        f"{running.grpc} is not served over TLS: use --server {running.grpc}\n",
    )


def test_names_that_are_no_parts_of_a_path(running: RunningRegistry) -> None:
    for name in ("shop/echo?x=1", "shop/echo#x", "shop/a b", "shop/%2e%2e"):
        code, said = invoke("get", "endpoints", name, "--server", running.http)
        assert (code, said.count("\n")) == (1, 1), said
        assert f"no service {name}" in said
    assert "echo" not in invoke("get", "services", "-n", "x&namespace=shop", "--server", running.http)[1]


@contextmanager
def command(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*PROGRAM, *arguments], text=True, env={**os.environ, **environment}, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_loopback_is_never_asked_through_a_proxy(running: RunningRegistry) -> None:
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy"), DEAD_PROXY)
    assert "echo" in invoke("get", "services", "--server", running.http, **proxies)[1]
    assert invoke("guard", "release", "--all", "--server", running.http, **proxies)[0] == 0
    for host in ("127.0.0.1", "localhost"):
        server = running.grpc.replace("127.0.0.1", host)
        with command("watch", "shop/echo", "--server", server, **proxies) as process:
            assert "2 endpoints" in line(process)


@pytest.mark.parametrize("lines", [0, 1])
def test_ctrl_c_is_no_traceback(running: RunningRegistry, lines: int) -> None:
    with command("watch", "shop/echo", "--server", running.grpc) as process:
        for _ in range(lines):
            assert line(process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        assert "registry/cli" not in said
        assert process.returncode in (0, 1, -signal.SIGINT)


def test_a_reader_that_leaves_ends_a_watch_though_nothing_changes(running: RunningRegistry) -> None:
    with command("watch", "shop/echo", "--server", running.grpc) as process:
        assert all(line(process) for _ in range(3))
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(20) in (0, 1)
        assert process.stderr.read() == ""


@pytest.mark.parametrize("arguments", ["get services", "watch shop/echo", "--help"])
def test_a_full_disk_is_an_error_in_one_line(running: RunningRegistry, arguments: str) -> None:
    servers = {"MESH_REGISTRY_HTTP": running.http, "MESH_REGISTRY_GRPC": running.grpc}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **servers},
        )
    assert done.returncode == 1
    assert done.stderr == "mesh-registry: cannot write the output: No space left on device\n"


async def test_the_other_port_is_named_over_tls_too(tmp_path: Path) -> None:
    write_certificate(tmp_path, "ca", "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    for both in (False, True):
        if both:
            context.set_alpn_protocols(["h2", "http/1.1"])
        async with answering(http("400 Bad Request", "no plain HTTP"), context=context) as (address, _):
            code, said = await asyncio.to_thread(invoke, "watch", "shop/echo", "--server", address)
            mend = f"{address} is served over TLS: use --server https://{address}"
            assert (code, said.strip()) == (1, mend if both else f"{address} is an HTTP port; {GRPC_WANTED}")


GRPC_WANTED = "this command needs the gRPC port: use --server 127.0.0.1:15010"
HTTP_WANTED = "this command needs the HTTP port: use --server 127.0.0.1:15014"


async def test_a_watch_over_tls(tmp_path: Path) -> None:
    write_certificate(tmp_path, "ca", "server")
    config = tmp_path / "registry.yaml"
    config.write_text(
        f"clusters: [{{name: a, manifests: {CLUSTERS / 'a'}}}]\n"
        "listen: {tls: {certificate: server.crt, key: server.key}}\n"
    )
    async with RunningRegistry(tmp_path, f"--config={config}") as it:
        tls = f"{it.grpc} is served over TLS: use --server https://{it.grpc}\n"
        assert await asyncio.to_thread(invoke, "watch", "shop/echo", "--server", it.grpc) == (1, tls)
        for server in (it.grpc, f"https://{it.grpc}"):
            said = f"{server} is a gRPC port; {HTTP_WANTED}\n"
            assert await asyncio.to_thread(invoke, "get", "services", "--server", server) == (1, said)
        code, said = await asyncio.to_thread(invoke, "watch", "shop/echo", "--server", f"https://{it.grpc}")
        assert code == 1
        assert "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in said
        roots = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "ca.crt")}
        with command("watch", "shop/echo", "--server", f"https://{it.grpc}", **roots) as process:
            assert "2 endpoints" in await asyncio.to_thread(line, process)
