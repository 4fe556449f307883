"""A value that was not expected is a problem with a place, in each reader of what others write. No other error leaves.

Each field of each document is given one value of each type, and the texts are changed at random (always the same way).
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.mutations import TAGGED, WRONG, as_yaml, mutated, places, replaced

from registry.config import load
from registry.errors import ConfigError
from registry.membership.absence import AbsencePolicy
from registry.membership.roster import Roster
from registry.membership.spec import Unusable
from registry.model.names import Kind
from registry.sources.kubernetes.decode import Broken, DecodeError, decode_event, decode_names, decode_page
from registry.sources.kubernetes.kubeconfig import KubeconfigError, Surroundings, read_kubeconfig
from registry.sources.kubernetes.users import impersonation_headers
from registry.sources.manifests.files import ManifestError, read_manifest

LONGEST_MESSAGE = 1000
MUTATIONS = 1500
PEM = b64encode(b"a certificate").decode()

KUBECONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "a",
    "preferences": {},
    "extensions": [{"name": "x", "extension": {}}],
    "clusters": [
        {
            "name": "a",
            "cluster": {
                "server": "https://10.0.0.1:6443",
                "certificate-authority-data": PEM,
                "tls-server-name": "kube",
                "proxy-url": "http://u:p@proxy:3128",
                "disable-compression": True,
                "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"a": 1}}],
            },
        },
        {"name": "b", "cluster": {"server": "x", "insecure-skip-tls-verify": True, "certificate-authority": "file"}},
    ],
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "n"}}],
    "users": [
        {
            "name": "a",
            "user": {
                "client-certificate-data": PEM,
                "client-key-data": PEM,
                "as": "me",
                "as-uid": "1",
                "as-groups": ["g"],
                "as-user-extra": {"scopes": ["s"]},
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "login",
                    "args": ["a"],
                    "env": [{"name": "A", "value": "b"}],
                    "interactiveMode": "Never",
                    "provideClusterInfo": True,
                    "installHint": "x",
                },
            },
        },
        {"name": "b", "user": {"auth-provider": {"name": "oidc", "config": {"idp-certificate-authority": "f"}}}},
    ],
}
META: dict[str, Any] = {
    "name": "web",
    "namespace": "shop",
    "uid": "1",
    "resourceVersion": "5",
    "creationTimestamp": "2020-01-01T00:00:00Z",
    "labels": {"kubernetes.io/service-name": "web", "topology.istio.io/network": "net"},
    "annotations": {"topology.mesh-registry.io/order": "zone"},
    "ownerReferences": [{"kind": "ServiceImport", "name": "web"}],
}
OBJECTS: dict[Kind, dict[str, Any]] = {
    Kind.SERVICE: {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": META,
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "externalName": "x",
            "selector": {"app": "web"},
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
            "trafficDistribution": "PreferClose",
            "internalTrafficPolicy": "Local",
            "publishNotReadyAddresses": True,
            "ipFamilies": ["IPv4"],
            "externalIPs": ["203.0.113.1"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http", "nodePort": 30000}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "hostname": "h", "ports": [{"port": 1}]}]}},
    },
    Kind.ENDPOINT_SLICE: {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": META,
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}],
        "endpoints": [
            {
                "addresses": ["10.0.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "hostname": "h",
                "nodeName": "n",
                "zone": "z",
                "targetRef": {"kind": "Pod", "name": "p", "namespace": "shop", "uid": "1"},
                "hints": {"forZones": [{"name": "z"}]},
            }
        ],
    },
    Kind.POD: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**META, "deletionTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"nodeName": "n", "serviceAccountName": "s", "hostNetwork": True},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    },
    Kind.NODE: {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": META,
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
    },
    Kind.NAMESPACE: {"apiVersion": "v1", "kind": "Namespace", "metadata": META},
    Kind.SERVICE_EXPORT: {
        "apiVersion": "multicluster.x-k8s.io/v1alpha1",
        "kind": "ServiceExport",
        "metadata": META,
        "status": {"conditions": [{"type": "Valid", "status": "True", "reason": "r", "message": "m"}]},
    },
}
CONFIG: dict[str, Any] = {
    "domain": "clusterset.local",
    "clusters": [
        {"name": "a", "kubeconfig": "k", "context": "c", "network": "n"},
        {"name": "b", "manifests": "m", "probe": {"target": "h:1", "method": "tcp", "tls": {"ca": "f"}}},
    ],
    "kubeconfigFolder": "k",
    "remoteSecrets": {"namespace": "istio-system", "kubeconfig": "k"},
    "listen": {"grpc": "127.0.0.1:1", "http": "127.0.0.1:2", "tls": {"certificate": "c", "key": "k"}},
    "guard": {"share": 0.5, "holdSeconds": 60},
    "export": {"namespaces": ["a"], "excluded": ["b"]},
    "networks": [{"name": "n", "gateways": [{"address": "1.2.3.4", "port": 15443}]}],
    "limits": {"streams": 10},
    "coalesce": {"quietMs": 10, "maxMs": 100},
    "snapshot": {"file": "s", "minSeconds": 1},
    "peers": {"addresses": ["h:1"]},
}


def no_files(_name: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory")


AROUND = Surroundings(no_files, lambda name: name, "/")
POLICY = AbsencePolicy(share=0.5, confirm_seconds=30, doubt_seconds=600)


def kubeconfig(text: bytes) -> None:
    try:
        impersonation_headers(read_kubeconfig(text, None, AROUND).user_section())
    except KubeconfigError as error:
        is_short(error)


def is_short(error: Exception, begins: str = "") -> None:
    assert str(error).startswith(begins)
    assert "cannot be read (" not in str(error), "a bug"
    assert len(str(error)) < LONGEST_MESSAGE
    str(error).encode()


def manifest(text: bytes) -> None:
    for name in ("a.yaml", "a.json"):
        try:
            read_manifest(name, text)
        except ManifestError as error:
            is_short(error, f"{name}:")


def secret(text: bytes) -> None:
    """The text as a kubeconfig of a Secret, beside another key."""
    data = {"a": b64encode(text).decode(), "b": "%%%"}
    roster = Roster("istio-system", None, POLICY)
    roster.line(json.dumps({"type": "ADDED", "object": {"metadata": {"name": "s"}, "data": data}}).encode())
    _, second = roster.specs()
    assert isinstance(second.connection, Unusable)


def test_kubeconfig_with_any_value_at_any_place_is_read_or_refused() -> None:
    for number, path in enumerate(places(KUBECONFIG)):
        for value in WRONG:
            text = json.dumps(replaced(KUBECONFIG, path, value)).encode()
            kubeconfig(text)
        secret(json.dumps(replaced(KUBECONFIG, path, WRONG[number % len(WRONG)])).encode())


@pytest.mark.parametrize("kind", OBJECTS)
def test_manifest_with_any_value_at_any_place_is_read_or_refused(kind: Kind) -> None:
    for path in places(OBJECTS[kind]):
        for value in WRONG:
            spoiled = replaced(OBJECTS[kind], path, value)
            manifest(json.dumps(spoiled).encode())
    for value in WRONG:
        manifest(json.dumps({"apiVersion": "v1", "kind": "List", "items": [OBJECTS[kind], value]}).encode())
        manifest(json.dumps({"apiVersion": "v1", "kind": f"{kind}List", "items": value}).encode())


@pytest.mark.parametrize("kind", OBJECTS)
def test_object_of_an_api_server_with_any_value_at_any_place_spoils_no_other(kind: Kind) -> None:
    good = OBJECTS[kind]
    for path in places(good):
        for value in WRONG:
            spoiled = replaced(good, path, value)
            body = {"kind": f"{kind}List", "metadata": {"resourceVersion": "5"}, "items": [spoiled, good]}
            *_, last = objects = list(decode_page(kind, json.dumps(body).encode(errors="surrogatepass")).objects())
            assert len(objects) == 2
            assert not isinstance(last, Broken)
            assert last.ref.name == "web"
            for event in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"):
                try:
                    decode_event(kind, json.dumps({"type": event, "object": spoiled}).encode())
                except DecodeError:
                    continue
            try:
                decode_names(kind, json.dumps({**body, "kind": "PartialObjectMetadataList"}).encode())
            except DecodeError:
                continue


def test_configuration_with_any_value_at_any_place_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    for place in places(CONFIG):
        for value in (None, True, 1, "", [], {}):
            path.write_text(json.dumps(replaced(CONFIG, place, value)))
            try:
                load(path)
            except ConfigError as error:
                is_short(error, str(path))


@pytest.mark.parametrize("number", range(len(TAGGED)), ids=lambda number: TAGGED[number][:20])
def test_value_that_is_no_json_is_read_or_refused_at_any_place(number: int, tmp_path: Path) -> None:
    """Every fifth place of each document, from another one for each value."""
    text = TAGGED[number]
    for path in islice(places(KUBECONFIG), number % 5, None, 5):
        kubeconfig(as_yaml(KUBECONFIG, path, text))
    for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
        for path in islice(places(OBJECTS[kind]), number % 5, None, 5):
            manifest(as_yaml(OBJECTS[kind], path, text))
    config = tmp_path / "registry.yaml"
    for path in islice(places(CONFIG), number % 20, None, 20):
        config.write_bytes(as_yaml(CONFIG, path, text))
        try:
            load(config)
        except ConfigError as error:
            is_short(error)


@pytest.mark.parametrize("read", [kubeconfig, manifest, secret])
@pytest.mark.parametrize("whole", [KUBECONFIG, *OBJECTS.values()], ids=lambda whole: whole["kind"])
def test_text_that_was_changed_at_random_is_read_or_refused(
    read: Callable[[bytes], None], whole: dict[str, Any]
) -> None:
    if (read is manifest) is (whole is KUBECONFIG):
        return
    draw = random.Random(13)
    texts = [json.dumps(whole, indent=1).encode(), json.dumps(whole).replace('"', "").encode()]
    for _ in range(MUTATIONS // 4):
        for text in texts:
            read(mutated(text, draw))
