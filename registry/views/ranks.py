"""Where the endpoints of a bundle come in a client's order, and what is placed by that. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from registry.model.gateways import Gateway
from registry.model.names import Locality, same_zone
from registry.model.standing import Standing
from registry.views.bundles import Bundle, Traits
from registry.views.place import Place
from registry.views.policy import Distribution, TrafficPolicy


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


def reaches(place: Place, network: str) -> bool:
    """Whether a client gets to that network's endpoints without a gateway; what is not known is taken for one's own."""
    return not place.network or not network or network == place.network


def rank_of(bundle: Bundle, place: Place, policy: TrafficPolicy) -> Rank:
    traits = bundle.traits
    near = nearness(traits.locality, traits.node, place, policy.distribution)
    return Rank(traits.tier, near, in_doubt(traits, place))


def is_at_home(traits: Traits, place: Place) -> bool:
    """Whether the client is in the endpoints' own cluster, and that is in doubt: to its own clients it is not."""
    return traits.standing is not Standing.CURRENT and place.cluster == traits.locality.sub_zone


def in_doubt(traits: Traits, place: Place) -> bool:
    """Whether a client at ``place`` should use others first."""
    return traits.demoted and not (traits.standing is Standing.DEMOTED and is_at_home(traits, place))


def is_hidden(traits: Traits, place: Place) -> bool:
    """Whether the endpoints' cluster is evicted, as far as that client is concerned."""
    return traits.standing is Standing.EVICTED and not is_at_home(traits, place)


def is_on_node(cluster: str, node: str, place: Place) -> bool:
    """Whether that is the client's node. Clusters may name nodes alike; what cluster is not known may be the same."""
    return bool(place.node) and node == place.node and place.cluster in ("", cluster)


def nearness(locality: Locality, node: str, place: Place, distribution: Distribution) -> Nearness:
    """How near an endpoint is, as far as the distribution cares."""
    if distribution is Distribution.ANY:
        return Nearness.ELSEWHERE
    if distribution is Distribution.PREFER_SAME_NODE and is_on_node(locality.sub_zone, node, place):
        return Nearness.SAME_NODE
    if same_zone((locality.region, locality.zone), (place.region, place.zone)):
        return Nearness.SAME_ZONE
    return Nearness.SAME_REGION if place.region and locality.region == place.region else Nearness.ELSEWHERE
