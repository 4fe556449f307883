"""What is told of a writer: its status, and the conditions of its cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from registry.model.conditions import Condition, ConditionType
from registry.model.names import ServiceKey
from registry.model.status import WriteFailure, WriterStatus
from registry.sources.kubernetes.conditions import Fault
from registry.views.service_entry import Omission
from registry.writers.contests import Place
from registry.writers.unknown import Unknown

NAMED = 3
"""How many objects a message names; the API has them all."""

NOTHING_OMITTED: Mapping[ServiceKey, Sequence[Omission]] = {}

REJECTED = "Rejected"
WAITING = "Waiting"


def entries_status(
    status: WriterStatus, *, waiting: bool, trouble: Fault | None, contested: Sequence[tuple[Place, str]]
) -> WriterStatus:
    """``status`` with what is wrong, the worst of it as its reason."""
    status = replace(status, contested=tuple(str(place) for place, _ in contested))
    reason, message = _wrong(status.failures, waiting, trouble)
    if not reason and status.conflicts:
        reason, message = "Conflict", "entries of these names are somebody else's; rename or delete them"
        message = f"{message}: {', '.join(status.conflicts[:NAMED])}"
    elif not reason and contested:
        said = [f"{place} ({by or 'unknown'})" for place, by in contested[:NAMED]]
        reason = "Contested"
        message = f"others change what the registry owns, so it is put back ever more slowly: {', '.join(said)}"
    elif not reason and status.unwatched:
        reason, message = "NotWatched", f"changes by others are noticed within minutes only: {status.unwatched}"
    return replace(status, reason=reason, message=message)


def exports_status(status: WriterStatus, *, waiting: bool, trouble: Fault | None) -> WriterStatus:
    """``status`` with what is wrong, the worst of it as its reason."""
    reason, message = _wrong(status.failures, waiting, trouble)
    if not reason and status.conflicts:
        reason, message = "Conflict", "conditions of these ServiceExports are another controller's"
    return replace(status, reason=reason, message=message)


def entries_written(status: WriterStatus) -> Condition:
    """Whether the cluster's ServiceEntries are as they should be. That changes are not noticed at once is no fault."""
    well = not status.reason or status.reason == "NotWatched"
    return Condition(ConditionType.ENTRIES_WRITTEN, well, status.reason or "Written", status.message)


def exports_written(status: WriterStatus) -> Condition:
    """Whether the conditions of the cluster's ServiceExports are as they should be."""
    return Condition(ConditionType.EXPORTS_WRITTEN, not status.reason, status.reason or "Written", status.message)


def entries_complete(unknown: Unknown, omitted: Mapping[ServiceKey, Sequence[Omission]] = NOTHING_OMITTED) -> Condition:
    """Whether the entries have all there is: every member is known, and nothing of a service is ``omitted``."""
    if unknown:
        text = f"what entries have of members that are not known yet stays as it is: {unknown}"
        return Condition(ConditionType.ENTRIES_COMPLETE, False, "MembersUnknown", text)
    if omitted:
        keys = sorted(omitted)
        said = [f"{key}: {omitted[key][0].message}" for key in keys[:NAMED]]
        more = f"; and {len(keys) - NAMED} more services" if len(keys) > NAMED else ""
        return Condition(ConditionType.ENTRIES_COMPLETE, False, omitted[keys[0]][0].reason, "; ".join(said) + more)
    return Condition(ConditionType.ENTRIES_COMPLETE, True, "MembersKnown")


def _wrong(failures: Sequence[WriteFailure], waiting: bool, trouble: Fault | None) -> tuple[str, str]:
    if waiting:
        return WAITING, "nothing is written before the cluster itself was listed once, or is known from a snapshot"
    if trouble is not None:
        return trouble.reason, trouble.message
    if not failures:
        return "", ""
    worst = sorted(failures, key=lambda each: not each.refused)
    reason = REJECTED if worst[0].refused else worst[0].reason
    more = f"; and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    said = "; ".join(f"{each.service}: {each.reason}: {each.message}" for each in worst[:NAMED])
    return reason, f"{said}{more}"
