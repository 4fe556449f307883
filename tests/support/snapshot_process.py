"""A process that writes one snapshot after the other, as fast as it can: to be killed. Run as a program: PATH."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from registry.model.facts import EndpointSlice, SliceEndpoint
from registry.model.names import ClusterId, Kind
from registry.snapshot.file import Disk, Replacement
from registry.snapshot.format import ClusterFacts, encode

DOMAIN = "clusterset.local"


def generation(number: int) -> ClusterFacts:
    """Facts that all say ``number``, so that a mixture of two would be seen."""
    ends = tuple(SliceEndpoint(f"10.0.0.{each}", pod=f"p{number}") for each in range(100))
    slices = tuple(EndpointSlice("shop", f"s{each}", str(number), endpoints=ends) for each in range(20))
    return ClusterFacts(ClusterId("a"), {Kind.ENDPOINT_SLICE: slices}, uid=str(number))


def main() -> None:
    path = Path(sys.argv[1])
    for number in itertools.count(1):
        try:
            replacement = Replacement(path, Disk())
        except OSError:  # another one is writing
            continue
        for piece in encode(DOMAIN, number, [generation(number)]):
            replacement.write(piece)
        replacement.commit()


if __name__ == "__main__":
    main()
