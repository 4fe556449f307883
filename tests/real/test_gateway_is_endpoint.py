"""A gateway that a service names as an endpoint too, as by a slice made by hand: gRPC refuses it twice in a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.grpc_client import grpc_client
from support.missing import pod_network
from support.registry import RunningRegistry
from support.zones import GRPC_PORT, HOST, Zone, ZonedFleet

NEAR, FAR = Zone("eu-1", "eu", "a", 1, 1), Zone("us-1", "us", "b", 2, 2)
(GATE,) = NEAR.addresses


@pytest.fixture(autouse=True)
def _network(pytestconfig: pytest.Config) -> None:
    pod_network(pytestconfig)


def on_network(name: str) -> dict[str, Any]:
    metadata = {"name": "istio-system", "labels": {"topology.istio.io/network": name}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def a_gateway(network: str) -> dict[str, Any]:
    """Of that network, at the address of the pod in the near zone."""
    labels = {"topology.istio.io/network": network, "networking.istio.io/gatewayPort": str(GRPC_PORT)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "eastwest", "namespace": "istio-system", "labels": labels},
        "spec": {"ports": [{"name": "tls", "port": GRPC_PORT}], "externalIPs": [GATE]},
    }


async def test_a_grpc_client_takes_the_list_and_reaches_the_gateway(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", (NEAR, FAR), {}, grpc=True)
    fleet.add("a", "network", on_network("net-a"))
    fleet.add("b", "network", on_network("net-b"))
    fleet.add("b", "gateway", a_gateway("net-b"))
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        grpc_client(tmp_path, registry, HOST, ("--cluster", "a", "--network", "net-a")) as call,
    ):
        assert await call(20) == {"eu-1": 20}
