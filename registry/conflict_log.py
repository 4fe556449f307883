"""One log line when the exports of a service begin to differ, and one when they agree again."""

from __future__ import annotations

import logging

from registry.model.services import ChangeSet
from registry.views.export_status import TOLD, appeared, conflict_text

log = logging.getLogger(__name__)


def log_conflicts(changes: ChangeSet) -> None:
    """An audience of the pipeline."""
    for key, old, new in ((change.key, change.old, change.new) for change in changes):
        before = old.conflicts if old is not None else ()
        after = new.conflicts if new is not None else ()
        clusters = len(new.clusters) if new is not None else 0
        found = appeared(before, after)
        for conflict in found[:TOLD]:
            log.warning("service %s: %s", key, conflict_text(conflict, clusters))
        if len(found) > TOLD:
            log.warning("service %s: %d more conflicts", key, len(found) - TOLD)
        agreed = appeared(after, before) if new is not None else []
        for conflict in agreed[:TOLD]:
            log.info("service %s: the exports agree on %s again", key, conflict.field)
        if len(agreed) > TOLD:
            log.info("service %s: the exports agree on %d more fields again", key, len(agreed) - TOLD)
