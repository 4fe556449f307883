"""Which clusters are members: what several places say, who is who, and who may go when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.membership.identity import IdentityBook
from registry.membership.reconcile import Plan, plan, unite
from registry.membership.spec import InCluster, Manifests, MemberSpec
from registry.membership.succession import Succession


def spec(name: str, origin: str = "flags", folder: str = "/x") -> MemberSpec:
    return MemberSpec(name, origin, Manifests(folder))


def test_members_of_all_places_count_and_the_first_place_wins_a_name() -> None:
    found = unite([[spec("a")], [spec("b", "file"), spec("a", "file", "/y")], [spec("c", "folder")]])
    assert found.members == {"a": spec("a"), "b": spec("b", "file"), "c": spec("c", "folder")}
    (refused,) = found.refused
    assert (refused.name, refused.origin, refused.reason) == ("a", "file", "NameTaken")
    assert "flags has a cluster of this name already" in refused.message


def test_two_of_one_name_in_one_place_are_one_and_a_refusal() -> None:
    found = unite([[spec("a", "Secret n/one (a)"), spec("a", "Secret n/two (a)")]])
    assert found.members["a"].origin == "Secret n/one (a)"
    assert [each.origin for each in found.refused] == ["Secret n/two (a)"]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a" * 254, "ä"])
def test_name_that_is_none_is_refused(name: str) -> None:
    found = unite([[spec(name), spec("a")]])
    assert list(found.members) == ["a"]
    assert [each.reason for each in found.refused] == ["NameInvalid"]


def test_name_goes_to_the_next_place_when_the_first_gives_it_up() -> None:
    both, one = unite([[spec("a")], [spec("a", "file", "/y")]]), unite([[], [spec("a", "file", "/y")]])
    assert plan(both.members, one.members) == Plan(changed=(spec("a", "file", "/y"),))
    assert not one.refused


memberships = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["/x", "/y"])).map(
    lambda found: {name: spec(name, folder=folder) for name, folder in found.items()}
)


@given(memberships, memberships)
def test_plan_leads_from_one_membership_to_the_other_and_touches_nothing_else(
    before: dict[str, MemberSpec], after: dict[str, MemberSpec]
) -> None:
    steps = plan(before, after)
    running = dict(before)
    for each in steps.added:
        assert each.name not in running
        running[each.name] = each
    for each in steps.changed:
        assert running[each.name] != each
        running[each.name] = each
    for name in steps.removed:
        del running[name]
    assert running == after


def test_member_spec_with_another_connection_is_a_change() -> None:
    before, after = spec("a"), MemberSpec("a", "flags", InCluster())
    assert plan({"a": before}, {"a": after}) == Plan(changed=(after,))


class TestIdentity:
    def test_member_keeps_its_cluster(self) -> None:
        book = IdentityBook()
        assert book.admit("a", "1") is None
        assert book.admit("a", "1") is None
        refusal = book.admit("a", "2")
        assert refusal is not None
        assert "another cluster (kube-system has UID 2) than the member did before (1)" in refusal
        assert book.uid("a") == "1"

    def test_second_name_of_a_cluster_is_refused_until_the_first_is_forgotten(self) -> None:
        book = IdentityBook()
        assert book.admit("a", "1") is None
        refusal = book.admit("b", "1")
        assert refusal is not None
        assert "the member a already" in refusal
        assert book.waiting("a") == {"b"}
        assert book.duplicate("b")
        book.forget("a")
        assert book.admit("b", "1") is None
        assert not book.duplicate("b")

    def test_identity_of_a_leaving_member_goes_over(self) -> None:
        book = IdentityBook()
        book.admit("a", "1")
        book.leave("a")
        assert book.admit("b", "1") is None
        book.forget("a")
        assert book.admit("c", "1") is not None, "it is b's now"

    def test_what_was_found_before_anything_was_listed_does_not_bind(self) -> None:
        book = IdentityBook()
        book.admit("a", "1")
        book.start_over("a")
        assert book.admit("b", "1") is None
        assert book.admit("a", "2") is None

    def test_what_an_earlier_run_knew_binds_until_the_member_is_gone(self) -> None:
        book = IdentityBook()
        assert book.expect("a", "1")
        assert not book.expect("b", "1")
        book.start_over("a")
        assert book.admit("a", "2") is not None
        assert book.admit("a", "1") is None
        book.forget("a")
        assert book.admit("a", "2") is None

    def test_cluster_made_anew_is_admitted_once_the_member_was_removed_and_added_again(self) -> None:
        book = IdentityBook()
        book.admit("a", "1")
        book.forget("a")
        assert book.admit("a", "2") is None

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "2", None])), max_size=30))
    def test_no_two_members_are_one_cluster_and_none_becomes_another(self, walk: list[tuple[str, str | None]]) -> None:
        book = IdentityBook()
        held: dict[str, str] = {}
        for name, uid in walk:
            if uid is None:
                book.forget(name)
                held.pop(name, None)
            elif book.admit(name, uid) is None:
                assert held.get(name, uid) == uid
                held[name] = uid
            else:
                assert held.get(name) != uid
            assert len(set(held.values())) == len(held)
            assert all(book.uid(each) == uid for each, uid in held.items())


class TestSuccession:
    def test_nobody_to_wait_for_means_as_soon_as_the_moment_is_over(self) -> None:
        it = Succession()
        it.leave("a", [])
        assert it.settling == ("a",)
        assert it.settle("a")
        assert not it.leaving("a")

    def test_one_that_came_within_the_moment_is_waited_for(self) -> None:
        it = Succession()
        it.leave("a", [])
        it.expect("z", "a")
        assert not it.settle("a")
        assert it.heirs("a") == ("z",)
        assert it.rule_out("z", "a")

    def test_nobody_goes_before_the_moment_is_over(self) -> None:
        it = Succession()
        it.leave("a", ["b"])
        assert not it.rule_out("b", "a")
        assert it.settle("a")

    def test_leaves_when_the_last_possible_heir_is_ruled_out(self) -> None:
        it = Succession()
        it.leave("a", ["b", "c"])
        assert not it.settle("a")
        assert it.expects("b") == ("a",)
        assert not it.rule_out("b", "a")
        assert it.leaving("a")
        assert it.rule_out("c", "a")
        assert not it.leaving("a")
        assert not it.rule_out("c", "a"), "once is enough"

    def test_one_that_stays_after_all_waits_for_nobody(self) -> None:
        it = Succession()
        it.leave("a", ["b"])
        it.end("a")
        assert it.expects("b") == ()
        assert not it.rule_out("b", "a")
