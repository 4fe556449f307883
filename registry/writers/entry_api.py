"""The ServiceEntries of one API server: list and watch ours, read one, apply, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from registry.sources.kubernetes.bounds import PAGE_BYTES
from registry.sources.kubernetes.client import ApiResponse, KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.framing import LineFramer, LineTooLongError
from registry.sources.kubernetes.steps import PAGE_SIZE, watch_step
from registry.views.service_entry import API_VERSION, KIND, MANAGED_BY, MANAGED_BY_LABEL
from registry.writers.answers import WriteError, failure, list_page, success
from registry.writers.owners import with_ports_of_all
from registry.writers.plan import FIELD_MANAGER, HeldEntry, held_entry

SHRINKING = 4
"""A page that was too large is asked for again with so many times fewer objects."""

RESOURCE = "serviceentries.networking.istio.io"
MISSING = f"the API server has no {API_VERSION} ServiceEntry; install Istio's custom resources"
MOST_ENTRIES = 300_000
SILENCE_SECONDS = 120.0
"""How long a watch may bring nothing. An API server sends a bookmark about once a minute."""

_BASE = f"/apis/{API_VERSION}"
_OURS = {"labelSelector": f"{MANAGED_BY_LABEL}={MANAGED_BY}"}


@dataclass(frozen=True, slots=True)
class Listed:
    """Every ServiceEntry with our label, whoever put the label there, as of ``version``."""

    entries: tuple[HeldEntry, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of a watch, of an entry; ``entry`` is None for a bookmark. ``gone``: it was deleted, or unlabelled."""

    version: str
    entry: HeldEntry | None = None
    gone: bool = False


class ExpiredError(Exception):
    """The watch cannot go on from where it was: list anew."""


class EntryApi:
    """Calls raise ``WriteError`` for an answer that is no success, ``TransportError`` for none."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def list_ours(self) -> Listed:
        """In pages; where they are larger than pages may be, in smaller ones."""
        size = PAGE_SIZE
        while True:
            try:
                return await self._list_ours(size)
            except TransportError as error:
                if error.reason is not Reason.LIMIT_EXCEEDED or size == 1:
                    raise
            size = max(1, size // SHRINKING)

    async def _list_ours(self, size: int) -> Listed:
        query = {**_OURS, "limit": str(size)}
        entries: list[HeldEntry] = []
        while True:
            response = await self._client.request("GET", f"{_BASE}/serviceentries", query=query, most=PAGE_BYTES)
            page = success("list", RESOURCE, response, MISSING, list_page(KIND, held_entry))
            entries += page.items
            if not page.token:
                return Listed(tuple(entries), page.version)
            if page.token == query.get("continue") or len(entries) > MOST_ENTRIES:
                text = f"list {RESOURCE}: the pages do not come to an end after {len(entries)} entries"
                raise WriteError(Fault(Reason.LIMIT_EXCEEDED, text), HTTPStatus.OK, None, None)
            query["continue"] = page.token

    async def watch(self, version: str, random: float) -> AsyncIterator[Heard]:
        """What happens to entries with our label after ``version``, until the server ends the watch.

        Raises:
            ExpiredError: nothing can be followed from that version, or a line cannot be read.
        """
        query = {**watch_step(_BASE, version, random).query, **_OURS}
        async with self._client.stream(f"{_BASE}/serviceentries", query, silence=SILENCE_SECONDS) as stream:
            if stream.status == HTTPStatus.GONE:
                raise ExpiredError
            if stream.status != HTTPStatus.OK:
                response = ApiResponse(stream.status, stream.headers, await stream.read())
                raise failure("watch", RESOURCE, response, MISSING)
            framer = LineFramer()
            async for chunk in stream.chunks():
                try:
                    lines = framer.feed(chunk)
                    heard = [_heard(msgspec.json.decode(line)) for line in lines]
                except (LineTooLongError, msgspec.MsgspecError, LookupError, TypeError, AttributeError) as error:
                    raise ExpiredError from error
                for each in heard:
                    yield each

    async def read(self, namespace: str, name: str) -> HeldEntry | None:
        """The entry of that name, whoever's; None when there is none."""
        response = await self._client.request("GET", _path(namespace, name), most=PAGE_BYTES)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        return success("get", f"{RESOURCE} {namespace}/{name}", response, MISSING, held_entry)

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
            most=PAGE_BYTES,
        )
        return success("patch", f"{RESOURCE} {namespace}/{name}", response, MISSING, held_entry)

    async def take_over_ports(self, held: HeldEntry) -> None:
        """Make what others own of that very object's ports ours, so that our next apply removes what it lacks of it.

        An apply forces its own values; it removes items of a list with keys only where nobody else owns them.
        """
        path, what = _path(held.namespace, held.name), f"{RESOURCE} {held.namespace}/{held.name}"
        found = success("get", what, await self._client.request("GET", path, most=PAGE_BYTES), MISSING, _metadata)
        if found["uid"] != held.uid:
            return
        managers = with_ports_of_all(found["managedFields"])
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": managers},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": found["resourceVersion"]},
        ]
        response = await self._client.request(
            "PATCH",
            path,
            query={"fieldManager": FIELD_MANAGER},
            body=msgspec.json.encode(patch),
            content_type="application/json-patch+json",
            most=PAGE_BYTES,
        )
        success("patch", what, response, MISSING, bool)

    async def delete(self, held: HeldEntry) -> None:
        """Delete that very object; no error when it is gone already."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": held.uid}}
        response = await self._client.request(
            "DELETE", _path(held.namespace, held.name), body=msgspec.json.encode(options), most=PAGE_BYTES
        )
        if response.status != HTTPStatus.NOT_FOUND:
            success("delete", f"{RESOURCE} {held.namespace}/{held.name}", response, MISSING, bool)


def _path(namespace: str, name: str) -> str:
    return f"{_BASE}/namespaces/{namespace}/serviceentries/{name}"


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = document["metadata"]
    return metadata


def _heard(event: Mapping[str, Any]) -> Heard:
    """One line of a watch.

    Raises:
        ExpiredError: it is an error event, whatever its code: a list says what is there.
    """
    kind, found = event["type"], event["object"]
    if kind == "ERROR":
        raise ExpiredError
    version = found["metadata"].get("resourceVersion") or ""
    if kind == "BOOKMARK":
        return Heard(version)
    return Heard(version, held_entry(found), kind == "DELETED")
