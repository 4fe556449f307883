"""A folder of manifests as facts: what it says, what is wrong with it, what changed."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.facts import A

from registry.index import Index
from registry.model.events import Apply, Delete, Init, InitDone, SourceEvent
from registry.model.names import Kind, ObjectRef
from registry.sources.manifests.files import ManifestError, read_manifest
from registry.sources.manifests.folder import ManifestFolder

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec:
  ports:
  - {name: http, port: 80}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: echo-1
  namespace: shop
  labels: {kubernetes.io/service-name: echo}
addressType: IPv4
ports:
- {name: http, port: 8080}
endpoints:
- addresses: [10.0.0.1]
"""


def refs(text: str, name: str = "x.yaml") -> list[str]:
    return [str(placed.fact.ref) for placed in read_manifest(name, text.encode())]


def told(folder: ManifestFolder) -> list[SourceEvent]:
    return list(folder.changes())


def folder_of(**files: str) -> ManifestFolder:
    """A folder whose files were read and told."""
    folder = ManifestFolder()
    for name, text in files.items():
        folder.put(f"{name}.yaml", text.encode())
    told(folder)
    return folder


def test_one_object_many_documents_and_lists_are_read() -> None:
    items = "".join("  " + line for line in SERVICE.splitlines(keepends=True)).replace("  api", "- api", 1)
    assert refs(SERVICE) == ["Service shop/echo"]
    assert refs(f"{SERVICE}---\n{SLICE}---\n") == ["Service shop/echo", "EndpointSlice shop/echo-1"]
    assert refs(f"apiVersion: v1\nkind: List\nitems:\n{items}") == ["Service shop/echo"]


def test_typed_list_gives_its_items_their_kind() -> None:
    text = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: p1, namespace: shop}\n"
    assert refs(text) == ["Pod shop/p1"]


def test_json_is_read() -> None:
    assert refs('{\n\t"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}', "x.json") == ["Node n1"]


def test_object_without_a_namespace_is_in_default() -> None:
    assert refs(SERVICE.replace(", namespace: shop", "")) == ["Service default/echo"]


def test_other_kinds_are_passed_over() -> None:
    assert refs("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n") == []
    assert refs("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Service\n\tmetadata: {}\n", "x.yaml:2: a tab where only spaces may indent"),
        (SERVICE.replace("port: 80", "port: 80000"), "x.yaml:6: Service spec.ports[0].port: Expected `int` <= 65535"),
        (SLICE.replace("8080", "0"), "x.yaml:9: EndpointSlice ports[0].port: Expected `int` >= 1"),
        (SERVICE.replace("name: echo", "name: Echo_1"), "x.yaml:3: Service metadata.name: Expected `str` matching"),
        (SLICE[: SLICE.index("kind")], "x.yaml:1: no apiVersion and kind"),
        (SLICE[:-5], "x.yaml:12: while parsing a flow sequence"),
        ("", "x.yaml:1: nothing in it"),
        ("# all gone\n", "x.yaml:1: nothing in it"),
        ("- a\n", "x.yaml:1: expected an object with apiVersion and kind, got list"),
        (
            SLICE.replace("k8s.io/v1", "k8s.io/v1beta1"),
            "x.yaml:1: EndpointSlice of discovery.k8s.io/v1beta1 is not read",
        ),
        (f"{SERVICE}---\nkind: 5\n", "x.yaml:8: no apiVersion and kind"),
        (
            SLICE + "- addresses: ['fd00::1']\n",
            "x.yaml:12: EndpointSlice endpoints[1].addresses[0]: Expected an IPv4 address, as addressType says",
        ),
        (
            SLICE.replace("IPv4", "IPv6"),
            "x.yaml:11: EndpointSlice endpoints[0].addresses[0]: Expected an IPv6 address, as addressType says",
        ),
    ],
)
def test_file_that_is_wrong_is_refused_with_name_and_line(text: str, expected: str) -> None:
    with pytest.raises(ManifestError) as error:
        read_manifest("x.yaml", text.encode())
    assert str(error.value).startswith(expected)


