"""What several places say of the membership, as one; and what is to be done when it changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.config import CLUSTER_NAME
from registry.membership.spec import MemberSpec, Refused

NAME_TAKEN = "NameTaken"
NAME_INVALID = "NameInvalid"


@dataclass(frozen=True, slots=True)
class Membership:
    """The members by name, and who was named in vain."""

    members: Mapping[str, MemberSpec]
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in this order: a cluster that only changes its name is added before it is removed."""

    added: tuple[MemberSpec, ...] = ()
    changed: tuple[MemberSpec, ...] = ()
    removed: tuple[str, ...] = ()


def unite(said: Iterable[Iterable[MemberSpec]]) -> Membership:
    """All that the places say, the most important place first. Of the same name the first counts, none in doubt."""
    members: dict[str, MemberSpec] = {}
    refused: list[Refused] = []
    for spec in sorted((spec for place in said for spec in place), key=lambda spec: bool(spec.doubt)):
        first = members.get(spec.name)
        if not CLUSTER_NAME.fullmatch(spec.name):
            text = f"expected letters, digits, '-', '_' and '.', at most 253 of them, got {spec.name!r}"
            refused.append(Refused(spec.name, spec.origin, NAME_INVALID, text))
        elif first is not None and spec.doubt:
            continue
        elif first is not None:
            text = f"{first.origin} has a cluster of this name already, and counts first; give this one another name"
            refused.append(Refused(spec.name, spec.origin, NAME_TAKEN, text))
        else:
            members[spec.name] = spec
    return Membership(members, tuple(refused))


def plan(before: Mapping[str, MemberSpec], after: Mapping[str, MemberSpec]) -> Plan:
    """From one membership to the next, without touching what stays as it is."""
    return Plan(
        added=tuple(spec for name, spec in sorted(after.items()) if name not in before),
        changed=tuple(spec for name, spec in sorted(after.items()) if name in before and before[name] != spec),
        removed=tuple(sorted(before.keys() - after.keys())),
    )
