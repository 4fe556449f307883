"""What of a complete list is believed: what it lacks is removed, or held in doubt. The rules are the guard's policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from registry.index.addresses import canonical_address
from registry.index.gateways import network_of
from registry.index.guard import HoldReason, RemovalGuard
from registry.index.join import SYSTEM_NAMESPACE
from registry.index.store import Difference, FactStore
from registry.model.facts import NETWORK_LABEL, EndpointSlice, Fact, Namespace, Service, ServiceExport
from registry.model.names import Kind, ServiceKey

BEARING = frozenset({Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.SERVICE_EXPORT})
"""The kinds whose removal takes endpoints out of the list. The others say more about endpoints that are there."""

Addresses = Callable[[ServiceKey], set[str]]
"""The endpoints that a service has in the cluster now, held ones too."""


class Judge:
    """Judges the lists of one cluster once they are swapped in, and has ``guard`` hold what they are not believed."""

    def __init__(self, facts: FactStore, guard: RemovalGuard) -> None:
        self._facts = facts
        self._guard = guard

    def objects(self, lost: Iterable[Difference], before: int, after: int, *, rewound: bool, now: float) -> None:
        """A list of a kind that bears no endpoints lacks ``lost``; it had ``before`` objects, and has ``after``.

        The namespace that says on which network all endpoints are is held in any case.
        """
        if rewound or self._guard.policy.doubts(before, after):
            self.hold_all(lost, HoldReason.REWOUND if rewound else HoldReason.OBJECTS_SHRUNK, now)
        else:
            self.hold_all((each for each in lost if _names_network(each.old)), HoldReason.OBJECTS_SHRUNK, now)

    def endpoints(
        self,
        lost: Sequence[Difference],
        before: Mapping[ServiceKey, set[str]],
        total: int,
        addresses: Addresses,
        *,
        rewound: bool,
        now: float,
    ) -> None:
        """Hold the losses of the services, or of all services, of which the list would take too much.

        ``before`` are the endpoints of each service that lost something, ``total`` those of all services, as they were;
        ``addresses`` gives those of a service now.
        """
        after = {key: addresses(key) for key in before}
        reasons = self._doubts(before, after, total, rewound)
        for each in lost:
            for key in keys_of([each]) & reasons.keys():
                self._hold(each, before[key] - after[key], reasons[key], now)
        self._gateways(lost, set(reasons.values()), rewound, now)

    def _gateways(self, lost: Iterable[Difference], reasons: set[HoldReason], rewound: bool, now: float) -> None:
        """Hold the gateways that a doubted list lacks, and a network's last one.

        Else clients of other networks would lose by that list what is kept behind them.
        """
        gone = [(each, network_of(each.old)) for each in lost if isinstance(each.old, Service) and each.new is None]
        gone = [(each, network) for each, network in gone if network]
        if not gone:
            return
        rest = {network_of(each) for each in self._facts.held(Kind.SERVICE).values() if isinstance(each, Service)}
        for each, network in gone:
            if rewound or reasons or network not in rest:
                doubt = HoldReason.REWOUND if rewound else min(reasons, default=HoldReason.SERVICE_EMPTIED)
                self._hold(each, set(), doubt, now)

    def _doubts(
        self,
        before: Mapping[ServiceKey, set[str]],
        after: Mapping[ServiceKey, set[str]],
        total: int,
        rewound: bool,
    ) -> dict[ServiceKey, HoldReason]:
        policy = self._guard.policy
        losing = {key for key in before if before[key] - after[key]}
        if rewound:
            return dict.fromkeys(losing, HoldReason.REWOUND)
        doubted = {
            key: HoldReason.SERVICE_SHRUNK if after[key] else HoldReason.SERVICE_EMPTIED
            for key in losing
            if policy.doubts(len(before[key]), len(after[key]))
        }
        shrunk = sum(len(before[key]) - len(after[key]) for key in before)
        if policy.doubts(total, total - shrunk):
            return dict.fromkeys(losing, HoldReason.CLUSTER_SHRUNK) | doubted
        return doubted

    def _hold(self, lost: Difference, addresses: set[str], reason: HoldReason, now: float) -> None:
        old = lost.old
        if isinstance(old, EndpointSlice):
            remainder = tuple(each for each in old.endpoints if canonical_address(each.address) in addresses)
            if remainder:
                self._guard.hold(replace(old, endpoints=remainder), reason, now)
        elif old is not None and lost.new is None:
            self._guard.hold(old, reason, now)

    def hold_all(self, lost: Iterable[Difference], reason: HoldReason, now: float) -> None:
        """Hold all of it, of slices the endpoints that are in them no more."""
        for each in lost:
            there = {end.address for end in each.new.endpoints} if isinstance(each.new, EndpointSlice) else set()
            old = each.old
            gone = {end.address for end in old.endpoints} - there if isinstance(old, EndpointSlice) else set()
            self._hold(each, {canonical_address(address) or "" for address in gone}, reason, now)


def _names_network(fact: Fact | None) -> bool:
    return isinstance(fact, Namespace) and fact.name == SYSTEM_NAMESPACE and NETWORK_LABEL in dict(fact.labels)


def keys_of(differences: Iterable[Difference]) -> set[ServiceKey]:
    """The services that objects of bearing kinds belong to, before and after."""
    found: set[ServiceKey] = set()
    for difference in differences:
        for fact in difference:
            match fact:
                case Service() | ServiceExport():
                    found.add(fact.key)
                case EndpointSlice(namespace, _, service) if service:
                    found.add(ServiceKey(namespace, service))
                case _:
                    pass
    return found
