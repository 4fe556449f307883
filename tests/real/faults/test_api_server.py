"""The API server and etcd end, stop, forget and go back in time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.controlplane import ControlPlane
from support.fault_rig import NAME, USER, FaultRig, Row, fault_rig
from support.kube_api import CORE
from support.outages import back_up, change_token, compact, killed, restore, stopped
from support.processes import until


async def test_api_server_is_killed_and_started_again(rig: FaultRig) -> None:
    how = "SIGKILL, started again once it was noticed"
    async with rig.fault("kube-apiserver killed", how, within=15), killed(rig.a.plane, rig.a.plane.apiserver):
        await rig.told("Unreachable")
        await rig.change(rig.b, within=1)


async def test_etcd_is_killed_and_started_again(rig: FaultRig) -> None:
    """The API server goes on with what its watch caches have, and says that it is not ready."""
    plane = rig.a.plane

    async def not_ready() -> bool:
        return not await plane.api.ready()

    how = "SIGKILL; every watch cut; started again once the API server was not ready"
    async with rig.fault("etcd killed", how, within=15), killed(plane, plane.etcd):
        await until(not_ready, "the API server is not ready")
        await rig.reconnected(rig.proxy.cut)
        await rig.change(rig.b, within=1)


async def test_history_is_compacted_while_no_watch_is_open(rig: FaultRig) -> None:
    """What happened meanwhile can only be learnt from a list, after 410: half of a service ended, Pods and all."""
    plane = rig.a.plane
    how = "no way to the API server; SIGSTOP, compaction, SIGKILL, restart; meanwhile half of a service ended"
    async with rig.fault("history compacted under a stopped watch", how, within=15):
        await rig.proxy.refuse()
        rig.proxy.cut()
        with stopped(plane.apiserver):
            await compact(plane)
        async with killed(plane, plane.apiserver):
            pass
        await rig.a.add()
        ended = rig.a.slices[f"{NAME}-2"]
        rig.client.ask(*ended)
        await rig.a.delete(*ended)
        await rig.proxy.heal()


async def test_api_server_is_stopped_for_a_while(rig: FaultRig) -> None:
    """Its sockets stay open, and nothing comes."""
    with_no_answer = "SIGSTOP until the registry doubts it, SIGCONT"
    async with rig.fault("kube-apiserver stopped", with_no_answer, within=15):
        with stopped(rig.a.plane.apiserver):
            await rig.doubted()
            await rig.change(rig.b, within=1)


async def test_etcd_is_restored_from_an_older_backup(rig: FaultRig, tmp_path: Path) -> None:
    """resourceVersions go back. What is younger than the backup the API server does not know any more, which is no
    word on whether it is there: it is second choice until the API server has said so again.
    """
    how = "the data of before an endpoint was added put back, both started again"
    backup = tmp_path / "backup"
    back_up(rig.a.plane, backup)
    younger = await rig.a.add()
    await rig.client.until(lambda: younger in rig.client.addresses(), "the endpoint is added")
    async with rig.fault("etcd restored from an older backup", how, within=20):
        await restore(rig.a.plane, backup)
        await rig.doubts({younger})
        rig.client.ask(younger)
        rig.a.forget(younger)


async def test_etcd_is_restored_and_has_gone_past_what_was_known_before_anybody_looked(
    control_planes: tuple[ControlPlane, ControlPlane], closed: None, namespace: str, tmp_path: Path, rows: list[Row]
) -> None:
    """The numbers are higher than before, so no version tells that the history is another one: a watch goes on from
    where it was, and what the backup lacks is never said to be deleted. The audit finds it.
    """
    how = "the data of before an endpoint was added put back, and 50 objects written before the way was open again"
    follow = {"quietSeconds": 3, "auditSeconds": 2}
    async with fault_rig(control_planes, namespace, tmp_path, rows, follow=follow) as rig:
        plane = rig.a.plane
        backup = tmp_path / "backup"
        back_up(plane, backup)
        younger = await rig.a.add()
        await rig.client.until(lambda: younger in rig.client.addresses(), "the endpoint is added")
        await rig.is_well()
        async with rig.fault("etcd restored and gone past", how, within=40):
            await rig.proxy.refuse()
            rig.proxy.cut()
            await restore(plane, backup)
            maps = f"{CORE}/namespaces/{namespace}/configmaps"
            await asyncio.gather(*(plane.api.create(maps, {"metadata": {"name": f"m{each}"}}) for each in range(50)))
            rig.client.ask(younger)
            rig.a.forget(younger)
            await rig.proxy.heal()
            await rig.client.until(rig.is_right, "what the backup lacks is found to be gone", 60)


async def test_another_cluster_has_the_address_for_a_while(rig: FaultRig) -> None:
    """It accepts the token, its certificate is by an authority that the kubeconfig names: only who it is differs."""
    a, b = rig.a.plane, rig.b.plane
    both = a.folder / "both.crt"
    both.write_bytes((a.folder / "ca.crt").read_bytes() + (b.folder / "ca.crt").read_bytes())
    await change_token(a, USER, b.tokens.get(USER, USER))  # another test may have given the two different ones
    a.kubeconfig(USER, rig.proxy.url, both)
    said = rig.registry.process.log
    await until(lambda: "reached with other credentials now" in said.read_text(), "the kubeconfig is taken up")
    await rig.is_well()
    how = "the proxy leads to the other API server, whose certificate and token are good; back once that was noticed"
    async with rig.fault("another cluster behind the address", how, within=45):
        rig.proxy.lead_to(b.port)
        rig.proxy.cut()
        await rig.told("IdentityRefused")
        await rig.change(rig.b, within=1)
        assert rig.addresses <= rig.client.addresses()
        rig.proxy.lead_to(a.port)
        rig.proxy.cut()
