"""A second address that comes, or goes, after the first: Envoy has it too, of a host that it knows already."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.dual_stack import HTTP_PORT, DualPod, dual_pod, http_answering
from support.envoy import RunningEnvoy
from support.missing import pod_network_of_both_families
from support.processes import until
from support.registry import RunningRegistry
from support.zones import answers

HOST = "echo.shop.svc.clusterset.local"
PODS = [dual_pod(number) for number in (1, 2)]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "echo", "namespace": "shop"},
    "spec": {"ipFamilies": ["IPv4", "IPv6"], "ports": [{"name": "http", "port": 80, "targetPort": HTTP_PORT}]},
}


@pytest.fixture(autouse=True)
def _network(pytestconfig: pytest.Config) -> None:
    pod_network_of_both_families(pytestconfig)


async def test_requests_reach_the_second_address_of_an_endpoint_that_got_it_later(tmp_path: Path) -> None:
    """p1 is open at its first address, p2 at its second one only."""
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "service.yaml").write_text(yaml.safe_dump(SERVICE))
    (folder / "four.yaml").write_text(yaml.safe_dump(endpoint_slice("IPv4")))
    p1, p2 = PODS
    async with (
        AsyncExitStack() as stack,
        RunningRegistry(tmp_path, f"--manifests=a={folder}") as registry,
        RunningEnvoy(tmp_path, registry, node=("--cluster", "a")) as envoy,
    ):
        for address in (p1.four, p2.six):
            server = await asyncio.start_server(http_answering(address), address, HTTP_PORT)
            stack.callback(server.close)

        async def reached() -> set[str]:
            return set(await answers(envoy.outbound, HOST, 30))

        async def answer(*addresses: str) -> bool:
            return await reached() == set(addresses)

        await until(lambda: answer(p1.four), "the Pod that is open at its first address answers, alone")
        (folder / "six.yaml").write_text(yaml.safe_dump(endpoint_slice("IPv6")))
        await until(lambda: answer(p1.four, p2.six), "both answer")
        (folder / "six.yaml").unlink()
        await until(lambda: answer(p1.four), "the address that is gone is not connected to")


def endpoint_slice(family: str) -> dict[str, Any]:
    def address(pod: DualPod) -> str:
        return pod.four if family == "IPv4" else pod.six

    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"echo-{family.lower()}",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "echo"},
        },
        "addressType": family,
        "ports": [{"name": "http", "port": HTTP_PORT}],
        "endpoints": [
            {"addresses": [address(pod)], "targetRef": {"kind": "Pod", "name": pod.name}, "conditions": {"ready": True}}
            for pod in PODS
        ],
    }
