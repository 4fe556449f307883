"""What comes of an answer besides its body is bounded: the connection is closed, and the error says why."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from support.fake_apiserver import kubeconfig

from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Reason
from registry.sources.kubernetes.credentials import KubeconfigCredentials
from registry.sources.kubernetes.kubeconfig import read_kubeconfig

MOST_BYTES = 8 << 20
"""What an answer that never ended would send at most."""


@asynccontextmanager
async def served(first: bytes, then: bytes) -> AsyncIterator[KubernetesClient]:
    ended: list[asyncio.Event] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        mine = ended[-1]
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            for sent in itertools.count(len(then), len(then) or MOST_BYTES + 1):
                if sent > MOST_BYTES:
                    break
                writer.write(then)
                await writer.drain()
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        mine.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = read_kubeconfig(kubeconfig(url).encode(), None, None)
    client = await KubernetesClient.connect(KubeconfigCredentials(config, "it"))
    try:
        yield client
    finally:
        await client.close()
        server.close()
        for each in ended:
            await each.wait()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "more than 8 interim answers"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "more than 8 interim answers"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 5000 + b"\r\n", "a head of more than 131072 bytes"),
        (CHUNKED + b"5;", b"a" * 65536, "bring nothing of the body"),
        (CHUNKED + b"5\r\nhello\r\n1;", b"a" * 65536, "bring nothing of the body"),
    ],
)
async def test_answer_beside_its_body_is_bounded(first: bytes, then: bytes, said: str) -> None:
    async with served(first, then) as client, asyncio.timeout(8):
        with pytest.raises(TransportError, match=said) as failed:
            await client.request("GET", "/readyz")
        assert failed.value.reason is Reason.BAD_RESPONSE


async def test_few_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 8
    async with served(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"") as client:
        assert (await client.request("GET", "/readyz")).body == b"ok"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: HIDDEN\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nHIDDEN",
        b"HIDDEN\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-\x00HIDDEN: 1\r\n\r\n",
        CHUNKED + b"HIDDEN\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nHIDDEN",
    ],
)
async def test_bytes_that_are_no_answer_are_not_shown(head: bytes) -> None:
    async with served(head, b"") as client, asyncio.timeout(12):
        with pytest.raises(TransportError) as failed:
            await client.request("GET", "/readyz", timeout=3)
        assert "HIDDEN" not in str(failed.value)
