"""The objects of one kind that cannot be read."""

from __future__ import annotations

from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.conditions import Fault, Reason

MAX_REASON = 200


class Unreadable:
    """``resource`` is what RBAC calls the kind. An object without a name is None."""

    def __init__(self, kind: Kind, resource: str) -> None:
        self._kind = kind
        self._resource = resource
        self._reasons: dict[ObjectRef | None, str] = {}

    def note(self, ref: ObjectRef | None, reason: str) -> None:
        self._reasons[ref] = reason[:MAX_REASON]

    def mended(self, ref: ObjectRef | None) -> None:
        """It was read, or is gone."""
        self._reasons.pop(ref, None)

    def clear(self) -> None:
        self._reasons.clear()

    @property
    def refs(self) -> frozenset[ObjectRef]:
        return frozenset(ref for ref in self._reasons if ref is not None)

    @property
    def warning(self) -> Fault | None:
        """The first of them, and how many more there are."""
        if not self._reasons:
            return None
        name, error = min((str(ref or f"a {self._kind} without a name"), why) for ref, why in self._reasons.items())
        others = f" (and {len(self._reasons) - 1} more)" if len(self._reasons) > 1 else ""
        text = f"{self._resource}: {name} cannot be read: {error}{others}; what was read of it before still counts"
        return Fault(Reason.BAD_OBJECT, text)
