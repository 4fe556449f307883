"""What is known of clusters before they have listed: by a snapshot file or by another replica. Pure.

Times are seconds since the epoch on this machine's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from registry.model.names import ClusterId
from registry.snapshot.format import ClusterFacts

OLDER_SECONDS = 10.0
"""A peer's knowledge of a cluster replaces a snapshot's that is older by more than this."""


@dataclass(frozen=True, slots=True)
class Known:
    """One cluster as ``origin`` knew it at ``created``; it had last proven to be so at ``at``."""

    facts: ClusterFacts
    created: float
    origin: str

    @property
    def at(self) -> float:
        return self.created - self.facts.age


@dataclass(frozen=True, slots=True)
class Offer:
    """What one peer says it knows: each cluster, and when that had last proven to be so."""

    peer: str
    clusters: Mapping[ClusterId, float]


def choose(
    offers: Sequence[Offer], known: Mapping[ClusterId, float], wanted: Collection[ClusterId] | None = None
) -> Offer | None:
    """The offer to take next: of most clusters that are not known, then of most that are older here, then the newest.

    Only ``wanted`` clusters count, by default all. None: no offer has anything that is missing here.
    """
    best: Offer | None = None
    most: tuple[int, int, float] = (0, 0, 0.0)
    for offer in offers:
        counted = {name: at for name, at in offer.clusters.items() if wanted is None or name in wanted}
        new = [at for name, at in counted.items() if name not in known]
        newer = [at for name, at in counted.items() if name in known and at > known[name] + OLDER_SECONDS]
        worth = len(new), len(newer), sum((*new, *newer))
        if (new or newer) and worth > most:
            best, most = offer, worth
    return best
