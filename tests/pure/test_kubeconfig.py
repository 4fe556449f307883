"""What one context of a kubeconfig says, with the files it names."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import pytest

from registry.sources.kubernetes.fields import AuthProvider, ExecConfig, User
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
    assert read(document(user={"tokenFile": "token"})).user_section() == User(token_file="/kube/token")
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}
    found = read(document(user={"exec": plugin}))
    its_plugin = ExecConfig(plugin["apiVersion"], plugin["command"])
    assert (found.user_section(), found.folder) == (User(exec=its_plugin), "/kube")
    provider = {"name": "oidc", "config": {"idp-certificate-authority": "idp.crt", "id-token": "x"}}
    found_provider = read(document(user={"auth-provider": provider})).user_section().auth_provider
    assert found_provider == AuthProvider("oidc", {"idp-certificate-authority": "/kube/idp.crt", "id-token": "x"})


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
    pair = {"client-key-data": b64encode(b"hidden").decode(), "client-certificate-data": b64encode(b"c").decode()}
    found = read(document({"proxy-url": "http://me:hidden@p:1"}, user={"token": "hidden", **pair}))
    assert "hidden" not in repr(found)


V1 = "client.authentication.k8s.io/v1"


def plugin(**fields: Any) -> dict[str, Any]:
    return document(user={"exec": {"apiVersion": V1, "command": "x", **fields}})


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
        (document(users=[{"name": "u", "user": "x"}]), "users[u].user: expected a mapping"),
        (document(contexts=[{"name": "it", "context": {"user": "u"}}]), "contexts[it].context: no cluster"),
        (document(contexts=[{"name": "it", "context": {"cluster": 5, "user": "u"}}]), "context.cluster: expected text"),
        (document({"server": "10.0.0.1"}), "expected a URL"),
        (document({"certificate-authority-data": "%"}), "clusters[c].cluster.certificate-authority-data: not base64"),
        ({**document(), "kind": "Secret"}, "not a kubeconfig: kind: expected Config, got 'Secret'"),
        ({**document(), "apiVersion": "v2"}, "not a kubeconfig: apiVersion: expected v1"),
        ({**document(), "current-context": 1}, "current-context: expected text, got a number; write it in quotes"),
        ({**without("users"), "Users": []}, "Users: no such field; it is spelled users"),
        (document({"server": None}), "clusters[c].cluster: no server"),
        (
            document({"server": None, "Server": "https://x"}),
            "cluster.Server: no such field; it is spelled server",
        ),
        (document({"server": "https://"}), "clusters[c].cluster.server: expected a URL"),
        (document({"server": "https://x:99999"}), "expected a URL"),
        (document({"server": "https://x y"}), "expected a URL"),
        (document({"server": "ftp://x"}), "expected a URL"),
        (document({"server": "https://a..b:6443"}), "expected a URL"),
        (document({"server": "https://.b"}), "expected a URL"),
        (document({"server": f"https://{'x' * 64}.b"}), "expected a URL"),
        (document({"proxy-url": "http://a..b:3128"}), "proxy-url: expected a URL"),
        (document({"tls-server-name": ".b"}), "clusters[c].cluster.tls-server-name: no name of a server: '.b'"),
        (document({"tls-server-name": "a\0b"}), "tls-server-name: no name"),
        (document({"tls-server-name": "a b"}), "tls-server-name: no name"),
        (
            document({"insecure-skip-tls-verify": "true"}),
            "insecure-skip-tls-verify: expected true or false, got text",
        ),
        (document({"insecure-skip-tls-verify": True, "certificate-authority": "ca.crt"}), "take out one"),
        (document({"proxy-url": "socks4://p:1"}), "clusters[c].cluster.proxy-url: expected a URL"),
        (document({"proxy-url": "p:3128"}), "proxy-url: expected a URL"),
        (document(user={"tokenfile": "x"}), "users[u].user.tokenfile: no such field; it is spelled tokenFile"),
        (document(user={"token": 1}), "users[u].user.token: expected text, got a number; write it in quotes"),
        (document(user={"token": "a\nb"}), "users[u].user.token: has a line end"),
        (document(user={"token": "t", "username": "me", "password": "x"}), "more than one authentication method"),
        (document(user={"tokenFile": "t", "username": "me", "password": "x"}), "more than one authentication method"),
        (document(user={"password": "x"}), "password without username"),
        (document(user={"client-certificate": "client.crt"}), "client-certificate without client-key"),
        (document(user={"client-key": "client.key"}), "client-key without client-certificate"),
        (document(user={"as-groups": ["g"]}), "set as"),
        (document(user={"as-uid": "1"}), "set as"),
        (document(user={"as-user-extra": {"k": ["v"]}}), "set as"),
        (document(user={"as": "me", "as-groups": "g"}), "users[u].user.as-groups: expected a list, got text"),
        (document(user={"as": "me", "as-groups": ["a\r\nX: y"]}), "users[u].user.as-groups[0]: has a line end"),
        (document(user={"as": "me", "as-user-extra": {"k": ["a\nb"]}}), "as-user-extra.k[0]: has a line end"),
        (document(user={"auth-provider": {"name": "gcp"}}), "users[u].user.auth-provider.name: only oidc"),
        (document(user={"auth-provider": {"name": "oidc"}, "exec": {}}), "exec and auth-provider"),
        (document(user={"exec": {"command": "x"}}), "users[u].user.exec.apiVersion: expected client.authentication"),
        (document(user={"exec": {"apiVersion": V1}}), "users[u].user.exec.command: missing"),
        (plugin(interactiveMode="Always"), "exec.interactiveMode: Always, and there is nobody to ask"),
        (plugin(interactiveMode="Maybe"), "exec.interactiveMode: expected Never"),
        (plugin(args="x"), "users[u].user.exec.args: expected a list, got text"),
        (plugin(env=[{"name": "", "value": "x"}]), "exec.env: a variable without a name"),
        (plugin(args=["a\0b"]), "exec: a NUL"),
        (plugin(provideclusterinfo=True), "exec.provideclusterinfo: no such field; it is spelled provideClusterInfo"),
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


@pytest.mark.parametrize("user", [{"name": "u"}, {"name": "u", "user": None}, {"name": "u", "user": {}}])
def test_user_without_credentials_is_anonymous(user: dict[str, Any]) -> None:
    assert read(document(users=[user])).user_section() == User()


def test_context_without_a_user_is_anonymous() -> None:
    for user in (None, ""):
        found = read(document(contexts=[{"name": "it", "context": {"cluster": "c", "user": user}}]))
        assert found.user_section() == User()
    assert read(document(user={})).user_section() == User()
    alone = document(contexts=[{"name": "it", "context": {"cluster": "c"}}])
    del alone["users"]
    assert read(alone).user_section() == User()


@pytest.mark.parametrize("lines", ["\n", "\r\n", "\r"])
def test_base64_in_lines_is_read(lines: str) -> None:
    wrapped = lines.join(b64encode(b"A certificate authority").decode()[at : at + 8] for at in range(0, 40, 8)) + lines
    assert read(document({"certificate-authority-data": wrapped})).ca == b"A certificate authority"


@pytest.mark.parametrize("text", ["QQ == ", "QQ\t==", "QQ", "QQ=", "Q Q==", "QQ==QQ==", "Q-_=", "QQ==\x0b"])
def test_base64_that_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(KubeconfigError, match="not base64"):
        read(document({"certificate-authority-data": text}))


def test_data_wins_over_a_file_and_the_empty_text_is_nothing() -> None:
    data = b64encode(b"DATA").decode()
    found = read(document({"certificate-authority": "gone", "certificate-authority-data": data}))
    assert found.ca == b"DATA"
    empty = dict.fromkeys(("certificate-authority-data", "certificate-authority", "tls-server-name", "proxy-url"), "")
    user = dict.fromkeys(("token", "tokenFile", "username", "password", "as", "client-certificate", "client-key"), "")
    assert read(document(empty, user)) == read(document(user={}))
    assert read(document(dict.fromkeys(empty), dict.fromkeys(user))) == read(document(user={}))


def test_who_is_impersonated_goes_into_headers() -> None:
    extra = {"Scopes": ["view", "edit"], "example.org/reason": ["späte Schicht"], "100%": ["x"], "none": None}
    user = {"token": "t", "as": "jane", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": extra}
    assert read(document(user=user)).headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-scopes", "view"),
        ("Impersonate-Extra-scopes", "edit"),
        ("Impersonate-Extra-example.org%2Freason", "späte Schicht"),
        ("Impersonate-Extra-100%25", "x"),
    )
    assert read(document(user=user)) != read(document(user={**user, "as": "joe"}))


def test_extension_of_the_cluster_is_for_the_plugin() -> None:
    extensions = [
        {"name": "other", "extension": 1},
        {"name": "client.authentication.k8s.io/exec", "extension": {"a": 1}},
    ]
    assert read(document({"extensions": extensions})).plugin_config == '{"a":1}'
    assert read(document()).plugin_config == "null"
    assert read(document({"disable-compression": True})).compress is False


def test_json_is_read_as_json_and_yaml_in_flow_style_as_yaml() -> None:
    text = json.dumps(document({"tls-server-name": "\U0001f680"})).replace("/", "\\/").replace(" ", "\t")
    assert "\\ud83d" in text
    assert read_kubeconfig(text.encode(), None, AROUND).server_name == "\U0001f680"
    flow = "{clusters: [{name: c, cluster: {server: 'https://x'}}], contexts: [{name: it, context: {cluster: c}}]}"
    assert read_kubeconfig(flow.encode(), "it", None).server == "https://x"
    with pytest.raises(KubeconfigError):
        read_kubeconfig(b"{" + b'"a":{' * 100_000, None, AROUND)


def test_unknown_fields_are_named_and_make_no_difference() -> None:
    odd = document({"shoot": 1}, {"token": "t", "note": "x"}, extra=1, preferences={"colors": True})
    found = read(odd)
    assert found.ignored == ("extra", "clusters[c].cluster.shoot", "users[u].user.note")
    assert found == read(document())
    assert read(document({"Server": "https://other"})).ignored == ("clusters[c].cluster.Server",)


def test_two_documents_are_refused() -> None:
    with pytest.raises(KubeconfigError, match="2 documents in it"):
        read_kubeconfig(b"kind: Config\n---\nkind: Config\n", None, AROUND)


@pytest.mark.parametrize(
    ("server", "cluster", "url"),
    [
        ("HTTPS://Api.Example:6443//", {}, "https://Api.Example:6443"),
        ("https://rancher.example/k8s/clusters/c-1/", {}, "https://rancher.example/k8s/clusters/c-1"),
        ("http://10.0.0.1:8080", {}, "http://10.0.0.1:8080"),
        ("https://[fd00::1]:6443", {}, "https://[fd00::1]:6443"),
        ("10.0.0.1:6443", {"certificate-authority": "ca.crt"}, "https://10.0.0.1:6443"),
        ("api.example", {"insecure-skip-tls-verify": True}, "https://api.example"),
        ("localhost:8443/", {"insecure-skip-tls-verify": True}, "https://localhost:8443"),
        ("https://me:p%40ss@10.0.0.1", {}, "https://10.0.0.1"),
    ],
)
def test_servers_url_is_read_as_go_reads_it(server: str, cluster: dict[str, Any], url: str) -> None:
    assert read(document({"server": server, **cluster}, {})).server == url


def test_credentials_in_the_servers_url_are_the_users() -> None:
    found = read(document({"server": "https://me:p%40ss@10.0.0.1"}, {}))
    assert found.user_section() == User(username="me", password="p@ss")
    with pytest.raises(KubeconfigError, match="has credentials, and users"):
        read(document({"server": "https://me:pass@10.0.0.1"}, {"token": "t"}))


@pytest.mark.parametrize(
    "cluster",
    [
        {"server": "ftp://me:hidden@x"},
        {"server": "https://me:hid/den@x"},
        {"server": "https://me:hid@den@x:port"},
        {"server": "me:hidden@x"},
        {"server": "https://me:hidden@ x"},
        {"proxy-url": "socks4://me:hidden@p:1"},
        {"proxy-url": "http://me:hidden@p:port"},
        {"proxy-url": "me:hidden@p:1"},
    ],
)
def test_no_error_shows_a_password(cluster: dict[str, str]) -> None:
    with pytest.raises(KubeconfigError) as failed:
        read(document(cluster, {}))
    assert not {"hid", "den"} & set(re.findall("hid|den", str(failed.value)))


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({"certificate-authority": "ca.crt"}, {}, "clusters[c].cluster.certificate-authority: a kubeconfig from here"),
        ({}, {"tokenFile": "t"}, "users[u].user.tokenFile: a kubeconfig from here may not name a file"),
        (
            {},
            {"client-certificate": "c", "client-key": "k"},
            "users[u].user.client-certificate: a kubeconfig",
        ),
        ({}, {"exec": {"apiVersion": V1, "command": "x"}}, "may not run a program"),
        (
            {},
            {"auth-provider": {"name": "oidc", "config": {"idp-certificate-authority": "x"}}},
            "users[u].user.auth-provider.config.idp-certificate-authority: a kubeconfig from here may not name a file",
        ),
    ],
)
def test_kubeconfig_of_a_secret_uses_nothing_of_this_machine(cluster: Any, user: Any, said: str) -> None:
    with pytest.raises(KubeconfigError) as failed:
        read(document(cluster, user), around=None)
    assert said in str(failed.value)
