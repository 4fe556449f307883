"""What becomes of a cluster's endpoints when its API server is away depends on whether they answer."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from support.controlplane import ControlPlane
from support.fault_rig import fault_rig
from support.fault_table import Row
from support.processes import until

PORT = 8080
PROBE = {"endpoints": 3, "intervalSeconds": 0.3, "timeoutSeconds": 0.3, "up": 1, "down": 2}
SETTINGS = {
    "follow": {"quietSeconds": 1},
    "liveness": {"staleSeconds": 4, "graceSeconds": 0, "evictSeconds": 2, "probe": PROBE},
}


async def test_endpoints_stay_as_long_as_they_answer_and_then_for_a_while(
    control_planes: tuple[ControlPlane, ControlPlane], closed: None, namespace: str, tmp_path: Path, rows: list[Row]
) -> None:
    """First choice while they answer; second when they do not; gone in the end, but not when they are the last."""
    async with fault_rig(control_planes, namespace, tmp_path, rows, **SETTINGS) as rig:

        async def answered() -> bool:
            conditions = {each["type"]: each["status"] for each in (await rig.registry.cluster("a"))["conditions"]}
            return conditions.get("DataPlaneUp") is True

        how = (
            "connections refused; then the endpoints of the cluster stop answering as well; then those of the other end"
        )
        async with rig.fault("API server and data plane away", how, within=15):
            with ExitStack() as pods:
                for address in rig.a.addresses:
                    pods.enter_context(socket.create_server((address, PORT)))
                await until(answered, "the probes are answered")
                await rig.proxy.refuse()
                rig.proxy.cut()
                await rig.stands("Kept")
                assert rig.client.demoted == set()
            await rig.doubts(rig.a.addresses)
            assert rig.client.wrong == []
            rig.client.ask(*rig.a.addresses)
            await rig.client.until(lambda: rig.client.addresses() == rig.b.addresses, "the silent cluster is out")
            await rig.delete(rig.b, *rig.b.addresses, within=10)
            await rig.client.until(lambda: rig.client.addresses() == rig.a.addresses, "the last ones are back")
            await rig.proxy.heal()
            await rig.stands("Current")
            await rig.b.add()
