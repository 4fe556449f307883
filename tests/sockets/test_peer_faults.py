"""Peers that are slow, damaged, of another domain, or this replica itself: nothing of them is used, and it is said."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from support.fake_peer import FakePeer, sends

from registry.model.facts import Service, ServicePort
from registry.model.names import ClusterId, Kind
from registry.snapshot.format import ClusterFacts, encode
from registry.snapshot.peers import PeerAddress, PeerRules, Peers

RULES = PeerRules(describe=0.5, silence=0.3, transfer=1.0, first=2.0, pause=0.05, most_bytes=1 << 20)


def facts(name: str, count: int = 1, age: float = 0.0) -> ClusterFacts:
    services = tuple(Service("shop", f"echo-{each}", (ServicePort(80, "http"),)) for each in range(count))
    return ClusterFacts(ClusterId(name), {Kind.SERVICE: services}, uid=f"uid-{name}", age=age)


def snapshot(*clusters: ClusterFacts, domain: str = "clusterset.local") -> bytes:
    return b"".join(encode(domain, time.time(), clusters))


@dataclass
class Asking:
    """A replica that asks, and what it learns."""

    known: dict[ClusterId, float] = field(default_factory=dict)
    learnt: dict[str, str] = field(default_factory=dict)
    missing: set[ClusterId] = field(default_factory=set)

    def peers(self, *peers: FakePeer, hosts: Iterable[str] = ()) -> Peers:
        addresses = [PeerAddress("127.0.0.1", each.port) for each in peers]
        return Peers(
            [*addresses, *(PeerAddress(host, 15010) for host in hosts)],
            "clusterset.local",
            "myself",
            known=self._known,
            learn=self._learn,
            missing=lambda: self.missing,
            wall_clock=time.time,
            rules=RULES,
        )

    def _known(self) -> Mapping[ClusterId, float]:
        return self.known

    def _learn(self, clusters: Iterable[ClusterFacts], created: float, origin: str) -> None:
        assert abs(created - time.time()) < 10
        for each in clusters:
            self.learnt[each.cluster] = origin
            self.known[each.cluster] = created - each.age


GOOD = snapshot(facts("a"), facts("b"))


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (FakePeer(sends(GOOD[:-20] + bytes(20)), b=0.0), "its snapshot is not used: "),
        (FakePeer(sends(GOOD[:50] + b"x" + GOOD[51:]), b=0.0), "its snapshot is not used: "),
        (FakePeer(sends(GOOD[: len(GOOD) // 2]), b=0.0), "its snapshot is not used: "),
        (FakePeer(sends(), b=0.0), "its snapshot is not used: "),
        (FakePeer(sends(snapshot(facts("b"), domain="other.example")), b=0.0), "of the domain 'other.example'"),
        (FakePeer(sends(GOOD[:100], then_hangs=True), b=0.0), "it does not answer in time"),
        (FakePeer(sends(*[bytes(200_000)] * 6), b=0.0), "larger than 1 MiB"),
        (FakePeer(sends(GOOD), b=0.0, domain="other.example"), "of the domain 'other.example'"),
        (FakePeer(sends(GOOD), b=0.0, version=2), "version 2 of the snapshot format"),
        (FakePeer(sends(GOOD), b=0.0, silent=True), "it does not answer in time"),
        (FakePeer(sends(GOOD), b=0.0, garbage=b"HTTP/1.1 200"), "its answer cannot be read"),
    ],
    ids=["end", "middle", "cut", "empty", "foreign", "hangs", "large", "domain", "newer", "silent", "garbage"],
)
async def test_peer_that_cannot_be_used_leaves_things_as_they_are(
    peer: FakePeer, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    asking = Asking()
    async with peer, FakePeer(sends(GOOD), b=30.0) as good:
        peers = asking.peers(peer)
        await peers.round()
        assert asking.learnt == {}
        (line,) = [each.getMessage() for each in caplog.records if each.name.startswith("registry")]
        assert line.startswith(f"peer 127.0.0.1:{peer.port}: ")
        assert said in line
        await peers.round()
        assert len(caplog.records) == 1, "it is said once"
        await asking.peers(peer, good).round()
        assert asking.learnt == dict.fromkeys("ab", f"peer 127.0.0.1:{good.port}"), "the next best peer is asked"


async def test_replica_does_not_take_over_from_itself_nor_from_a_peer_that_knows_nothing_more() -> None:
    asking = Asking(known={ClusterId("a"): time.time() - 5})
    itself = FakePeer(sends(GOOD), instance="myself", b=0.0)
    async with itself, FakePeer(sends(GOOD)) as blind, FakePeer(sends(GOOD), a=0.0) as hardly_newer:
        await asking.peers(itself, blind, hardly_newer).round()
        assert itself.transfers + blind.transfers + hardly_newer.transfers == 0
        assert asking.learnt == {}


async def test_the_most_complete_peer_is_taken_and_others_for_what_it_lacks() -> None:
    asking = Asking()
    one = FakePeer(sends(snapshot(facts("a"), facts("b", age=100))), a=0.0, b=100.0)
    other = FakePeer(sends(snapshot(facts("c"))), c=0.0)
    third = FakePeer(sends(snapshot(facts("b"))), b=0.0)
    async with one, other, third:
        await asking.peers(other, one, third).round()
        assert asking.learnt["a"] == f"peer 127.0.0.1:{one.port}"
        assert asking.learnt["b"] == f"peer 127.0.0.1:{third.port}", "of each member the newest"
        assert asking.learnt["c"] == f"peer 127.0.0.1:{other.port}"


async def test_start_goes_on_while_a_peer_is_slow_and_later_asks_again_for_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asking = Asking(missing={ClusterId("b")})
    port = 0
    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(FakePeer(sends(GOOD), silent=True, b=0.0))
        peer = await stack.enter_async_context(FakePeer(sends(snapshot(facts("b"))), b=0.0))
        port = peer.port
        peers = asking.peers(silent, hosts=["peers.nowhere.invalid"])
        peers._addresses = [*peers._addresses]
        began = time.monotonic()
        await peers.start()
        stack.push_async_callback(peers.stop)
        assert time.monotonic() - began < RULES.first + 0.5
        assert asking.learnt == {}
        peers._addresses.append(PeerAddress("127.0.0.1", port))
        async with asyncio.timeout(5):
            while not asking.learnt:
                await asyncio.sleep(0.02)
        assert logging.getLevelName(caplog.records[0].levelno) == "WARNING"
