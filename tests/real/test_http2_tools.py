"""The gRPC server against the field's own test tools: h2spec for the protocol, h2load for many requests."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

from support.echo import echoing
from support.h2_client import message
from support.missing import missing, tool

from registry.rpc.limits import Limits


async def run(*command: str) -> tuple[int, str]:
    """A program to its end, beside the server."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(100):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def test_h2spec_finds_nothing_to_complain_of() -> None:
    program = str(tool("h2spec"))
    async with echoing() as server:
        host, _, port = server.address.rpartition(":")
        code, output = await run(program, "generic", "hpack", "http2", "-h", host, "-p", port)
    assert code == 0, output
    counted = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output)
    assert counted is not None, output
    assert int(counted[1]) > 140
    assert (counted[3], counted[4]) == ("0", "0"), output


async def test_h2load_gets_an_answer_to_each_of_many_requests(tmp_path: Path) -> None:
    program = shutil.which("h2load") or missing("h2load", "install nghttp2-client")
    body = tmp_path / "body"
    body.write_bytes(message(b"x" * 100))
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    async with echoing(limits=Limits(new_streams=100_000)) as server:
        url = f"http://{server.address}/echo.Echo/Say"
        code, output = await run(
            program, "-n", "20000", "-c", "50", "-m", "20", "-d", str(body), "-p", "h2c", *headers, url
        )
    assert code == 0, output
    assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in output
    assert "status codes: 20000 2xx" in output
