"""In which order a client is shown the endpoints of a service. Pure: places and bundles in, an arrangement out.

1. Endpoints of another network than the client's are its gateways', with the weight of all that is ready behind them;
   of those in doubt only where there are no others. A gateway whose place nobody knows is where all of that is. An
   endpoint at the address of a gateway that the client is shown is that gateway: nobody is shown an address twice.
2. The rest is ranked: first by the failover list, then by nearness, then those that are not in doubt. Each rank that
   has endpoints is a priority, without gaps (gRFC A27).
3. With the distribution by weights nearness makes no priorities but shares: nearer pools take
   ``min(what remains, 1.4 * ready / expected)`` in turn. What gets no share comes later, by nearness. What is in doubt
   gets a share only where nothing else is ready in its locality (``registry.views.shares``).
4. New requests are for healthy endpoints: weights and shares count these. Where nothing that the client is shown is
   healthy, neither itself nor behind gateways, those that drain count, and are told as healthy
   (``registry.views.bundles.seen``). As long as one is healthy, in whichever priority, no other takes new requests.
5. Of a service that is for each node's own clients (``internalTrafficPolicy: Local``) a client is shown what is on its
   node, also where that is nothing: the API drops traffic rather than send it elsewhere (KEP-2086). A client that does
   not say its node is shown all: of nothing is it known that it is elsewhere.
5. Clients in a cluster that is in doubt are shown its endpoints where they would be without that, evicted ones too:
   what this process does not get to they may.

Ranks by doubt last: a nearby endpoint in doubt is worth trying before one far away, and traffic does not move to
another region because an API server restarts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Locality
from registry.model.reasons import Reason
from registry.model.services import Endpoint
from registry.model.trace import Recorder
from registry.views.bundles import Bundle, weight_of
from registry.views.gateways import once, should_be, through, use_of
from registry.views.place import Place
from registry.views.policy import Distribution, TrafficPolicy
from registry.views.ranks import Entry, Rank, is_at_home, is_hidden, is_on_node, nearness, rank_of, reaches
from registry.views.recorded import tell, tell_node, tell_rank
from registry.views.shadows import UNSHARED, Use, audience_of, in_shadow
from registry.views.shares import WEIGHTS, counted, locality_weights


class Slot(NamedTuple):
    """One LocalityLbEndpoints: bundles by their positions, and gateways with their weights."""

    priority: int
    locality: Locality
    weight: int
    bundles: tuple[int, ...]
    gateways: tuple[tuple[Gateway, int], ...] = ()


class Arrangement(NamedTuple):
    """What a client is shown. ``unreachable`` are networks that have endpoints and no gateway for this client.

    ``is_plain``: there are no gateways, and weights are those of the endpoints. ``last``: there are endpoints, and none
    of them, nor of those behind gateways, is healthy.
    """

    slots: tuple[Slot, ...]
    unreachable: tuple[str, ...] = ()
    is_plain: bool = False
    last: bool = False


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
    on_node = policy.local_only and bool(place.node)
    seen = [bundle for bundle in bundles if not is_hidden(bundle.traits, place)]
    remote = {} if on_node else _remote(seen, place)
    unreachable = tuple([network for network in sorted(remote) if not gateways.get(network)])
    behind = [
        (gateways.get(network, ()), found, should_be(found, seen, expected))
        for network, found in sorted(remote.items())
    ]
    ranked, entered = _shown(bundles, place, policy, behind, None, last=False)
    last = is_last(bundles, itertools.chain.from_iterable(_positions(ranked))) and not entered
    if last or recorder is not None:
        ranked, entered = _shown(bundles, place, policy, behind, recorder, last=last)
    weighted = policy.distribution is Distribution.WEIGHTED and not on_node
    if not remote and not weighted:
        return Arrangement(_ranked_slots(bundles, ranked), is_plain=True, last=last)
    entries = [*_entries(bundles, ranked, last=last), *entered]
    entries.sort(key=lambda entry: (entry.rank, entry.locality, entry.bundle, entry.gateway or Gateway("", 0)))
    if weighted:
        absent = _absent(seen, place, policy, expected)
        return Arrangement(_weighted(entries, absent, expected, bundles, recorder), unreachable, last=last)
    priorities = {rank: number for number, rank in enumerate(sorted({entry.rank for entry in entries}))}
    slots = _slots(bundles, [(priorities[entry.rank], entry) for entry in entries])
    return Arrangement(slots, unreachable, last=last)


def is_last(bundles: Sequence[Bundle], positions: Iterable[int]) -> bool:
    """Whether none of the endpoints in these bundles, given by their positions, is healthy."""
    return not any(bundles[each].ready for each in positions)


Behind = tuple[Sequence[Gateway], Sequence[Bundle], int]
"""The gateways of another network than the client's, what is behind them, and how many endpoints there should be."""


