"""The Secrets of a home cluster: what they come to, and what takes a member away."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from support.fake_apiserver import kubeconfig
from support.kube_wire import a_bookmark, an_error, an_event

from registry.membership.absence import AbsencePolicy
from registry.membership.roster import MAX_BYTES, MAX_KUBECONFIG_BYTES, MAX_MEMBERS, Expired, Roster, SecretsError
from registry.membership.spec import Unusable
from registry.sources.kubernetes.kubeconfig import Kubeconfig

POLICY = AbsencePolicy(share=0.3, confirm_seconds=30, doubt_seconds=600)


def secret(name: str, version: str = "1", **clusters: str) -> dict[str, Any]:
    data = {cluster: b64encode(content.encode()).decode() for cluster, content in clusters.items()}
    return {"metadata": {"name": name, "resourceVersion": version}, "data": data}


def page(*secrets: dict[str, Any]) -> bytes:
    return json.dumps({"metadata": {"resourceVersion": "10"}, "items": list(secrets)}).encode()


def listed(roster: Roster, *secrets: dict[str, Any], at: float = 0) -> None:
    roster.listed(roster.reader.page(page(*secrets)).found, at)


def names(roster: Roster) -> list[str]:
    return [spec.name for spec in roster.specs()]


def a_config(server: str = "https://10.0.0.1:6443", **user: Any) -> str:
    return kubeconfig(server, user=user or None)


@pytest.fixture
def roster() -> Roster:
    it = Roster("istio-system", None, POLICY)
    listed(it, secret("one", a=a_config()), secret("two", b=a_config("https://b"), c=a_config("https://c")))
    return it


def test_each_key_of_each_secret_is_a_member(roster: Roster) -> None:
    assert names(roster) == ["a", "b", "c"]
    last = roster.specs()[-1]
    assert last.origin == "Secret istio-system/two (c)"
    assert isinstance(last.connection, Kubeconfig)
    assert last.connection.server == "https://c"
    assert last.connection.user_section().token == "secret"


def test_base64_in_lines_is_read_in_the_secret_and_in_its_kubeconfig(roster: Roster) -> None:
    authority = "\n".join(wrapped(b"an authority " * 9))
    text = "\n".join(
        [
            "clusters:",
            "- name: c",
            "  cluster:",
            "    server: https://10.0.0.1",
            "    certificate-authority-data: |",
            *(f"      {line}" for line in authority.splitlines()),
            "contexts: [{name: it, context: {cluster: c}}]",
            "current-context: it",
        ]
    )
    listed(roster, {"metadata": {"name": "one"}, "data": {"a": "\r\n".join(wrapped(text.encode()))}})
    found = roster.specs()[0].connection
    assert isinstance(found, Kubeconfig)
    assert found.ca == b"an authority " * 9


def wrapped(content: bytes) -> list[str]:
    text = b64encode(content).decode()
    return [text[at : at + 64] for at in range(0, len(text), 64)]


def test_watched_changes_are_believed_at_once(roster: Roster) -> None:
    assert roster.line(an_event("ADDED", secret("three", "11", d=a_config()))) == "11"
    assert names(roster) == ["a", "d", "b", "c"]
    roster.line(an_event("MODIFIED", secret("two", "12", b=a_config("https://b"))))
    assert names(roster) == ["a", "d", "b"]
    roster.line(an_event("DELETED", secret("one", "13")))
    assert names(roster) == ["d", "b"]
    assert roster.line(a_bookmark("20")) == "20"


def test_list_that_lacks_one_member_removes_it_only_when_a_later_list_says_the_same(roster: Roster) -> None:
    both = secret("two", b=a_config(), c=a_config())
    listed(roster, both, at=100)
    assert sorted(names(roster)) == ["a", "b", "c"]
    assert roster.doubtful
    listed(roster, both, at=129)
    assert sorted(names(roster)) == ["a", "b", "c"], "too soon to be another one"
    listed(roster, both, at=130)
    assert names(roster) == ["b", "c"]
    assert not roster.doubtful


def test_lists_that_lack_many_members_or_keys_of_a_secret_have_to_say_so_for_long(roster: Roster) -> None:
    for at in range(100, 700, 30):
        listed(roster, secret("two", b=a_config()), at=at)
        assert sorted(names(roster)) == ["a", "b", "c"]
    assert roster.trouble is not None
    assert "2 of its 3 members are named no more (a, c)" in roster.trouble.message
    listed(roster, secret("two", b=a_config()), at=700)
    assert names(roster) == ["b"]
    listed(roster, at=701)
    listed(roster, at=1300)
    assert names(roster) == ["b"], "nor is the last one gone at once"
    listed(roster, at=1301)
    assert names(roster) == []


def test_shorter_list_adds_and_changes_all_the_same(roster: Roster) -> None:
    listed(roster, secret("one", a=a_config("https://elsewhere")), secret("new", n=a_config()))
    assert names(roster) == ["n", "a", "b", "c"]
    assert [bool(spec.doubt) for spec in roster.specs()] == [False, False, True, True]
    changed = roster.specs()[1].connection
    assert isinstance(changed, Kubeconfig)
    assert changed.server == "https://elsewhere"


def test_doubt_ends_when_the_secret_is_seen_or_its_deletion(roster: Roster) -> None:
    listed(roster, at=100)
    roster.line(an_event("MODIFIED", secret("one", "11", a=a_config())))
    assert roster.doubtful
    roster.line(an_event("DELETED", secret("two", "12")))
    assert not roster.doubtful
    assert names(roster) == ["a"]


def test_member_in_doubt_is_let_go_by_hand(roster: Roster) -> None:
    assert not roster.release("a")
    listed(roster, at=100)
    assert roster.release("a")
    assert names(roster) == ["b", "c"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("clusters: [", "line 2"),
        ("", "not a kubeconfig"),
        ("a: !!int ''", "line 1: '' is no int"),
        ("[" * 100_000, "line 1: nested deeper"),
        ("{" * 100_000, "line 1: nested deeper"),
        (f"a: &a {'x' * 100_000}\nb: [{'*a, ' * 10_000}]", "line 2: aliases come to more values"),
        ("#" * 300_000, "292 KiB, more than 256; put one context in (kubectl config view --flatten --minify)"),
        (a_config(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "id"}), "may not run a program"),
        (a_config(**{"auth-provider": {"name": "gcp", "config": {"cmd-path": "id"}}}), "only oidc is supported"),
        (a_config(tokenFile="/etc/shadow"), "tokenFile: a kubeconfig from here may not name a file"),
        (a_config(**{"client-key": "/etc/key"}), "client-key: a kubeconfig from here may not name a file"),
        (kubeconfig("https://x", certificate_authority="/etc/shadow"), "may not name a file"),
        (
            a_config(**{"auth-provider": {"name": "oidc", "config": {"idp-certificate-authority": "/etc/shadow"}}}),
            "may not name a file",
        ),
    ],
)
def test_kubeconfig_that_is_none_or_wants_what_is_ours_makes_an_unusable_member(value: str, said: str) -> None:
    roster = Roster("istio-system", None, POLICY)
    listed(roster, secret("one", a=value, b=a_config()))
    bad, good = (spec.connection for spec in roster.specs())
    assert isinstance(bad, Unusable)
    assert said in bad.message
    assert "mend the Secret" in bad.message
    assert isinstance(good, Kubeconfig)


def test_value_that_is_no_base64_makes_an_unusable_member() -> None:
    roster = Roster("istio-system", None, POLICY)
    listed(roster, {"metadata": {"name": "one"}, "data": {"a": "%"}}, {"metadata": {"name": "two"}})
    assert [spec.connection for spec in roster.specs()] == [Unusable("kubeconfig: not base64; mend the Secret")]


def test_what_is_no_list_and_no_event_is_told(roster: Roster) -> None:
    deep = b'{"metadata": {}, "items": ' + b"[" * 100_000
    for body in (
        b"",
        b"\xff",
        deep,
        b'{"metadata": {"name": "\xff"}, "items": []}',
        b"<html>",
        b"{}",
        b'{"metadata":{},"items":{}}',
    ):
        with pytest.raises(SecretsError):
            roster.reader.page(body)
    for line in (b"", b"{]", b'{"type":"ADDED"}', an_error(500, "InternalError", "broken")):
        with pytest.raises(SecretsError):
            roster.line(line)
    with pytest.raises(Expired):
        roster.line(an_error(410, "Expired"))
    assert names(roster) == ["a", "b", "c"]


WRONG: list[Any] = [None, True, 1, 1.5, "text", [], [None], {}, {"a": None}, 10**40]


def with_part(whole: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """``whole`` with another value at ``path``."""
    if not path:
        return value  # type: ignore[no-any-return]
    return {**whole, path[0]: with_part(whole[path[0]], path[1:], value)}


@pytest.mark.parametrize(
    "path",
    [(), ("metadata",), ("metadata", "name"), ("metadata", "resourceVersion"), ("data",), ("data", "b")],
    ids=lambda path: ".".join(path) or "all of it",
)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_secret_of_the_wrong_shape_is_that_secrets_problem(roster: Roster, path: tuple[str, ...], value: Any) -> None:
    """Of each type at each field, in a list and in a watch: the others come and go, and nobody is taken for deleted."""
    if path == ("data",) and (value is None or isinstance(value, dict)):
        return  # those are right: there is nothing in it, or one key
    wrong = with_part(secret("two", b=a_config("https://b")), path, value)
    listed(roster, secret("one", a=a_config()), wrong, secret("three", d=a_config()))
    assert {"a", "b", "d"} <= set(names(roster))
    try:
        roster.line(an_event("MODIFIED", wrong))
    except SecretsError:
        assert path in [(), ("metadata",), ("metadata", "name"), ("metadata", "resourceVersion")]
    roster.line(an_event("ADDED", secret("four", e=a_config())))
    assert {"a", "b", "d", "e"} <= set(names(roster))
    listed(roster, secret("one", a=a_config()), secret("two", b=a_config("https://b")))
    assert roster.trouble is None or roster.trouble.reason == "MembersMissing"
    assert names(roster)[:2] == ["a", "b"]


def test_secret_that_cannot_be_read_is_named_until_it_can(roster: Roster) -> None:
    roster.line(an_event("MODIFIED", secret("two") | {"data": 5}))
    assert roster.trouble is not None
    assert roster.trouble.reason == "SecretsUnreadable"
    assert "Secret two: " in roster.trouble.message
    assert names(roster) == ["a", "b", "c"]
    roster.line(an_event("MODIFIED", secret("two", b=a_config("https://b"))))
    assert roster.trouble is None
    assert names(roster) == ["a", "b"]


def test_more_members_or_text_than_a_registry_takes_change_nothing(roster: Roster) -> None:
    many = {f"m-{number}": "x" for number in range(MAX_MEMBERS - 2)}
    large = {
        f"m-{number}": "x" * (MAX_KUBECONFIG_BYTES // 2) for number in range(MAX_BYTES * 2 // MAX_KUBECONFIG_BYTES)
    }
    for data in (many, large, {f"m-{number}": "x" for number in range(MAX_MEMBERS + 1)}):
        before = roster.specs()
        roster.line(an_event("ADDED", secret("wild", **data)))
        assert roster.specs() == before
        assert roster.trouble is not None
        two = secret("two", b=a_config("https://b"), c=a_config("https://c"))
        listed(roster, secret("one", a=a_config()), two, secret("wild", **data))
        assert roster.specs() == before
        roster.line(an_event("DELETED", secret("wild")))
        assert roster.trouble is None


def test_secret_that_is_listed_again_as_it_was_is_not_read_again(roster: Roster) -> None:
    before = [spec.connection for spec in roster.specs()]
    listed(roster, secret("one", a=a_config()), secret("two", b=a_config("https://b"), c=a_config("https://other")))
    after = [spec.connection for spec in roster.specs()]
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, True, False]
