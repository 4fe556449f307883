"""Which traffic policy a service has: its field, the configuration, its annotations, in increasing strength."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.model.facts import Labels
from registry.model.names import ServiceKey
from registry.model.services import MergedService
from registry.views.policy import Distribution, Fallback, PolicyRule, Selector, TrafficPolicy, resolve

KEY = ServiceKey("shop", "echo")
ZONE, NODE, WEIGHTED = Distribution.PREFER_SAME_ZONE, Distribution.PREFER_SAME_NODE, Distribution.WEIGHTED
FAILOVER = '[{"cluster": "a"}, {"region": "eu", "labels": {"tier": "gold"}}]'
SELECTORS = (Selector(cluster="a"), Selector(region="eu", labels=(("tier", "gold"),)))


def a_merged(distribution: str = "", annotations: Labels = ()) -> MergedService:
    return MergedService(KEY, (), (), (), traffic_distribution=distribution, annotations=annotations)


def policy(service: MergedService, *rules: PolicyRule) -> TrafficPolicy:
    resolved = resolve(service, rules)
    assert resolved.problems == ()
    return resolved.policy


def test_nobody_says_anything() -> None:
    assert policy(a_merged()) == TrafficPolicy(Distribution.ANY, (), Fallback.ANY)


@pytest.mark.parametrize("value", ["PreferSameZone", "PreferSameNode", "PreferClose"])
def test_the_standard_field_counts(value: str) -> None:
    assert policy(a_merged(value)).distribution == value


def test_what_is_for_its_own_node_stays_so_whatever_else_is_said() -> None:
    service = replace(a_merged("PreferSameZone", (("traffic-distribution", "Any"),)), local_only=True)
    resolved = resolve(service, [PolicyRule(distribution=Distribution.WEIGHTED)])
    assert resolved.policy == TrafficPolicy(Distribution.ANY, local_only=True)
    assert resolved.origins["localOnly"] == "spec.internalTrafficPolicy"


def test_the_configuration_is_stronger_than_the_field() -> None:
    assert policy(a_merged("PreferSameZone"), PolicyRule(distribution=WEIGHTED)).distribution is WEIGHTED


def test_an_annotation_is_stronger_than_both() -> None:
    service = a_merged("PreferSameZone", (("traffic-distribution", "PreferSameNode"),))
    assert policy(service, PolicyRule(distribution=WEIGHTED)).distribution is NODE


def test_the_first_rule_that_matches_counts_and_no_other() -> None:
    rules = [
        PolicyRule(namespace="other", distribution=NODE),
        PolicyRule(name="e*", failover=SELECTORS),
        PolicyRule(distribution=WEIGHTED),
    ]
    assert policy(a_merged("PreferSameZone"), *rules) == TrafficPolicy(ZONE, SELECTORS)


def test_failover_and_fallback_by_annotation() -> None:
    service = a_merged(annotations=(("failover", FAILOVER), ("fallback", "None")))
    assert policy(service) == TrafficPolicy(Distribution.ANY, SELECTORS, Fallback.NONE)


@pytest.mark.parametrize(
    ("service", "says"),
    [
        (a_merged("PreferNearby"), "spec.trafficDistribution: expected one of Any, PreferSameZone"),
        (a_merged(annotations=(("traffic-distribution", "x"),)), "mesh-registry.io/traffic-distribution: expected one"),
        (a_merged(annotations=(("failover", "{"),)), "mesh-registry.io/failover: Expecting property name"),
        (a_merged(annotations=(("failover", "{}"),)), "expected a list such as"),
        (a_merged(annotations=(("failover", r'"\u001b\ud800\n"'),)), r"got '\x1b\ud800\n'"),
        (a_merged(annotations=(("failover", "[{}]"),)), "expected cluster, region, zone or labels"),
        (a_merged(annotations=(("failover", '[{"cluster": 1}]'),)), "expected names as text"),
        (a_merged(annotations=(("failover", '[{"labels": {"a": 1}}]'),)), "expected names as text"),
        (a_merged(annotations=(("failover", "[" * 100_000),)), "mesh-registry.io/failover: "),
        (a_merged(annotations=(("failover", r'[{"cluster": "\ud800"}]'),)), "surrogates not allowed"),
        (a_merged(annotations=(("fallback", "none"),)), "mesh-registry.io/fallback: expected Any or None, got 'none'"),
    ],
)
def test_what_is_not_understood_is_said_and_leaves_the_weaker_word(service: MergedService, says: str) -> None:
    rule = PolicyRule(distribution=WEIGHTED, failover=SELECTORS)
    resolved = resolve(service, [rule])
    assert resolved.policy == TrafficPolicy(WEIGHTED, SELECTORS)
    (problem,) = resolved.problems
    assert says in problem
    assert problem.encode().isascii()