def test_what_is_no_address_is_left_to_the_index() -> None:
    """It says so of the one endpoint; the others of its slice are there."""
    assert refs(SLICE + "- addresses: [nowhere]\n") == ["EndpointSlice shop/echo-1"]
    assert refs(SLICE.replace("IPv4", "FQDN").replace("10.0.0.1", "example.org")) == ["EndpointSlice shop/echo-1"]


def test_invalid_utf8_is_refused_with_its_line() -> None:
    with pytest.raises(ManifestError, match=r"x.yaml:2: not UTF-8"):
        read_manifest("x.yaml", b"kind: Service\nmetadata: \xff\n")


def test_first_time_is_a_list_of_every_kind() -> None:
    folder = ManifestFolder()
    folder.put("x.yaml", SERVICE.encode())
    events = told(folder)
    assert [event.kind for event in events if isinstance(event, Init)] == list(Kind)
    assert [event.kind for event in events if isinstance(event, InitDone)] == list(Kind)


def test_namespaces_are_those_of_the_objects() -> None:
    folder = folder_of(s=SERVICE)
    folder.remove("s.yaml")
    assert Delete(ObjectRef(Kind.NAMESPACE, "", "shop")) in told(folder)


def test_changed_file_tells_just_what_changed() -> None:
    folder = folder_of(s=SERVICE, e=SLICE)
    folder.put("e.yaml", SLICE.replace("10.0.0.1", "10.0.0.2").encode())
    (event,) = told(folder)
    assert isinstance(event, Apply)
    assert event.fact.ref == ObjectRef(Kind.ENDPOINT_SLICE, "shop", "echo-1")
    assert told(folder) == []


def test_file_that_is_gone_takes_its_objects_along() -> None:
    folder = folder_of(s=SERVICE, e=SLICE)
    folder.remove("e.yaml")
    assert told(folder) == [Delete(ObjectRef(Kind.ENDPOINT_SLICE, "shop", "echo-1"))]


def test_renamed_file_changes_nothing() -> None:
    folder = folder_of(s=SERVICE, e=SLICE)
    folder.remove("e.yaml")
    folder.put("f.yaml", SLICE.encode())
    assert told(folder) == []


def test_broken_file_keeps_its_last_good_content_and_is_said_until_it_is_mended() -> None:
    folder = folder_of(s=SERVICE, e=SLICE)
    folder.put("e.yaml", SLICE[:60].encode())
    assert told(folder) == []
    (problem,) = folder.problems()
    assert problem.startswith("e.yaml:")
    assert problem.endswith("its last good content still counts")
    folder.unreadable("e.yaml", "Input/output error")
    assert folder.problems() == ("e.yaml: cannot be read: Input/output error; its last good content still counts",)
    assert told(folder) == []
    folder.put("e.yaml", SLICE.replace("10.0.0.1", "10.0.0.2").encode())
    assert folder.problems() == ()
    assert len(told(folder)) == 1


def test_broken_file_that_was_never_good_spoils_no_other() -> None:
    folder = ManifestFolder()
    folder.put("bad.yaml", b"{")
    folder.put("s.yaml", SERVICE.encode())
    assert [event.fact.ref.name for event in told(folder) if hasattr(event, "fact")] == ["echo", "shop"]
    assert "last good" not in folder.problems()[0]


def test_of_two_documents_of_one_name_the_first_counts_and_both_places_are_said() -> None:
    other = SERVICE.replace("port: 80", "port: 81")
    folder = ManifestFolder()
    folder.put("b.yaml", other.encode())
    folder.put("a.yaml", f"{SERVICE}---\n{other}".encode())
    ports = [event.fact.ports[0].port for event in told(folder) if hasattr(getattr(event, "fact", None), "ports")]
    assert ports == [80]
    assert folder.problems() == (
        "a.yaml:8: Service shop/echo is also at a.yaml:1, which counts; delete one",
        "b.yaml:1: Service shop/echo is also at a.yaml:1, which counts; delete one",
    )