def _shown(
    bundles: Sequence[Bundle],
    place: Place,
    policy: TrafficPolicy,
    remote: Sequence[Behind],
    recorder: Recorder | None,
    *,
    last: bool,
) -> tuple[Ranked, list[Entry]]:
    """What the client is shown itself, and the gateways it is shown; ``last``: none of it is healthy."""
    others: list[Entry] = []
    for gateways, behind, should in remote:
        others += through(gateways, behind, place, policy, should, recorder, last=last)
    entered = once(others)
    ranked = _direct(bundles, place, policy, {use_of(each) for each in entered}, recorder)
    if last and recorder is not None:
        for position in itertools.chain.from_iterable(_positions(ranked)):
            tell(recorder, bundles[position], Reason.NONE_READY)
    return ranked, entered


def _positions(ranked: Ranked) -> Iterator[list[int]]:
    return (positions for places in ranked.values() for positions in places.values())


Ranked = dict[Rank, dict[Locality, list[int]]]
"""Bundles by their positions, as they are ranked and where they are."""


def _remote(bundles: Sequence[Bundle], place: Place) -> dict[str, list[Bundle]]:
    """What the client gets to through gateways alone, by network."""
    found: dict[str, list[Bundle]] = {}
    for bundle in bundles:
        if not reaches(place, bundle.traits.network):
            found.setdefault(bundle.traits.network, []).append(bundle)
    return found


def _direct(
    bundles: Sequence[Bundle],
    place: Place,
    policy: TrafficPolicy,
    entered: Set[Use],
    recorder: Recorder | None,
) -> Ranked:
    """What the client is shown itself, none of it twice; ``entered`` are the gateways that it is shown.

    Of what is for each node's own clients no gateway leads to the node: where that is, there is its network.
    """
    ranked: Ranked = {}
    on_node = policy.local_only and bool(place.node)
    audience = audience_of(place, by_node=policy.local_only)
    for position, bundle in enumerate(bundles):
        traits = bundle.traits
        reached = reaches(place, traits.network)
        if is_hidden(traits, place):
            tell(recorder, bundle, Reason.EVICTED)
        elif on_node and not (reached and is_on_node(traits.locality.sub_zone, traits.node, place)):
            tell(recorder, bundle, Reason.NOT_ON_NODE, f"node {traits.node or 'unknown'} of {traits.locality.sub_zone}")
        elif reached and not (traits.sharing is not UNSHARED and _is_shown_twice(bundle, audience, entered, recorder)):
            rank = rank_of(bundle, place, policy)
            ranked.setdefault(rank, {}).setdefault(traits.locality, []).append(position)
            if recorder is not None:
                tell_node(recorder, bundle, policy, place)
                if is_at_home(traits, place):
                    tell(recorder, bundle, Reason.OWN_CLUSTER, f"cluster {place.cluster} is {traits.standing}")
                tell_rank(recorder, bundle, rank, policy)
    return ranked


def _is_shown_twice(bundle: Bundle, audience: int, entered: Set[Use], recorder: Recorder | None) -> bool:
    """Whether one of its addresses is shown already: as a gateway, or as an endpoint that comes first."""
    sharing = bundle.traits.sharing
    gateways = [use for use in sharing.entrances if use in entered]
    if gateways:
        tell(recorder, bundle, Reason.IS_GATEWAY, ", ".join(f"{address}:{port}" for address, port in gateways))
        return True
    shadows = in_shadow(sharing.shadows, audience, entered)
    if shadows:
        networks = ", ".join(sorted({each.network or "that is not known" for each in shadows}))
        tell(recorder, bundle, Reason.SHADOWED, f"network {networks}")
    return bool(shadows)


