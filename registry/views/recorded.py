"""What the views tell a recorder of bundles: the same of each endpoint in them. Costs nothing where there is none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from registry.model.gateways import Gateway
from registry.model.reasons import Reason
from registry.model.services import Health
from registry.model.trace import Recorder
from registry.views.bundles import Bundle, facing
from registry.views.place import Place
from registry.views.policy import Distribution, TrafficPolicy

NEARNESS = (Reason.SAME_NODE, Reason.SAME_ZONE, Reason.SAME_REGION, Reason.ELSEWHERE)
"""In the order of ``registry.views.ranks.Nearness``."""


def tell(recorder: Recorder | None, bundle: Bundle, reason: Reason, detail: str = "") -> None:
    if recorder is not None:
        for endpoint in bundle.endpoints:
            recorder.note(endpoint, reason, detail)


def tell_node(recorder: Recorder, bundle: Bundle, policy: TrafficPolicy, place: Place) -> None:
    """Of what is for each node's own clients: that it is on the client's node, or that this is not known."""
    if policy.local_only:
        tell(recorder, bundle, Reason.ON_NODE if place.node else Reason.NODE_UNKNOWN)


def tell_rank(recorder: Recorder | None, bundle: Bundle, rank: tuple[int, int, bool], policy: TrafficPolicy) -> None:
    """What the bundle's priority is made of."""
    if recorder is None:
        return
    tier, nearness, demoted = rank
    if policy.failover:
        selector = f"selector {tier + 1} of {len(policy.failover)}"
        tell(recorder, bundle, Reason.FAILOVER_TIER, selector if tier < len(policy.failover) else "the fallback")
    if policy.distribution is not Distribution.ANY:
        tell(recorder, bundle, NEARNESS[nearness], f"{policy.distribution}: {bundle.traits.locality}")
    elif not policy.failover:
        tell(recorder, bundle, Reason.UNORDERED)
    if demoted:
        tell(recorder, bundle, Reason.IN_DOUBT)


def tell_family(recorder: Recorder, bundles: Iterable[Bundle], family: str) -> None:
    """Of which endpoints another address comes first than the Service's own first family would have it."""
    for bundle in bundles:
        for endpoint in bundle.endpoints:
            turned = facing(endpoint, family)
            if turned is not endpoint:
                recorder.note(endpoint, Reason.OWN_FAMILY_FIRST, f"{turned.address} before {endpoint.address}")


def tell_gateways(
    recorder: Recorder | None,
    behind: Sequence[Bundle],
    counted: Collection[Bundle],
    gateways: Sequence[Gateway],
    *,
    last: bool,
) -> None:
    """What stands for the bundles ``behind`` gateways: weights of the healthy ones in ``counted``, or, where these are
    the ``last``, of all."""
    if recorder is None:
        return
    names = ", ".join(f"{each.address}:{each.port}" for each in sorted(gateways))
    for bundle in behind:
        network = f"network {bundle.traits.network}"
        for endpoint in bundle.endpoints:
            if not gateways:
                recorder.note(endpoint, Reason.NETWORK_WITHOUT_GATEWAY, network)
            elif not counted:
                recorder.note(endpoint, Reason.NOTHING_READY, f"{network}, gateways {names}")
            elif bundle in counted and (last or endpoint.health is Health.HEALTHY):
                recorder.note(endpoint, Reason.OTHER_NETWORK, f"{network}, gateways {names}")
            else:
                recorder.note(endpoint, Reason.NOT_COUNTED, f"{network}, gateways {names}")
