"""ServiceExports on real API servers, for as long as a test wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.controlplane import ControlPlane
from support.kube_api import CRDS, ApiError, install_crds
from support.missing import tool
from support.processes import until

EXPORTS_CRD = "serviceexports.multicluster.x-k8s.io"


@asynccontextmanager
async def service_exports(*planes: ControlPlane) -> AsyncIterator[None]:
    """The control planes know ServiceExports; afterwards they know of none."""
    crds = tool("mcs-crds")
    try:
        for plane in planes:
            await install_crds(plane.api, crds, (EXPORTS_CRD,))
        yield
    finally:
        for plane in planes:
            await plane.api.delete(f"{CRDS}/{EXPORTS_CRD}")
            await until(lambda plane=plane: gone(plane, f"{CRDS}/{EXPORTS_CRD}"), "the CRD is gone")


async def gone(plane: ControlPlane, path: str) -> bool:
    try:
        await plane.api.get(path)
    except ApiError as error:
        return error.status == 404
    return False
