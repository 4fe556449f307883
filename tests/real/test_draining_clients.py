"""Endpoints that drain, as an Envoy and a gRPC client take them: last of all, and then without an error."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.envoy import RunningEnvoy
from support.grpc_client import grpc_client
from support.missing import pod_network
from support.processes import until
from support.registry import RunningRegistry
from support.zones import HOST, SERVICE, Zone, ZonedFleet, answers

HERE = ("--cluster", "a", "--zone", "z1")
ZONES = (Zone("z1", "", "a", 2, 1), Zone("z2", "", "a", 2, 2))
NO_ORDER: Mapping[str, Any] = {}
SAME_ZONE = {"spec": {"trafficDistribution": "PreferSameZone"}}
REQUESTS, POINTS = 1_200, 5.0


@pytest.fixture(autouse=True)
def _network(pytestconfig: pytest.Config) -> None:
    pod_network(pytestconfig)


class State(NamedTuple):
    """How many pods of either zone are ready and drain, and the percentage of the requests that zone z1 is to get."""

    z1: tuple[int, int]
    z2: tuple[int, int]
    percent: float


@pytest.mark.parametrize(
    ("service", "states"),
    [
        (NO_ORDER, (State((1, 1), (2, 0), 100 / 3), State((0, 2), (2, 0), 0), State((0, 2), (0, 2), 50))),
        (SAME_ZONE, (State((0, 2), (1, 0), 0), State((0, 1), (0, 2), 100), State((1, 1), (0, 2), 100))),
    ],
    ids=["no-order", "same-zone"],
)
async def test_new_requests_are_for_the_healthy_and_else_for_those_that_drain(
    tmp_path: Path, service: Mapping[str, Any], states: tuple[State, ...]
) -> None:
    fleet = ZonedFleet(tmp_path / "clusters", ZONES, service, grpc=True)
    async with (
        fleet,
        RunningRegistry(tmp_path, *fleet.flags) as registry,
        RunningEnvoy(tmp_path, registry, node=HERE) as envoy,
        grpc_client(tmp_path, registry, HOST, HERE) as call,
    ):
        for state in states:
            fleet.set("z1", *state.z1)
            fleet.set("z2", *state.z2)
            await until(lambda state=state: shows(registry, state), "the registry has it")
            await until(lambda: all_acked(registry), "both clients have it")
            await asyncio.gather(answers(envoy.outbound, HOST, 100), call(100))  # what was on its way is in these
            by_envoy, by_grpc = await asyncio.gather(answers(envoy.outbound, HOST, REQUESTS), call(REQUESTS))
            proxied = Counter[str]()
            for address, count in by_envoy.items():
                proxied[fleet.zone_of(address)] += count
            print(f"{state}: Envoy {dict(proxied)}, gRPC {dict(by_grpc)}")
            for who, tally in (("Envoy", proxied), ("gRPC", by_grpc)):
                assert set(tally) <= {"z1", "z2"}, f"{who}: {tally}"
                assert abs(100 * tally["z1"] / REQUESTS - state.percent) < POINTS, f"{who}: {tally}"
            drains = {
                address
                for zone, (ready, draining) in (("z1", state.z1), ("z2", state.z2))
                for address in fleet.zones[zone].addresses[ready : ready + draining]
            }
            assert state.z1[0] + state.z2[0] == 0 or not drains & set(by_envoy)


async def shows(registry: RunningRegistry, state: State) -> bool:
    document = await registry.get(f"/api/v1/services/{SERVICE}")
    found = Counter((end["locality"]["zone"], end["health"]) for end in document["endpoints"])
    wanted = {("z1", "HEALTHY"): state.z1[0], ("z1", "DRAINING"): state.z1[1]}
    wanted |= {("z2", "HEALTHY"): state.z2[0], ("z2", "DRAINING"): state.z2[1]}
    return found == Counter(wanted)


async def all_acked(registry: RunningRegistry) -> bool:
    clients = (await registry.get("/api/v1/clients"))["clients"]
    states = [kind["state"] for client in clients for kind in client["types"] if kind["type"] == "EDS"]
    return states == ["ACKED", "ACKED"]
