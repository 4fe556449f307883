"""In which order a client is shown the endpoints of a service. Pure: places and bundles in, an arrangement out.

1. Endpoints of another network than the client's are its gateways', with the weight of all that is ready behind them;
   of those in doubt only where there are no others. A gateway whose place nobody knows is where all of that is.
2. The rest is ranked: first by the failover list, then by nearness, then those that are not in doubt. Each rank that
   has endpoints is a priority, without gaps (gRFC A27).
3. With the distribution by weights nearness makes no priorities but shares: nearer pools take
   ``min(what remains, OVERFLOW * ready / expected)`` in turn. What gets no share comes later, by nearness.
4. Of a service that is for each node's own clients (``internalTrafficPolicy: Local``) a client is shown what is on its
   node, also where that is nothing: the API drops traffic rather than send it elsewhere (KEP-2086). A client that does
   not say its node is shown all: of nothing is it known that it is elsewhere.

Ranks by doubt last: a nearby endpoint in doubt is worth trying before one far away, and traffic does not move to
another region because an API server restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Locality
from registry.model.reasons import Reason
from registry.model.services import Endpoint
from registry.model.trace import Recorder
from registry.views.bundles import Bundle
from registry.views.place import Place
from registry.views.policy import Distribution, TrafficPolicy
from registry.views.recorded import tell, tell_gateways, tell_rank, tell_shadows

OVERFLOW = 1.4
"""A pool takes all of its traffic as long as 1 / 1.4 = 71 % of what it should have is ready: Envoy's own factor."""

WEIGHTS = 10_000
"""What the locality weights of a priority add up to, where they are shares."""


class Nearness(IntEnum):
    """How far an endpoint is from a client."""

    SAME_NODE = 0
    SAME_ZONE = 1
    SAME_REGION = 2
    ELSEWHERE = 3


class Rank(NamedTuple):
    """What an endpoint's priority is made of; the smallest comes first."""

    tier: int
    nearness: Nearness
    demoted: bool


class Entry(NamedTuple):
    """One thing to be placed: a bundle, by its position, or a gateway (``bundle`` -1) with a weight of its own.

    ``behind`` is how many endpoints there should be behind a gateway.
    """

    rank: Rank
    locality: Locality
    weight: int
    ready: int
    bundle: int
    gateway: Gateway | None = None
    behind: int = 0


class Slot(NamedTuple):
    """One LocalityLbEndpoints: bundles by their positions, and gateways with their weights."""

    priority: int
    locality: Locality
    weight: int
    bundles: tuple[int, ...]
    gateways: tuple[tuple[Gateway, int], ...] = ()


class Arrangement(NamedTuple):
    """What a client is shown. ``unreachable`` are networks that have endpoints and no gateway for this client.

    ``is_plain``: there are no gateways, and weights are those of the endpoints.
    """

    slots: tuple[Slot, ...]
    unreachable: tuple[str, ...] = ()
    is_plain: bool = False


