"""Copies that multi-cluster controllers make of endpoints are no sources (``registry.model.copies``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import ExportMode, ExportPolicy, GuardPolicy, Index
from registry.liveness.sample import sample
from registry.model.events import Apply, Init, InitApply, InitDone
from registry.model.facts import EndpointSlice, Fact, Node, Pod, Service, ServiceExport, SliceEndpoint
from registry.model.names import ClusterId, Kind, ServiceKey
from registry.model.reasons import Reason
from registry.model.services import Endpoint
from registry.snapshot.rows import CODECS
from registry.sources.kubernetes.decode import decode_object

SOURCE = "multicluster.kubernetes.io/source-cluster"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
THERE = "10.2.0.7"
OURS = (
    Node("node-b1", "eu-west", "eu-west-2"),
    Pod("shop", "echo-b", (("app", "echo"), ("version", "v2")), "echo"),
    a_service(),
    a_slice(SliceEndpoint(THERE, node="node-b1", pod="echo-b")),
)
"""What b has itself."""


def object_of(kind: Kind, name: str, **metadata: Any) -> Any:
    labels = {"kubernetes.io/service-name": "echo"} | metadata.pop("labels", {})
    spec: dict[str, Any] = {"spec": {"ports": [{"name": "http", "port": 80}]}}
    if kind is Kind.ENDPOINT_SLICE:
        ends = [{"addresses": [THERE], "conditions": {"ready": True}, "hostname": "echo-b"}]
        spec = {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": ends}
    return decode_object(kind, {"metadata": {"name": name, "namespace": "shop", "labels": labels, **metadata}, **spec})


def slice_of(**metadata: Any) -> EndpointSlice:
    found = object_of(Kind.ENDPOINT_SLICE, "echo-b-mesh", **metadata)
    assert isinstance(found, EndpointSlice)
    return found


def an_index(*ours: Fact, **policies: Any) -> Index:
    """Cluster a has these, and cluster b the Pod."""
    index = Index(**policies)
    for cluster, facts in ((A, ours), (B, OURS)):
        index.add_cluster(cluster)
        for event in listing(*facts):
            index.apply(cluster, event)
    index.commit()
    return index


def endpoints(index: Index, key: ServiceKey = ECHO) -> list[Endpoint]:
    found = index.get(key)
    return list(found.endpoints) if found is not None else []


MARKS: list[dict[str, Any]] = [
    {"labels": {SOURCE: "b"}},
    {"labels": {SOURCE: "b", MANAGED_BY: "endpointslice-mesh-controller.cilium.io"}},
    {"labels": {SOURCE: "called-otherwise-there"}},
    {"labels": {SOURCE: "a"}},
    {"labels": {MANAGED_BY: "endpointslice-mesh-controller.cilium.io"}},
    {"labels": {MANAGED_BY: "lighthouse-agent.submariner.io", "lighthouse.submariner.io/sourceNamespace": "shop"}},
    {"labels": {"lighthouse.submariner.io/sourceCluster": "b"}},
    {"labels": {"mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/cluster-name": "b"}},
    {"labels": {MANAGED_BY: "endpointslice-dispatch-controller.karmada.io"}},
    {"annotations": {"endpointslice.karmada.io/provision-cluster": "b"}},
    {"labels": {MANAGED_BY: "endpointslice.reflection.liqo.io"}},
    {"ownerReferences": [{"kind": "ServiceImport", "name": "echo", "apiVersion": "multicluster.x-k8s.io/v1alpha1"}]},
]


@pytest.mark.parametrize("metadata", MARKS)
def test_a_copied_slice_is_no_source(metadata: dict[str, Any]) -> None:
    index = an_index(a_service(), a_slice("10.1.0.5"), slice_of(**metadata))
    a, b = endpoints(index)
    assert (a.address, a.cluster) == ("10.1.0.5", A)
    assert (b.address, b.cluster, b.pod, b.locality) == (THERE, B, "echo-b", ("eu-west", "eu-west-2", "b"))
    assert dict(b.labels) == {"app": "echo", "version": "v2"}
    steps = {(each.cluster, each.fact.name): each.steps[-1] for each in index.explain(ECHO).endpoints}
    assert steps[A, "echo-b-mesh"].reason is Reason.SLICE_COPY
    assert steps[A, "echo-b-mesh"].detail
    assert steps[B, "echo-1"].reason is Reason.READY


def test_a_copy_is_no_source_where_nobody_else_has_the_endpoint() -> None:
    """Only the cluster it runs in knows when it goes; that has to be a member."""
    index = an_index(a_service("cart"), replace(slice_of(labels={SOURCE: "c"}), service="cart"))
    assert endpoints(index, ServiceKey("shop", "cart")) == []


@pytest.mark.parametrize(
    "labels",
    [
        {MANAGED_BY: "endpointslice-controller.k8s.io"},
        {MANAGED_BY: "endpointslicemirroring-controller.k8s.io"},
        {"mirror.linkerd.io/exported": "true"},
        {"multicluster.kubernetes.io/service-name": "echo"},
        {},
    ],
)
def test_a_slice_of_the_clusters_own_is_a_source(labels: dict[str, str]) -> None:
    assert [each.cluster for each in endpoints(an_index(a_service(), replace(slice_of(labels=labels), name="own")))]
    assert not slice_of(labels=labels).copy_mark


DERIVED: list[dict[str, Any]] = [
    {"ownerReferences": [{"kind": "ServiceImport", "name": "echo", "apiVersion": "multicluster.x-k8s.io/v1alpha1"}]},
    {"annotations": {"multicluster.kubernetes.io/derived-service": "derived-hjk5mr4f0d"}},
    {"annotations": {"multicluster.antrea.io/imported-service": "true"}},
    {"labels": {"mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/cluster-name": "b"}},
]


@pytest.mark.parametrize("metadata", DERIVED)
def test_a_derived_service_is_no_service_of_its_own(metadata: dict[str, Any]) -> None:
    derived = object_of(Kind.SERVICE, "derived-hjk5mr4f0d", **metadata)
    index = an_index(derived, a_slice(THERE, service="derived-hjk5mr4f0d"))
    key = ServiceKey("shop", "derived-hjk5mr4f0d")
    assert index.get(key) is None
    (cluster, _) = index.explain(key).clusters
    assert cluster.reason is Reason.SERVICE_COPY
    assert not index.refused()


@pytest.mark.parametrize("annotations", [{"service.cilium.io/global": "true"}, {}])
def test_a_service_that_others_copy_is_one(annotations: dict[str, str]) -> None:
    service = object_of(Kind.SERVICE, "cart", annotations=annotations)
    assert isinstance(service, Service)
    assert not service.copy_mark


def test_who_exports_a_derived_service_hears_why_it_is_not_exported() -> None:
    derived = replace(a_service("derived-1"), copy_mark="owner ServiceImport")
    index = an_index(derived, ServiceExport("shop", "derived-1"), export=ExportPolicy(mode=ExportMode.SERVICE_EXPORT))
    (refused,) = index.refused()
    assert (refused.cluster, refused.reason) == (A, "InvalidServiceType")
    assert "owner ServiceImport" in refused.message


def test_a_slice_that_becomes_a_copy_leaves_and_one_that_is_none_any_more_comes_back() -> None:
    copied = replace(slice_of(), copy_mark="by hand", name="echo-1")
    index = an_index(a_service(), a_slice("10.1.0.5"))
    index.apply(A, Apply(replace(copied, endpoints=(SliceEndpoint("10.1.0.5"),))))
    index.commit()
    assert [each.cluster for each in endpoints(index)] == [B]
    index.apply(A, Apply(a_slice("10.1.0.5")))
    index.commit()
    assert [each.cluster for each in endpoints(index)] == [A, B]


def test_a_list_that_lacks_copies_is_not_doubted() -> None:
    copied = slice_of(labels={SOURCE: "b"})
    index = an_index(a_service(), a_slice("10.1.0.5"), copied, guard=GuardPolicy(floor=0, share=0))
    for event in (Init(Kind.ENDPOINT_SLICE), InitApply(a_slice("10.1.0.5")), InitDone(Kind.ENDPOINT_SLICE)):
        index.apply(A, event)
    index.commit()
    assert index.held() == ()


def test_a_copy_is_no_word_on_an_endpoint_that_a_list_lacks() -> None:
    """The controller that copies may be late: what it says of its own cluster's endpoints confirms nothing."""
    index = an_index(a_service(), a_slice("10.1.0.5"), guard=GuardPolicy())
    for event in (Init(Kind.ENDPOINT_SLICE), InitDone(Kind.ENDPOINT_SLICE)):
        index.apply(A, event)
    index.commit()
    index.apply(A, Apply(replace(slice_of(labels={SOURCE: "a"}), endpoints=(SliceEndpoint("10.1.0.5"),))))
    index.commit()
    assert [each.endpoints for each in index.held()] == [("10.1.0.5",)]


