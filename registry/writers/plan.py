"""What to do about one ServiceEntry, from what is wanted and what is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from registry.views.service_entry import MANAGED_BY, MANAGED_BY_LABEL

FIELD_MANAGER = "mesh-registry"
"""Under which the API server records what we wrote (Kubernetes, "Server-Side Apply", "Managers")."""


class Action(Enum):
    """What brings the object to where it should be."""

    NOTHING = "nothing"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    CONFLICT = "conflict"
    """Somebody else's object has the name: it is theirs."""


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """A ServiceEntry as the API server has it."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    applied_by: frozenset[str]
    """The field managers that applied it."""

    @property
    def ours(self) -> bool:
        """It has our label, and we are recorded as one who applied it: a label alone anybody can set."""
        return self.labels.get(MANAGED_BY_LABEL) == MANAGED_BY and FIELD_MANAGER in self.applied_by


def held_entry(document: Mapping[str, Any]) -> HeldEntry:
    """The object as the API server answers it."""
    metadata = document["metadata"]
    return HeldEntry(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        spec=document.get("spec") or {},
        applied_by=frozenset(
            each.get("manager", "") for each in metadata.get("managedFields") or () if each.get("operation") == "Apply"
        ),
    )


def plan(wanted: Mapping[str, Any] | None, held: HeldEntry | None) -> Action:
    """``wanted`` is the ServiceEntry that should be there, or None for none; ``held`` the one that is.

    Equal means that every field we would write has our value; fields that others added are theirs.
    """
    if held is None:
        return Action.NOTHING if wanted is None else Action.CREATE
    if not held.ours:
        return Action.NOTHING if wanted is None else Action.CONFLICT
    if wanted is None:
        return Action.DELETE
    same = all(held.spec.get(key) == value for key, value in wanted["spec"].items())
    return Action.NOTHING if same else Action.UPDATE
