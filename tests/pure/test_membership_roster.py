"""The Secrets of a home cluster: what they come to, and what takes a member away."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from support.fake_apiserver import kubeconfig
from support.kube_wire import a_bookmark, an_error, an_event

from registry.membership.roster import Expired, Roster, SecretsError, decode_list
from registry.membership.spec import Unusable
from registry.sources.kubernetes.kubeconfig import Kubeconfig


def secret(name: str, version: str = "1", **clusters: str) -> dict[str, Any]:
    data = {cluster: b64encode(content.encode()).decode() for cluster, content in clusters.items()}
    return {"metadata": {"name": name, "resourceVersion": version}, "data": data}


def page(*secrets: dict[str, Any]) -> bytes:
    return json.dumps({"metadata": {"resourceVersion": "10"}, "items": list(secrets)}).encode()


def listed(roster: Roster, *secrets: dict[str, Any]) -> None:
    roster.listed(decode_list(page(*secrets)).items)


def names(roster: Roster) -> list[str]:
    return [spec.name for spec in roster.specs()]


def a_config(server: str = "https://10.0.0.1:6443", **user: Any) -> str:
    return kubeconfig(server, user=user or None)


@pytest.fixture
def roster() -> Roster:
    it = Roster("istio-system", None)
    listed(it, secret("one", a=a_config()), secret("two", b=a_config("https://b"), c=a_config("https://c")))
    return it


def test_each_key_of_each_secret_is_a_member(roster: Roster) -> None:
    assert names(roster) == ["a", "b", "c"]
    last = roster.specs()[-1]
    assert last.origin == "Secret istio-system/two (c)"
    assert isinstance(last.connection, Kubeconfig)
    assert last.connection.server == "https://c"
    assert last.connection.user_section() == {"token": "secret"}


def test_watched_changes_are_believed_at_once(roster: Roster) -> None:
    assert roster.line(an_event("ADDED", secret("three", "11", d=a_config()))) == "11"
    assert names(roster) == ["a", "d", "b", "c"]
    roster.line(an_event("MODIFIED", secret("two", "12", b=a_config("https://b"))))
    assert names(roster) == ["a", "d", "b"]
    roster.line(an_event("DELETED", secret("one", "13")))
    assert names(roster) == ["d", "b"]
    assert roster.line(a_bookmark("20")) == "20"


def test_list_that_lacks_members_removes_none_before_the_next_says_the_same(roster: Roster) -> None:
    listed(roster)
    assert names(roster) == ["a", "b", "c"]
    assert roster.doubtful
    listed(roster, secret("one", a=a_config()))
    assert names(roster) == ["a"], "two was lacking twice, one only once"
    assert not roster.doubtful
    listed(roster)
    assert names(roster) == ["a"]


def test_shorter_list_adds_and_changes_all_the_same(roster: Roster) -> None:
    listed(roster, secret("one", a=a_config("https://elsewhere")), secret("new", n=a_config()))
    assert names(roster) == ["n", "a", "b", "c"]
    changed = roster.specs()[1].connection
    assert isinstance(changed, Kubeconfig)
    assert changed.server == "https://elsewhere"


def test_doubt_ends_when_the_secret_is_seen_or_its_deletion(roster: Roster) -> None:
    listed(roster)
    roster.line(an_event("MODIFIED", secret("one", "11", a=a_config())))
    roster.line(an_event("DELETED", secret("two", "12")))
    assert not roster.doubtful
    listed(roster)
    assert names(roster) == ["a"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("clusters: [", "line 2"),
        ("", "not a kubeconfig"),
        (a_config(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "id"}), "may not run a program"),
        (a_config(**{"auth-provider": {"name": "gcp", "config": {"cmd-path": "id"}}}), "may not run a program"),
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
    roster = Roster("istio-system", None)
    listed(roster, secret("one", a=value, b=a_config()))
    bad, good = (spec.connection for spec in roster.specs())
    assert isinstance(bad, Unusable)
    assert said in bad.message
    assert "mend the Secret" in bad.message
    assert isinstance(good, Kubeconfig)


def test_value_that_is_no_base64_makes_an_unusable_member() -> None:
    roster = Roster("istio-system", None)
    listed(roster, {"metadata": {"name": "one"}, "data": {"a": "%"}}, {"metadata": {"name": "two"}})
    assert [spec.connection for spec in roster.specs()] == [Unusable("kubeconfig: not base64; mend the Secret")]


def test_what_is_no_list_and_no_event_is_told(roster: Roster) -> None:
    for body in (b"", b"<html>", b"{}", b'{"metadata":{},"items":{}}'):
        with pytest.raises(SecretsError):
            decode_list(body)
    for line in (b"", b"{]", b'{"type":"ADDED"}', an_error(500, "InternalError", "broken")):
        with pytest.raises(SecretsError):
            roster.line(line)
    with pytest.raises(Expired):
        roster.line(an_error(410, "Expired"))
    assert names(roster) == ["a", "b", "c"]
