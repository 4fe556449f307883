"""How a writer into one cluster is doing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """``entries`` of ours are in the cluster; ``written`` and ``deleted`` count since the start.

    ``conflicts`` are objects of others that stand where ours would, as ``namespace/name``: they are left alone.
    ``reason`` (one word) and ``message`` say why something is not written; both are empty when all is.
    """

    entries: int = 0
    written: int = 0
    deleted: int = 0
    conflicts: tuple[str, ...] = ()
    reason: str = ""
    message: str = ""
