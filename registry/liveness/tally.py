"""From rounds of probes to whether the data plane is up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from registry.liveness.table import DataPlane


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many rounds in a row have to say the same before it is believed.

    ``proof``: failures count only after an answer. Endpoints may be where this process cannot reach them at all; that
    nobody there ever answered says nothing. A gateway that the operator named is known to be there.
    """

    up: int = 1
    down: int = 3
    proof: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What the rounds so far come to."""

    data_plane: DataPlane = DataPlane.UNKNOWN
    answered: int = 0
    failed: int = 0
    proven: bool = False

    def counted(self, thresholds: Thresholds, answered: bool) -> Tally:
        """With the round that was just made: ``answered`` by at least one target, or failed."""
        if answered:
            number = self.answered + 1
            up = number >= thresholds.up
            return Tally(DataPlane.UP if up else self.data_plane, number, 0, self.proven or up)
        number = self.failed + 1
        down = number >= thresholds.down and (self.proven or not thresholds.proof)
        return Tally(DataPlane.DOWN if down else self.data_plane, 0, number, self.proven)

    def without_targets(self) -> Tally:
        """There was nobody to ask."""
        return Tally(proven=self.proven)
