"""What lies between the registry and an API server closes, stalls, swallows and forgets connections."""

from __future__ import annotations

from support.fault_proxy import Direction
from support.fault_rig import FaultRig

CLOSED_EVERY = 0.5
DELAY = 0.15


async def test_a_proxy_closes_every_connection_after_a_while(rig: FaultRig) -> None:
    how = f"every {CLOSED_EVERY} s, ten connections"
    async with rig.fault("a proxy that closes connections", how, within=5):
        until_then = rig.proxy.accepted + 10
        rig.proxy.close_every(CLOSED_EVERY)
        while rig.proxy.accepted < until_then:
            await rig.change(rig.a, within=10)
        await rig.proxy.heal()


async def test_the_way_to_the_api_server_is_slow(rig: FaultRig) -> None:
    """Slow is not dead: everything still arrives, and nothing is doubted."""
    how = f"each piece {DELAY} s late both ways, the connections cut; some changes while it lasts"
    async with rig.fault("a slow way", how, within=5):
        rig.proxy.delay(DELAY)
        await rig.reconnected(rig.proxy.cut)
        for _ in range(3):
            await rig.change(rig.a, within=10)
        assert rig.client.demoted == set()
        await rig.proxy.heal()


async def test_connections_are_half_open(rig: FaultRig) -> None:
    """The API server's end of every connection is gone, and the registry never hears of it."""
    async with rig.fault("half-open connections", "the server's end closed, the client's kept, silent", within=15):
        rig.proxy.abandon()


async def test_connections_are_half_closed(rig: FaultRig) -> None:
    async with rig.fault("half-closed connections", "FIN to the client only", within=5):
        rig.proxy.half_close()


async def test_nothing_comes_from_the_api_server_for_a_while(rig: FaultRig) -> None:
    how = "bytes held up towards the registry until it was noticed"
    async with rig.fault("stalled connections", how, within=15):
        rig.proxy.stall(Direction.TO_CLIENT)
        await rig.doubted()
        await rig.change(rig.b, within=1)
        await rig.proxy.heal()


async def test_connections_are_refused_and_swallowed(rig: FaultRig) -> None:
    async with rig.fault("no way to the API server", "refused, then a black hole", within=25):
        await rig.proxy.refuse()
        rig.proxy.cut()
        await rig.told("Unreachable")
        await rig.change(rig.b, within=1)
        rig.proxy.swallow()
        await rig.reconnected(rig.proxy.accept)
        await rig.doubted()
        await rig.proxy.heal()
