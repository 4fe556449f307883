"""A real Envoy on the registry's bootstrap: it gets the list of both clusters, and requests reach their pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from support.envoy import RunningEnvoy
from support.load import Request, constant_load
from support.processes import until
from support.scene import NAME, Planes, Scene, scene

VARIANTS = pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"], ids=["delta", "sotw"])


@asynccontextmanager
async def requester(outbound: str, host: str) -> AsyncIterator[Request]:
    """A function that sends one request for ``host`` through Envoy and returns who answered."""
    async with aiohttp.ClientSession() as session:

        async def request() -> str:
            async with session.get(f"http://{outbound}/", headers={"Host": host}) as response:
                text = await response.text()
                assert response.status == 200, f"{response.status} {text}"
                return text

        yield request


async def has(envoy: RunningEnvoy, on: Scene, addresses: set[str]) -> bool:
    hosts = await envoy.hosts(on.cluster)
    return {address for address, health in hosts.items() if health == "HEALTHY"} == addresses


@VARIANTS
async def test_requests_reach_the_pods_of_both_clusters(planes: Planes, tmp_path: Path, api_type: str) -> None:
    async with scene(planes, tmp_path) as on, RunningEnvoy(tmp_path, on.registry, api_type) as envoy:
        addresses = await on.settled(4)
        await until(lambda: has(envoy, on, addresses), "Envoy has every pod")
        for host in (on.host, f"{on.host}:80", f"{NAME}.{planes.namespace}", f"{NAME}.{planes.namespace}:80"):
            async with requester(envoy.outbound, host) as request:
                answers = [await request() for _ in range(40)]
            assert set(answers) == set(await on.pods()), host


@VARIANTS
async def test_rolling_restart_of_every_pod_loses_no_request(planes: Planes, tmp_path: Path, api_type: str) -> None:
    async with scene(planes, tmp_path, replicas=3) as on, RunningEnvoy(tmp_path, on.registry, api_type) as envoy:
        before = await on.pods()
        await until(lambda: has(envoy, on, set(before.values())), "Envoy has every pod")
        async with requester(envoy.outbound, on.host) as request, constant_load(request) as load:
            await until(lambda: set(load.answers) == set(before), "every pod has answered")
            await on.a.restart()
            await on.b.restart()
            await until(lambda: replaced(on, before), "every pod is a new one", timeout=60)
            after = await on.pods()
            await until(lambda: has(envoy, on, set(after.values())), "Envoy has exactly the new pods")
            seen = load.answers.total()
            await until(lambda: load.answers.total() > seen + 200, "200 more requests")
            await until(lambda: set(after) <= set(load.answers), "every new pod has answered")
        assert load.failures == []
        assert set(load.answers) == set(before) | set(after)


@VARIANTS
async def test_a_client_that_has_everything_is_in_get_clients(planes: Planes, tmp_path: Path, api_type: str) -> None:
    async with scene(planes, tmp_path) as on, RunningEnvoy(tmp_path, on.registry, api_type) as envoy:
        await until(lambda: acked(on), "Envoy has ACKed every type")
        (client,) = (await on.registry.get("/api/v1/clients"))["clients"]
        assert client["protocol"] == ("Delta" if api_type == "DELTA_GRPC" else "SotW")
        assert client["node"]["metadata"]["CLUSTER_ID"] == "a"
        assert client["node"]["userAgent"].startswith("envoy")
        listed = on.registry.command("get", "clients", "--server", on.registry.http)
        assert "CDS:ACKED,EDS:ACKED,LDS:ACKED,RDS:ACKED" in listed.stdout
        assert await envoy.stat("cluster_manager.cds.update_rejected") == 0
        assert await envoy.stat("listener_manager.lds.update_rejected") == 0


async def test_service_added_and_deleted_is_added_and_deleted_in_envoy(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on, RunningEnvoy(tmp_path, on.registry) as envoy:
        await until(lambda: knows(envoy, on.cluster), "Envoy has the service")
        for workload in (on.a, on.b):
            await workload.plane.api.delete(workload.path("/api/v1", "services", NAME))
        await until(lambda: forgot(envoy, on.cluster), "Envoy has forgotten the service")
        async with aiohttp.ClientSession() as session:
            answer = await session.get(f"http://{envoy.outbound}/", headers={"Host": on.host})
            assert answer.status == 404


async def replaced(on: Scene, before: dict[str, str]) -> bool:
    pods = await on.pods()
    return len(pods) == len(before) and not set(pods) & set(before)


async def acked(on: Scene) -> bool:
    clients = (await on.registry.get("/api/v1/clients"))["clients"]
    states = {each["type"]: each["state"] for client in clients for each in client["types"]}
    return states == dict.fromkeys(("CDS", "EDS", "LDS", "RDS"), "ACKED")


async def knows(envoy: RunningEnvoy, cluster: str) -> bool:
    return bool(await envoy.hosts(cluster))


async def forgot(envoy: RunningEnvoy, cluster: str) -> bool:
    statuses = (await envoy.admin("/clusters?format=json"))["cluster_statuses"]
    return cluster not in {status["name"] for status in statuses}
