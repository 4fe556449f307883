"""What of a Service its ServiceEntries carry for Istio beside endpoints: who sees it, and how near traffic stays. Pure.

Where exports differ, the oldest one's annotations count (``registry.index.conflicts``).
"""

from __future__ import annotations

import re
from typing import Generic, NamedTuple, TypeVar

from registry.model.facts import EXPORT_TO_ANNOTATION, TRAFFIC_DISTRIBUTION_ANNOTATION
from registry.model.services import MergedService
from registry.views.policy import Distribution, TrafficPolicy

EVERYBODY, NOBODY, OWN_NAMESPACE = "*", "~", "."
MAX_NAMES = 256
"""How many namespaces of the annotation an entry carries."""

_NEAR = {
    each.lower(): each
    for each in (Distribution.PREFER_CLOSE, Distribution.PREFER_SAME_ZONE, Distribution.PREFER_SAME_NODE)
}
"""The values that Istio knows, which compares them without regard to case."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


T = TypeVar("T")


class Carried(NamedTuple, Generic[T]):
    """A value for the entry, empty for none, and what of the annotation is invalid and not carried."""

    value: T
    problems: tuple[str, ...] = ()


def export_to(service: MergedService) -> Carried[tuple[str, ...]]:
    """``exportTo`` by the Service's annotation, as Istio reads that of a Service.

    ``*`` makes the others needless, and ``~`` those beside it. Empty: the mesh's default holds. Of invalid values alone
    nothing is known but that the service is not for everybody: its own namespace sees it.
    """
    said = dict(service.annotations).get(EXPORT_TO_ANNOTATION, "")
    names = list(dict.fromkeys(stripped for each in said.split(",") if (stripped := each.strip())))
    where = f"annotation {EXPORT_TO_ANNOTATION}"
    problems: tuple[str, ...] = ()
    alone = [each for each in (EVERYBODY, NOBODY) if each in names]
    if len(names) > MAX_NAMES:
        problems = (f"{where}: expected at most {MAX_NAMES} names, got {len(names)}; the others are not carried",)
        del names[MAX_NAMES:]
    valid: list[str] = []
    for each in names:
        if each in (EVERYBODY, NOBODY, OWN_NAMESPACE) or _NAMESPACE.fullmatch(each) is not None:
            valid.append(each)
        elif not problems:
            problems = (f"{where}: expected a namespace, or one of * . ~, got {each[:100]!r}; not carried",)
    if alone:
        return Carried((alone[0],), problems)
    valid = valid or [OWN_NAMESPACE] * bool(names)
    if OWN_NAMESPACE in valid:
        valid = [each for each in valid if each != service.key.namespace]
    return Carried(tuple(valid), problems)


def traffic_distribution(service: MergedService, policy: TrafficPolicy) -> Carried[str]:
    """The value of Istio's annotation for the entry.

    What the service's ``policy`` says comes before the Service's annotation, as ``spec.trafficDistribution``, a part
    of it, does for Istio.
    """
    if policy.distribution.lower() in _NEAR:
        return Carried(str(policy.distribution))
    said = dict(service.annotations).get(TRAFFIC_DISTRIBUTION_ANNOTATION, "")
    if not said or policy.distribution is not Distribution.ANY:
        return Carried("")
    if said.lower() in _NEAR:
        return Carried(str(_NEAR[said.lower()]))
    values = ", ".join(_NEAR.values())
    problem = f"annotation {TRAFFIC_DISTRIBUTION_ANNOTATION}: expected one of {values}, got {said[:100]!r}; not carried"
    return Carried("", (problem,))