def test_a_clusters_data_plane_is_not_probed_at_another_clusters_endpoints() -> None:
    copied, own = slice_of(labels={SOURCE: "b"}), a_slice("10.1.0.5")
    assert [target.host for target in sample([copied, own], 2, 0)] == ["10.1.0.5"]


def test_a_client_is_not_on_the_node_that_a_copy_names() -> None:
    end = SliceEndpoint(THERE, node="node-b1", pod="echo-b")
    copied = replace(slice_of(labels={SOURCE: "b"}), endpoints=(end,))
    index = an_index(a_service(), copied)
    assert index.node_at(A, THERE) == ""
    assert index.node_at(B, THERE) == "node-b1"


def test_a_copy_is_one_after_a_restart() -> None:
    words: dict[str, int] = {}
    copied = slice_of(labels={SOURCE: "b"})
    codec = CODECS[Kind.ENDPOINT_SLICE]
    data = codec.encoded([copied], lambda word: words.setdefault(word, len(words)))
    (read,) = codec.decoded(data, list(words).__getitem__)
    assert read == copied
    assert read.copy_mark == f"{SOURCE}=b"


@pytest.mark.parametrize("names", [(A, B), (ClusterId("z"), B)])
def test_among_equals_the_record_that_knows_most_wins(names: tuple[ClusterId, ClusterId]) -> None:
    """Somebody copied the endpoint without a mark: into the cluster that comes first, or last, by its name."""
    index = Index()
    for cluster, facts in zip(names, ((a_service(), a_slice(THERE)), OURS), strict=True):
        index.add_cluster(cluster)
        for event in listing(*facts):
            index.apply(cluster, event)
    index.commit()
    (endpoint,) = endpoints(index)
    assert (endpoint.cluster, endpoint.pod, endpoint.locality.zone) == (B, "echo-b", "eu-west-2")
