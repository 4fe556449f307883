"""How the endpoints of one service are to be ordered, whoever asks.

From weakest to strongest: the standard field ``spec.trafficDistribution`` (KEP-2433, KEP-3015), the first rule of the
configuration that matches the service, annotations of the Service. ``spec.internalTrafficPolicy: Local`` (KEP-2086)
stands beside all of that: it says who is shown at all, and nothing weakens it.

=====================================  ==========================================================
annotation ``mesh-registry.io/...``    value
=====================================  ==========================================================
``traffic-distribution``               one of ``Distribution``
``failover``                           a JSON list of selectors, ``[{"cluster": "a"}, {"region": "eu"}]``, at most
                                       ``MAX_SELECTORS`` of them
``fallback``                           ``Any`` or ``None``
=====================================  ==========================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from registry.model.facts import ANNOTATION_PREFIX, Labels
from registry.model.names import ServiceKey, same_zone
from registry.model.services import Endpoint, MergedService

MAX_SELECTORS = 32
"""Of the annotation: each endpoint of each port is held against each. The configuration's own have no bound."""
MAX_TEXT = 16 << 10
"""How long the annotation may be, in characters. It is read at each change of its service."""


class Distribution(StrEnum):
    """Which endpoints come first. The first four are values of ``spec.trafficDistribution``, or stand for none."""

    ANY = "Any"
    """All are alike."""
    PREFER_SAME_ZONE = "PreferSameZone"
    """The client's zone, then its region, then the rest, as priorities."""
    PREFER_CLOSE = "PreferClose"
    """The older name of the same (KEP-3015)."""
    PREFER_SAME_NODE = "PreferSameNode"
    """The client's node, then as before."""
    WEIGHTED = "WeightedByLocality"
    """The client's zone as far as it has the endpoints it should have, then its region, then the rest, as weights."""


class Fallback(StrEnum):
    """What becomes of endpoints that no selector of a failover list names."""

    ANY = "Any"
    """They come last."""
    NONE = "None"
    """They are left out."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Endpoints of this cluster, region and zone, with these labels; what is empty does not matter.

    A zone selects also where the endpoint's region is not known (``registry.model.names.same_zone``).
    """

    cluster: str = ""
    region: str = ""
    zone: str = ""
    labels: Labels = ()

    def selects(self, endpoint: Endpoint) -> bool:
        if self.cluster not in ("", endpoint.cluster):
            return False
        region, zone, _ = endpoint.locality
        if self.zone:
            if not same_zone((self.region, self.zone), (region, zone)):
                return False
        elif self.region not in ("", region):
            return False
        return not self.labels or set(endpoint.labels).issuperset(self.labels)


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """``failover`` comes before nearness: endpoints of the first selector, then of the second, and so on (KEP-5939).

    ``local_only``: a client is shown the endpoints of its own node and no others (KEP-2086).
    """

    distribution: Distribution = Distribution.ANY
    failover: tuple[Selector, ...] = ()
    fallback: Fallback = Fallback.ANY
    local_only: bool = False

    @property
    def by_node(self) -> bool:
        """Whether it matters on which node an endpoint is."""
        return self.local_only or self.distribution is Distribution.PREFER_SAME_NODE

    def tier(self, endpoint: Endpoint) -> int | None:
        """The place of the endpoint in the failover list, None when it is left out."""
        for position, selector in enumerate(self.failover):
            if selector.selects(endpoint):
                return position
        if self.failover and self.fallback is Fallback.NONE:
            return None
        return len(self.failover)


