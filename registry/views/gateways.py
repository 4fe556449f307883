"""What stands for endpoints of another network: its gateways, with the weight of all that is ready there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from registry.model.gateways import Gateway
from registry.model.names import Locality
from registry.model.trace import Recorder
from registry.views.bundles import Bundle
from registry.views.place import Place
from registry.views.policy import TrafficPolicy
from registry.views.ranks import Entry, Rank, in_doubt, nearness
from registry.views.recorded import tell_gateways
from registry.views.shadows import Use


def should_be(behind: Sequence[Bundle], bundles: Sequence[Bundle], expected: Mapping[Locality, int]) -> int:
    """How many endpoints there should be behind gateways: those of localities that are absent there too."""
    here = {bundle.traits.locality for bundle in behind}
    clusters = {locality.sub_zone for locality in here}
    others = {bundle.traits.locality for bundle in bundles} - here
    counted = (locality for locality in expected if locality in here or locality.sub_zone in clusters)
    return sum(expected[locality] for locality in counted if locality not in others)


def through(
    gateways: Sequence[Gateway],
    behind: Sequence[Bundle],
    place: Place,
    policy: TrafficPolicy,
    should: int,
    recorder: Recorder | None,
    *,
    last: bool,
) -> list[Entry]:
    """The gateways of a network in the place of what is behind them; none where nothing is ready there.

    ``should`` is how many endpoints there should be behind them. ``last``: nothing that the client is shown is ready,
    so what drains counts.
    Nobody can tell a gateway which of them to take, so they come in the place of the first in the failover list.
    """
    doubted = [bundle for bundle in behind if bundle.takers(last=last)]
    sure = [bundle for bundle in doubted if not in_doubt(bundle.traits, place)]
    ready = sure or doubted
    total, count = sum(bundle.taken(last=last) for bundle in ready), len(gateways)
    tell_gateways(recorder, behind, ready, gateways, last=last)
    if not total:
        return []
    tier = min(bundle.traits.tier for bundle in ready)
    endpoints = sum(bundle.takers(last=last) for bundle in ready)
    common = _common({bundle.traits.locality for bundle in ready})
    entries = []
    for position, gateway in enumerate(sorted(gateways)):
        weight, some, all_ = (_part(number, count, position) for number in (total, endpoints, should))
        locality = gateway.locality if gateway.locality.region or gateway.locality.zone else common
        rank = Rank(tier, nearness(locality, "", place, policy.distribution), demoted=not sure)
        entries.append(Entry(rank, locality, weight, some, -1, gateway, all_))
    return entries


def use_of(entry: Entry) -> Use:
    """Where the entry's gateway is."""
    assert entry.gateway is not None
    return entry.gateway.address, entry.gateway.port


def once(entries: Iterable[Entry]) -> list[Entry]:
    """Gateways of several networks with none twice, since gRPC refuses an assignment that repeats an address and port.

    One of two networks has the weight of both, and stands where the first of them would; as behind one network, those
    in doubt count only where there are no others.
    """
    found: dict[Use, list[Entry]] = {}
    for entry in entries:
        found.setdefault(use_of(entry), []).append(entry)
    return [same[0] if len(same) == 1 else _together(same) for same in found.values()]


def _together(same: Sequence[Entry]) -> Entry:
    sure = [entry for entry in same if not entry.rank.demoted] or same
    return min(sure, key=lambda entry: (entry.rank, entry.locality, entry.gateway))._replace(
        weight=sum(entry.weight for entry in sure),
        ready=sum(entry.ready for entry in sure),
        behind=sum(entry.behind for entry in same),
    )


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
