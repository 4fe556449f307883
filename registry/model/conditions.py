"""What is true of a cluster or a service just now, in the form of Kubernetes' conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class ConditionType(StrEnum):
    """What is said. True is the good state."""

    NAMED = "Named"
    """Somebody names it as a member. False: nobody does any more, and that is doubted. Else it may be absent."""
    SYNCED = "Synced"
    """Every kind is listed and followed."""
    IDENTITY_CONFIRMED = "IdentityConfirmed"
    """The credentials lead to the cluster they led to before, and no other member is that cluster."""
    CREDENTIALS_CURRENT = "CredentialsCurrent"
    """The credentials in use are the newest that were given. False: newer ones were tried and do not work."""
    API_FRESH = "ApiFresh"
    """The API server was heard of lately, about every kind."""
    DATA_PLANE_UP = "DataPlaneUp"
    """The probes of the cluster's data plane are answered. Absent where there are none."""
    CONSISTENT = "Consistent"
    """What is held is what a listing of names and versions says."""
    KNOWN = "Known"
    """False: nothing is known of it: no list, no snapshot, no peer. Else it is absent, or has come to be known."""
    VERIFIED = "Verified"
    """Its first list since the start is complete. False: what is shown is from the snapshot, or from a peer."""
    LISTS_BELIEVED = "ListsBelieved"
    """False: a list lacks endpoints that were there and that are kept, since nothing else says that they are gone."""
    NETWORK_REACHABLE = "NetworkReachable"
    """The networks its endpoints are on have gateways for clients of others. Absent where there is one network."""
    ENTRIES_WRITTEN = "EntriesWritten"
    """The ServiceEntries in the cluster are as they should be. Absent where none are written."""
    ENTRIES_COMPLETE = "EntriesComplete"
    """False: members are not known yet, and what the cluster's ServiceEntries have of them stays as it is; or a service
    has something that its entries lack (``registry.views.service_entry.Omission``)."""
    EXPORTS_WRITTEN = "ExportConditionsWritten"
    """The conditions of the cluster's ServiceExports are as they should be. Absent where none are written."""
    FACTS_SERVED = "FactsServed"
    """False: of a service of it something is left out for good: special addresses, or what is beyond a bound
    (``registry.index.refusals``). Else it is absent, or nothing is left out any more."""
    GATEWAYS_USABLE = "GatewaysUsable"
    """False: a Service of it is labelled as a network's gateway and cannot be used as one. Else it is absent."""


@dataclass(frozen=True, slots=True)
class Condition:
    """``reason`` is one CamelCase word, fit for a metric label; ``message`` names the place and the mend."""

    type: ConditionType
    status: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Dated:
    """A condition, and since when, in seconds of the board's clock, its status has been what it is."""

    condition: Condition
    since: float


class ConditionBoard(Generic[Owner]):
    """The present conditions of each owner (a cluster, a service). ``clock`` gives the time that people are told."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._owners: dict[Owner, dict[ConditionType, Dated]] = {}

    def set(self, owner: Owner, condition: Condition) -> bool:
        """Say ``condition`` of ``owner``; whether that is news. The time changes only with the status."""
        held = self._owners.setdefault(owner, {})
        before = held.get(condition.type)
        if before is not None and before.condition == condition:
            return False
        same = before is not None and before.condition.status is condition.status
        since = before.since if before is not None and same else self._clock()
        held[condition.type] = Dated(condition, since)
        return True

    def get(self, owner: Owner, kind: ConditionType) -> Dated | None:
        """The owner's condition of that type, if there is one."""
        return self._owners.get(owner, {}).get(kind)

    def of(self, owner: Owner) -> tuple[Dated, ...]:
        """The owner's conditions, ordered by type."""
        return tuple(dated for _, dated in sorted(self._owners.get(owner, {}).items()))

    def withdraw(self, owner: Owner, kind: ConditionType) -> None:
        """The condition does not apply any more."""
        held = self._owners.get(owner, {})
        held.pop(kind, None)
        if not held:
            self._owners.pop(owner, None)

    def forget(self, owner: Owner) -> None:
        """The owner is gone."""
        self._owners.pop(owner, None)
