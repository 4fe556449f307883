"""A condition as a document, wherever one is shown."""

from __future__ import annotations

from registry.model.conditions import Dated
from registry.servers.times import time_text


def condition_document(dated: Dated) -> dict[str, object]:
    """What is true, or not, of a cluster, and since when."""
    condition = dated.condition
    return {
        "type": str(condition.type),
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "since": time_text(dated.since),
    }
