"""A list that is shorter than it should be: what is kept, and what lets it go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import ExportMode, ExportPolicy, GuardPolicy, HeldObjects, HeldService, Index
from registry.model.events import Apply, Delete, Init, InitApply, InitDone
from registry.model.facts import EndpointSlice, Fact, Namespace, Node, Pod, Service, ServiceExport, SliceEndpoint
from registry.model.names import BASE_KINDS, ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import Endpoint

POLICY = GuardPolicy(confirm_seconds=30, hold_seconds=600)
SLICES = (Kind.ENDPOINT_SLICE,)
APP = (("app", "echo"),)


class World:
    """An index with a guard, and its clock."""

    def __init__(self, *facts: Fact, cluster: ClusterId = A) -> None:
        self.now = 0.0
        self.index = Index(guard=POLICY, clock=lambda: self.now)
        self.add(cluster, facts)

    def add(self, cluster: ClusterId, facts: Iterable[Fact]) -> None:
        self.index.add_cluster(cluster)
        for event in listing(*facts):
            self.index.apply(cluster, event)
        self.index.commit()

    def relist(self, *facts: Fact, kinds: Iterable[Kind] = SLICES, rewound: bool = False, after: float = 0) -> None:
        """``after`` so many seconds the lists of ``kinds`` have just these facts."""
        self.now += after
        for event in _listing(facts, kinds, rewound):
            self.index.apply(A, event)
        self.index.commit()

    def told(self, *events: Apply | Delete) -> None:
        for event in events:
            self.index.apply(A, event)
        self.index.commit()

    def wait(self, seconds: float) -> frozenset[Kind]:
        """Let time pass; returns the kinds that are to be listed again."""
        self.now += seconds
        wanted = self.index.on_time().get(A, frozenset())
        self.index.commit()
        return wanted

    def endpoints(self, key: ServiceKey = ECHO) -> tuple[Endpoint, ...]:
        service = self.index.get(key)
        return () if service is None else service.endpoints

    @property
    def sure(self) -> set[str]:
        return {each.address for each in self.endpoints() if not each.demoted}

    @property
    def doubted(self) -> set[str]:
        return {each.address for each in self.endpoints() if each.demoted}


def _listing(facts: Iterable[Fact], kinds: Iterable[Kind], rewound: bool) -> Iterator[Init | InitApply | InitDone]:
    for kind in kinds:
        yield Init(kind)
        yield from (InitApply(fact) for fact in facts if fact.ref.kind is kind)
        yield InitDone(kind, rewound)


def addresses(count: int, first: int = 1) -> tuple[str, ...]:
    return tuple(f"10.0.0.{number}" for number in range(first, first + count))


def podded(count: int) -> tuple[EndpointSlice, list[Pod]]:
    """A slice of so many endpoints, each with its Pod."""
    names = [f"pod-{number}" for number in range(1, count + 1)]
    ends = [SliceEndpoint(address, pod=name) for address, name in zip(addresses(count), names, strict=True)]
    return a_slice(*ends), [Pod("shop", name, APP) for name in names]


def selecting() -> Service:
    return Service("shop", "echo", a_service().ports, selector=APP)


def test_an_empty_list_removes_nothing_at_first() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    assert world.doubted == set(addresses(2))
    (held,) = world.index.held()
    assert (held.cluster, held.key, held.reason) == (A, ECHO, "ServiceEmptied")
    assert (held.since, held.until, held.endpoints) == (0, 600, addresses(2))


def test_a_second_list_that_says_the_same_is_believed() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    assert world.index.next_at() == 30
    assert world.wait(30) == {Kind.ENDPOINT_SLICE}
    world.relist()
    assert world.endpoints() == ()
    assert world.index.held() == ()
    assert world.index.next_at() is None


def test_a_second_list_that_comes_too_soon_is_the_first_one_again() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    world.relist(after=29)
    assert world.doubted == set(addresses(2))


def test_a_list_that_has_them_again_takes_the_doubt_away() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    world.relist(a_slice(*addresses(2)), after=5)
    assert (world.sure, world.index.held()) == (set(addresses(2)), ())


def test_scale_to_zero_that_a_watch_tells_is_believed_at_once() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.told(Apply(a_slice()))
    assert world.endpoints() == ()


def test_a_slice_that_a_watch_says_is_deleted_is_gone_at_once() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.told(Delete(a_slice().ref))
    assert world.endpoints() == ()


@pytest.mark.parametrize(("before", "after"), [(4, 1), (10, 7), (2, 1), (20, 14)])
def test_a_little_less_is_believed(before: int, after: int) -> None:
    world = World(a_service(), a_slice(*addresses(before)), a_service("big"), a_big(100))
    world.relist(a_slice(*addresses(after)), a_big(100))
    assert (world.sure, world.doubted) == (set(addresses(after)), set())


@pytest.mark.parametrize(("before", "after"), [(5, 1), (10, 6), (20, 13), (1, 0)])
def test_much_less_is_not(before: int, after: int) -> None:
    world = World(a_service(), a_slice(*addresses(before)), a_service("big"), a_big(100))
    world.relist(a_slice(*addresses(after)), a_big(100))
    assert world.sure == set(addresses(after))
    assert world.doubted == set(addresses(before)) - set(addresses(after))


def test_a_list_that_takes_a_little_of_every_service_takes_too_much_of_the_cluster() -> None:
    names = [f"s{number}" for number in range(10)]
    services = [a_service(name) for name in names]
    world = World(*services, *(a_slice(*of(name, 3), name=name, service=name) for name in names))
    world.relist(*(a_slice(*of(name, 2), name=name, service=name) for name in names))
    assert {held.reason for held in world.index.held()} == {"ClusterShrunk"}
    assert [len(held.endpoints) for held in world.index.held()] == [1] * 10


def test_a_list_with_others_in_their_place_is_no_shorter_list() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist(a_slice(*addresses(10, first=101)))
    assert (world.sure, world.doubted) == (set(addresses(10, first=101)), set())


def test_a_list_of_an_earlier_time_takes_nothing() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist(a_slice(*addresses(10, first=2)), rewound=True)
    assert world.doubted == {"10.0.0.1"}
    assert world.index.held()[0].reason == "Rewound"


def test_a_service_that_a_list_lacks_is_kept_with_its_ports() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist(kinds=[Kind.SERVICE])
    service = world.index.get(ECHO)
    assert service is not None
    assert service.ports == a_service().ports
    assert world.doubted == set(addresses(2))
    world.relist(kinds=[Kind.SERVICE], after=30)
    assert world.index.get(ECHO) is None


def test_empty_lists_of_everything_keep_everything_as_it_was() -> None:
    fact, pods = podded(4)
    ends = tuple(SliceEndpoint(each.address, node="n", pod=each.pod) for each in fact.endpoints)
    world = World(selecting(), a_slice(*ends), *pods, Node("n", "region", "zone"))
    before = world.endpoints()
    world.relist(kinds=sorted(BASE_KINDS))
    assert [(each.address, each.locality, each.labels) for each in world.endpoints()] == [
        (each.address, each.locality, each.labels) for each in before
    ]


def test_endpoints_whose_pods_are_gone_are_let_go_at_once() -> None:
    fact, pods = podded(10)
    world = World(selecting(), fact, *pods, *(Pod("shop", f"other-{number}") for number in range(30)))
    for pod in pods[:8]:
        world.told(Delete(pod.ref))
    world.relist(a_slice(*fact.endpoints[8:]))
    assert (world.sure, world.doubted) == ({"10.0.0.9", "10.0.0.10"}, set())


def test_pods_that_go_after_the_list_let_their_endpoints_go() -> None:
    fact, pods = podded(10)
    world = World(selecting(), fact, *pods)
    world.relist()
    assert len(world.doubted) == 10
    world.told(*(Delete(pod.ref) for pod in pods[:3]), Apply(Pod("shop", "pod-4", APP, ready=False)))
    assert world.doubted == set(addresses(6, first=5))


def test_pods_that_are_not_ready_are_endpoints_where_the_service_publishes_them() -> None:
    """``publishNotReadyAddresses``: that a Pod is not ready says nothing against its endpoint."""
    service = Service("shop", "echo", a_service().ports, selector=APP, publish_not_ready=True)
    pods = tuple(Pod("shop", f"pod-{number}", APP, ready=False) for number in range(1, 5))
    ends = tuple(SliceEndpoint(f"10.0.0.{number}", pod=f"pod-{number}") for number in range(1, 5))
    world = World(service, a_slice(*ends), *pods)
    world.relist(service, *pods)
    assert world.doubted == set(addresses(4))


def test_pods_that_are_alive_outweigh_a_second_list_until_the_time_is_over() -> None:
    fact, pods = podded(4)
    world = World(selecting(), fact, *pods)
    world.relist()
    world.relist(after=30)
    assert world.doubted == set(addresses(4))
    world.wait(570)
    assert world.endpoints() == ()


def test_pods_the_service_no_longer_selects_do_not_speak_for_it() -> None:
    fact, pods = podded(4)
    world = World(Service("shop", "echo", a_service().ports, selector=(("app", "other"),)), fact, *pods)
    world.relist()
    assert world.endpoints() == ()


def test_a_watch_that_speaks_of_a_held_slice_is_believed() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist()
    world.told(Apply(a_slice("10.0.0.1")))
    assert (world.sure, world.doubted) == ({"10.0.0.1"}, set())


def test_a_watch_that_deletes_a_held_slice_is_believed() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist()
    world.told(Delete(a_slice().ref))
    assert world.endpoints() == ()


def test_what_is_held_is_let_go_by_hand() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist()
    (released,) = world.index.release(key=ECHO)
    world.index.commit()
    assert isinstance(released, HeldService)
    assert released.endpoints == tuple(sorted(addresses(10)))
    assert world.endpoints() == ()
    assert world.index.release() == ()


def test_pods_nodes_and_namespaces_that_are_held_are_told_by_kind_and_let_go_by_hand() -> None:
    fact, pods = podded(4)
    ends = tuple(SliceEndpoint(each.address, node="n", pod=each.pod) for each in fact.endpoints)
    labelled = Namespace("istio-system", (("topology.istio.io/network", "n"),))
    facts = selecting(), a_slice(*ends)
    world = World(*facts, *pods, Node("n", "region", "zone"), labelled)
    world.relist(kinds=[Kind.POD, Kind.NODE, Kind.NAMESPACE])
    assert world.index.held() == ()
    told = {each.kind: (each.reason, each.since, each.until, set(each.refs)) for each in world.index.held_objects()}
    assert told == {
        Kind.POD: ("ObjectsShrunk", 0, 600, {each.ref for each in pods}),
        Kind.NODE: ("ObjectsShrunk", 0, 600, {ObjectRef(Kind.NODE, "", "n")}),
        Kind.NAMESPACE: ("ObjectsShrunk", 0, 600, {labelled.ref}),
    }
    assert {(each.labels, each.network) for each in world.endpoints()} == {(APP, "n")}
    assert world.index.release(key=ECHO) == ()
    assert world.index.release(cluster=B) == ()
    released = world.index.release(cluster=A)
    world.index.commit()
    assert [each.kind for each in released if isinstance(each, HeldObjects)] == sorted(told)
    assert world.endpoints() == World(*facts).endpoints()
    assert world.index.held_objects() == ()
    assert world.index.next_at() is None


def test_a_held_pod_that_is_let_go_by_hand_takes_its_held_endpoint_with_it() -> None:
    fact, pods = podded(10)
    world = World(selecting(), fact, *pods, Pod("shop", "rest"))
    world.relist(Pod("shop", "rest"), kinds=[Kind.ENDPOINT_SLICE, Kind.POD])
    assert world.doubted == set(addresses(10))
    assert len(world.index.release()) == 2
    world.index.commit()
    assert (world.endpoints(), world.index.held(), world.index.held_objects()) == ((), (), ())


def test_the_hold_of_another_cluster_is_left_alone() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    assert world.index.release(cluster=B) == ()
    assert world.doubted == set(addresses(2))


def test_a_cluster_that_is_taken_out_takes_what_is_held_with_it() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    world.index.remove_cluster(A)
    world.index.commit()
    assert world.index.services() == ()
    assert world.index.held() == ()


def test_an_endpoint_that_another_cluster_is_sure_of_is_not_in_doubt() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.add(B, [a_service(), a_slice(*addresses(2))])
    world.relist()
    assert world.doubted == set()


class TestRestored:
    """What an earlier run knew, until the first list is complete."""

    FACTS = (a_service(), a_slice(*addresses(10)))

    def restored(self, *facts: Fact) -> World:
        world = World()
        world.index.remove_cluster(A)
        world.index.add_cluster(A)
        world.index.restore(A, facts or self.FACTS)
        world.index.commit()
        return world

    def test_it_is_shown_at_once(self) -> None:
        world = self.restored()
        assert world.sure == set(addresses(10))
        assert world.index.restored(A)

    def test_additions_pass_and_removals_wait(self) -> None:
        world = self.restored()
        world.relist(a_slice(*addresses(10, first=2)), kinds=SLICES)
        assert world.sure == set(addresses(10, first=2))
        assert world.doubted == {"10.0.0.1"}
        assert world.index.held()[0].until is None

    def test_with_the_last_first_list_a_few_are_gone(self) -> None:
        world = self.restored()
        world.relist(a_service(), a_slice(*addresses(9, first=2)), kinds=sorted(BASE_KINDS))
        assert (world.sure, world.doubted) == (set(addresses(9, first=2)), set())
        assert not world.index.restored(A)

    def test_with_the_last_first_list_many_are_in_doubt(self) -> None:
        world = self.restored()
        world.relist(kinds=sorted(BASE_KINDS))
        assert world.doubted == set(addresses(10))
        assert world.index.held()[0].reason in ("ServiceEmptied", "ClusterShrunk")
        world.relist(kinds=sorted(BASE_KINDS), after=30)
        assert world.index.services() == ()

    def test_a_watch_is_believed_before_the_first_list_is_complete(self) -> None:
        world = self.restored()
        world.relist(a_slice(*addresses(10)), kinds=SLICES)
        world.told(Apply(a_slice()))
        assert world.endpoints() == ()

    def test_what_is_held_survives_a_restart(self) -> None:
        before = World(*self.FACTS)
        before.relist(a_slice("10.0.0.1"))
        facts = [fact for kind in before.index.facts(A).values() for fact in kind]
        after = self.restored(*facts)
        assert after.sure == set(addresses(10))


def a_big(count: int) -> EndpointSlice:
    """A slice of another service, so that the cluster as a whole loses little."""
    return a_slice(*of("big", count), name="big", service="big")


def of(name: str, count: int) -> tuple[str, ...]:
    """Addresses of that service and no other."""
    return tuple(f"10.1.{sum(map(ord, name)) % 250}.{number}" for number in range(1, count + 1))


def test_a_word_about_the_service_is_none_about_its_endpoints() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist()
    world.told(Apply(Service("shop", "echo", a_service().ports, labels=(("note", "x"),))))
    assert world.doubted == set(addresses(10))
    world.told(Delete(a_service().ref))
    assert world.index.get(ECHO) is None
    assert world.index.held() == ()


def test_what_is_held_under_another_slices_name_is_believed_where_it_is_again() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist()
    world.told(Apply(a_slice(*addresses(10), name="echo-2")))
    assert (world.sure, world.index.held()) == (set(addresses(10)), ())
    world.told(Apply(a_slice("10.0.0.1", name="echo-2")))
    assert (world.sure, world.doubted) == ({"10.0.0.1"}, set())


def test_what_a_list_has_under_another_slices_name_is_not_held() -> None:
    world = World(a_service(), a_slice(*addresses(10)))
    world.relist()
    world.relist(a_slice(*addresses(9), name="echo-2"), after=1)
    assert (world.sure, world.doubted) == (set(addresses(9)), {"10.0.0.10"})


def test_a_slice_that_becomes_another_services_leaves_nothing_held_behind() -> None:
    world = World(a_service(), a_slice(*addresses(10)), a_service("cart"))
    world.relist(a_service("cart"), a_service())
    world.relist(a_slice("10.0.1.1", service="cart"), after=1)
    world.relist(after=1)
    world.relist(after=60)
    world.relist(after=60)
    assert (world.index.held(), world.endpoints(), world.endpoints(ServiceKey("shop", "cart"))) == ((), (), ())


def test_when_a_held_pod_or_node_is_let_go_its_endpoints_are_what_they_are_without_it() -> None:
    fact, pods = podded(4)
    ends = tuple(SliceEndpoint(each.address, node="n", pod=each.pod) for each in fact.endpoints)
    facts = selecting(), a_slice(*ends)
    world = World(*facts, *pods, Node("n", "region", "zone"))
    world.relist(kinds=[Kind.POD, Kind.NODE])
    assert {each.labels for each in world.endpoints()} == {APP}
    world.relist(kinds=[Kind.POD, Kind.NODE], after=30)
    assert world.endpoints() == World(*facts).endpoints()


def test_when_a_held_namespace_is_let_go_its_network_goes_with_it() -> None:
    labelled = Namespace("istio-system", (("topology.istio.io/network", "n"),))
    world = World(a_service(), a_slice("10.0.0.1"), labelled)
    world.relist(kinds=[Kind.NAMESPACE])
    assert world.endpoints()[0].network == "n"
    world.relist(kinds=[Kind.NAMESPACE], after=30)
    assert world.endpoints()[0].network == ""


def test_list_that_lacks_only_the_namespace_with_the_network_moves_no_endpoint() -> None:
    labelled = Namespace("istio-system", (("topology.istio.io/network", "n"),))
    others = [Namespace(f"n{number}", ()) for number in range(9)]
    world = World(a_service(), a_slice("10.0.0.1"), labelled, *others)
    world.relist(*others, kinds=[Kind.NAMESPACE])
    assert world.endpoints()[0].network == "n"
    world.told(Delete(labelled.ref))
    assert world.endpoints()[0].network == ""


def test_a_held_pod_that_a_watch_says_is_gone_takes_its_held_endpoint_with_it() -> None:
    fact, pods = podded(10)
    world = World(selecting(), fact, *pods)
    world.relist(kinds=[Kind.ENDPOINT_SLICE, Kind.POD])
    assert world.doubted == set(addresses(10))
    world.told(Apply(pods[0]), Delete(pods[1].ref))
    assert world.doubted == set(addresses(10)) - {"10.0.0.2"}


def test_held_pods_whose_time_is_over_take_their_held_endpoints_with_them() -> None:
    """A list took the endpoints later than another one took the Pods, which spoke for them while they counted."""
    fact, pods = podded(10)
    rest = Pod("shop", "rest")
    world = World(selecting(), fact, *pods, rest)
    world.relist(rest, kinds=[Kind.POD])
    world.relist(after=100)
    assert world.doubted == set(addresses(10))
    world.wait(499)
    assert world.doubted == set(addresses(10))
    world.wait(1)
    assert world.endpoints() == ()


def test_what_was_added_to_a_doubt_waits_for_its_own_second_list() -> None:
    world = World(a_service(), a_slice(*addresses(20)))
    world.relist(a_slice(*addresses(10)))
    world.relist(a_slice(*addresses(2)), after=29)
    world.relist(a_slice(*addresses(2)), after=1)
    assert world.doubted >= set(addresses(8, first=3))
    world.relist(a_slice(*addresses(2)), after=29)
    assert (world.sure, world.doubted) == (set(addresses(2)), set())


def test_a_service_whose_export_alone_is_in_doubt_is_in_doubt() -> None:
    index = Index(ExportPolicy(mode=ExportMode.SERVICE_EXPORT), POLICY)
    index.add_cluster(A)
    for event in listing(a_service(), a_slice("10.0.0.1"), ServiceExport("shop", "echo")):
        index.apply(A, event)
    for event in listing(kinds=[Kind.SERVICE_EXPORT]):
        index.apply(A, event)
    index.commit()
    service = index.get(ECHO)
    assert service is not None
    assert [each.demoted for each in service.endpoints] == [True]


def test_a_list_that_was_begun_too_soon_is_no_second_one() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    world.now += 29
    world.index.apply(A, Init(Kind.ENDPOINT_SLICE))
    world.now += 20
    world.index.apply(A, InitDone(Kind.ENDPOINT_SLICE))
    world.index.commit()
    assert world.doubted == set(addresses(2))
    world.relist(after=1)
    assert world.endpoints() == ()


def test_a_list_that_somebody_else_heard_some_time_ago_is_no_second_one() -> None:
    world = World(a_service(), a_slice(*addresses(2)))
    world.relist()
    world.now += 60
    for event in (Init(Kind.ENDPOINT_SLICE), InitDone(Kind.ENDPOINT_SLICE, retold=True)):
        world.index.apply(A, event)
    world.index.commit()
    assert world.doubted == set(addresses(2))
    assert world.wait(0) == {Kind.ENDPOINT_SLICE}