NO_POLICY = TrafficPolicy()


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule of the configuration: what it says of services whose namespace and name match, where it says something.

    ``namespace`` and ``name`` are shell patterns.
    """

    namespace: str = "*"
    name: str = "*"
    distribution: Distribution | None = None
    failover: tuple[Selector, ...] | None = None
    fallback: Fallback | None = None

    def matches(self, key: ServiceKey) -> bool:
        return fnmatchcase(key.namespace, self.namespace) and fnmatchcase(key.name, self.name)


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """A service's policy. ``problems`` are what of it was not understood and does not count, each with its mend.

    ``origins`` says of ``distribution``, ``failover`` and ``fallback`` where each comes from, if anybody said it.
    """

    policy: TrafficPolicy = TrafficPolicy()
    problems: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)


def resolve(service: MergedService, rules: Sequence[PolicyRule]) -> ResolvedPolicy:
    """The policy of the service; what cannot be understood leaves the weaker word in force."""
    problems: list[str] = []
    policy = TrafficPolicy(local_only=service.local_only)
    origins: dict[str, str] = {"localOnly": "spec.internalTrafficPolicy"} if service.local_only else {}
    for origin, said in _layers(service, rules, problems):
        if said.distribution is not None:
            policy = replace(policy, distribution=said.distribution)
            origins["distribution"] = origin
        if said.failover is not None:
            policy = replace(policy, failover=said.failover)
            origins["failover"] = origin
        if said.fallback is not None:
            policy = replace(policy, fallback=said.fallback)
            origins["fallback"] = origin
    return ResolvedPolicy(policy, tuple(problems), origins)


def _layers(
    service: MergedService, rules: Sequence[PolicyRule], problems: list[str]
) -> Iterator[tuple[str, PolicyRule]]:
    """What is said of the service and where, the weakest first."""
    if service.traffic_distribution:
        said = _distribution(service.traffic_distribution, "spec.trafficDistribution", problems)
        yield "spec.trafficDistribution", PolicyRule(distribution=said)
    for position, rule in enumerate(rules):
        if rule.matches(service.key):
            yield f"traffic[{position}] of the configuration ({rule.namespace}/{rule.name})", rule
            break
    for name, value in service.annotations:
        where = ANNOTATION_PREFIX + name
        match name:
            case "traffic-distribution":
                yield f"annotation {where}", PolicyRule(distribution=_distribution(value, where, problems))
            case "failover":
                yield f"annotation {where}", PolicyRule(failover=_failover(value, where, problems))
            case "fallback":
                yield f"annotation {where}", PolicyRule(fallback=_fallback(value, where, problems))
            case _:
                pass


def _distribution(value: str, where: str, problems: list[str]) -> Distribution | None:
    if value in set(Distribution):
        return Distribution(value)
    problems.append(f"{where}: expected one of {', '.join(Distribution)}, got {value[:100]!r}")
    return None


def _fallback(value: str, where: str, problems: list[str]) -> Fallback | None:
    if value in set(Fallback):
        return Fallback(value)
    problems.append(f"{where}: expected Any or None, got {value[:100]!r}")
    return None


def _failover(value: str, where: str, problems: list[str]) -> tuple[Selector, ...] | None:
    try:
        return tuple(_selector(each) for each in _list(value))
    except (ValueError, RecursionError) as error:
        problems.append(f"{where}: {error}")
        return None


def _list(text: str) -> list[object]:
    if len(text) > MAX_TEXT:
        raise ValueError(f"expected at most {MAX_TEXT} characters, got {len(text)}; none of it counts")
    value = json.loads(text)
    if not isinstance(value, list):
        raise ValueError(f'expected a list such as [{{"cluster": "a"}}], got {repr(value)[:100]}')  # noqa: TRY004
    if len(value) > MAX_SELECTORS:
        raise ValueError(f"expected at most {MAX_SELECTORS} selectors, got {len(value)}; none of them counts")
    return value


def _selector(value: object) -> Selector:
    fields = {"cluster", "region", "zone", "labels"}
    if not isinstance(value, dict) or not value or not value.keys() <= fields:
        raise ValueError(f"expected cluster, region, zone or labels, got {str(value)[:100]}")
    labels = value.get("labels", {})
    texts = [each for key, each in value.items() if key != "labels"]
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in (*texts, *labels.values())):
        raise ValueError(f"expected names as text, and labels as a mapping of texts, got {str(value)[:100]}")
    "".join((*texts, *labels, *labels.values())).encode()  # half a surrogate pair is no text, and no output takes it
    return Selector(
        value.get("cluster", ""), value.get("region", ""), value.get("zone", ""), tuple(sorted(labels.items()))
    )
