"""The ServiceEntries of one API server: list ours, read one, apply, delete."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from registry.sources.kubernetes.client import ApiResponse, KubernetesClient
from registry.views.service_entry import API_VERSION, MANAGED_BY, MANAGED_BY_LABEL
from registry.writers.answers import success
from registry.writers.plan import FIELD_MANAGER, HeldEntry, held_entry

RESOURCE = "serviceentries.networking.istio.io"
PAGE_SIZE = 500
_BASE = f"/apis/{API_VERSION}"


class EntryApi:
    """Calls raise ``WriteError`` for an answer that is no success, ``TransportError`` for none."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def list_ours(self) -> list[HeldEntry]:
        """Every ServiceEntry with our label, whoever put the label there."""
        query = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}", "limit": str(PAGE_SIZE)}
        entries: list[HeldEntry] = []
        while True:
            response = await self._client.request("GET", f"{_BASE}/serviceentries", query=query)
            document = _success("list", RESOURCE, response)
            entries += [held_entry(item) for item in document.get("items") or ()]
            token = document["metadata"].get("continue")
            if not token:
                return entries
            query["continue"] = token

    async def read(self, namespace: str, name: str) -> HeldEntry | None:
        """The entry of that name, whoever's; None when there is none."""
        response = await self._client.request("GET", _path(namespace, name))
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        return held_entry(_success("get", f"{RESOURCE} {namespace}/{name}", response))

    async def apply(self, wanted: Mapping[str, Any], uid: str | None) -> HeldEntry:
        """Server-side apply. With ``uid`` only to that very object, without only where nobody owns those fields yet."""
        metadata = wanted["metadata"]
        body = {**wanted, "metadata": {**metadata, "uid": uid}} if uid else wanted
        namespace, name = metadata["namespace"], metadata["name"]
        response = await self._client.request(
            "PATCH",
            _path(namespace, name),
            query={"fieldManager": FIELD_MANAGER, "force": "true" if uid else "false"},
            body=msgspec.json.encode(body),
            content_type="application/apply-patch+yaml",
        )
        return held_entry(_success("patch", f"{RESOURCE} {namespace}/{name}", response))

    async def delete(self, held: HeldEntry) -> None:
        """Delete that very object; no error when it is gone already."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": held.uid}}
        response = await self._client.request(
            "DELETE", _path(held.namespace, held.name), body=msgspec.json.encode(options)
        )
        if response.status != HTTPStatus.NOT_FOUND:
            _success("delete", f"{RESOURCE} {held.namespace}/{held.name}", response)


def _path(namespace: str, name: str) -> str:
    return f"{_BASE}/namespaces/{namespace}/serviceentries/{name}"


def _success(verb: str, what: str, response: ApiResponse) -> Any:
    missing = f"the API server has no {API_VERSION} ServiceEntry; install Istio's custom resources"
    return success(verb, what, response, missing)
