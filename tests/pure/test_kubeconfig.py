"""What one context of a kubeconfig says, with the files it names."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig

FILES = {"ca.crt": b"CA", "client.crt": b"CERT", "client.key": b"KEY"}


def _read(name: str) -> bytes:
    if name not in FILES:
        raise FileNotFoundError(2, "No such file or directory", name)
    return FILES[name]


AROUND = Surroundings(_read, lambda name: f"/kube/{name}", "/kube")


def document(cluster: Any = None, user: Any = None, **others: Any) -> dict[str, Any]:
    return {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user if user is not None else {"token": "t"}}],
        **others,
    }


def read(it: Any, context: str | None = None, around: Surroundings | None = AROUND) -> Kubeconfig:
    return read_kubeconfig(json.dumps(it).encode(), context, around)


def test_files_it_names_are_taken_in() -> None:
    found = read(
        document({"certificate-authority": "ca.crt"}, {"client-certificate": "client.crt", "client-key": "client.key"})
    )
    assert (found.server, found.ca, found.certificate, found.key) == ("https://10.0.0.1:6443", b"CA", b"CERT", b"KEY")
    data = {name: b64encode(content).decode() for name, content in FILES.items()}
    assert found == read(
        document(
            {"certificate-authority-data": data["ca.crt"]},
            {"client-certificate-data": data["client.crt"], "client-key-data": data["client.key"]},
        )
    )


def test_what_is_read_again_and_again_is_only_named() -> None:
    assert read(document(user={"tokenFile": "token"})).user_section() == {"tokenFile": "/kube/token"}
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}
    found = read(document(user={"exec": plugin}))
    assert (found.user_section(), found.folder) == ({"exec": plugin}, "/kube")
    provider = {"name": "oidc", "config": {"idp-certificate-authority": "idp.crt", "id-token": "x"}}
    config = read(document(user={"auth-provider": provider})).user_section()["auth-provider"]["config"]
    assert config == {"idp-certificate-authority": "/kube/idp.crt", "id-token": "x"}


def test_other_contexts_and_their_order_make_no_difference() -> None:
    it = document()
    other = document()
    other["users"].insert(0, {"name": "other", "user": {"token": "x"}})
    other["contexts"].append({"name": "other", "context": {"cluster": "c", "user": "other"}})
    assert read(it) == read(other) != read(other, "other")


def test_rest_of_the_cluster_is_read() -> None:
    found = read(document({"insecure-skip-tls-verify": True, "tls-server-name": "n", "proxy-url": "http://p:1"}))
    assert (found.verify, found.server_name, found.proxy) == (False, "n", "http://p:1")


def test_secrets_are_not_in_its_text() -> None:
    found = read(document(user={"token": "hidden", "client-key-data": b64encode(b"hidden").decode()}))
    assert "hidden" not in repr(found)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in document().items() if name != key}


@pytest.mark.parametrize(
    ("it", "said"),
    [
        ([], "expected a mapping"),
        (without("current-context"), "no current-context"),
        (without("users"), "users: expected a list"),
        (document(users=[]), "users: none is named 'u'"),
        (document(users=[{"name": "u", "user": {}}] * 2), "users: more than one is named 'u'"),
        (document(users=[{"name": "u"}]), "users[u].user: expected a mapping"),
        (document(contexts=[{"name": "it", "context": {"cluster": "c"}}]), "no user"),
        (document(contexts=[{"name": "it", "context": {"cluster": 5, "user": "u"}}]), "cluster: expected text"),
        (document({"server": "10.0.0.1"}), "expected a URL"),
        (document({"certificate-authority-data": "%"}), "certificate-authority-data: not base64"),
        (document({"certificate-authority": "gone.crt"}), "/kube/gone.crt: No such file"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(it: Any, said: str) -> None:
    with pytest.raises(KubeconfigError, match=said.replace("[", r"\[").replace("]", r"\]")):
        read(it)


def test_context_that_is_not_there_is_said() -> None:
    with pytest.raises(KubeconfigError, match="contexts: none is named 'x'"):
        read(document(), "x")


@pytest.mark.parametrize("end", range(0, 200, 7))
def test_half_of_a_kubeconfig_is_none(end: int) -> None:
    text = json.dumps(document()).encode()
    with pytest.raises(KubeconfigError):
        read_kubeconfig(text[:end], None, AROUND)
