"""On which node a client is that does not say it: that of its Pod, where nobody else can be meant."""

from __future__ import annotations

import pytest
from support.facts import A, B, a_slice, listing

from registry.index import Index
from registry.model.events import Apply, Delete
from registry.model.facts import Fact, Pod, SliceEndpoint
from registry.model.names import ClusterId, Kind, ObjectRef
from registry.views.place import NOWHERE, Place, Who, who_of
from registry.whereabouts import MOST_ADDRESSES, MOST_PODS, Whereabouts

POD = Who(ObjectRef(Kind.POD, "shop", "echo-1"))
IN_A = Place(cluster="a")


class World:
    """Cluster a has the Pod, on node n1; cluster b has one of its name, on n2. Others are behind a Service."""

    def __init__(self) -> None:
        self.index = Index()
        for cluster, node in ((A, "n1"), (B, "n2")):
            self.index.add_cluster(cluster)
            ends = (end(f"10.0.0.{node[1]}", node), end("10.0.9.9", "n8"), end("10.0.9.9", "n9"))
            for event in listing(Pod("shop", "echo-1", node=node), a_slice(*ends)):
                self.index.apply(cluster, event)
        self.looked = 0
        self.whereabouts = Whereabouts(self.index, self.look)

    def look(self) -> None:
        self.looked += 1

    def tell(self, fact: Fact) -> None:
        self.index.apply(A, Apply(fact))
        self.whereabouts.told(A, fact.ref)


def end(address: str, node: str, pod: str = "p") -> SliceEndpoint:
    return SliceEndpoint(address, node=node, pod=pod)


def at(*addresses: str) -> Who:
    return Who(None, addresses)


def named(pod: str) -> Who:
    return Who(ObjectRef(Kind.POD, "shop", pod))


@pytest.mark.parametrize(
    ("node_id", "pod"),
    [
        ("sidecar~10.0.0.1~echo-1.shop~shop.svc.cluster.local", ("shop", "echo-1")),
        ("router~2001:db8::1~a.b.c.shop~shop.svc.cluster.local", ("shop", "a.b.c")),
        ("sidecar~127.0.0.1~client.default~default.svc.cluster.local", None),
        ("sidecar~10.0.0.1~echo-1~x", None),
        ("sidecar~10.0.0.1~.shop~x", None),
        ("sidecar~10.0.0.1~echo-1.shop", None),
        ("sidecar~here~echo-1.shop~x", None),
        ("my-node", None),
        ("", None),
    ],
)
def test_a_pod_is_known_by_an_id_of_istios_form(node_id: str, pod: tuple[str, str] | None) -> None:
    assert who_of({}, node_id).pod == (None if pod is None else ObjectRef(Kind.POD, *pod))


@pytest.mark.parametrize(
    ("said", "node_id", "addresses"),
    [
        ("10.0.0.1, 2001:DB8::0:1", "sidecar~10.0.0.9~a.b~c", ("10.0.0.1", "2001:db8::1")),
        ("", "sidecar~10.0.0.9~a.b~c", ("10.0.0.9",)),
        ("", "sidecar~127.0.0.1~client.default~x", ()),
        ("here,::1", "", ()),
        ("", "my-node", ()),
    ],
)
def test_addresses_are_those_that_a_client_says_are_its_own(
    said: str, node_id: str, addresses: tuple[str, ...]
) -> None:
    assert who_of({"INSTANCE_IPS": said} if said else {}, node_id).addresses == addresses


