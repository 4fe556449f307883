"""Reading the snapshot at the start: whatever is wrong with it, the registry starts."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from registry.snapshot.file import read, set_aside
from registry.snapshot.format import ClusterFacts, SnapshotError, decode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was remembered, nothing when there was nothing to read.

    ``created`` is in seconds since the epoch, None when there is no snapshot. ``writable``: the file may be written
    anew. It may not where a file that could not be used is still in its place; that is never overwritten.
    """

    clusters: tuple[ClusterFacts, ...] = ()
    created: float | None = None
    writable: bool = True


def load(path: Path, domain: str) -> Loaded:
    """Read the snapshot. Logs what is wrong, and raises nothing."""
    began = time.monotonic()
    try:
        data = read(path)
        if data is None:
            log.info("no snapshot at %s yet", path)
            return Loaded()
        snapshot = decode(data, domain)
    except SnapshotError as error:
        return Loaded(writable=_put_away(path, error))
    except OSError as error:
        log.warning("the snapshot %s cannot be read (%s): starting without it", path, error.strerror)
        return Loaded()
    log.info(
        "snapshot %s: %d clusters, %.1f MB, read in %.0f ms",
        path,
        len(snapshot.clusters),
        len(data) / 1e6,
        (time.monotonic() - began) * 1e3,
    )
    return Loaded(snapshot.clusters, snapshot.created)


def _put_away(path: Path, error: SnapshotError) -> bool:
    """Whether the file's place is free now."""
    try:
        moved = set_aside(path, error)
    except OSError as problem:
        log.warning(
            "the snapshot %s is %s: %s; it cannot be renamed (%s), so none is written: rename it and restart",
            path,
            error.kind,
            error,
            problem.strerror,
        )
        return False
    if moved is None:
        log.warning(
            "the snapshot %s is %s: %s; there are too many such files already, so none is written: remove some",
            path,
            error.kind,
            error,
        )
        return False
    log.warning("the snapshot %s is %s: %s; it was set aside as %s", path, error.kind, error, moved.name)
    return True