def arrange(
    bundles: Sequence[Bundle],
    place: Place,
    policy: TrafficPolicy,
    expected: Mapping[Locality, int],
    gateways: Gateways,
    recorder: Recorder | None = None,
) -> Arrangement:
    """The order of ``bundles`` for a client at ``place``.

    ``expected`` is how many endpoints a locality should have, also one of which nothing is ready. A ``recorder`` is
    told what is decided of each endpoint.
    """
    if (
        recorder is None
        and not policy.local_only
        and policy.distribution is not Distribution.WEIGHTED
        and all(reaches(place, each.traits.network) for each in bundles)
    ):
        return Arrangement(_by_rank(bundles, place, policy), is_plain=True)
    if policy.local_only and place.node:
        return Arrangement(_on_node(bundles, place, policy, recorder), is_plain=True)
    entries: list[Entry] = []
    remote: dict[str, list[Bundle]] = {}
    for position, bundle in enumerate(bundles):
        network = bundle.traits.network
        if not reaches(place, network):
            remote.setdefault(network, []).append(bundle)
        elif not any(reaches(place, other.network) for other in bundle.traits.shadows):
            rank = rank_of(bundle, place, policy)
            entries.append(Entry(rank, bundle.traits.locality, bundle.weight, bundle.ready, position))
            tell(recorder if policy.local_only else None, bundle, Reason.NODE_UNKNOWN)
            tell_rank(recorder, bundle, rank, policy)
        else:
            tell_shadows(recorder, bundle)
    absent = _absent(bundles, place, policy, expected) if policy.distribution is Distribution.WEIGHTED else []
    unreachable = tuple(network for network in sorted(remote) if not gateways.get(network))
    for network, behind in sorted(remote.items()):
        should = _should_be(behind, bundles, expected)
        entries += _through(gateways.get(network, ()), behind, place, policy, should, recorder)
    entries.sort(key=lambda entry: (entry.rank, entry.locality, entry.bundle, entry.gateway or Gateway("", 0)))
    if policy.distribution is Distribution.WEIGHTED:
        return Arrangement(_weighted(entries, absent, expected, bundles, recorder), unreachable)
    priorities = {rank: number for number, rank in enumerate(sorted({entry.rank for entry in entries}))}
    return Arrangement(_slots([(priorities[entry.rank], entry) for entry in entries]), unreachable)


def _by_rank(bundles: Sequence[Bundle], place: Place, policy: TrafficPolicy) -> tuple[Slot, ...]:
    """What happens most, no gateways and no shares: a slot for each rank and locality. The same as the long way."""
    ranked: dict[Rank, dict[Locality, list[int]]] = {}
    for position, bundle in enumerate(bundles):
        traits = bundle.traits
        if traits.shadows and any(reaches(place, other.network) for other in traits.shadows):
            continue
        places = ranked.setdefault(rank_of(bundle, place, policy), {})
        places.setdefault(traits.locality, []).append(position)
    return _ranked_slots(bundles, ranked)


def _on_node(
    bundles: Sequence[Bundle], place: Place, policy: TrafficPolicy, recorder: Recorder | None
) -> tuple[Slot, ...]:
    """The same of what is on the client's node. Where that is, there is its network; no gateway leads to it."""
    ranked: dict[Rank, dict[Locality, list[int]]] = {}
    for position, bundle in enumerate(bundles):
        traits = bundle.traits
        if not is_on_node(traits.locality.sub_zone, traits.node, place) or not reaches(place, traits.network):
            tell(recorder, bundle, Reason.NOT_ON_NODE, f"node {traits.node or 'unknown'} of {traits.locality.sub_zone}")
        elif any(
            reaches(place, each.network) and is_on_node(each.cluster, each.node, place) for each in traits.shadows
        ):
            tell_shadows(recorder, bundle)
        else:
            rank = rank_of(bundle, place, policy)
            ranked.setdefault(rank, {}).setdefault(traits.locality, []).append(position)
            tell(recorder, bundle, Reason.ON_NODE)
            tell_rank(recorder, bundle, rank, policy)
    return _ranked_slots(bundles, ranked)


def _ranked_slots(
    bundles: Sequence[Bundle], ranked: Mapping[Rank, Mapping[Locality, Sequence[int]]]
) -> tuple[Slot, ...]:
    return tuple(
        [
            Slot(priority, locality, sum([bundles[each].weight for each in positions]), tuple(positions))
            for priority, rank in enumerate(sorted(ranked))
            for locality, positions in sorted(ranked[rank].items())
        ]
    )


def reaches(place: Place, network: str) -> bool:
    """Whether a client gets to that network's endpoints without a gateway; what is not known is taken for one's own."""
    return not place.network or not network or network == place.network


def rank_of(bundle: Bundle, place: Place, policy: TrafficPolicy) -> Rank:
    traits = bundle.traits
    return Rank(traits.tier, nearness(traits.locality, traits.node, place, policy.distribution), traits.demoted)