class TestTheNode:
    def test_is_that_of_the_pod_of_that_name_in_the_clients_own_cluster(self) -> None:
        find = World().whereabouts.at
        assert find(IN_A, POD).node == "n1"
        assert find(Place(cluster="b"), POD).node == "n2"

    def test_is_as_the_client_says_where_it_says_it(self) -> None:
        assert World().whereabouts.at(Place(cluster="a", node="n9"), POD).node == "n9"

    @pytest.mark.parametrize("place", [NOWHERE, Place(cluster="stranger")])
    def test_is_not_known_of_a_client_whose_cluster_is_not(self, place: Place) -> None:
        assert World().whereabouts.at(place, POD) == place

    def test_is_not_known_of_a_client_that_says_nothing_of_itself(self) -> None:
        assert World().whereabouts.at(IN_A, Who()) == IN_A
        assert World().whereabouts.at(IN_A, named("stranger")) == IN_A

    def test_is_that_of_the_pods_at_the_clients_own_address(self) -> None:
        world = World()
        assert world.whereabouts.at(IN_A, at("10.0.0.1")).node == "n1"
        assert world.whereabouts.at(IN_A, at("2001:db8::9", "10.0.0.1")).node == "n1"
        assert world.whereabouts.at(Place(cluster="b"), at("10.0.0.1")).node == ""

    def test_is_not_known_where_pods_on_several_have_the_address(self) -> None:
        assert World().whereabouts.at(IN_A, at("10.0.9.9")).node == ""

    def test_is_not_known_where_the_clients_addresses_are_on_several(self) -> None:
        world = World()
        world.tell(a_slice(end("10.0.0.7", "n7"), name="other"))
        assert world.whereabouts.at(IN_A, at("10.0.0.1", "10.0.0.7")).node == ""

    def test_is_not_that_of_an_endpoint_without_a_pod(self) -> None:
        world = World()
        world.tell(a_slice(end("10.0.0.7", "n7", pod=""), name="other"))
        assert world.whereabouts.at(IN_A, at("10.0.0.7")).node == ""

    def test_by_name_counts_before_that_by_address(self) -> None:
        world = World()
        world.tell(a_slice(end("10.0.0.7", "n7"), name="other"))
        assert world.whereabouts.at(IN_A, Who(POD.pod, ("10.0.0.7",))).node == "n1"

    def test_follows_the_slices(self) -> None:
        world = World()
        assert world.whereabouts.at(IN_A, at("10.0.0.1")).node == "n1"
        world.tell(a_slice(end("10.0.0.1", "n5"), end("10.0.9.9", "n9")))
        assert [world.whereabouts.at(IN_A, at(each)).node for each in ("10.0.0.1", "10.0.9.9")] == ["n5", "n9"]
        world.index.apply(A, Delete(a_slice("10.0.0.1").ref))
        assert world.whereabouts.at(IN_A, at("10.0.0.1")).node == ""

    def test_is_said_with_where_it_was_found(self) -> None:
        origin = World().whereabouts.origin
        on_n1 = Place(cluster="a", node="n1")
        assert origin(on_n1, POD) == "Pod shop/echo-1 of cluster a"
        assert origin(on_n1, at("10.0.0.1")) == "the Pod at 10.0.0.1 of cluster a"
        assert origin(on_n1, at("10.0.9.9")) == origin(IN_A, POD) == ""

    def test_is_nobodys_business_while_nothing_goes_by_nodes(self) -> None:
        world = World()
        world.whereabouts.by_nodes = False
        assert world.whereabouts.at(IN_A, POD) == world.whereabouts.at(Place(cluster="a", node="n9"), POD) == IN_A
        world.whereabouts.at(IN_A, named("later"))
        world.whereabouts.listed()
        assert world.looked == 0, "nobody is sought"


class TestAPodThatIsNotKnownYet:
    LATER = Pod("shop", "later", node="n3")

    def test_is_looked_for_again_when_it_is_told(self) -> None:
        world = World()
        assert world.whereabouts.at(IN_A, Who(self.LATER.ref)).node == ""
        world.tell(Pod("shop", "other", node="n3"))
        assert world.looked == 0
        world.tell(self.LATER)
        assert world.looked == 1
        assert world.whereabouts.at(IN_A, Who(self.LATER.ref)).node == "n3"
        world.tell(self.LATER)
        assert world.looked == 1, "nobody is sought any more"

    def test_is_waited_for_until_it_has_a_node(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, Who(self.LATER.ref))
        world.tell(Pod("shop", "later"))
        assert world.looked == 0
        world.tell(self.LATER)
        assert world.looked == 1

    def test_is_looked_for_once_in_a_burst(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, Who(self.LATER.ref))
        world.index.apply(A, Apply(self.LATER))
        for _ in range(3):
            world.whereabouts.listed()
        assert world.looked == 1

    def test_that_goes_is_no_news(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, Who(self.LATER.ref))
        world.index.apply(A, Delete(self.LATER.ref))
        world.whereabouts.told(A, self.LATER.ref)
        assert world.looked == 0

    def test_makes_no_work_for_anybody_where_none_is_sought(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, POD)
        world.whereabouts.listed()
        assert world.looked == 0

    def test_is_looked_for_by_its_address_too(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, at("10.0.0.7"))
        world.tell(a_slice(end("10.0.0.8", "n8"), name="other"))
        assert world.looked == 0
        world.tell(a_slice(end("10.0.0.7", "n7"), name="other"))
        assert world.looked == 1
        assert world.whereabouts.at(IN_A, at("10.0.0.7")).node == "n7"

    def test_of_more_addresses_than_are_kept_a_list_is_waited_for(self) -> None:
        world = World()
        for number in range(MOST_ADDRESSES + 1):
            world.whereabouts.at(IN_A, at(f"10.1.0.{number}"))
        world.tell(a_slice(end(f"10.1.0.{MOST_ADDRESSES}", "n7"), name="other"))
        assert world.looked == 0
        world.whereabouts.listed()
        assert world.looked == 1

    def test_of_more_than_are_kept_a_list_is_waited_for(self) -> None:
        world = World()
        for number in range(MOST_PODS + 1):
            world.whereabouts.at(IN_A, named(f"p{number}"))
        world.tell(Pod("shop", f"p{MOST_PODS}", node="n1"))
        assert world.looked == 0
        world.whereabouts.listed()
        assert world.looked == 1


def test_a_cluster_that_is_no_member_any_more_has_no_pods() -> None:
    index = World().index
    index.remove_cluster(A)
    assert POD.pod is not None
    assert (index.node_of(A, POD.pod), index.node_at(A, "10.0.0.1")) == ("", "")
    assert index.node_of(ClusterId("b"), POD.pod) == "n2"
