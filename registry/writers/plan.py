"""What to do about the ServiceEntries of one service, from those that are wanted and those that are there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    annotations: Mapping[str, str] = field(default_factory=dict)
    applied: frozenset[str] = frozenset()
    """What of it we applied: fields of its spec, and annotations."""

    @property
    def ours(self) -> bool:
        """It has our label, and we are recorded as one who applied it: a label alone anybody can set."""
        return self.labels.get(MANAGED_BY_LABEL) == MANAGED_BY and FIELD_MANAGER in self.applied_by


def held_entry(document: Mapping[str, Any]) -> HeldEntry:
    """The object as the API server answers it."""
    metadata = document["metadata"]
    managers = [each for each in metadata.get("managedFields") or () if each.get("operation") == "Apply"]
    return HeldEntry(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        spec=document.get("spec") or {},
        applied_by=frozenset(each.get("manager", "") for each in managers),
        annotations=metadata.get("annotations") or {},
        applied=frozenset(
            name
            for each in managers
            if each.get("manager") == FIELD_MANAGER
            for name in _field_names(each.get("fieldsV1") or {})
        ),
    )


def _field_names(fields: Mapping[str, Any]) -> Iterator[str]:
    """Of ``fieldsV1``, the fields of ``spec`` and the annotations ("Server-Side Apply", "Field management")."""
    for owned in (fields.get("f:spec"), (fields.get("f:metadata") or {}).get("f:annotations")):
        yield from (name.removeprefix("f:") for name in owned or () if name.startswith("f:"))


def plan(wanted: Mapping[str, Any] | None, held: HeldEntry | None) -> Action:
    """``wanted`` is the ServiceEntry that should be there, or None for none; ``held`` the one that is.

    Equal means that every field we would write has our value, and that we applied no other; fields that others added
    are theirs.
    """
    if held is None:
        return Action.NOTHING if wanted is None else Action.CREATE
    if not held.ours:
        return Action.NOTHING if wanted is None else Action.CONFLICT
    if wanted is None:
        return Action.DELETE
    spec, annotations = wanted["spec"], wanted["metadata"].get("annotations") or {}
    same = (
        all(held.spec.get(key) == value for key, value in spec.items())
        and all(held.annotations.get(key) == value for key, value in annotations.items())
        and held.applied <= spec.keys() | annotations.keys()
    )
    return Action.NOTHING if same else Action.UPDATE


def make_before_break(
    wanted: Sequence[Mapping[str, Any]], held: Mapping[str, HeldEntry]
) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Each name of a service's entries, wanted or held, with the entry that should be there.

    In the order in which to bring them there: an entry that gains an endpoint comes before one that loses it, so that
    clients have it all the time. Where that is impossible, as when two entries swap endpoints, the order is that of
    ``wanted``.
    """
    targets: dict[str, Mapping[str, Any] | None] = {each["metadata"]["name"]: each for each in wanted}
    targets.update((name, None) for name in sorted(held) if name not in targets)
    if len(targets) < 2:
        return list(targets.items())
    before = {name: _uses(held[name].spec) if name in held else frozenset() for name in targets}
    after = {name: _uses(each["spec"]) if each is not None else frozenset() for name, each in targets.items()}
    gains = {name: after[name] - before[name] for name in targets}
    losses = {name: before[name] - after[name] for name in targets}
    ordered = []
    while targets:
        name = next(
            (name for name in targets if not any(losses[name] & gains[other] for other in targets)),
            next(iter(targets)),
        )
        ordered.append((name, targets.pop(name)))
    return ordered


_Use = tuple[str, str, int, int]


def _uses(spec: Mapping[str, Any]) -> frozenset[_Use]:
    """Each network, address and port at which Istio reads an endpoint in the entry, by the service's port."""
    return frozenset(
        (
            endpoint.get("network", ""),
            endpoint.get("address", ""),
            port["number"],
            (endpoint.get("ports") or {}).get(port["name"]) or port.get("targetPort") or port["number"],
        )
        for endpoint in spec.get("endpoints") or ()
        for port in spec.get("ports") or ()
    )
