"""Dual-stack: a control plane that gives Services both families, its own slices, and clients that connect to either."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.controlplane import ControlPlane
from support.dual_stack import DualStackPods, dual_pod
from support.envoy import RunningEnvoy
from support.grpc_client import grpc_client
from support.missing import pod_network_of_both_families
from support.processes import until
from support.registry import RunningRegistry
from support.zones import answers

HERE = ("--cluster", "dual")
RANGES = "10.96.0.0/12,2001:db8:ffff::/112"
PODS = [dual_pod(number) for number in (1, 2, 3)]
FOURS, SIXES = {each.four for each in PODS}, {each.six for each in PODS}
FOUR_FIRST, SIX_FIRST = ["IPv4", "IPv6"], ["IPv6", "IPv4"]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def dual_plane(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    pod_network_of_both_families(pytestconfig)
    plane = ControlPlane("dual", tmp_path_factory.mktemp("planes") / "dual", service_ranges=RANGES)

    async def start() -> None:
        await plane.start()
        await plane.add_nodes()
        await plane.api.close()

    try:
        asyncio.run(start())
        yield plane
    finally:
        asyncio.run(plane.stop())


@pytest_asyncio.fixture
async def pods(dual_plane: ControlPlane) -> AsyncIterator[DualStackPods]:
    async with DualStackPods(dual_plane, f"test-{next(_numbers)}") as made:
        yield made
    await dual_plane.api.close()


def registry(pods: DualStackPods, folder: Path) -> RunningRegistry:
    return RunningRegistry(folder, f"--kubeconfig=dual={pods.plane.kubeconfig()}")


async def listed(running: RunningRegistry, pods: DualStackPods, addresses: list[list[str]]) -> Any:
    """The service, as soon as it has just these endpoints, each with all its addresses."""

    async def document() -> Any:
        found = await running.get(f"/api/v1/services/{pods.service}")
        shown = [[each["address"], *each["additionalAddresses"]] for each in found["endpoints"]] if found else None
        return found if shown == addresses else None

    return await until(document, f"{pods.service} has {addresses}", timeout=30)


@pytest.mark.parametrize("families", [FOUR_FIRST, SIX_FIRST], ids=["four-first", "six-first"])
async def test_a_pod_in_the_controllers_slices_of_both_families_is_one_endpoint(
    pods: DualStackPods, tmp_path: Path, families: list[str]
) -> None:
    async with registry(pods, tmp_path) as running:
        await pods.create(PODS, ipFamilyPolicy="RequireDualStack", ipFamilies=families)
        in_order = [list(each.both if families is FOUR_FIRST else reversed(each.both)) for each in PODS]
        shown = await listed(running, pods, in_order)
        assert shown["ipFamilies"] == families
        assert {each["pod"] for each in shown["endpoints"]} == {"p1", "p2", "p3"}
        assert [each["endpoints"] for each in shown["expected"]] == [3]


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
async def test_a_service_of_one_family_has_that_of_its_pods(pods: DualStackPods, tmp_path: Path, family: str) -> None:
    addresses = [each.six if family == "IPv6" else each.four for each in PODS]
    async with registry(pods, tmp_path) as running, RunningEnvoy(tmp_path, running, node=HERE) as envoy:
        await pods.create(PODS, ipFamilyPolicy="SingleStack", ipFamilies=[family])
        await pods.open(*addresses)
        await listed(running, pods, [[each] for each in addresses])
        await until(lambda: has(envoy, pods, set(addresses)), "Envoy has every endpoint")
        assert set(await answers(envoy.outbound, pods.host, 30)) == set(addresses)


@pytest.mark.parametrize("families", [FOUR_FIRST, SIX_FIRST], ids=["four-first", "six-first"])
async def test_an_address_that_is_closed_loses_no_request_while_the_pods_other_one_is_open(
    pods: DualStackPods, tmp_path: Path, families: list[str]
) -> None:
    """p1 is open at its IPv4 address, p2 at its IPv6 address, p3 at both: p1 or p2 is closed at its first."""
    p1, p2, p3 = PODS
    third = p3.four if families is FOUR_FIRST else p3.six
    async with registry(pods, tmp_path) as running, RunningEnvoy(tmp_path, running, node=HERE) as envoy:
        await pods.open(p1.four, p2.six, *p3.both)
        await pods.create(PODS, ipFamilyPolicy="RequireDualStack", ipFamilies=families)
        await listed(
            running, pods, [list(each.both if families is FOUR_FIRST else reversed(each.both)) for each in PODS]
        )
        await until(lambda: has(envoy, pods, firsts(families)), "Envoy has every Pod, by its first address")
        by_envoy = await answers(envoy.outbound, pods.host, 300)
        assert set(by_envoy) == {p1.four, p2.six, third}
        assert max(by_envoy.values()) - min(by_envoy.values()) < 30, "each has its share, whatever address it takes"

        async with grpc_client(tmp_path, running, pods.host, HERE) as call:
            await until(lambda: all_called(call, {p1.four, p2.six, third}), "gRPC has reached every Pod")
            by_grpc = await call(300)
            assert set(by_grpc) == {p1.four, p2.six, third}
            assert max(by_grpc.values()) - min(by_grpc.values()) < 30


@pytest.mark.parametrize("families", [FOUR_FIRST, SIX_FIRST], ids=["four-first", "six-first"])
async def test_clients_of_either_family_connect_by_their_own(
    pods: DualStackPods, tmp_path: Path, families: list[str]
) -> None:
    """Everything is open: which address answers is which one the client was told first."""
    async with registry(pods, tmp_path) as running:
        await pods.create(PODS, ipFamilyPolicy="RequireDualStack", ipFamilies=families)
        for each in PODS:
            await pods.open(*each.both)
        for own, addresses in (("198.18.9.1,2001:db8::9", FOURS), ("2001:db8::9", SIXES), ("", firsts(families))):
            folder = tmp_path / f"client-{own}"
            folder.mkdir()
            node = (*HERE, "--addresses", own)
            async with RunningEnvoy(folder, running, node=node) as envoy:
                await until(partial(has, envoy, pods, addresses), f"the Envoy at {own} has {addresses}")
                assert set(await answers(envoy.outbound, pods.host, 30)) == addresses
            async with grpc_client(folder, running, pods.host, node) as call:
                await until(partial(all_called, call, addresses), f"gRPC at {own} reaches {addresses}")
                assert set(await call(60)) == addresses


async def test_explain_says_which_address_a_client_is_told_first(pods: DualStackPods, tmp_path: Path) -> None:
    node = (*HERE, "--node-id", "sidecar~2001:db8::9~client.shop~shop.svc.cluster.local")
    async with registry(pods, tmp_path) as running, RunningEnvoy(tmp_path, running, node=node) as envoy:
        await pods.create(PODS[:1], ipFamilyPolicy="RequireDualStack", ipFamilies=FOUR_FIRST)
        await until(lambda: has(envoy, pods, {PODS[0].six}), "Envoy has the Pod by its IPv6 address")
        who = ("--client", node[-1], "--server", running.http)
        explained = running.command("explain", pods.service, PODS[0].four, *who)
        assert "OwnFamilyFirst" in explained.stdout, explained.stdout + explained.stderr
        assert f"{PODS[0].six} before {PODS[0].four}" in explained.stdout


def firsts(families: list[str]) -> set[str]:
    return FOURS if families is FOUR_FIRST else SIXES


async def all_called(call: Any, addresses: set[str]) -> bool:
    return set(await call(30)) == addresses


async def has(envoy: RunningEnvoy, pods: DualStackPods, addresses: set[str]) -> bool:
    return set(await envoy.hosts(f"outbound|80||{pods.host}")) == addresses