def _entries(bundles: Sequence[Bundle], ranked: Ranked, *, last: bool) -> list[Entry]:
    return [
        Entry(rank, locality, bundles[each].taken(last=last), bundles[each].takers(last=last), each)
        for rank, places in ranked.items()
        for locality, positions in places.items()
        for each in positions
    ]


def _ranked_slots(bundles: Sequence[Bundle], ranked: Ranked) -> tuple[Slot, ...]:
    """What happens most, no gateways and no shares: a slot for each rank and locality. The same as the long way."""
    return tuple(
        [
            Slot(priority, locality, weight_of([bundles[each] for each in positions]), tuple(positions))
            for priority, rank in enumerate(sorted(ranked))
            for locality, positions in sorted(ranked[rank].items())
        ]
    )


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


def _slots(
    bundles: Sequence[Bundle],
    placed: Sequence[tuple[int, Entry]],
    weights: Mapping[tuple[int, Locality], int] | None = None,
) -> tuple[Slot, ...]:
    """Entries, in their order, as one slot per priority and locality."""
    found: dict[tuple[int, Locality], list[Entry]] = {}
    for priority, entry in placed:
        found.setdefault((priority, entry.locality), []).append(entry)
    return tuple(
        Slot(
            priority,
            locality,
            (weights or {}).get((priority, locality)) or _weight(bundles, entries),
            tuple([entry.bundle for entry in entries if entry.gateway is None]),
            tuple([(entry.gateway, entry.weight) for entry in entries if entry.gateway is not None]),
        )
        for (priority, locality), entries in sorted(found.items())
    )


def _weight(bundles: Sequence[Bundle], entries: Sequence[Entry]) -> int:
    return sum([entry.weight for entry in entries]) or weight_of([bundles[entry.bundle] for entry in entries])


def _weighted(
    entries: Sequence[Entry],
    absent: Sequence[Entry],
    expected: Mapping[Locality, int],
    bundles: Sequence[Bundle],
    recorder: Recorder | None,
) -> tuple[Slot, ...]:
    """Shares in the place of priorities, tier by tier; what gets none comes after them, by its rank."""
    placed: list[tuple[int, Entry]] = []
    weights: dict[tuple[int, Locality], int] = {}
    priority = 0
    for tier in sorted({entry.rank.tier for entry in entries}):
        present = [entry for entry in entries if entry.rank.tier == tier]
        sharing = counted(present)
        shared = locality_weights([*sharing, *(entry for entry in absent if entry.rank.tier == tier)], expected)
        first = [entry for entry in sharing if shared.get(entry.locality)]
        placed_first = set(map(id, first))
        later = [entry for entry in present if id(entry) not in placed_first]
        _tell_shares(sharing, shared, bundles, recorder)
        for members in filter(None, (first, *_by_rank(later))):
            placed += ((priority, entry) for entry in members)
            if members is first:
                weights |= {(priority, locality): weight for locality, weight in shared.items() if weight}
            priority += 1
    return _slots(bundles, placed, weights)


def _tell_shares(
    entries: Sequence[Entry], shared: Mapping[Locality, int], bundles: Sequence[Bundle], recorder: Recorder | None
) -> None:
    for entry in entries if recorder is not None else ():
        if entry.bundle >= 0:
            share = shared.get(entry.locality)
            reason = Reason.WEIGHT_SHARE if share else Reason.NO_SHARE
            tell(recorder, bundles[entry.bundle], reason, f"{share or 0} of {WEIGHTS} for {entry.locality}")


def _by_rank(entries: Sequence[Entry]) -> list[list[Entry]]:
    in_turn = sorted({entry.rank for entry in entries})
    return [[entry for entry in entries if entry.rank == rank] for rank in in_turn]