def test_the_same_text_twice_in_one_file_is_a_conflict_also_when_it_is_read_again() -> None:
    folder = ManifestFolder()
    for _ in range(2):
        folder.put("a.yaml", f"{SERVICE}---\n{SERVICE}".encode())
        assert folder.problems() == ("a.yaml:8: Service shop/echo is also at a.yaml:1, which counts; delete one",)


def test_what_is_missing_may_be_kept_until_every_file_is_read() -> None:
    """An object that moves into a file that is still being read is not gone meanwhile."""
    folder = folder_of(s=SERVICE, e=SLICE)
    folder.remove("e.yaml")
    folder.put("s.yaml", SERVICE.replace("port: 80", "port: 81").encode())
    (event,) = folder.changes(keep=True)
    assert isinstance(event, Apply)
    assert event.fact.ref.kind is Kind.SERVICE
    assert told(folder) == [Delete(ObjectRef(Kind.ENDPOINT_SLICE, "shop", "echo-1"))]


def test_facts_that_a_file_says_again_are_the_same_objects() -> None:
    """The index holds the first ones: a large file that is read again does not take its memory twice."""
    folder = folder_of(s=SERVICE, e=SLICE)
    before = {placed.fact.ref: placed.fact for placed in folder.placed()}
    folder.put("e.yaml", f"# again\n{SLICE}".encode())
    after = {placed.fact.ref: placed for placed in folder.placed()}
    assert all(after[ref].fact is fact for ref, fact in before.items())
    assert {placed.place for placed in after.values()} == {"s.yaml:1", "e.yaml:2"}


def test_slice_without_its_service_is_said_and_is_no_fault() -> None:
    folder = folder_of(e=SLICE)
    assert folder.problems() == ()
    assert folder.oddities() == ("e.yaml:1: an EndpointSlice of the Service 'echo', which has no manifest; add it",)
    folder.put("s.yaml", SERVICE.encode())
    assert folder.oddities() == ()


def test_slice_of_no_service_at_all_is_not_said() -> None:
    text = SLICE.replace("  labels: {kubernetes.io/service-name: echo}\n", "")
    assert folder_of(e=text).oddities() == ()


names = st.sampled_from(["a.yaml", "b.yaml", "c.yaml"])
addresses = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), max_size=2, unique=True)
texts = st.one_of(
    st.just(SERVICE),
    st.just("{"),
    st.builds(
        lambda name, held: yaml.safe_dump(
            {
                **yaml.safe_load(SLICE),
                "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "echo"}},
                "endpoints": [{"addresses": [address]} for address in held],
            }
        ),
        st.sampled_from(["s1", "s2"]),
        addresses,
    ),
)


@given(st.lists(st.tuples(names, st.one_of(st.none(), texts)), max_size=20))
def test_any_history_of_edits_ends_where_a_fresh_look_at_the_good_contents_begins(
    edits: list[tuple[str, str | None]],
) -> None:
    folder, index, good = ManifestFolder(), Index(), dict[str, str]()
    index.add_cluster(A)
    for name, text in edits:
        if text is None:
            folder.remove(name)
            good.pop(name, None)
        else:
            folder.put(name, text.encode())
            if text != "{":
                good[name] = text
        for event in folder.changes():
            index.apply(A, event)
    fresh_folder, fresh = ManifestFolder(), Index()
    fresh.add_cluster(A)
    for name, text in good.items():
        fresh_folder.put(name, text.encode())
    for event in fresh_folder.changes():
        fresh.apply(A, event)
    if edits:
        index.commit()
        fresh.commit()
        assert index.services() == fresh.services()
        assert index.namespaces(A) == fresh.namespaces(A)
