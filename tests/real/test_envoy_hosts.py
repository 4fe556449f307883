"""The spellings of a service's name that Envoy's outbound listener takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.envoy import RunningEnvoy
from support.grpc_languages import Service
from support.kubelet import serve_http
from support.missing import pod_network
from support.processes import until
from support.registry import RunningRegistry

FULL = "echo.shop.svc.clusterset.local"
POD = "198.18.42.1"


async def get(address: str, target: str, host: str) -> str:
    """The last line of what ``GET target`` is answered, sent as it is; the status where that is not 200."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    status = answer.split(" ", 2)[1]
    return answer.rpartition("\n")[2] if status == "200" else status


async def test_a_host_may_end_with_a_dot_be_in_capitals_and_have_its_port(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    pod_network(pytestconfig)
    Service(tmp_path / "a").put(POD, protocol="http")
    stop = await serve_http("one", POD)
    try:
        async with (
            RunningRegistry(tmp_path, f"--manifests=a={tmp_path / 'a'}") as registry,
            RunningEnvoy(tmp_path, registry) as envoy,
        ):

            async def answers() -> bool:
                return await get(envoy.outbound, "/", FULL) == "one"

            await until(answers, "Envoy has the service")
            for name in (FULL, "echo.shop"):
                for host in (name, f"{name}.", f"{name}:80", f"{name}.:80", name.upper(), f"{name.title()}.:80"):
                    assert await get(envoy.outbound, "/", host) == "one", host
                    assert await get(envoy.outbound, f"http://{host}/path", "ignored") == "one", host
            for host in (f"{FULL}:81", f"{FULL}..", "echo", f".{FULL}", "none.shop."):
                assert await get(envoy.outbound, "/", host) == "404", host
    finally:
        await stop()
