"""A kind that a server may lack: a 404 is not believed before the server has said itself that there is no such kind."""

from __future__ import annotations

import json

import pytest
from support.kube_wire import a_list_of_groups, a_list_of_resources, a_page, a_service
from support.machine import feed, is_first_page, zero

from registry.model.names import Kind
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.listwatch import ABSENT_SECONDS, ListWatch
from registry.sources.kubernetes.steps import GetPage, GetProof, GetVersion, OpenWatch, Wait

DOWN = Fault(Reason.UNREACHABLE, "connection refused")
GROUP = "multicluster.x-k8s.io"
BETA, ALPHA = (f"/apis/{GROUP}/{version}/serviceexports" for version in ("v1beta1", "v1alpha1"))
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
IMPORTS = f"/apis/{GROUP}/v1beta1/serviceimports"
WITHOUT = {"/readyz": b"ok", "/apis": a_list_of_groups([SLICES])}
"""What a server says that has no such group."""


def exports(*, streams: bool = False) -> ListWatch:
    return ListWatch(Kind.SERVICE_EXPORT, zero, streams=streams)


def of_cart() -> ListWatch:
    """It has listed one export, and watches."""
    made = exports()
    feed(made.page(a_page([a_service("cart")], kind=Kind.SERVICE_EXPORT)))
    made.opened()
    return made


def not_there(made: ListWatch) -> None:
    """404 for a list on every path."""
    for _ in (BETA, ALPHA):
        made.refused(404)


def proves(made: ListWatch, said: dict[str, bytes]) -> list[str]:
    """The documents are as in ``said``, or not there; what is told of it."""
    told = []
    while isinstance(made.step, GetProof):
        if made.step.path in said:
            told += feed(made.proof(said[made.step.path]))
        else:
            made.refused(404)
    return told


def test_service_exports_are_looked_for_in_their_newest_version_first() -> None:
    made = exports()
    assert made.step == GetPage(BETA, {"limit": "500"})
    made.refused(404)
    assert made.step == GetPage(ALPHA, {"limit": "500"})
    assert made.fault is None
    page = a_page([a_service("cart")], kind=Kind.SERVICE_EXPORT)
    assert feed(made.page(page)) == ["Init", "InitApply cart", "InitDone"]
    assert isinstance(made.step, OpenWatch)
    assert made.step.path == ALPHA


@pytest.mark.parametrize("streams", [False, True])
def test_crd_that_is_proven_not_to_be_there_is_an_empty_list_told_once(streams: bool) -> None:
    made = exports(streams=streams)
    told = []
    for _ in range(3):
        not_there(made)
        told += [proves(made, WITHOUT)]
        assert made.step == Wait(ABSENT_SECONDS, exports(streams=streams).step)
        made.waited()
    assert told == [["Init", "InitDone"], [], []]
    assert made.listed
    assert made.absent
    assert made.fault is None


def test_proof_is_asked_for_while_no_list_is_in_progress() -> None:
    made = exports(streams=True)
    not_there(made)
    assert made.step == GetProof("/readyz")
    assert not made.streaming
    assert not made.relist()
    assert made.step == GetProof("/readyz")


@pytest.mark.parametrize(
    ("said", "reason", "why"),
    [
        ({}, Reason.NOT_FOUND, "get /readyz: 404"),
        (WITHOUT | {"/readyz": b"<html>sign in</html>"}, Reason.NOT_FOUND, "/readyz does not say ok"),
        ({"/readyz": b"ok"}, Reason.NOT_FOUND, "get /apis: 404"),
        (WITHOUT | {"/apis": b"<html>"}, Reason.NOT_FOUND, "/apis cannot be read"),
        (WITHOUT | {"/apis": b"\xff"}, Reason.NOT_FOUND, "/apis cannot be read"),
        (WITHOUT | {"/apis": b'{"kind": "APIGroupList", "groups": []}'}, Reason.NOT_FOUND, "no list of all API groups"),
        (
            WITHOUT | {"/apis": WITHOUT["/apis"].replace(b"APIGroupList", b"APIGroup")},
            Reason.NOT_FOUND,
            "no list of all API groups",
        ),
        (WITHOUT | {"/apis": a_list_of_groups([SLICES, BETA])}, Reason.NOT_FOUND, f"get /apis/{GROUP}/v1beta1: 404"),
        (
            {
                **WITHOUT,
                "/apis": a_list_of_groups([SLICES, BETA]),
                f"/apis/{GROUP}/v1beta1": a_list_of_resources(f"{GROUP}/v1beta1", "serviceimports", "serviceexports"),
            },
            Reason.NOT_FOUND,
            f"/apis/{GROUP}/v1beta1 has them",
        ),
        (
            {
                **WITHOUT,
                "/apis": a_list_of_groups([SLICES, IMPORTS, BETA.replace("v1beta1", "v2")]),
                f"/apis/{GROUP}/v1beta1": a_list_of_resources(f"{GROUP}/v1beta1", "serviceimports"),
                f"/apis/{GROUP}/v2": a_list_of_resources(f"{GROUP}/v2", "serviceexports"),
            },
            Reason.NOT_FOUND,
            f"/apis/{GROUP}/v2 has them",
        ),
        (
            {
                **WITHOUT,
                "/apis": a_list_of_groups([SLICES, IMPORTS]),
                f"/apis/{GROUP}/v1beta1": a_list_of_resources(f"{GROUP}/v1", "serviceimports"),
            },
            Reason.NOT_FOUND,
            "no list of resources",
        ),
    ],
)
def test_crd_that_is_not_proven_to_be_away_is_a_fault_and_takes_nothing(
    said: dict[str, bytes], reason: Reason, why: str
) -> None:
    made = of_cart()
    made.refused(404)
    for _ in range(3):
        not_there(made)
        assert proves(made, said) == []
        assert made.fault is not None
        assert made.fault.reason is reason
        assert f"list serviceexports.{GROUP}: 404, which is no proof that there are none" in made.fault.message
        assert why in made.fault.message
        assert isinstance(made.step, Wait)
        assert is_first_page(made.step.then)
        made.waited()
    assert not made.absent
    page = a_page([a_service("cart")], kind=Kind.SERVICE_EXPORT)
    assert feed(made.page(page)) == ["Init", "InitApply cart", "InitDone"]
    assert made.fault is None


