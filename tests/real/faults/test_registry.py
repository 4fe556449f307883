"""The registry itself is killed, at the worst of times."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.controlplane import ControlPlane
from support.fault_rig import NAME, Row, fault_rig
from support.outages import killed, stopped
from support.processes import until

from registry.model.names import Kind
from registry.snapshot.format import decode

ASLEEP_SECONDS = 6.0


async def test_registry_is_killed_while_an_api_server_is_down(
    control_planes: tuple[ControlPlane, ControlPlane], closed: None, namespace: str, tmp_path: Path, rows: list[Row]
) -> None:
    """What it knew of that cluster comes from the snapshot; the client that comes back is told nothing it has."""
    snapshot = tmp_path / "snapshot"
    settings = {"snapshot": {"file": str(snapshot), "minSeconds": 0.05}}
    async with fault_rig(control_planes, namespace, tmp_path, rows, **settings) as rig:

        def written() -> bool:
            return snapshot.exists() and remembered(snapshot, namespace) == rig.addresses

        await until(written, "every endpoint is in the snapshot")
        how = "both SIGKILL; the registry started again, then the API server"
        plane = rig.a.plane
        async with rig.fault("registry killed while an API server is down", how, within=15):
            async with killed(plane, plane.apiserver):
                await rig.told("Unreachable")
                rig.registry.process.kill()
                rig.registry.process.start()
                await until(rig.registry.ready, "the registry is ready again")
                await rig.client.until(lambda: rig.client.connects == 2, "the client is back")
                await rig.change(rig.b, within=5)
            assert rig.client.without_cause == []


async def test_registry_is_stopped_for_longer_than_it_waits_for_a_cluster(
    control_planes: tuple[ControlPlane, ControlPlane], closed: None, namespace: str, tmp_path: Path, rows: list[Row]
) -> None:
    """A machine that sleeps: the silence was the registry's own, and no cluster's."""
    liveness = {"staleSeconds": 3, "evictSeconds": 0, "graceSeconds": 0, "probe": {"endpoints": 1}}
    async with fault_rig(control_planes, namespace, tmp_path, rows, liveness=liveness) as rig:
        how = f"SIGSTOP for {ASLEEP_SECONDS} s, of which 3 s make a cluster stale; SIGCONT"
        async with rig.fault("registry stopped", how, within=10):
            with stopped(rig.registry.process):
                await asyncio.sleep(ASLEEP_SECONDS)  # the fault is the time that passes
        assert rig.client.demoted == set()


def remembered(snapshot: Path, namespace: str) -> set[str]:
    """The endpoints of the service that are in the snapshot."""
    clusters = decode(snapshot.read_bytes(), "clusterset.local").clusters
    slices = [fact for each in clusters for fact in each.facts[Kind.ENDPOINT_SLICE]]
    ours = [each for each in slices if (each.namespace, each.service) == (namespace, NAME)]
    return {endpoint.address for each in ours for endpoint in each.endpoints}