def is_on_node(cluster: str, node: str, place: Place) -> bool:
    """Whether that is the client's node. Clusters may name nodes alike; what cluster is not known may be the same."""
    return bool(place.node) and node == place.node and place.cluster in ("", cluster)


def nearness(locality: Locality, node: str, place: Place, distribution: Distribution) -> Nearness:
    """How near an endpoint is, as far as the distribution cares."""
    if distribution is Distribution.ANY:
        return Nearness.ELSEWHERE
    same_region = bool(place.region) and locality.region == place.region
    if distribution is Distribution.PREFER_SAME_NODE and is_on_node(locality.sub_zone, node, place):
        return Nearness.SAME_NODE
    if same_region and place.zone and locality.zone == place.zone:
        return Nearness.SAME_ZONE
    return Nearness.SAME_REGION if same_region else Nearness.ELSEWHERE


def _absent(
    bundles: Sequence[Bundle], place: Place, policy: TrafficPolicy, expected: Mapping[Locality, int]
) -> list[Entry]:
    """Localities that should have endpoints and have none that are listed: what a pool should have includes theirs.

    On which network such a locality is nobody says; where its cluster is reached through gateways it is left out.
    """
    present = {bundle.traits.locality for bundle in bundles}
    remote = {each.traits.locality.sub_zone for each in bundles if not reaches(place, each.traits.network)}
    found = []
    for locality, should in expected.items():
        if locality in present or locality.sub_zone in remote:
            continue
        tier = policy.tier(Endpoint(locality, "", (), ClusterId(locality.sub_zone)))
        if tier is not None:
            rank = Rank(tier, nearness(locality, "", place, policy.distribution), demoted=False)
            found.append(Entry(rank, locality, 0, 0, -1, behind=should))
    return found


def _should_be(behind: Sequence[Bundle], bundles: Sequence[Bundle], expected: Mapping[Locality, int]) -> int:
    """How many endpoints there should be behind gateways: those of localities that are absent there too."""
    here = {bundle.traits.locality for bundle in behind}
    clusters = {locality.sub_zone for locality in here}
    others = {bundle.traits.locality for bundle in bundles} - here
    counted = (locality for locality in expected if locality in here or locality.sub_zone in clusters)
    return sum(expected[locality] for locality in counted if locality not in others)


def _through(
    gateways: Sequence[Gateway],
    behind: Sequence[Bundle],
    place: Place,
    policy: TrafficPolicy,
    should: int,
    recorder: Recorder | None,
) -> list[Entry]:
    """The gateways of a network in the place of what is behind them; none where nothing is ready there.

    ``should`` is how many endpoints there should be behind them.
    Nobody can tell a gateway which of them to take, so they come in the place of the first in the failover list.
    """
    doubted = [bundle for bundle in behind if bundle.ready]
    sure = [bundle for bundle in doubted if not bundle.traits.demoted]
    ready = sure or doubted
    total, count = sum(bundle.ready_weight for bundle in ready), len(gateways)
    tell_gateways(recorder, behind, ready, gateways)
    if not total:
        return []
    tier = min(bundle.traits.tier for bundle in ready)
    endpoints = sum(bundle.ready for bundle in ready)
    common = _common({bundle.traits.locality for bundle in ready})
    entries = []
    for position, gateway in enumerate(sorted(gateways)):
        weight, some, all_ = (_part(number, count, position) for number in (total, endpoints, should))
        locality = gateway.locality if gateway.locality.region else common
        rank = Rank(tier, nearness(locality, "", place, policy.distribution), demoted=not sure)
        entries.append(Entry(rank, locality, weight, some, -1, gateway, all_))
    return entries


