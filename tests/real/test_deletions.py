"""What is really deleted goes at once, and what is replaced is never held: the guard is in nobody's way."""

from __future__ import annotations

import time
from pathlib import Path

from support.kube_api import CORE, DISCOVERY
from support.processes import until
from support.removal_counter import RemovalCounter
from support.scene import NAME, Planes, Scene, scene


async def test_scale_to_zero_is_out_in_under_a_second(planes: Planes, tmp_path: Path) -> None:
    """From the moment the API server says that no endpoint of the cluster is ready."""
    async with scene(planes, tmp_path, replicas=6) as on, RemovalCounter(on.registry.grpc, on.cluster) as client:
        await client.until(lambda: len(client.addresses()) == 12, "every pod")
        leaving, staying = set((await on.a.pods()).values()), set((await on.b.pods()).values())
        client.ask(*leaving)
        await on.a.scale(0)
        said_at = await until(lambda: none_ready(on), "no endpoint of a is ready", poll=0.005)
        await client.until(lambda: shown(client) == staying, "none of a is shown as healthy")
        out_at = max(removal.at for removal in client.removals)
        assert out_at - said_at < 1.0
        await on.b.scale(0)
        client.ask(*staying)
        await client.until(lambda: not shown(client), "nothing is left")
        assert client.wrong == []
        assert client.demoted == set()
        assert (await on.registry.get("/api/v1/guard"))["held"] == []


async def test_rolling_update_is_never_held(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path, replicas=4) as on, RemovalCounter(on.registry.grpc, on.cluster) as client:
        before = await on.settled(8)
        await client.until(lambda: client.addresses() == before, "every pod")
        client.ask(*before)
        await on.a.restart()
        await on.b.restart()

        async def replaced() -> bool:
            assert (await on.registry.get("/api/v1/guard"))["held"] == []
            pods = set((await on.pods()).values())
            return len(pods) == 8 and not pods & before and shown(client) == pods

        await until(replaced, "every pod is another, and the client has them all", timeout=60)
        assert client.wrong == []
        assert client.demoted == set()


async def test_service_that_is_deleted_is_out_at_once(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on, RemovalCounter(on.registry.grpc, on.cluster) as client:
        await client.until(lambda: len(client.addresses()) == 4, "every pod")
        leaving = set((await on.a.pods()).values())
        client.ask(*leaving)
        await on.a.plane.api.delete(on.a.path(CORE, "services", NAME))
        deleted_at = time.monotonic()
        await client.until(lambda: not client.addresses() & leaving, "those of a are gone")
        assert max(map(client.removed_at, leaving)) - deleted_at < 1.0
        assert client.wrong == []


async def none_ready(on: Scene) -> float:
    """When the API server of ``a`` said that no endpoint is ready; 0 while it does not."""
    slices = await on.a.plane.api.items(on.a.path(DISCOVERY, "endpointslices"))
    ready = [end for each in slices for end in each.get("endpoints") or () if end["conditions"].get("ready")]
    return 0.0 if ready else time.monotonic()


def shown(client: RemovalCounter) -> set[str]:
    """The endpoints that the client would send requests to."""
    return {address for address, held in client.endpoints().items() if held.healthy}
