"""On which node a client is that does not say it: that of its Pod, where nobody else can be meant."""

from __future__ import annotations

import pytest
from support.facts import A, B, listing

from registry.index import Index
from registry.model.events import Apply, Delete
from registry.model.facts import Pod
from registry.model.names import ClusterId, Kind, ObjectRef
from registry.views.place import NOWHERE, Place, node_origin, pod_of
from registry.whereabouts import MOST_SOUGHT, Whereabouts

POD = ObjectRef(Kind.POD, "shop", "echo-1")
IN_A = Place(cluster="a")


class World:
    """Cluster a has the Pod, on node n1; cluster b has one of its name, on n2."""

    def __init__(self) -> None:
        self.index = Index()
        for cluster, node in ((A, "n1"), (B, "n2")):
            self.index.add_cluster(cluster)
            for event in listing(Pod("shop", "echo-1", node=node)):
                self.index.apply(cluster, event)
        self.looked = 0
        self.whereabouts = Whereabouts(self.index.node_of, self.look)

    def look(self) -> None:
        self.looked += 1

    def tell(self, pod: Pod) -> None:
        self.index.apply(A, Apply(pod))
        self.whereabouts.told(A, pod.ref)


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
    assert pod_of(node_id) == (None if pod is None else ObjectRef(Kind.POD, *pod))


class TestTheNode:
    def test_is_that_of_the_pod_of_that_name_in_the_clients_own_cluster(self) -> None:
        at = World().whereabouts.at
        assert at(IN_A, POD).node == "n1"
        assert at(Place(cluster="b"), POD).node == "n2"

    def test_is_as_the_client_says_where_it_says_it(self) -> None:
        assert World().whereabouts.at(Place(cluster="a", node="n9"), POD).node == "n9"

    @pytest.mark.parametrize("place", [NOWHERE, Place(cluster="stranger")])
    def test_is_not_known_of_a_client_whose_cluster_is_not(self, place: Place) -> None:
        assert World().whereabouts.at(place, POD) == place

    def test_is_not_known_of_a_client_that_is_no_pod(self) -> None:
        assert World().whereabouts.at(IN_A, None) == IN_A
        assert World().whereabouts.at(IN_A, ObjectRef(Kind.POD, "shop", "stranger")) == IN_A

    def test_is_said_with_where_it_was_found(self) -> None:
        node_id = "sidecar~10.0.0.1~echo-1.shop~x"
        assert node_origin(Place(cluster="a", node="n1"), {}, node_id) == "Pod shop/echo-1 of cluster a"
        assert node_origin(Place(cluster="a", node="n1"), {"NODE_NAME": "n1"}, node_id) == "NODE_NAME"
        assert node_origin(IN_A, {}, node_id) == ""

    def test_is_nobodys_business_while_nothing_goes_by_nodes(self) -> None:
        world = World()
        world.whereabouts.by_nodes = False
        assert world.whereabouts.at(IN_A, POD) == world.whereabouts.at(Place(cluster="a", node="n9"), POD) == IN_A
        world.whereabouts.at(IN_A, ObjectRef(Kind.POD, "shop", "later"))
        world.whereabouts.listed()
        assert world.looked == 0, "nobody is sought"


class TestAPodThatIsNotKnownYet:
    LATER = Pod("shop", "later", node="n3")

    def test_is_looked_for_again_when_it_is_told(self) -> None:
        world = World()
        assert world.whereabouts.at(IN_A, self.LATER.ref).node == ""
        world.tell(Pod("shop", "other", node="n3"))
        assert world.looked == 0
        world.tell(self.LATER)
        assert world.looked == 1
        assert world.whereabouts.at(IN_A, self.LATER.ref).node == "n3"
        world.tell(self.LATER)
        assert world.looked == 1, "nobody is sought any more"

    def test_is_waited_for_until_it_has_a_node(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, self.LATER.ref)
        world.tell(Pod("shop", "later"))
        assert world.looked == 0
        world.tell(self.LATER)
        assert world.looked == 1

    def test_is_looked_for_once_in_a_burst(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, self.LATER.ref)
        world.index.apply(A, Apply(self.LATER))
        for _ in range(3):
            world.whereabouts.listed()
        assert world.looked == 1

    def test_that_goes_is_no_news(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, self.LATER.ref)
        world.index.apply(A, Delete(self.LATER.ref))
        world.whereabouts.told(A, self.LATER.ref)
        assert world.looked == 0

    def test_makes_no_work_for_anybody_where_none_is_sought(self) -> None:
        world = World()
        world.whereabouts.at(IN_A, POD)
        world.whereabouts.listed()
        assert world.looked == 0

    def test_of_more_than_are_kept_a_list_is_waited_for(self) -> None:
        world = World()
        for number in range(MOST_SOUGHT + 1):
            world.whereabouts.at(IN_A, ObjectRef(Kind.POD, "shop", f"p{number}"))
        world.tell(Pod("shop", f"p{MOST_SOUGHT}", node="n1"))
        assert world.looked == 0
        world.whereabouts.listed()
        assert world.looked == 1


def test_a_cluster_that_is_no_member_any_more_has_no_pods() -> None:
    index = World().index
    index.remove_cluster(A)
    assert index.node_of(A, POD) == ""
    assert index.node_of(ClusterId("b"), POD) == "n2"
