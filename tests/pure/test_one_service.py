"""One Service of one member costs what it is worth: its work grows no faster than it does, and it is bounded."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.facts import ECHO, A, B, a_service, a_slice, listing
from support.work import instructions

from registry.conflict_log import log_conflicts
from registry.index import Index
from registry.index.bags import FEW, Bag, put, take
from registry.index.member import Member
from registry.index.refusals import MAX_ENDPOINTS, MAX_OFFERS, MAX_PORTS, MAX_SLICES
from registry.model.events import Apply
from registry.model.facts import (
    EXPORT_TO_ANNOTATION,
    AddressType,
    EndpointSlice,
    Fact,
    Labels,
    Pod,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from registry.model.names import Kind, ObjectRef
from registry.model.reasons import Reason
from registry.model.services import MergedService
from registry.model.standing import Standing
from registry.sources.kubernetes.decode import DecodeError, decode_object
from registry.sources.kubernetes.sharing import MAX_LABELS
from registry.sources.kubernetes.structs import MAX_ANNOTATIONS
from registry.views.eds import ServiceAssignments
from registry.views.entry_carried import MAX_NAMES, export_to
from registry.views.export_status import TOLD, export_conditions
from registry.views.lookup import ServiceViews
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import MAX_SELECTORS, MAX_TEXT, NO_POLICY, resolve
from registry.views.service_entry import service_entries

Prepared = Callable[[int], Callable[[], object]]
"""For a size, the work to be counted, with everything before it done."""


def ports_of(number: int, start: int = 1) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(start + each, f"http-{each}") for each in range(number))


def behind(ports: Iterable[ServicePort], *endpoints: SliceEndpoint | str, name: str = "echo-1") -> EndpointSlice:
    return replace(
        a_slice(*endpoints, name=name), ports=tuple(SlicePort(each.name, 9, each.protocol) for each in ports)
    )


def addresses(number: int, network: int = 0) -> list[str]:
    return [f"10.{network}.{each // 250}.{each % 250 + 1}" for each in range(number)]


def indexed(*facts: Fact, others: Iterable[Fact] = ()) -> Index:
    index = Index()
    for cluster, said in ((A, facts), (B, tuple(others))):
        index.add_cluster(cluster)
        for event in listing(*said):
            index.apply(cluster, event)
    index.commit()
    return index


def merged(index: Index) -> MergedService:
    service = index.get(ECHO)
    assert service is not None
    return service


def after(index: Index, *facts: Fact) -> Callable[[], object]:
    """The commit of these."""
    for fact in facts:
        index.apply(A, Apply(fact))
    return index.commit


def renumbered(number: int, *labels: tuple[str, str]) -> tuple[Service, EndpointSlice, Index]:
    """Ports that two clusters number differently."""
    own, other = ports_of(number), ports_of(number, start=2)
    mine = replace(a_service("echo", *own), labels=labels)
    theirs = a_service("echo", *other), behind(other, *addresses(20, 1))
    index = indexed(mine, behind(own, *addresses(20)), others=theirs)
    return mine, behind(own, *addresses(20)), index


def label_of_many_ports(number: int) -> Callable[[], object]:
    service, _, index = renumbered(number)
    return after(index, replace(service, labels=(("a", "1"),)))


def endpoint_of_many_ports(number: int) -> Callable[[], object]:
    service, _, index = renumbered(number)
    return after(index, behind(service.ports, *addresses(19)))


def protocols_of_many_ports(number: int) -> Callable[[], object]:
    service, _, index = renumbered(number)
    ports = tuple(each._replace(app_protocol="grpc") for each in service.ports)
    index.apply(A, Apply(replace(service, ports=ports)))
    return lambda: log_conflicts(index.commit())


def many_ports_of_evicted(number: int) -> Callable[[], object]:
    _, _, index = renumbered(number)
    index.set_standing(A, Standing.EVICTED)
    return index.commit


def many_ports_twice(number: int) -> Callable[[], object]:
    """The same addresses in two slices, of half the ports each, and in another cluster."""
    ports = ports_of(number)
    halves = behind(ports[: number // 2], *addresses(20)), behind(ports[number // 2 :], *addresses(20), name="echo-2")
    index = indexed(
        a_service("echo", *ports), *halves, others=(a_service("echo", *ports), behind(ports, *addresses(20)))
    )
    return after(index, behind(ports[: number // 2], *addresses(19)))


def explained_ports(number: int) -> Callable[[], object]:
    _, _, index = renumbered(number)
    return lambda: index.explain(ECHO)


def viewed_ports(number: int) -> Callable[[], object]:
    service = merged(renumbered(number)[2])
    assignments = ServiceAssignments(ECHO, Names())
    assignments.update(service, NO_POLICY)
    return lambda: [assignments.show(each.port, Place("eu")) for each in service.ports]


def looked_up_ports(number: int) -> Callable[[], object]:
    return ServiceViews(merged(renumbered(number)[2]), Names()).message


def entries_of_many_ports(number: int) -> Callable[[], object]:
    service = merged(renumbered(number)[2])
    return lambda: service_entries(service, Names(), NO_POLICY, "", tcp=True)


def many_annotations(number: int) -> Callable[[], object]:
    def said(value: str) -> Labels:
        return tuple((f"a-{each:05}", value) for each in range(number))

    index = indexed(replace(a_service(), annotations=said("1")), others=[replace(a_service(), annotations=said("2"))])
    return after(index, replace(a_service(), annotations=said("3")))


def one_of_many_slices(number: int) -> Callable[[], object]:
    ports = ports_of(number)
    slices = [behind(ports, address, name=f"s-{each}") for each, address in enumerate(addresses(number))]
    index = indexed(a_service("echo", *ports), *slices)
    return after(index, behind(ports, name="s-0"))


def one_of_many_pods(number: int) -> Callable[[], object]:
    ends = [SliceEndpoint(address, pod=f"p-{each}") for each, address in enumerate(addresses(number))]
    index = indexed(a_service(), a_slice(*ends))
    return after(index, Pod("shop", "p-0", (("v", "2"),)))


def many_zones(number: int) -> Callable[[], object]:
    ends = [SliceEndpoint(address, zone=f"z-{each}") for each, address in enumerate(addresses(number))]
    service = merged(indexed(a_service(), a_slice(*ends)))
    assignments = ServiceAssignments(ECHO, Names())
    assignments.update(service, resolve(replace(service, traffic_distribution="PreferSameZone"), ()).policy)
    return lambda: assignments.show(80, Place("eu", "z-1")).encode()


GROWING: list[tuple[Prepared, int]] = [
    *((each, 200) for each in (label_of_many_ports, endpoint_of_many_ports, protocols_of_many_ports)),
    *((each, 200) for each in (many_ports_of_evicted, many_ports_twice, explained_ports, many_annotations)),
    (viewed_ports, 40),
    *((each, 100) for each in (looked_up_ports, many_zones, one_of_many_slices)),
    *((each, 200) for each in (entries_of_many_ports, one_of_many_pods)),
]


@pytest.mark.parametrize(("prepared", "size"), GROWING, ids=[each.__name__ for each, _ in GROWING])
def test_work_grows_no_faster_than_the_service(prepared: Prepared, size: int) -> None:
    prepared(size)()  # what is made once is there
    small, large = instructions(prepared(size)), instructions(prepared(2 * size))
    assert large < 2.4 * small + 2000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=80))
def test_bag_has_what_was_put_and_not_taken(steps: list[tuple[bool, int]]) -> None:
    bag: Bag[int] = ()
    count: Counter[int] = Counter()
    for puts, value in steps:
        if puts:
            bag = put(bag, value)
        elif count[value]:
            bag = take(bag, value)
        count[value] = max(0, count[value] + (1 if puts else -1))
        assert set(bag) == {each for each in count if count[each]}
        assert bool(bag) is bool(+count)


def test_bag_of_many_is_not_copied_at_each_change() -> None:
    bag: Bag[int] = ()
    for each in range(FEW + 1):
        bag = put(bag, each)
    assert put(bag, 100) is bag
    assert take(bag, 1) is bag


# Bounds


def refused(index: Index) -> list[str]:
    return [each.reason for each in index.refused()]


def test_ports_beyond_the_bound_are_refused_and_the_first_are_served() -> None:
    ports = ports_of(8000)
    index = indexed(a_service("echo", *ports[::-1]), behind(ports, "10.0.0.1"))
    assert merged(index).ports == ports[:MAX_PORTS]
    (endpoint,) = merged(index).endpoints
    assert [endpoint.target(each) for each in (1, MAX_PORTS, MAX_PORTS + 1)] == [9, 9, None]
    (told,) = index.refused()
    assert (told.reason, told.message.startswith("it has 8000 ports, of which the first 512")) == (
        "TooManyPorts",
        True,
    )
    (explained,) = index.explain(ECHO).endpoints
    assert [step.reason for step in explained.steps] == [Reason.READY, Reason.TOO_MANY_PORTS]
    index.apply(A, Apply(a_service("echo", *ports[:MAX_PORTS])))
    index.commit()
    assert (refused(index), merged(index).ports) == ([], ports[:MAX_PORTS])


def test_ports_beyond_the_bound_are_no_matter_for_other_clusters() -> None:
    ports = ports_of(8000)
    theirs = a_service("echo", ServicePort(9000, "web")), behind([ServicePort(9000, "web")], "10.1.0.1")
    service = merged(indexed(a_service("echo", *ports), behind(ports, "10.0.0.1"), others=theirs))
    assert len(service.ports) == MAX_PORTS + 1
    assert [each.address for each in service.endpoints if each.target(9000)] == ["10.1.0.1"]


def many_slices(number: int, each_has: int) -> list[EndpointSlice]:
    ends = addresses(number * each_has)
    return [a_slice(*ends[each * each_has : (each + 1) * each_has], name=f"s-{each:05}") for each in range(number)]


@pytest.mark.parametrize(
    ("ports", "slices", "each_has", "served"),
    [
        (1, 11, 1000, MAX_ENDPOINTS),
        (1, 21, 1000, MAX_ENDPOINTS),
        (1, MAX_SLICES + 5, 1, MAX_SLICES),
        (500, 1, 300, MAX_OFFERS // 500),
    ],
)
def test_endpoints_beyond_the_bound_are_refused(ports: int, slices: int, each_has: int, served: int) -> None:
    own = ports_of(ports)
    facts = [replace(each, ports=behind(own).ports) for each in many_slices(slices, each_has)]
    index = indexed(a_service("echo", *own), *facts)
    assert len(merged(index).endpoints) == served
    assert refused(index) == ["TooManyEndpoints"]
    other_way_round = indexed(a_service("echo", *own), *facts[::-1])
    assert merged(other_way_round) == merged(index)
    explained = index.explain(ECHO)
    assert len(explained.endpoints) == slices * each_has
    out = [each for each in explained.endpoints if each.endpoint is None]
    assert {each.steps[-1].reason for each in out} == {Reason.TOO_MANY_ENDPOINTS}
    assert len(out) == slices * each_has - served


def test_healthy_endpoints_are_served_before_those_that_drain() -> None:
    own = ports_of(500)
    draining = [SliceEndpoint(each, ready=False, terminating=True, serving=True) for each in addresses(120)]
    index = indexed(a_service("echo", *own), behind(own, *draining, *addresses(120, 9)))
    there = merged(index).endpoints
    assert (len(there), sum(each.address.startswith("10.9.") for each in there)) == (200, 120)
    assert list(there) == sorted(there)


@pytest.mark.parametrize(
    "text",
    [
        "[" + ",".join('{"cluster":"a"}' for _ in range(MAX_SELECTORS + 1)) + "]",
        "[" + ",".join('{"zone":"z"}' for _ in range(16_000)) + "]",
        '[{"labels":{"a":"' + "x" * MAX_TEXT + '"}}]',
        "[" * 100_000,
    ],
)
def test_failover_list_beyond_the_bound_does_not_count_and_is_said(text: str) -> None:
    service = merged(indexed(replace(a_service(), annotations=(("failover", text),))))
    resolved = resolve(service, ())
    assert resolved.policy.failover == ()
    (problem,) = resolved.problems
    assert problem.startswith("mesh-registry.io/failover: expected at most")
    assert len(problem) < 200
    assert instructions(lambda: resolve(service, ())) < 2000


def test_export_to_names_so_many_namespaces() -> None:
    names = ",".join(f"n-{each}" for each in range(MAX_NAMES + 1))
    carried = export_to(merged(indexed(replace(a_service(), annotations=((EXPORT_TO_ANNOTATION, names),)))))
    assert len(carried.value) == MAX_NAMES
    nobody = indexed(replace(a_service(), annotations=((EXPORT_TO_ANNOTATION, f"{names},~"),)))
    assert export_to(merged(nobody)).value == ("~",)
    assert "at most 256 names, got 257" in carried.problems[0]


def test_condition_of_an_export_has_room_for_all_conflicts() -> None:
    _, _, index = renumbered(MAX_PORTS)
    conflict = export_conditions(ECHO, A, a_service(), merged(index))[-1]
    assert (conflict.type, conflict.status) == ("Conflict", True)
    assert len(conflict.message) < 32_768
    assert f"And {MAX_PORTS - TOLD} more conflicts" in conflict.message


def test_log_tells_the_first_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    index = Index()
    index.add_cluster(A)
    index.add_cluster(B)
    for cluster, start in ((A, 1), (B, 2)):
        for event in listing(a_service("echo", *ports_of(200, start))):
            index.apply(cluster, event)
    log_conflicts(index.commit())
    assert len(caplog.records) == TOLD + 1


# What no API server tells


@pytest.mark.parametrize(
    ("kind", "document", "path"),
    [
        (Kind.SERVICE, {"spec": {"ports": [{"port": 80, "name": "x" * 64}]}}, "$.spec.ports[0].name"),
        (Kind.SERVICE, {"spec": {"ports": [{"port": 80, "appProtocol": "x" * 318}]}}, "$.spec.ports[0].appProtocol"),
        (Kind.SERVICE, {"metadata": {"labels": {"a": "x" * 64}}}, "$.metadata.labels[...]"),
        (Kind.ENDPOINT_SLICE, {"endpoints": [{"addresses": ["10.0.0.1"]}] * 1001}, "$.endpoints"),
        (Kind.ENDPOINT_SLICE, {"endpoints": [{"addresses": ["1" * 254]}]}, "$.endpoints[0].addresses[0]"),
        (Kind.ENDPOINT_SLICE, {"endpoints": [{"addresses": ["a"], "zone": "z" * 254}]}, "$.endpoints[0].zone"),
        (Kind.ENDPOINT_SLICE, {"ports": [{"port": 1}] * 20_001}, "$.ports"),
        (Kind.POD, {"spec": {"serviceAccountName": "x" * 254}}, "$.spec.serviceAccountName"),
        (Kind.NODE, {"metadata": {"labels": {"topology.kubernetes.io/zone": "z" * 64}}}, "$.metadata.labels[...]"),
    ],
)
def test_what_no_api_server_tells_is_unreadable_and_its_place_is_named(
    kind: Kind, document: dict[str, object], path: str
) -> None:
    metadata = {"name": "x", "namespace": "y"} | dict(document.get("metadata") or {})  # type: ignore[call-overload]
    whole = {"addressType": "IPv4"} | document | {"metadata": metadata}
    with pytest.raises(DecodeError, match="of length <=") as caught:
        decode_object(kind, whole)
    assert str(caught.value).endswith(f"`{path}`")


def test_an_object_has_so_many_labels() -> None:
    labels = {f"l-{each:05}": "x" for each in range(10_000)}
    fact = decode_object(Kind.POD, {"metadata": {"name": "p", "namespace": "shop", "labels": labels}})
    assert isinstance(fact, Pod)
    assert fact.labels == tuple(sorted(labels.items()))[:MAX_LABELS]


def test_a_service_has_so_many_annotations_and_those_that_are_read() -> None:
    said = {f"mesh-registry.io/a-{each:05}": "x" for each in range(5000)} | {"mesh-registry.io/failover": "[]"}
    fact = decode_object(Kind.SERVICE, {"metadata": {"name": "s", "namespace": "shop", "annotations": said}})
    assert isinstance(fact, Service)
    assert fact.annotations == (*((f"a-{each:05}", "x") for each in range(MAX_ANNOTATIONS - 1)), ("failover", "[]"))


def test_one_service_of_another_family_is_bounded_in_both() -> None:
    four = many_slices(11, 1000)
    six = [
        replace(
            each,
            name=f"six-{each.name}",
            address_type=AddressType.IPV6,
            endpoints=tuple(
                end._replace(address=f"2001:db8::{end.address.replace('.', ':')}") for end in each.endpoints
            ),
        )
        for each in four
    ]
    index = indexed(a_service(), *four, *six)
    assert len(merged(index).endpoints) == MAX_ENDPOINTS
    assert index.held_facts(A, Kind.ENDPOINT_SLICE).keys() >= {ObjectRef(Kind.ENDPOINT_SLICE, "shop", "s-00000")}


def test_what_a_member_said_goes_with_it_without_a_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        before = _members()
        index = indexed(a_service(), a_slice("10.0.0.1"))
        assert _members() == before + 2
        for cluster in (A, B):
            index.remove_cluster(cluster)
        index.commit()
        assert _members() == before
    finally:
        gc.enable()


def _members() -> int:
    return sum(isinstance(each, Member) for each in gc.get_objects())
