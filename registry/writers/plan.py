"""What to do about one ServiceEntry, from what is wanted and what is there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from registry.model.names import ServiceKey
from registry.views.service_entry import MANAGED_BY, MANAGED_BY_LABEL, entry_service

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
    """A ServiceEntry as the API server has it.

    ``applied_by`` are the field managers that applied it, and ``editor`` is the manager other than us that changed it
    last. ``owned`` are the fields that we own: of its spec by their name, of the rest as ``labels/<key>`` and
    ``annotations/<key>``. ``shared`` are the fields of its spec that others own, or parts of which they own.
    """

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    version: str
    applied_by: frozenset[str]
    owned: frozenset[str]
    editor: str
    shared: frozenset[str] = frozenset()

    @property
    def ours(self) -> bool:
        """We are recorded as one who applied it, and it has our label: a label alone anybody can set.

        Where the label was taken off or changed, and the hosts are still ours, the entry is too.
        """
        labelled = self.labels.get(MANAGED_BY_LABEL) == MANAGED_BY
        return FIELD_MANAGER in self.applied_by and (labelled or "hosts" in self.owned)

    @property
    def as_written(self) -> bool:
        """It is ours, and its endpoints and ports are as the registry wrote them: nobody else changed any."""
        fields = {"endpoints", "ports"}
        return self.ours and fields <= self.owned and fields.isdisjoint(self.shared)

    def as_replicas_write(self, before: HeldEntry | None) -> bool:
        """Whether it became so from ``before`` by our own field manager: whoever else changes a field then owns it."""
        if before is None:
            return self.ours and not self.shared
        return self.ours and self.owned >= before.owned and self.shared <= before.shared


def is_ours(manager: Mapping[str, Any]) -> bool:
    """Whether the entry of ``managedFields`` is that of what we apply."""
    return manager.get("manager") == FIELD_MANAGER and manager.get("operation") == "Apply"


def held_entry(document: Mapping[str, Any]) -> HeldEntry:
    """The object as the API server answers it."""
    metadata = document["metadata"]
    managers = metadata.get("managedFields") or ()
    applied = [each for each in managers if each.get("operation") == "Apply"]
    ours = [each for each in applied if is_ours(each)]
    others = [each for each in managers if each not in ours and each.get("subresource", "") == ""]
    newest: Mapping[str, Any] = max(others, key=lambda each: each.get("time") or "", default={})
    return HeldEntry(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        spec=document.get("spec") or {},
        version=metadata.get("resourceVersion") or "",
        applied_by=frozenset(each.get("manager", "") for each in applied),
        owned=frozenset(field for each in ours for field in _fields(each.get("fieldsV1") or {})),
        editor=newest.get("manager", ""),
        shared=frozenset(field for each in others for field in _fields(each.get("fieldsV1") or {})),
    )


def _fields(owned: Mapping[str, Any]) -> Iterator[str]:
    """The names in a ``fieldsV1``, as ``HeldEntry.owned`` has them."""
    yield from (each.removeprefix("f:") for each in owned.get("f:spec") or ())
    metadata = owned.get("f:metadata") or {}
    for part in ("labels", "annotations"):
        fields = metadata.get(f"f:{part}") or ()
        yield from (f"{part}/{each.removeprefix('f:')}" for each in fields if each.startswith("f:"))


def key_of(entry: HeldEntry) -> ServiceKey:
    """The service that an entry is of, as its name says."""
    return ServiceKey(entry.namespace, entry_service(entry.name))


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
    spec, metadata = wanted["spec"], wanted["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    ours = {*spec, *(f"labels/{key}" for key in labels), *(f"annotations/{key}" for key in annotations)}
    same = (
        _within(spec, held.spec)
        and _within(labels, held.labels)
        and _within(annotations, held.annotations)
        and held.owned <= ours
    )
    return Action.NOTHING if same else Action.UPDATE


def _within(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    return all(held.get(key) == value for key, value in wanted.items())


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
