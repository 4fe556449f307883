"""How much the registry believes of a whole cluster, whatever its objects say."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """What becomes of a cluster's endpoints."""

    CURRENT = "Current"
    """Its API server is heard from."""
    KEPT = "Kept"
    """Its API server is silent, and no probe says that its data plane is down: its endpoints stay as they are."""
    DEMOTED = "Demoted"
    """Its API server is silent and its data plane down: its endpoints come one priority later for other clusters."""
    EVICTED = "Evicted"
    """Both for long: its endpoints are out of the list, except where a service would lose its last ones.

    Clients in the cluster itself keep its endpoints where they were, DEMOTED or EVICTED.
    """

    __hash__ = str.__hash__
