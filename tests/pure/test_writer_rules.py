"""What a writer decides without asking anybody: what stays, what is gone, why it was refused, when it is put back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registry.model.facts import Protocol, ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Endpoint, MergedService, TargetPort
from registry.views.attribution import CLUSTER_LABEL, member_label
from registry.views.names import Names
from registry.views.service_entry import service_entries
from registry.writers.contests import (
    CALM_SECONDS,
    FREE_MENDS,
    LONGEST_SECONDS,
    MEND_SECONDS,
    REPLICA_SECONDS,
    Contests,
    Place,
)
from registry.writers.held import HeldEntries
from registry.writers.kept import as_ours, kept, of_unknown, present, with_kept
from registry.writers.owners import with_ports_of_all
from registry.writers.plan import Action, HeldEntry, held_entry, plan
from registry.writers.refusals import MESSAGE_LENGTH, Refusal, refusal, shortened
from registry.writers.told import entries_complete
from registry.writers.unknown import NOBODY, Unknown

A, B, C = ClusterId("a"), ClusterId("b"), ClusterId("c")
KEY = ServiceKey("shop", "echo")
HTTP, ADMIN, DNS = (
    ServicePort(80, "http"),
    ServicePort(81, "admin", app_protocol="grpc"),
    ServicePort(53, "dns", Protocol.UDP),
)
TLS = ("security.istio.io/tlsMode", "disabled")
WITHOUT_B = Unknown([(B, "Unreachable")], known=[A])


def endpoint(cluster: ClusterId, address: str, *ports: TargetPort, **more: Any) -> Endpoint:
    place = Locality(f"region-{cluster}", "zone", cluster)
    return Endpoint(place, address, ports or (TargetPort(80, 8080),), cluster, **more)


def service(*endpoints: Endpoint, ports: tuple[ServicePort, ...] = (HTTP,)) -> MergedService:
    clusters = tuple(sorted({each.cluster for each in endpoints}))
    return MergedService(KEY, ports, tuple(sorted(endpoints)), clusters)


def all_of(of: MergedService) -> list[Any]:
    """Its entries."""
    return list(service_entries(of, Names(), tcp=True).documents)


def rendered(of: MergedService) -> Any:
    """Its one entry."""
    (document,) = all_of(of)
    return document


def entry(of: MergedService | dict[str, Any], **metadata: Any) -> HeldEntry:
    document: Any = rendered(of) if isinstance(of, MergedService) else of
    fields = {"f:metadata": {"f:labels": {f"f:{key}": {} for key in document["metadata"]["labels"]}}}
    fields["f:spec"] = {f"f:{key}": {} for key in document["spec"]}
    ours = {"manager": "mesh-registry", "operation": "Apply", "fieldsV1": fields}
    more = {"uid": "1", "resourceVersion": "5", "managedFields": [ours], **metadata}
    return held_entry({**document, "metadata": {**document["metadata"], **more}})


IN_A = endpoint(A, "10.0.0.1")
IN_B = endpoint(
    B,
    "10.1.0.1",
    TargetPort(53, 5353, Protocol.UDP),
    TargetPort(80, 9090),
    TargetPort(81, 81),
    service_account="echo",
    network="other",
    weight=3,
    labels=(("app", "echo"), ("version", "2")),
)


B_WEB = IN_B._replace(ports=(TargetPort(80, 9090),), labels=(*IN_B.labels[:1], TLS, *IN_B.labels[1:]))
"""As it is read back: with what an entry says besides."""


def test_what_is_kept_of_the_entries_of_a_service_is_rendered_as_it_was() -> None:
    before = all_of(service(IN_A, IN_B, ports=(DNS, HTTP, ADMIN)))
    assert len(before) > 1, "a has not all ports that b has"
    parts = [kept(each["spec"], WITHOUT_B.stays) for each in before]
    assert all_of(with_kept(service(IN_A), parts)) == before


def test_only_what_is_of_an_unknown_member_or_of_nobody_is_kept() -> None:
    of_nobody = IN_A._replace(address="10.9.0.1", cluster=ClusterId(""))
    held = entry(service(IN_A, B_WEB, of_nobody, endpoint(C, "10.2.0.1")))
    addresses = {each.address for each in kept(held.spec, WITHOUT_B.stays).endpoints}
    assert addresses == {"10.1.0.1", "10.9.0.1"}, "c is no member any more: that is its operator's word"
    assert kept(held.spec, NOBODY.stays).endpoints == ()


def test_while_a_place_that_names_members_is_not_heard_anybody_may_be_one() -> None:
    unheard = Unknown(places=["home cluster"], known=[A])
    assert [unheard.stays(label) for label in ("a", "b", "c", "")] == [False, True, True, True]
    assert "home cluster" in str(unheard)


def test_another_name_of_a_member_counts_as_unknown_while_anybody_is() -> None:
    assert Unknown([(B, "Timeout")], known=[A], duplicates=[C]).stays("c")
    assert not Unknown(known=[A], duplicates=[C]).stays("c")


def test_address_that_is_listed_now_is_listed_as_it_is_now() -> None:
    moved = endpoint(A, "10.1.0.1", network="other")
    found = with_kept(service(moved), [kept(entry(service(B_WEB)).spec, WITHOUT_B.stays)])
    assert found == service(moved)


def test_pods_that_share_the_address_of_their_node_all_stay() -> None:
    shared = [endpoint(B, "10.9.0.1", TargetPort(80, own), TargetPort(81, own + 2)) for own in (8080, 8081)]
    before = all_of(service(IN_A, *shared, ports=(HTTP, ADMIN)))
    parts = [kept(each["spec"], WITHOUT_B.stays) for each in before]
    assert all_of(with_kept(service(IN_A), parts)) == before
    assert with_kept(service(IN_A), parts) == with_kept(service(IN_A), [*parts, *parts]), "each counts once"


def test_entry_without_port_maps_is_behind_the_services_own_numbers() -> None:
    spec = {
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 90, "name": "t", "targetPort": 9}],
        "endpoints": [{"address": "10.1.0.1"}, {"address": "10.1.0.2", "ports": {"t": 7}}],
    }
    first, second = kept(spec, WITHOUT_B.stays).endpoints
    assert first.ports == (TargetPort(80, 80), TargetPort(90, 9))
    assert second.ports == (TargetPort(80, 80), TargetPort(90, 7))


def test_service_that_only_the_unknown_member_has_keeps_its_entry_less_what_is_gone() -> None:
    held = entry(service(B_WEB))
    assert plan(of_unknown(held, WITHOUT_B.stays), held) is Action.NOTHING
    both: Any = of_unknown(entry(service(IN_A, B_WEB)), WITHOUT_B.stays)
    assert [each["address"] for each in both["spec"]["endpoints"]] == ["10.1.0.1"]
    assert of_unknown(entry(service(IN_A)), WITHOUT_B.stays) is None, "all of it was of a member that is known"
    empty = entry(replace(service(IN_A), endpoints=()))
    assert of_unknown(empty, WITHOUT_B.stays) is not None, "nobody can say whose it is"


def test_what_is_gone_of_an_entry_is_what_is_not_listed_at_that_address_and_port() -> None:
    held = entry(service(IN_A, endpoint(A, "10.0.0.2"), endpoint(A, "10.0.0.3")))
    now = service(IN_A, endpoint(A, "10.0.0.2", TargetPort(80, 9999)))
    assert [each["address"] for each in present(held, now)] == ["10.0.0.1"]
    second = IN_A._replace(address="2001:db8::1", additional_addresses=("10.0.0.1",))
    assert [each["address"] for each in present(held, service(second))] == ["10.0.0.1"], "it is the same Pod's"


def test_taking_something_out_of_an_entry_leaves_to_others_what_is_theirs() -> None:
    document: Any = rendered(service(IN_A))
    document["metadata"]["annotations"] = {"ours": "1", "theirs": "2"}
    held = entry(document)
    held = replace(held, spec={**held.spec, "exportTo": ["."]}, owned=held.owned | {"annotations/ours"})
    body = as_ours(held, [])
    assert (body["spec"].get("exportTo"), body["spec"]["endpoints"]) == (None, [])
    assert set(body["spec"]) == set(document["spec"])
    assert body["metadata"]["annotations"] == {"ours": "1"}


def test_entry_is_ours_without_its_label_as_long_as_its_hosts_are() -> None:
    held = entry(service(IN_A))
    assert plan(rendered(service(IN_A)), replace(held, labels={})) is Action.UPDATE
    taken = replace(held, labels={}, owned=frozenset())
    assert plan(rendered(service(IN_A)), taken) is Action.CONFLICT


@pytest.mark.parametrize(
    ("name", "key"),
    [("mesh-registry-echo", "echo"), ("mesh-registry-echo.part2", "echo"), ("mesh-registry-echo-2", "echo-2")],
)
def test_entries_of_a_service_are_found_by_their_names_whatever_is_in_them(name: str, key: str) -> None:
    held = HeldEntries()
    of = entry(service(IN_A))
    held.listed([replace(of, name=name, spec={**of.spec, "hosts": ["changed.example.org"]})])
    assert held.keys() == [ServiceKey("shop", key)]


def manager(name: str, operation: str, **fields: Any) -> dict[str, Any]:
    return {"manager": name, "operation": operation, "fieldsV1": {f"f:{key}": each for key, each in fields.items()}}


WEB, EVIL = 'k:{"name":"web"}', 'k:{"name":"evil"}'


def test_ports_that_others_own_become_ours_and_nothing_else_does() -> None:
    us = manager("mesh-registry", "Apply", spec={"f:hosts": {}, "f:ports": {WEB: {".": {}, "f:number": {}}}})
    them = manager("kubectl", "Update", spec={"f:ports": {WEB: {"f:targetPort": {}}, EVIL: {".": {}}}})
    more = manager("argo", "Apply", metadata={"f:labels": {}}, spec={"f:exportTo": {}, "f:ports": {EVIL: {".": {}}}})
    status = {**manager("istiod", "Update", status={"f:addresses": {}}), "subresource": "status"}
    ports = {WEB: {".": {}, "f:number": {}, "f:targetPort": {}}, EVIL: {".": {}}}
    assert with_ports_of_all([us, them, more, status]) == [
        manager("mesh-registry", "Apply", spec={"f:hosts": {}, "f:ports": ports}),
        manager("kubectl", "Update"),
        manager("argo", "Apply", metadata={"f:labels": {}}, spec={"f:exportTo": {}}),
        status,
    ]


def test_who_changed_an_entry_is_known_by_who_owns_what() -> None:
    of = entry(service(IN_A))
    part_of_ports = replace(of, shared=frozenset({"ports"}))
    assert of.as_written
    assert of.as_replicas_write(of)
    assert of.as_replicas_write(None)
    assert not part_of_ports.as_written
    assert not part_of_ports.as_replicas_write(of)
    assert not replace(of, owned=of.owned - {"endpoints"}).as_replicas_write(of)


def test_event_of_what_is_held_or_older_is_no_news() -> None:
    held = HeldEntries()
    of = entry(service(IN_A), resourceVersion="10")
    held.put(of)
    found = [held.is_news(replace(of, version=version)) for version in ("9", "10", "11", "opaque")]
    assert found == [False, False, True, True]


def test_what_an_entry_had_is_remembered_when_somebody_edits_or_deletes_it() -> None:
    held = HeldEntries()
    before = entry(service(B_WEB))
    held.put(before)
    assert [each.endpoints for each in held.kept(KEY, WITHOUT_B)] == [(B_WEB,)]
    by_hand = {**before.spec, "endpoints": [{"address": "6.6.6.6"}]}
    held.put(replace(before, version="6", spec=by_hand, owned=before.owned - {"endpoints"}))
    assert [each.endpoints for each in held.kept(KEY, WITHOUT_B)] == [(B_WEB,)]
    held.drop(Place("shop", before.name))
    assert [each.endpoints for each in held.kept(KEY, WITHOUT_B)] == [(B_WEB,)]
    assert list(held.kept(KEY, NOBODY)) == []
    assert list(held.kept(KEY, WITHOUT_B)) == []


def test_label_of_a_member_is_valid_for_every_name_a_cluster_may_have() -> None:
    long, other = ClusterId("a" * 253), ClusterId("a" * 252 + "b")
    assert member_label(A) == "a"
    assert len(member_label(long)) == 63
    assert member_label(long) != member_label(other)
    assert Unknown([(long, "Timeout")]).stays(member_label(long))


def test_pods_own_label_of_a_cluster_gives_way() -> None:
    document: Any = rendered(service(IN_A._replace(labels=((CLUSTER_LABEL, "liar"), ("z", "1")))))
    assert document["spec"]["endpoints"][0]["labels"] == {CLUSTER_LABEL: "a", "z": "1", TLS[0]: TLS[1]}


FORBIDDEN = 'serviceentries.networking.istio.io "x" is forbidden: '


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (422, 'ServiceEntry.networking.istio.io "x" is invalid: spec.ports: Too many: 129', Refusal.INVALID),
        (400, "unknown field", Refusal.BAD_REQUEST),
        (413, "Request entity too large: limit is 3145728", Refusal.TOO_LARGE),
        (500, "etcdserver: request is too large", Refusal.TOO_LARGE),
        (500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max", Refusal.TOO_LARGE),
        (403, FORBIDDEN + "exceeded quota: q, requested: count/serviceentries=1", Refusal.QUOTA_EXCEEDED),
        (403, FORBIDDEN + "failed quota: q: must specify x", Refusal.QUOTA_EXCEEDED),
        (403, 'admission webhook "w" denied the request: no', Refusal.DENIED),
        (400, 'admission webhook "w" denied the request: no', Refusal.DENIED),
        (403, FORBIDDEN + "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", Refusal.DENIED),
        (401, FORBIDDEN + "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", Refusal.DENIED),
        (500, 'Internal error occurred: failed calling webhook "w": connection refused', None),
        (
            403,
            FORBIDDEN + "unable to create new content in namespace shop because it is being terminated",
            Refusal.TERMINATING,
        ),
        (403, FORBIDDEN + 'User "r" cannot patch resource "serviceentries"', None),
        (401, "Unauthorized", None),
        (404, "not found", None),
        (409, "conflict", None),
        (429, "too many requests", None),
        (503, "", None),
        (599, "", None),
    ],
)
def test_refusal_of_one_object_is_told_from_a_fault_of_the_cluster(
    status: int, message: str, reason: Refusal | None
) -> None:
    assert refusal(status, message) is reason


def test_long_message_is_shortened_to_one_line() -> None:
    assert shortened("a\n b") == "a b"
    assert len(shortened("x" * 10_000)) == MESSAGE_LENGTH


PLACE = Place("shop", "mesh-registry-echo")


def mend(contests: Contests, now: float, by: str = "them", *, replica: bool = False) -> float:
    """It is changed, and put back as soon as that may be; returns how long it took."""
    contests.edited(PLACE, now, by, replica=replica)
    wait = contests.wait(PLACE, now)
    contests.mended(PLACE, now + wait)
    return wait


def test_change_by_hand_is_put_back_soon_and_a_replicas_after_a_while() -> None:
    assert mend(Contests(), 100.0) == MEND_SECONDS
    assert mend(Contests(), 100.0, replica=True) == REPLICA_SECONDS
    assert Contests().wait(PLACE, 100.0) == 0.0


def test_edit_war_is_paced_and_said_and_over_when_the_other_stops() -> None:
    contests, now, waits = Contests(), 100.0, []
    for turn in range(20):
        waits.append(mend(contests, now))
        now += waits[-1] + 0.1
        assert bool(list(contests.lasting(now))) is (turn + 1 >= FREE_MENDS)
    assert waits[: FREE_MENDS + 3] == [MEND_SECONDS] * FREE_MENDS + [2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_SECONDS
    assert list(contests.lasting(now)) == [(PLACE, "them")]
    (calm,) = contests.calm_in(PLACE, now)
    assert list(contests.lasting(now + calm)) == []
    assert mend(contests, now + calm) == MEND_SECONDS


def test_who_comes_back_after_a_long_wait_goes_on_with_the_war() -> None:
    contests, now, wait = Contests(), 100.0, 0.0
    while wait < LONGEST_SECONDS:
        wait = mend(contests, now)
        now += wait + 0.1
    assert mend(contests, now + CALM_SECONDS + 1) == pytest.approx(LONGEST_SECONDS)


def test_changes_far_apart_are_no_war() -> None:
    contests = Contests()
    assert [mend(contests, 100.0 + hour * 3600) for hour in range(10)] == [MEND_SECONDS] * 10
    assert list(contests.lasting(100.0 + 9 * 3600)) == []


def test_condition_says_who_is_waited_for() -> None:
    said = entries_complete(Unknown([(B, "Unreachable")], ["home cluster"]))
    assert (said.status, said.reason) == (False, "MembersUnknown")
    assert "cluster b (Unreachable)" in said.message
    assert "home cluster" in said.message
    assert entries_complete(NOBODY).status
