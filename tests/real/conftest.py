"""Two real control planes for the whole session, and a namespace of its own for each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
import pytest_asyncio
from support.controlplane import ControlPlane, start_together
from support.kube_api import CORE, ISTIO_CRD_NAMES, install_crds, remove_namespace
from support.missing import pod_network, tool
from support.scene import Planes

_numbers = itertools.count(1)
LOG_LINES = 15


@pytest.fixture(scope="session")
def control_planes(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[tuple[ControlPlane, ControlPlane]]:
    """Started once, with their nodes, and ServiceEntries known."""
    pod_network(pytestconfig)
    folder = tmp_path_factory.mktemp("planes")
    planes = ControlPlane("a", folder / "a"), ControlPlane("b", folder / "b")
    try:
        asyncio.run(_prepare(planes))
        yield planes
    finally:
        asyncio.run(_stop(planes))


async def _prepare(planes: tuple[ControlPlane, ControlPlane]) -> None:
    await start_together(*planes)
    crds = tool("istio-crds")
    for plane in planes:
        await install_crds(plane.api, crds, ISTIO_CRD_NAMES)
        await plane.add_nodes()
        await plane.api.close()


async def _stop(planes: tuple[ControlPlane, ControlPlane]) -> None:
    for plane in planes:
        await plane.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the end of the logs of every process that took part."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        folders = [item.funcargs.get("tmp_path"), *(plane.folder for plane in item.funcargs.get("control_planes", ()))]
        for log in (log for folder in folders if folder is not None for log in sorted(folder.rglob("*.log"))):
            end = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            report.sections.append((f"{log.parent.name}/{log.name}", "\n".join(end)))
    return report


@pytest_asyncio.fixture
async def planes(control_planes: tuple[ControlPlane, ControlPlane]) -> AsyncIterator[Planes]:
    """Both control planes with a fresh namespace, which is empty before the next test begins."""
    namespace = f"test-{next(_numbers)}"
    for plane in control_planes:
        await plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": namespace}})
    yield Planes(*control_planes, namespace)
    try:
        await asyncio.gather(*(remove_namespace(plane.api, namespace) for plane in control_planes))
    finally:
        for plane in control_planes:
            await plane.api.close()
