"""What is said of a ServiceExport: the conditions of ``multicluster.x-k8s.io/v1beta1``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from registry.index.conflicts import reason
from registry.index.refused import refusal
from registry.model.facts import Service
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import Conflict, MergedService

VALID, READY, CONFLICT = "Valid", "Ready", "Conflict"
NAMED = 5
"""How many of the clusters that disagree a message names; the API says all of them."""
TOLD = 20
"""How many conflicts a message tells: a condition's has at most 32,768 characters (``metav1.Condition``)."""
SHOWN = 100
"""How many characters of a value."""


class ExportCondition(NamedTuple):
    """A ``metav1.Condition`` without its time."""

    type: str
    status: bool
    reason: str
    message: str


def export_conditions(
    key: ServiceKey,
    cluster: ClusterId,
    service: Service | None,
    merged: MergedService | None,
    *,
    excluded: bool = False,
) -> tuple[ExportCondition, ...]:
    """The conditions of the ServiceExport of ``key`` in ``cluster``, whose own Service and the merged one are given.

    ``excluded``: the configuration exports no service of that name. ``Conflict`` is there once the export has a part
    in the merged service, and then on every export of it, the oldest too.
    """
    wrong = refusal(key, service)
    if wrong is not None:
        return (
            ExportCondition(VALID, False, *wrong),
            ExportCondition(READY, False, "Pending", "not exported before the export is valid"),
        )
    valid = ExportCondition(VALID, True, "Valid", "")
    if excluded:
        text = (
            "the registry's configuration excludes this service from export (export.excludeNamespaces, excludeServices)"
        )
        return valid, ExportCondition(READY, False, "Failed", text)
    if merged is None or cluster not in merged.clusters:
        return valid, ExportCondition(READY, False, "Pending", "not in the merged list yet")
    ready = ExportCondition(READY, True, "Exported", f"in the merged list of {len(merged.clusters)} clusters")
    if not merged.conflicts:
        return valid, ready, ExportCondition(CONFLICT, False, "NoConflicts", "")
    reasons = ",".join(dict.fromkeys(reason(each) for each in merged.conflicts))
    texts = [conflict_text(each, len(merged.clusters)) for each in merged.conflicts[:TOLD]]
    if len(merged.conflicts) > TOLD:
        texts.append(f"And {len(merged.conflicts) - TOLD} more conflicts: `mesh-registry get services {key} -o json`.")
    return valid, ready, ExportCondition(CONFLICT, True, reasons, " ".join(texts))


def conflict_text(conflict: Conflict, clusters: int) -> str:
    """For people: the field, whose value counts and why, and who says otherwise, of so many ``clusters``."""
    field, value, winner, losers = conflict
    field, value = field[:SHOWN], value[:SHOWN]
    named = ", ".join(f'{cluster} says "{other[:SHOWN]}"' for cluster, other in losers[:NAMED])
    others = f"{named} and {len(losers) - NAMED} more" if len(losers) > NAMED else named
    disagree = f"{others}; {len({cluster for cluster, _ in losers})} of {clusters} clusters disagree."
    if field == "ipFamilies":
        said = f'"{value}" in cluster {winner}'
        return f"Conflicting {field}: {said}; all are listed, and a client of one family reaches a part; {disagree}"
    return f'Conflicting {field}: using "{value}" of the oldest export, in cluster {winner}; {disagree}'


def appeared(old: Iterable[Conflict], new: Iterable[Conflict]) -> list[Conflict]:
    """Those of ``new`` about a field of which ``old`` has none."""
    known = {each.field for each in old}
    return [each for each in new if each.field not in known]
