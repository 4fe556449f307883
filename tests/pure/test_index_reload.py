"""Export, guard and networks of the configuration change while the index is in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.facts import A, B, a_service, a_slice, listing

from registry.index import ExportMode, ExportPolicy, GuardPolicy, Index
from registry.index.gateways import NetworkRule
from registry.index.index import LOOKED_AT
from registry.model.events import Apply, Init, InitApply, InitDone
from registry.model.facts import Service, ServiceExport, ServicePort
from registry.model.gateways import Gateway
from registry.model.names import Kind, ServiceKey

NAMES = ("cart", "echo", "pay")


def an_index(
    export: ExportPolicy | None = None,
    guard: GuardPolicy | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Index:
    """Three services in both clusters; ``echo`` has a ServiceExport and a label in a."""
    index = Index(export, guard, clock)
    for cluster in (A, B):
        index.add_cluster(cluster)
        labelled = replace(a_service(), labels=(("shared", "yes"),))
        facts = [
            labelled,
            a_service("cart"),
            a_service("pay"),
            *(a_slice("10.0.0.1", name=n, service=n) for n in NAMES),
        ]
        for event in listing(*facts, *([ServiceExport("shop", "echo", "2020")] if cluster == A else [])):
            index.apply(cluster, event)
    index.commit()
    return index


def names(index: Index) -> list[str]:
    return [service.key.name for service in index.services()]


def exported(index: Index, policy: ExportPolicy) -> list[str]:
    for _ in index.set_export(policy):
        index.commit()
    return names(index)


ALL = ExportPolicy()
BY_OBJECTS = ExportPolicy(mode=ExportMode.SERVICE_EXPORT)
POLICIES = [
    (ALL, list(NAMES)),
    (BY_OBJECTS, ["echo"]),
    (ExportPolicy(mode=ExportMode.SELECTOR, selector=(("shared", "yes"),)), ["echo"]),
    (ExportPolicy(excluded_namespaces=frozenset({"shop"})), []),
    (ExportPolicy(excluded_services=frozenset({ServiceKey("shop", "cart")})), ["echo", "pay"]),
]


@pytest.mark.parametrize(("before", "there"), POLICIES)
@pytest.mark.parametrize(("after", "then"), POLICIES)
def test_services_come_and_go_as_the_policy_says(
    before: ExportPolicy, there: list[str], after: ExportPolicy, then: list[str]
) -> None:
    index = an_index(export=before, guard=GuardPolicy())
    assert names(index) == there
    assert exported(index, after) == then
    fresh = an_index(export=after, guard=GuardPolicy())
    assert index.services() == fresh.services()
    assert index.refused() == fresh.refused()
    assert index.held() == ()


def test_what_is_exported_as_before_is_not_joined_anew() -> None:
    index = an_index(export=ALL)
    before = {service.key: service for service in index.services()}
    exported(index, ExportPolicy(excluded_services=frozenset({ServiceKey("shop", "cart")})))
    assert all(index.get(service.key) is before[service.key] for service in index.services())


def test_a_cluster_may_leave_between_the_steps() -> None:
    index = an_index(export=ALL)
    for number in range(LOOKED_AT):
        index.apply(A, Apply(a_service(f"more-{number}")))
    index.commit()
    steps = index.set_export(ExportPolicy(excluded_namespaces=frozenset({"shop"})))
    next(steps)
    index.commit()
    assert 0 < len(index.services()) < LOOKED_AT
    index.remove_cluster(A)
    for _ in steps:
        index.commit()
    assert index.services() == ()


def relist(index: Index, *slices: object) -> None:
    index.apply(A, Init(Kind.ENDPOINT_SLICE))
    for each in slices:
        index.apply(A, InitApply(each))  # type: ignore[arg-type]
    index.apply(A, InitDone(Kind.ENDPOINT_SLICE))
    index.commit()


def test_the_guard_judges_later_lists_by_its_new_thresholds() -> None:
    index = an_index(guard=GuardPolicy(floor=100, share=1.0))
    index.set_guard(GuardPolicy(floor=0, share=0.0))
    relist(index, a_slice("10.0.0.1", name="echo"))
    assert {each.key.name for each in index.held()} == {"cart", "pay"}


def test_what_is_held_is_held_as_long_as_the_guard_says_now() -> None:
    now = 0.0
    index = an_index(guard=GuardPolicy(hold_seconds=600, confirm_seconds=500), clock=lambda: now)
    relist(index, a_slice("10.0.0.1", name="echo"))
    assert index.next_at() == 500
    index.set_guard(GuardPolicy(hold_seconds=60, confirm_seconds=500))
    index.commit()
    assert index.next_at() == 60
    now = 60.0
    index.on_time()
    index.commit()
    assert index.held() == ()


def test_gateways_are_those_that_the_configuration_names_now() -> None:
    index = Index(networks={})
    index.add_cluster(A)
    gate = Service(
        "istio-system",
        "gate",
        (ServicePort(15443), ServicePort(443, "tls")),
        labels=(("topology.istio.io/network", "n"),),
        external=("203.0.113.9",),
    )
    for event in listing(gate):
        index.apply(A, event)
    index.commit()

    def found() -> list[tuple[str, int]]:
        return [each[:2] for each in index.gateways().get("n", ())]

    assert found() == [("203.0.113.9", 15443)]
    before = index.gateways()
    index.set_networks({"n": NetworkRule(port=443)})
    assert found() == [("203.0.113.9", 443)]
    index.set_networks({"n": NetworkRule((Gateway("203.0.113.1", 1),)), "m": NetworkRule((Gateway("203.0.113.2", 2),))})
    assert found() == [("203.0.113.1", 1)]
    assert set(index.gateways()) == {"m", "n"}
    index.set_networks({})
    assert index.gateways() == before
