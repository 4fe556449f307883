"""How much of the traffic each locality takes, where localities have weights. Pure.

Nearer pools take ``min(what remains, OVERFLOW * ready / expected)`` in turn. Endpoints in doubt are not ready where
others of their locality are. Of a locality that has no others they count: they take what those of its nearness that are
not in doubt leave. So what is in doubt as a whole, as a cluster whose API server is not heard of, has the share that it
had before, and nothing moves farther away for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from registry.model.names import Locality
from registry.views.ranks import Entry, Nearness

OVERFLOW = 1.4
"""A pool takes all of its traffic as long as 1 / 1.4 = 71 % of what it should have is ready: Envoy's own factor."""

WEIGHTS = 10_000
"""What the locality weights of a priority add up to, where they are shares."""


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """Those that have a part in the shares of one tier: all but what is in doubt beside others of its locality."""
    sure = {entry.locality for entry in entries if entry.ready and not entry.rank.demoted}
    return [entry for entry in entries if not entry.rank.demoted or entry.locality not in sure]


def locality_weights(entries: Sequence[Entry], expected: Mapping[Locality, int]) -> dict[Locality, int]:
    """Each locality's share as an integer; together they are ``WEIGHTS``, or nothing where nothing is ready."""
    pools: dict[tuple[Nearness, bool], dict[Locality, int]] = {}
    present: dict[Nearness, dict[Locality, int]] = {}
    direct = {entry.locality for entry in entries if entry.bundle >= 0}
    wanted = {locality: expected.get(locality, 0) for locality in direct}
    for entry in entries:
        pool = pools.setdefault((entry.rank.nearness, entry.rank.demoted), {})
        there = present.setdefault(entry.rank.nearness, {})
        for counts_of in (pool, there):
            counts_of[entry.locality] = counts_of.get(entry.locality, 0) + entry.ready
        wanted[entry.locality] = wanted.get(entry.locality, 0) + entry.behind
    should = {
        near: sum(max(ready, wanted[locality]) for locality, ready in there.items()) for near, there in present.items()
    }
    in_turn = sorted(pools)
    counts = [(sum(pools[each].values()), should[each[0]]) for each in in_turn]
    exact: dict[Locality, float] = {}
    for pool, share in zip([pools[each] for each in in_turn], overflow(counts), strict=True):
        total = sum(pool.values())
        for locality, ready in pool.items():
            exact[locality] = exact.get(locality, 0.0) + (share * ready / total if total else 0.0)
    return _rounded(exact)


def overflow(pools: Sequence[tuple[int, int]]) -> list[float]:
    """The share of each pool, nearest first, from how many endpoints are ready and how many there should be.

    The shares add up to one, unless nothing is ready anywhere: then all are nothing. Where all together are too few,
    they carry everything in the proportion of what they would.
    """
    remaining = 1.0
    shares = []
    for ready, should in pools:
        share = min(remaining, OVERFLOW * ready / should) if should else 0.0
        shares.append(share)
        remaining -= share
    taken = sum(shares)
    return [share / taken for share in shares] if taken else shares


def _rounded(exact: Mapping[Locality, float]) -> dict[Locality, int]:
    """Integers that add up to ``WEIGHTS``, each next to its share (the largest remainders are rounded up)."""
    if not any(exact.values()):
        return dict.fromkeys(exact, 0)
    floors = {locality: int(share * WEIGHTS) for locality, share in exact.items()}
    by_remainder = sorted(exact, key=lambda locality: (floors[locality] - exact[locality] * WEIGHTS, locality))
    for locality in by_remainder[: WEIGHTS - sum(floors.values())]:
        floors[locality] += 1
    return floors
