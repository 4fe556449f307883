"""Two networks: a client of one reaches pods of the other through a real gateway, and by no other way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.envoy import RunningEnvoy
from support.far_network import GATEWAY, GATEWAY_PORT, SUBNET, far_network
from support.load import constant_load
from support.missing import pod_network
from support.processes import until
from support.registry import RunningRegistry
from support.zones import HOST, HTTP_PORT, Zone, ZonedFleet, answers

HERE = ("--cluster", "a", "--network", "net-a", "--region", "eu", "--zone", "eu-1")
REQUESTS = 10_000
POINTS = 2.0
NEAR = Zone("eu-1", "eu", "a", 2, 1)
FAR = (Zone("us-1", "us", "b", 2, 1, SUBNET), Zone("us-2", "us", "b", 1, 3, SUBNET))


@pytest.fixture(autouse=True)
def _network(pytestconfig: pytest.Config) -> None:
    pod_network(pytestconfig)


def eastwest() -> dict[str, Any]:
    """The Service of a gateway, as Istio and the cloud make it."""
    metadata = {"name": "eastwest", "namespace": "istio-system", "labels": {"topology.istio.io/network": "net-b"}}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": "LoadBalancer", "ports": [{"name": "tls", "port": GATEWAY_PORT}]},
        "status": {"loadBalancer": {"ingress": [{"ip": GATEWAY}]}},
    }


def configuration(folder: Path, fleet: ZonedFleet) -> Path:
    clusters = [
        {"name": name, "manifests": str(fleet.folder / name), "network": f"net-{name}"} for name in fleet.clusters
    ]
    path = folder / "registry.json"
    path.write_text(json.dumps({"clusters": clusters}))
    return path


async def has(envoy: RunningEnvoy, addresses: set[str]) -> bool:
    return set(await envoy.hosts(f"outbound|80||{HOST}")) == addresses


def share(tally: Counter[str], addresses: list[str]) -> float:
    return 100 * sum(tally[each] for each in addresses) / tally.total()


async def test_a_client_gets_the_pods_of_another_network_through_its_gateway(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", [NEAR, *FAR], {})
    fleet.add("b", "eastwest", eastwest())
    far = [address for zone in FAR for address in zone.addresses]
    with pytest.raises(OSError, match="unreachable"):
        await asyncio.open_connection(far[0], HTTP_PORT)
    async with (
        fleet,
        far_network(far),
        RunningRegistry(tmp_path, "--config", str(configuration(tmp_path, fleet))) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
    ):
        near = NEAR.addresses
        await until(lambda: has(envoy, {*near, GATEWAY}), "Envoy has the gateway in their place")
        tally = await answers(envoy.outbound, HOST, REQUESTS)
        print(f"three of five behind the gateway: {share(tally, far):.1f} % (60)")
        assert abs(share(tally, far) - 60) < POINTS
        assert set(tally) == {*near, *far}

        async def one() -> str:
            (answer,) = await answers(envoy.outbound, HOST, 1, connections=1)
            assert answer in {*near, *far}, answer
            return answer

        async with constant_load(one) as load:
            fleet.set("us-1", 1)
            fleet.set("us-2", 0)
            await until(lambda: expects(envoy, {GATEWAY: 1}), "the gateway has the weight of the one that is ready")
            await answers(envoy.outbound, HOST, 100)
            tally = await answers(envoy.outbound, HOST, REQUESTS)
            print(f"one of three: {share(tally, far):.1f} % (33.3)")
            assert abs(share(tally, far) - 100 / 3) < POINTS
            fleet.set("us-1", 0)
            await until(lambda: has(envoy, set(near)), "nothing is ready behind the gateway: it is gone")
            for _ in range(2):  # what was on its way is in the first
                load.answers.clear()
                await until(lambda: load.answers.total() >= 300, "300 more requests")
            assert set(load.answers) == set(near)
            fleet.set("us-2", 1)
            await until(lambda: has(envoy, {*near, GATEWAY}), "the gateway is back")
        assert load.failures == []


async def test_a_network_without_a_gateway_is_said_everywhere(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", [NEAR, *FAR], {"annotations": {"mesh-registry.io/fallback": "maybe"}})
    async with RunningRegistry(tmp_path, "--config", str(configuration(tmp_path, fleet))) as registry:

        async def reachable(name: str) -> str:
            conditions = (await registry.cluster(name))["conditions"]
            return next((each["reason"] for each in conditions if each["type"] == "NetworkReachable"), "")

        assert [await reachable(name) for name in "ab"] == ["NoGateway", "NoGateway"]
        wide = registry.command("get", "clusters", "-o", "wide", "--server", registry.http).stdout
        assert "NetworkReachable=NoGateway" in wide
        assert "label its Service topology.istio.io/network=net-b" in wide
        metrics = await registry.text("/metrics")
        assert 'mesh_registry_network_gateways{network="net-b"} 0.0' in metrics
        assert 'mesh_registry_cluster_condition{cluster="b",reason="NoGateway",type="NetworkReachable"} 0.0' in metrics
        assert 'mesh_registry_traffic_policy_problems{namespace="shop",service="echo"} 1.0' in metrics
        service = registry.command("get", "services", "-o", "wide", "--server", registry.http).stdout
        assert "mesh-registry.io/fallback: expected Any or None, got 'maybe'" in service
        fleet.add("b", "eastwest", eastwest())

        async def good() -> bool:
            return await reachable("b") == "GatewayKnown"

        await until(good, "the gateway is known")
        networks = (await registry.get("/api/v1/clusters"))["networks"]
        assert networks == [
            {"name": "net-a", "gateways": [], "clusters": ["a"]},
            {"name": "net-b", "gateways": [f"{GATEWAY}:{GATEWAY_PORT}"], "clusters": ["b"]},
        ]
        assert 'mesh_registry_network_gateways{network="net-b"} 1.0' in await registry.text("/metrics")
        log = registry.process.log.read_text()
        assert log.count("cluster b: NetworkReachable is False: NoGateway") == 1
        assert log.count("service shop/echo: mesh-registry.io/fallback") == 1


async def expects(envoy: RunningEnvoy, weights: dict[str, int]) -> bool:
    """Envoy has these weights of these hosts."""
    document = await envoy.admin("/clusters?format=json")
    found = {
        host["address"]["socket_address"]["address"]: host["weight"]
        for status in document.get("cluster_statuses", ())
        if status["name"] == f"outbound|80||{HOST}"
        for host in status.get("host_statuses", ())
    }
    return all(found.get(address) == weight for address, weight in weights.items())
