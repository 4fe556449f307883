"""Real Services and Pods of two real clusters -> one merged list, followed through what happens to pods."""

from __future__ import annotations

from pathlib import Path

from support.kube_api import CORE
from support.processes import until
from support.scene import NAME, Planes, Scene, endpoints_by_address, scene


async def test_pods_of_both_clusters_are_one_list(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on:
        document = await on.registry.get(f"/api/v1/services/{on.service}")
        endpoints = endpoints_by_address(document)
        assert document["clusters"] == ["a", "b"]
        assert set(endpoints) == set((await on.pods()).values())
        for cluster, workload in (("a", on.a), ("b", on.b)):
            for name, address in (await workload.pods()).items():
                endpoint = endpoints[address]
                assert endpoint["pod"] == name
                assert endpoint["cluster"] == cluster
                assert endpoint["locality"]["region"] == f"region-{cluster}"
                assert endpoint["locality"]["zone"] == endpoint["node"]
                assert endpoint["serviceAccount"] == "echo"
                assert endpoint["labels"]["app"] == NAME
                assert endpoint["ports"] == [{"port": 80, "target": 8080, "protocol": "TCP"}]


async def test_list_follows_readiness_deletion_and_scale(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on:
        name, address = next(iter((await on.a.pods()).items()))
        await on.a.kubelet.set_ready(name, ready=False)
        await until(lambda: _lacks(on, address), "the unready pod is out")
        await on.a.kubelet.set_ready(name, ready=True)
        await on.settled(4)

        await on.b.scale(4)
        await on.settled(6)
        await on.a.scale(0)
        assert await on.settled(4) == set((await on.b.pods()).values())

        victim = next(iter(await on.b.pods()))
        await on.b.plane.api.delete(on.b.path(CORE, "pods", victim))
        await until(lambda: _has_another(on, victim), "the deleted pod was replaced")
        await on.settled(4)


async def test_list_follows_a_rolling_restart(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on:
        before = await on.settled(4)
        await on.a.restart()
        await on.b.restart()
        await until(lambda: _all_new(on, before), "every pod is a new one", timeout=60)
        after = await on.settled(4)
        assert not before & after


async def test_service_that_is_deleted_everywhere_leaves_the_list(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on:
        await on.a.plane.api.delete(on.a.path(CORE, "services", NAME))
        await until(lambda: _clusters(on, ["b"]), "only b has the service")
        assert await on.registry.addresses(on.service) == set((await on.b.pods()).values())
        await on.b.plane.api.delete(on.b.path(CORE, "services", NAME))
        await until(lambda: _gone(on), "nobody has the service")


async def _lacks(on: Scene, address: str) -> bool:
    return address not in await on.registry.addresses(on.service)


async def _has_another(on: Scene, victim: str) -> bool:
    pods = await on.b.pods()
    return victim not in pods and len(pods) == 4


async def _all_new(on: Scene, before: set[str]) -> bool:
    pods = set((await on.pods()).values())
    return len(pods) == 4 and not pods & before


async def _clusters(on: Scene, clusters: list[str]) -> bool:
    return bool((await on.registry.get(f"/api/v1/services/{on.service}"))["clusters"] == clusters)


async def _gone(on: Scene) -> bool:
    return await on.registry.get(f"/api/v1/services/{on.service}") is None
