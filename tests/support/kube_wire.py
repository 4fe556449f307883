"""What an API server puts on the wire, as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from registry.model.names import Kind


def a_service(name: str, port: Any = 80, version: str = "1") -> dict[str, Any]:
    """A Service in the namespace ``shop``; a ``port`` that is none makes it unreadable."""
    metadata = {"name": name, "namespace": "shop", "resourceVersion": version}
    return {"metadata": metadata, "spec": {"ports": [{"name": "http", "port": port}]}}


def a_page(items: Sequence[Any] = (), *, version: str = "10", token: str = "", kind: Kind = Kind.SERVICE) -> bytes:
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items}).encode()


def a_page_of_names(items: Sequence[Any] = (), *, version: str = "10", token: str = "") -> bytes:
    """A page of a metadata-only list."""
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    named = [{"metadata": item["metadata"]} for item in items]
    document = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return json.dumps(document | {"items": named}).encode()


def a_list_of_groups(paths: Iterable[str]) -> bytes:
    """The document ``/apis`` of a server that has resources at these paths."""
    found: dict[str, list[str]] = {}
    for path in sorted(set(paths)):
        if path.startswith("/apis/"):
            _, _, group, version, _ = path.split("/")
            found.setdefault(group, []).append(version)
    groups = [
        {"name": group, "versions": [{"groupVersion": f"{group}/{each}", "version": each} for each in versions]}
        for group, versions in found.items()
    ]
    return json.dumps({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}).encode()


def a_list_of_resources(version: str, *names: str) -> bytes:
    """The document of one version of a group, ``group/version``."""
    resources = [{"name": each, "singularName": "", "namespaced": True, "kind": "It", "verbs": []} for each in names]
    document = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
    return json.dumps(document | {"resources": resources}).encode()


def the_end_of_a_list(version: str) -> bytes:
    """The bookmark that ends a streaming list."""
    metadata = {"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}}
    return an_event("BOOKMARK", {"metadata": metadata})


def an_event(event: str, document: Any) -> bytes:
    """One line of a watch, without its end."""
    return json.dumps({"type": event, "object": document}).encode()


def a_bookmark(version: str) -> bytes:
    return an_event("BOOKMARK", {"metadata": {"resourceVersion": version}})


def a_status(code: int, reason: str, message: str) -> bytes:
    return json.dumps(status(code, reason, message)).encode()


def an_error(code: int, reason: str, message: str = "") -> bytes:
    """An ERROR event of a watch."""
    return an_event("ERROR", status(code, reason, message))


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}
