"""Credentials, rights and certificates change, and for a while they are wrong."""

from __future__ import annotations

from support.fault_rig import USER, FaultRig
from support.outages import READABLE, change_token, grant, replace_certificate

SLICES = "discovery.k8s.io/endpointslices"


async def test_token_is_revoked_and_renewed(rig: FaultRig) -> None:
    plane = rig.a.plane
    how = "the API server accepts another one; the kubeconfig gets it once 401 was noticed"
    async with rig.fault("token revoked", how, within=15):
        await change_token(plane, USER, "renewed")
        await rig.told("Unauthorized")
        await rig.change(rig.b, within=1)
        plane.kubeconfig(USER, rig.proxy.url)


async def test_right_to_one_resource_is_taken_away_and_given_back(rig: FaultRig) -> None:
    how = "RBAC without endpointslices and the watches cut; given back once 403 was noticed"
    try:
        async with rig.fault("RBAC taken away for one resource", how, within=20):
            await grant(rig.a.plane, USER, *(each for each in READABLE if each != SLICES))
            rig.proxy.cut()
            await rig.told("Forbidden")
            await rig.change(rig.b, within=1)
            await grant(rig.a.plane, USER, *READABLE)
    finally:
        await grant(rig.a.plane, USER, *READABLE)


async def test_server_certificate_is_renewed_by_the_same_authority(rig: FaultRig) -> None:
    async with rig.fault("certificate renewed", "a new one of the same authority, the connections cut", within=5):
        await replace_certificate(rig.a.plane)
        await rig.reconnected(rig.proxy.cut)


async def test_server_certificate_is_of_another_authority_until_the_kubeconfig_says_so(rig: FaultRig) -> None:
    plane = rig.a.plane
    how = "one of another authority, the connections cut; the kubeconfig gets it once the refusal was noticed"
    try:
        async with rig.fault("authority replaced", how, within=15):
            await replace_certificate(plane, authority="other-ca")
            rig.proxy.cut()
            await rig.told("CertificateRefused")
            await rig.change(rig.b, within=1)
            plane.kubeconfig(USER, rig.proxy.url, plane.folder / "other-ca.crt")
    finally:
        await replace_certificate(plane)
