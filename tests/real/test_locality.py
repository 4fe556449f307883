"""Where requests really go: an Envoy and a gRPC client in a zone, pods in several, and what of them is ready."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from support.envoy import RunningEnvoy
from support.grpc_client import grpc_client
from support.load import constant_load
from support.missing import pod_network
from support.processes import until
from support.registry import RunningRegistry
from support.zones import HOST, SERVICE, Zone, ZonedFleet, answers

HERE = ("--cluster", "a", "--region", "eu", "--zone", "eu-1")
REQUESTS = 10_000
WARM_UP = 500
POINTS = 2.0
WORKERS = 16
WEIGHTED = {"annotations": {"mesh-registry.io/traffic-distribution": "WeightedByLocality"}}
SAME_ZONE = {"spec": {"trafficDistribution": "PreferSameZone"}}


@pytest.fixture(autouse=True)
def _network(pytestconfig: pytest.Config) -> None:
    pod_network(pytestconfig)


class Vector(NamedTuple):
    """How many pods of each zone are ready (and, in eu-1, draining), and the percentages that follow by the formula."""

    ready: Mapping[str, int]
    draining: int
    percent: Mapping[str, float]


def vector(ready: tuple[int, int, int, int], *percent: float, draining: int = 0) -> Vector:
    zones = ("eu-1", "eu-2", "eu-3", "us-1")
    shares = {zone: share for zone, share in zip(zones, percent, strict=True) if share}
    return Vector(dict(zip(zones, ready, strict=True)), draining, shares)


SPLIT_ZONES = (
    Zone("eu-1", "eu", "a", 10, 1),
    Zone("eu-2", "eu", "a", 6, 2),
    Zone("eu-3", "eu", "b", 4, 3),
    Zone("us-1", "us", "b", 10, 4),
)
VECTORS = (
    # share = min(remaining, 1.4 x ready / expected) of eu-1, then of the rest of eu (10 expected), then of us-1
    vector((5, 6, 4, 10), 70, 18, 12, 0),
    vector((8, 6, 4, 10), 100, 0, 0, 0),
    vector((7, 6, 4, 10), 98, 1.2, 0.8, 0),
    vector((5, 6, 4, 10), 70, 18, 12, 0, draining=3),
    vector((2, 3, 1, 10), 28, 42, 14, 16),
    vector((1, 1, 0, 10), 14, 14, 0, 72),
    vector((0, 4, 1, 10), 0, 56, 14, 30),
    vector((1, 2, 0, 0), 100 / 3, 200 / 3, 0, 0),
    vector((0, 0, 0, 4), 0, 0, 0, 100),
)


@pytest.mark.timeout(300)
async def test_shares_of_zones_are_those_of_the_formula_for_envoy_and_for_grpc(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", SPLIT_ZONES, WEIGHTED, grpc=True)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
        grpc_client(tmp_path, registry, HOST, HERE) as call,
    ):
        print("\n| ready of 10, 6, 4, 10 | draining | formula | Envoy | gRPC |\n| --- | --- | --- | --- | --- |")
        for each in VECTORS:
            for zone, ready in each.ready.items():
                fleet.set(zone, ready, each.draining if zone == "eu-1" else 0)
            await until(partial(shows, registry, fleet, each), "the registry has it")
            await until(lambda: all_acked(registry), "both clients have it")
            by_envoy, by_grpc = await asyncio.gather(
                measured(lambda count: answers(envoy.outbound, HOST, count)), measured(call)
            )
            proxied = Counter(dict.fromkeys(fleet.zones, 0))
            for address, count in by_envoy.items():
                proxied[fleet.zone_of(address)] += count
            print(f"| {table_row(each, proxied, by_grpc)} |")
            check(each, proxied, "Envoy")
            check(each, by_grpc, "gRPC")
            assert set(by_envoy) <= ready_addresses(fleet, each), "a pod that is not ready got a request"


async def measured(ask: Callable[[int], Awaitable[Counter[str]]]) -> Counter[str]:
    """The answers of REQUESTS requests, after some that open the connections."""
    await ask(WARM_UP)
    return await ask(REQUESTS)


def check(expected: Vector, tally: Counter[str], who: str) -> None:
    for zone, percent in expected.percent.items():
        assert abs(100 * tally[zone] / REQUESTS - percent) < POINTS, f"{who}: {tally}, not {expected.percent}"
    assert set(+tally) == set(expected.percent), f"{who}: {tally}"


def table_row(each: Vector, *tallies: Counter[str]) -> str:
    shares = [[100 * tally[zone] / REQUESTS for zone in each.ready] for tally in tallies]
    columns = [[each.percent.get(zone, 0.0) for zone in each.ready], *shares]
    ready = ", ".join(map(str, each.ready.values()))
    return " | ".join([ready, str(each.draining), *(" / ".join(f"{value:.1f}" for value in row) for row in columns)])


def ready_addresses(fleet: ZonedFleet, each: Vector) -> set[str]:
    return {address for zone, ready in each.ready.items() for address in fleet.zones[zone].addresses[:ready]}


async def shows(registry: RunningRegistry, fleet: ZonedFleet, each: Vector) -> bool:
    document = await registry.get(f"/api/v1/services/{SERVICE}")
    listed = {end["address"] for end in document["endpoints"] if end["health"] == "HEALTHY"}
    draining = sum(end["health"] == "DRAINING" for end in document["endpoints"])
    return listed == ready_addresses(fleet, each) and draining == each.draining


async def all_acked(registry: RunningRegistry) -> bool:
    clients = (await registry.get("/api/v1/clients"))["clients"]
    states = [kind["state"] for client in clients for kind in client["types"] if kind["type"] == "EDS"]
    return states == ["ACKED", "ACKED"]


FAILOVER_ZONES = (Zone("eu-1", "eu", "a", 3, 1), Zone("eu-2", "eu", "a", 2, 2), Zone("us-1", "us", "b", 2, 3))


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"], ids=["delta", "sotw"])
async def test_traffic_stays_in_the_zone_then_in_the_region_and_no_request_is_lost(
    tmp_path: Path, api_type: str
) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", FAILOVER_ZONES, SAME_ZONE)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, api_type, node=HERE) as envoy,
    ):
        zone_1, zone_2, elsewhere = (fleet.zones[name].addresses for name in ("eu-1", "eu-2", "us-1"))
        everybody = {*zone_1, *zone_2, *elsewhere}

        async def one() -> str:
            (answer,) = await answers(envoy.outbound, HOST, 1, connections=1)
            assert answer in everybody, answer
            return answer

        async with constant_load(one) as load:

            async def settles(serving: list[str], gone: list[str]) -> None:
                """Envoy has all but ``gone``; from then on just those ``serving`` answer. Then ``gone`` really go."""
                await until(lambda: has(envoy, everybody - set(gone)), f"Envoy has all but {gone}")
                for _ in range(2):  # what was on its way is in the first
                    load.answers.clear()
                    await until(lambda: load.answers.total() >= 300, "300 more requests")
                assert set(load.answers) == set(serving)
                for address in gone:
                    if address in fleet.running:
                        await fleet.stop(address)

            await settles(zone_1, [])
            for left in (2, 1):
                fleet.set("eu-1", left)
                await settles(zone_1[:left], zone_1[left:])
            fleet.set("eu-1", 0)
            await settles(zone_2, zone_1)
            fleet.set("eu-2", 0)
            await settles(elsewhere, [*zone_1, *zone_2])
        assert load.failures == []


@pytest.mark.parametrize("dying", [1, 3], ids=["one", "all"])
async def test_pods_that_die_before_anybody_says_so_lose_only_what_they_were_answering(
    tmp_path: Path, dying: int
) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", FAILOVER_ZONES, SAME_ZONE)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
    ):
        zone_1, zone_2 = (fleet.zones[name].addresses for name in ("eu-1", "eu-2"))

        async def one() -> str:
            (answer,) = await answers(envoy.outbound, HOST, 1, connections=1)
            assert answer in {*zone_1, *zone_2}, answer
            return answer

        async with constant_load(one, workers=WORKERS) as load:
            await until(lambda: set(load.answers) == set(zone_1), "all of the zone have answered")
            for address in zone_1[:dying]:
                await fleet.stop(address)
            lost = 0
            for _ in range(2):  # what was on its way is in the first
                lost = len(load.failures)
                load.answers.clear()
                await until(lambda: load.answers.total() >= 500, "500 more requests")
            assert set(load.answers) == set(zone_1[dying:] or zone_2)
        # A request that was sent may have been carried out, so it is not sent again (registry.views.rds).
        assert [each for each in load.failures if "connection termination" not in each] == []
        assert len(load.failures) == lost <= WORKERS * dying


LOCAL = {"spec": {"internalTrafficPolicy": "Local"}}


async def test_a_service_for_each_nodes_own_clients_gets_no_request_from_elsewhere(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", FAILOVER_ZONES, LOCAL, grpc=True)
    on_node = (*HERE, "--node-name", "node-eu-1")
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=on_node) as envoy,
        grpc_client(tmp_path, registry, HOST, on_node) as call,
    ):
        zone_1, zone_2 = (set(fleet.zones[name].addresses) for name in ("eu-1", "eu-2"))
        await until(lambda: has(envoy, zone_1), "Envoy has the endpoints of its node")
        assert set(await answers(envoy.outbound, HOST, 300)) == zone_1
        assert await call(300) == {"eu-1": 300}

        clients = (await registry.get("/api/v1/clients"))["clients"]
        who = ("--client", clients[0]["node"]["id"])
        explained = registry.command("explain", SERVICE, min(zone_2), *who, "--server", registry.http)
        assert "NotOnNode" in explained.stdout, explained.stdout + explained.stderr

        fleet.set("eu-1", 0)
        await until(lambda: has(envoy, set()), "Envoy has no endpoint")
        (refused,) = await answers(envoy.outbound, HOST, 1)
        assert "no healthy upstream" in refused, "dropped rather than sent to another node"
        fleet.set("eu-1", 1)
        await until(lambda: has(envoy, {min(zone_1)}), "Envoy has the one that is ready again")
        assert set(await answers(envoy.outbound, HOST, 50)) == {min(zone_1)}


async def has(envoy: RunningEnvoy, addresses: set[str]) -> bool:
    hosts = await envoy.hosts(f"outbound|80||{HOST}")
    return set(hosts) == addresses
