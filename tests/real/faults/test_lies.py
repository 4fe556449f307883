"""An answer that is not the truth: lists cut short, empty ones, refusals without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import kube_lies
from support.controlplane import ControlPlane
from support.fault_rig import NAME, FaultRig, Row, fault_rig
from support.kube_lies import Verb
from support.lying_proxy import LyingProxy
from support.processes import until

SLICES = "endpointslices"
LACKING = f"{NAME}-2"
"""The slice that truncated lists lack: half of the cluster's endpoints of the service."""


async def listed_anew(lies: LyingProxy, answer: kube_lies.Answer, times: int | None) -> None:
    """Every watch is told 410, so that all is listed anew, and ``times`` lists of slices are ``answer``."""
    lies.lie(answer, SLICES, (Verb.LIST,), times=times)
    await lies.expire_watches()


async def test_list_lacks_half_of_a_service(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    async with rig.fault("truncated list", "one list without one of two slices, 200", within=15):
        await listed_anew(lies, kube_lies.without(LACKING.__eq__), times=1)
        await rig.doubts(rig.a.slices[LACKING])
        lies.be_honest()


async def test_list_lacks_most_endpoints_of_each_slice(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    async with rig.fault("truncated slices", "one list whose slices have one endpoint each, 200", within=15):
        await listed_anew(lies, kube_lies.edited(first_endpoint_alone), times=1)
        kept = {min(each) for each in rig.a.slices.values()}
        await rig.doubts(rig.a.addresses - kept)
        lies.be_honest()


async def test_watch_loses_what_it_should_bring(
    control_planes: tuple[ControlPlane, ControlPlane],
    closed: None,
    lies: LyingProxy,
    namespace: str,
    tmp_path: Path,
    rows: list[Row],
) -> None:
    """Only a comparison of what is held with what there is finds that out."""
    follow = {"quietSeconds": 30, "auditSeconds": 2}
    async with fault_rig(control_planes, namespace, tmp_path, rows, lies=lies, follow=follow) as rig:
        how = "an open watch of slices without one endpoint more and one less; comparisons every 2 s"
        async with rig.fault("lost events", how, within=15):
            lies.lose_events(SLICES)
            added, gone = await rig.a.add(), min(rig.a.addresses)
            rig.client.ask(gone)
            await rig.a.delete(gone)
            await until(lambda: lies.lost > 0, "the events are lost")
            assert added not in rig.client.addresses()
            lies.be_honest()
            await rig.client.until(rig.is_right, "the comparison has mended it", 20)


def first_endpoint_alone(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "endpoints": item["endpoints"][:1]} if item.get("endpoints") else item


async def test_lists_lack_half_of_a_service_again_and_again_while_its_pods_are_ready(
    lying_rig: FaultRig, lies: LyingProxy
) -> None:
    rig = lying_rig
    async with rig.fault("truncated lists", "four lists without one of two slices, Pods complete", within=15):
        await listed_anew(lies, kube_lies.without(LACKING.__eq__), times=None)
        await rig.doubts(rig.a.slices[LACKING])
        before = lies.told
        await until(lambda: lies.told >= before + 4, "it is listed again and again")
        await rig.change(rig.b, within=1)
        lies.be_honest()


async def test_list_is_empty(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    async with rig.fault("empty list", "one list of endpointslices without any, 200", within=15):
        await listed_anew(lies, kube_lies.empty(), times=1)
        await rig.doubts(rig.a.addresses)
        lies.be_honest()


async def test_every_list_is_empty(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    async with rig.fault("empty lists", "one list of every kind without any, 200", within=15):
        for resource in ("services", "pods", "nodes", "namespaces"):
            lies.lie(kube_lies.empty(), resource, (Verb.LIST,), times=1)
        await listed_anew(lies, kube_lies.empty(), times=1)
        await rig.doubts(rig.a.addresses)
        lies.be_honest()


async def test_refusals_storm(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    async with rig.fault("429 and 5xx storm", "every request, twenty of them, with Retry-After 1", within=15):
        for number in range(20):
            status = (429, 500, 503, 504)[number % 4]
            lies.lie(kube_lies.refused(status, retry_after=1), times=1)
        lies.cut_watches()
        await until(lambda: lies.told >= 12, "the storm is felt")
        await rig.change(rig.b, within=1)
        lies.be_honest()


async def test_every_watch_is_gone_again_and_again(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    kinds = lies.watches
    async with rig.fault("410 storm", "410 in every watch, three times as soon as all are open again", within=15):
        for _ in range(3):
            expired = await lies.expire_watches()
            await until(lambda expired=expired: lies.watches_after(expired) == kinds, "every watch is open again")


async def test_lists_stall_and_break_off_half_way(
    control_planes: tuple[ControlPlane, ControlPlane],
    closed: None,
    lies: LyingProxy,
    namespace: str,
    tmp_path: Path,
    rows: list[Row],
) -> None:
    """In pages: a stream that stalls is a matter of the virtual clock."""
    follow = {"quietSeconds": 3, "streamLists": False}
    async with fault_rig(control_planes, namespace, tmp_path, rows, lies=lies, follow=follow) as rig:
        how = "the first half of a list, then silence until it is given up; two more that break off"
        async with rig.fault("bodies stalled and cut half way", how, within=15):
            lies.lie(kube_lies.half(then_stall=True), SLICES, (Verb.LIST,), times=1)
            await listed_anew(lies, kube_lies.half(then_stall=False), times=2)
            await until(lambda: lies.told >= 3, "every lie was told")
