"""What is written to a ServiceExport's status, from what is there."""

from __future__ import annotations

from typing import Any

from registry.model.names import ServiceKey
from registry.views.export_status import ExportCondition
from registry.writers.export_api import HeldExport, condition_documents, held_export, while_unknown

READY = ExportCondition("Ready", True, "Exported", "in the list")
NOW = 1_767_225_600.0
NOW_TEXT, BEFORE = "2026-01-01T00:00:00Z", "2025-12-24T00:00:00Z"


def export(**condition: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": "echo", "uid": "u1", "resourceVersion": "7"}
    conditions = [{"type": "Ready", "lastTransitionTime": BEFORE, **condition}] if condition else []
    return {"metadata": metadata, "status": {"conditions": conditions}}


def test_export_without_a_status_has_no_conditions() -> None:
    held = held_export({"metadata": export()["metadata"]})
    assert (held.key, held.uid, held.version) == (ServiceKey("shop", "echo"), "u1", "7")
    assert not held.has([READY])
    (written,) = condition_documents([READY], held, NOW)
    assert written == {
        "type": "Ready",
        "status": "True",
        "reason": "Exported",
        "message": "in the list",
        "lastTransitionTime": NOW_TEXT,
    }


def test_what_is_there_just_so_is_not_wanted_again() -> None:
    there = export(status="True", reason="Exported", message="in the list")
    assert held_export(there).has([READY])
    for other in ({"status": "False"}, {"reason": "Ready"}, {"message": ""}):
        there = export(**{"status": "True", "reason": "Exported", "message": "in the list", **other})
        assert not held_export(there).has([READY])


def test_time_of_a_transition_stays_as_long_as_the_status_does() -> None:
    same = held_export(export(status="True", reason="Old", message=""))
    assert condition_documents([READY], same, NOW)[0]["lastTransitionTime"] == BEFORE
    other = held_export(export(status="False", reason="Pending", message=""))
    assert condition_documents([READY], other, NOW)[0]["lastTransitionTime"] == NOW_TEXT


def test_status_that_is_unknown_is_neither_true_nor_false() -> None:
    unknown = held_export(export(status="Unknown", reason="Exported", message="in the list"))
    assert not unknown.has([READY])
    assert condition_documents([READY], unknown, NOW)[0]["lastTransitionTime"] == NOW_TEXT


def test_unknown_is_not_the_same_as_false() -> None:
    pending = ExportCondition("Ready", False, "Pending", "")
    unknown = held_export(export(status="Unknown", reason="Pending", message=""))
    assert not unknown.has([pending])


def test_what_an_unknown_member_may_be_a_reason_for_stays() -> None:
    conflict, none = (
        ExportCondition("Conflict", True, "PortConflict", "b"),
        ExportCondition("Conflict", False, "NoConflicts", ""),
    )
    fewer, pending = ExportCondition("Ready", True, "Exported", "of 1"), ExportCondition("Ready", False, "Pending", "")

    def held(*conditions: ExportCondition) -> HeldExport:
        document = export()
        document["status"]["conditions"] = [
            {"type": each.type, "status": str(each.status), "reason": each.reason, "message": each.message}
            for each in conditions
        ]
        return held_export(document)

    assert while_unknown([fewer, none], held(READY, conflict)) == (READY, conflict)
    assert while_unknown([fewer, none], held()) == (fewer,), "that there is no conflict is not known"
    assert while_unknown([pending], held(READY)) == (pending,)
    assert while_unknown([fewer, conflict], held(READY, none)) == (READY, conflict)
