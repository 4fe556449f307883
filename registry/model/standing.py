"""How much the registry believes of a whole cluster, whatever its objects say."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """What becomes of a cluster's endpoints."""

    CURRENT = "Current"
    """Its API server is heard of."""
    KEPT = "Kept"
    """Its API server is not heard of, its data plane answers: kept as they are."""
    DEMOTED = "Demoted"
    """Nobody knows: kept, one priority lower."""
    EVICTED = "Evicted"
    """Neither was heard of for long: out of the list, except where a service would lose its last ones."""