def _part(total: int, count: int, position: int) -> int:
    """The integer that is the share of one of ``count``; at least 1, since nobody may have the weight 0."""
    return max(1, total // count + (position < total % count))


def _common(localities: Iterable[Locality]) -> Locality:
    """The place that has all of these in it: what is not the same of all is empty."""
    parts = []
    for part in zip(*localities, strict=True):
        if len(set(part)) > 1:
            break
        parts.append(part[0])
    return Locality(*parts)


def _slots(
    placed: Sequence[tuple[int, Entry]], weights: Mapping[tuple[int, Locality], int] | None = None
) -> tuple[Slot, ...]:
    """Entries, in their order, as one slot per priority and locality."""
    found: dict[tuple[int, Locality], list[Entry]] = {}
    for priority, entry in placed:
        found.setdefault((priority, entry.locality), []).append(entry)
    return tuple(
        Slot(
            priority,
            locality,
            (weights or {}).get((priority, locality), sum([entry.weight for entry in entries])),
            tuple([entry.bundle for entry in entries if entry.gateway is None]),
            tuple([(entry.gateway, entry.weight) for entry in entries if entry.gateway is not None]),
        )
        for (priority, locality), entries in sorted(found.items())
    )


def _weighted(
    entries: Sequence[Entry],
    absent: Sequence[Entry],
    expected: Mapping[Locality, int],
    bundles: Sequence[Bundle],
    recorder: Recorder | None,
) -> tuple[Slot, ...]:
    """Shares in the place of priorities, tier by tier; what is in doubt, and what gets no share, comes after them."""
    placed: list[tuple[int, Entry]] = []
    weights: dict[tuple[int, Locality], int] = {}
    priority = 0
    for tier in sorted({entry.rank.tier for entry in entries}):
        sure = [entry for entry in entries if entry.rank.tier == tier and not entry.rank.demoted]
        shared = locality_weights([*sure, *(entry for entry in absent if entry.rank.tier == tier)], expected)
        first = [entry for entry in sure if shared.get(entry.locality)]
        later = [entry for entry in sure if not shared.get(entry.locality)]
        doubted = [entry for entry in entries if entry.rank.tier == tier and entry.rank.demoted]
        _tell_shares(sure, shared, bundles, recorder)
        for members in filter(None, (first, *_by_nearness(later), *_by_nearness(doubted))):
            placed += ((priority, entry) for entry in members)
            if members is first:
                weights |= {(priority, locality): weight for locality, weight in shared.items() if weight}
            priority += 1
    return _slots(placed, weights)


def _tell_shares(
    entries: Sequence[Entry], shared: Mapping[Locality, int], bundles: Sequence[Bundle], recorder: Recorder | None
) -> None:
    for entry in entries if recorder is not None else ():
        if entry.bundle >= 0:
            share = shared.get(entry.locality)
            reason = Reason.WEIGHT_SHARE if share else Reason.NO_SHARE
            tell(recorder, bundles[entry.bundle], reason, f"{share or 0} of {WEIGHTS} for {entry.locality}")


def _by_nearness(entries: Sequence[Entry]) -> list[list[Entry]]:
    nearest_first = sorted({entry.rank.nearness for entry in entries})
    return [[entry for entry in entries if entry.rank.nearness is near] for near in nearest_first]


def locality_weights(entries: Sequence[Entry], expected: Mapping[Locality, int]) -> dict[Locality, int]:
    """Each locality's share as an integer; together they are ``WEIGHTS``, or nothing where nothing is ready."""
    pools: dict[Nearness, dict[Locality, int]] = {}
    direct = {entry.locality for entry in entries if entry.bundle >= 0}
    wanted = {locality: expected.get(locality, 0) for locality in direct}
    for entry in entries:
        pool = pools.setdefault(entry.rank.nearness, {})
        pool[entry.locality] = pool.get(entry.locality, 0) + entry.ready
        wanted[entry.locality] = wanted.get(entry.locality, 0) + entry.behind
    nearest_first = [pools[near] for near in sorted(pools)]
    counts = [
        (sum(pool.values()), sum(max(ready, wanted[locality]) for locality, ready in pool.items()))
        for pool in nearest_first
    ]
    exact: dict[Locality, float] = {}
    for pool, share in zip(nearest_first, overflow(counts), strict=True):
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