@pytest.mark.parametrize(("status", "reason"), [(403, Reason.FORBIDDEN), (500, Reason.SERVER_ERROR)])
@pytest.mark.parametrize("path", ["/readyz", "/apis"])
def test_proof_that_is_refused_is_a_fault_with_its_mend(path: str, status: int, reason: Reason) -> None:
    made = exports()
    not_there(made)
    while made.step != GetProof(path):
        feed(made.proof(b"ok"))
    made.refused(status, 7)
    assert made.fault is not None
    assert made.fault.reason is reason
    assert f"get {path}: {status} " in made.fault.message
    assert ("grant" in made.fault.message) is (status == 403)
    assert isinstance(made.step, Wait)
    assert made.step.seconds == 7
    assert is_first_page(made.step.then)
    assert not made.listed


def test_proof_that_cannot_be_had_is_asked_for_with_the_next_404() -> None:
    made = of_cart()
    made.refused(404)
    not_there(made)
    feed(made.proof(b"ok"))
    made.failed(DOWN)
    assert made.fault == DOWN
    made.waited()
    assert is_first_page(made.step)
    not_there(made)
    assert proves(made, WITHOUT) == ["Init", "InitDone"]


def test_group_that_has_other_kinds_alone_proves_it_too() -> None:
    """The CRD of ServiceImports is there, that of ServiceExports is not."""
    made = of_cart()
    made.refused(404)
    not_there(made)
    imports = {f"/apis/{GROUP}/v1beta1": a_list_of_resources(f"{GROUP}/v1beta1", "serviceimports")}
    assert proves(made, {**WITHOUT, "/apis": a_list_of_groups([SLICES, IMPORTS]), **imports}) == ["Init", "InitDone"]


def test_documents_of_a_real_api_server_are_read() -> None:
    """With all that is in them besides."""
    version = {"groupVersion": "discovery.k8s.io/v1", "version": "v1"}
    group = {"name": "discovery.k8s.io", "versions": [version], "preferredVersion": version}
    groups = {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
    made = exports()
    not_there(made)
    assert proves(made, {"/readyz": b"ok", "/apis": json.dumps(groups).encode()}) == ["Init", "InitDone"]


def test_crd_that_appears_later_is_found() -> None:
    made = exports()
    not_there(made)
    proves(made, WITHOUT)
    made.waited()
    page = a_page([a_service("cart")], kind=Kind.SERVICE_EXPORT)
    assert feed(made.page(page)) == ["Init", "InitApply cart", "InitDone"]
    assert not made.absent
    assert isinstance(made.step, OpenWatch)
    assert made.step.path == BETA


@pytest.mark.parametrize("when", ["the watch", "the version"])
def test_crd_that_goes_away_is_an_empty_list(when: str) -> None:
    made = of_cart()
    if when == "the version":
        made.lost(DOWN, 30)
        made.waited()
        assert isinstance(made.step, GetVersion)
    made.refused(404)
    assert is_first_page(made.step)
    not_there(made)
    assert proves(made, WITHOUT) == ["Init", "InitDone"]


def test_crd_that_went_once_is_to_be_proven_away_again_after_it_came_back() -> None:
    made = exports()
    not_there(made)
    proves(made, WITHOUT)
    made.waited()
    feed(made.page(a_page([a_service("cart")], kind=Kind.SERVICE_EXPORT)))
    made.refused(404)
    not_there(made)
    assert made.step == GetProof("/readyz")


def test_absence_that_is_doubted_is_proven_and_told_again() -> None:
    made = exports()
    not_there(made)
    proves(made, WITHOUT)
    assert isinstance(made.step, Wait)
    assert made.relist()
    assert is_first_page(made.step)
    not_there(made)
    assert proves(made, WITHOUT) == ["Init", "InitDone"]


def test_crd_that_may_not_be_read_is_a_fault() -> None:
    made = exports()
    made.refused(403)
    assert made.fault is not None
    assert "list serviceexports.multicluster.x-k8s.io: 403 Forbidden; grant" in made.fault.message
    assert not made.listed


def test_kind_every_cluster_has_is_never_taken_for_missing() -> None:
    made = ListWatch(Kind.SERVICE, zero, streams=False)
    made.refused(404)
    assert not made.listed
    assert made.fault is not None
    assert made.fault.reason is Reason.NOT_FOUND
