"""``sessionAffinity: ClientIP`` where requests really go: whom a client of an Envoy, and a gRPC channel, stays with."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from support.envoy import RunningEnvoy
from support.grpc_client import Call, grpc_client
from support.missing import pod_network
from support.processes import until
from support.registry import RunningRegistry
from support.zones import HOST, Zone, ZonedFleet, answers

HERE = ("--cluster", "a", "--region", "eu", "--zone", "eu-1")
STICKY = {"spec": {"sessionAffinity": "ClientIP"}}
WEIGHTED = {"annotations": {"mesh-registry.io/traffic-distribution": "WeightedByLocality"}}
ZONES = (Zone("eu-1", "eu", "a", 4, 1), Zone("us-1", "us", "b", 2, 2))
SOURCES = [f"198.18.9.{number}" for number in range(1, 61)]
TIMES = 6

ONE_POD_ZONES = tuple(Zone(f"eu-{number}", "eu", "a", 1, number) for number in (1, 2, 3, 4))
"""Over gRPC a pod answers with its zone."""

CHANNELS = range(16)


@pytest.fixture(autouse=True)
def _network(pytestconfig: pytest.Config) -> None:
    pod_network(pytestconfig)


async def homes(envoy: RunningEnvoy) -> dict[str, str]:
    """Source address -> the one pod that answers it, over several connections."""

    async def home(source: str) -> str:
        (answer,) = await answers(envoy.outbound, HOST, TIMES, connections=2, source=source)
        return answer

    return dict(zip(SOURCES, await asyncio.gather(*map(home, SOURCES)), strict=True))


async def has(envoy: RunningEnvoy, addresses: set[str]) -> bool:
    return set(await envoy.hosts(f"outbound|80||{HOST}")) == addresses


async def test_each_client_of_an_envoy_stays_with_one_endpoint_of_all_clusters(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", ZONES, STICKY)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
    ):
        first, far = (fleet.zones[name].addresses for name in ("eu-1", "us-1"))
        everybody = {*first, *far}
        await until(lambda: has(envoy, everybody), "Envoy has every endpoint")
        before = await homes(envoy)
        assert set(before.values()) == everybody, "clients are spread over all"

        gone = first[3]
        fleet.set("eu-1", 3)
        await until(lambda: has(envoy, everybody - {gone}), f"Envoy has all but {gone}")
        without = await homes(envoy)
        assert gone not in without.values()
        moved = {each for each in SOURCES if without[each] != before[each]}
        had_to = {each for each in SOURCES if before[each] == gone}
        print(f"of {len(SOURCES)} clients {len(had_to)} had to move, {len(moved - had_to)} others did")
        assert had_to <= moved
        assert len(moved - had_to) <= len(SOURCES) / 20

        fleet.set("eu-1", 4)
        await until(lambda: has(envoy, everybody), f"Envoy has {gone} again")
        assert await homes(envoy) == before


async def test_clients_stay_also_where_localities_share_by_weight(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", ZONES, STICKY | WEIGHTED)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
    ):
        near, far = (fleet.zones[name].addresses for name in ("eu-1", "us-1"))
        await until(lambda: has(envoy, {*near, *far}), "Envoy has every endpoint")
        assert set((await homes(envoy)).values()) <= set(near), "the zone is all there"

        fleet.set("eu-1", 2)
        left = {*near[:2], *far}
        await until(lambda: has(envoy, left), "Envoy has half of the zone")
        after = await homes(envoy)
        assert set(after.values()) == left, "what the zone lacks flows on"
        assert await homes(envoy) == after


async def test_without_affinity_a_client_goes_to_all(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", ZONES, {})
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
    ):
        everybody = {address for zone in ZONES for address in zone.addresses}
        await until(lambda: has(envoy, everybody), "Envoy has every endpoint")
        assert set(await answers(envoy.outbound, HOST, 60, connections=1, source=SOURCES[0])) == everybody


async def test_each_channel_of_a_grpc_client_stays_with_one_endpoint(tmp_path: Path) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", ONE_POD_ZONES, STICKY, grpc=True)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        grpc_client(tmp_path, registry, HOST, HERE) as call,
    ):
        before = await channel_homes(call)
        assert len(set(before.values())) > 1, "channels are spread"

        gone = before[0]
        fleet.set(gone, 0)
        left = {zone.name for zone in ONE_POD_ZONES} - {gone}
        await until(lambda: elsewhere(call, gone), "channel 0 has moved")
        after = await channel_homes(call)
        assert set(after.values()) <= left
        assert any(after[each] == before[each] for each in CHANNELS), "not all move because one endpoint went"
        assert await channel_homes(call) == after


async def channel_homes(call: Call) -> dict[int, str]:
    found = {}
    for channel in CHANNELS:
        tally: Counter[str] = await call(20, channel)
        (found[channel],) = tally
    return found


async def elsewhere(call: Call, zone: str) -> bool:
    return zone not in await call(1)
