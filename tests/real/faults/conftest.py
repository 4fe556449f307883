"""Two control planes that these tests alone break, and a table of what came of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.controlplane import ControlPlane, start_together
from support.fault_rig import USER, FaultRig, fault_rig
from support.fault_table import Row
from support.lying_proxy import LyingProxy
from support.missing import pod_network
from support.outages import READABLE, grant

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def control_planes(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[tuple[ControlPlane, ControlPlane]]:
    """Without controllers, and with a user ``registry`` that may read what a registry reads."""
    pod_network(pytestconfig)
    folder = tmp_path_factory.mktemp("broken")
    planes = ControlPlane("a", folder / "a", controllers=False), ControlPlane("b", folder / "b", controllers=False)
    try:
        asyncio.run(_prepare(planes))
        yield planes
    finally:
        asyncio.run(_stop(planes))


async def _prepare(planes: tuple[ControlPlane, ControlPlane]) -> None:
    await start_together(*planes)
    for plane in planes:
        await grant(plane, USER, *READABLE)
        await plane.add_nodes()
        await plane.api.close()


async def _stop(planes: tuple[ControlPlane, ControlPlane]) -> None:
    for plane in planes:
        await plane.stop()


@pytest_asyncio.fixture
async def closed(control_planes: tuple[ControlPlane, ControlPlane]) -> AsyncIterator[None]:
    """The tests' own connections end with their event loop."""
    yield
    for plane in control_planes:
        await plane.api.close()


@pytest.fixture
def namespace() -> str:
    """Another one for each test: nobody is there who could end one."""
    return f"faults-{next(_numbers)}"


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """What the test's faults came to; the session ends with the table of all."""
    rows: list[Row] = []
    yield rows
    for row in rows:
        row.report(request.node)


@pytest_asyncio.fixture
async def rig(
    control_planes: tuple[ControlPlane, ControlPlane], closed: None, namespace: str, tmp_path: Path, rows: list[Row]
) -> AsyncIterator[FaultRig]:
    """A TCP proxy is in front of cluster ``a``."""
    async with fault_rig(control_planes, namespace, tmp_path, rows) as it:
        yield it


@pytest_asyncio.fixture
async def lies(control_planes: tuple[ControlPlane, ControlPlane], tmp_path: Path) -> AsyncIterator[LyingProxy]:
    """In front of cluster ``a``."""
    plane = control_planes[0]
    async with LyingProxy(plane.server, plane.folder / "ca.crt", tmp_path / "lies") as it:
        yield it


@pytest_asyncio.fixture
async def lying_rig(
    control_planes: tuple[ControlPlane, ControlPlane],
    closed: None,
    lies: LyingProxy,
    namespace: str,
    tmp_path: Path,
    rows: list[Row],
) -> AsyncIterator[FaultRig]:
    """The proxy ``lies`` is in front of cluster ``a``."""
    async with fault_rig(control_planes, namespace, tmp_path, rows, lies=lies) as it:
        yield it
