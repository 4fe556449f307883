"""An answer that is not the truth: lists cut short, empty ones, refusals without end."""

from __future__ import annotations

from support import kube_lies
from support.fault_rig import NAME, FaultRig
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
    async with rig.fault("429 and 5xx storm", "every request, thirty of them, with Retry-After 1", within=15):
        for number in range(30):
            status = (429, 500, 503, 504)[number % 4]
            lies.lie(kube_lies.refused(status, retry_after=1), times=1)
        lies.cut_watches()
        await until(lambda: lies.told >= 15, "the storm is felt")
        await rig.change(rig.b, within=1)
        lies.be_honest()


async def test_every_watch_is_gone_again_and_again(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    kinds = lies.watches
    async with rig.fault("410 storm", "410 in every watch, three times as soon as all are open again", within=15):
        for _ in range(3):
            await lies.expire_watches()
            await until(lambda: lies.watches == 0, "every watch is closed")
            await until(lambda: lies.watches == kinds, "every watch is open again")


async def test_lists_break_off_and_stall_half_way(lying_rig: FaultRig, lies: LyingProxy) -> None:
    rig = lying_rig
    async with rig.fault("list stalled, then cut, half way", "one that stalls, then two that break off", within=15):
        lies.lie(kube_lies.half(then_stall=True), SLICES, (Verb.LIST,), times=1)
        await listed_anew(lies, kube_lies.half(then_stall=False), times=2)
        await until(lambda: lies.told >= 3, "every lie was told")
