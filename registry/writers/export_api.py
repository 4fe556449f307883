"""The ServiceExports of one API server: their conditions, read and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

from registry.model.names import Kind, ServiceKey
from registry.sources.kubernetes.bounds import PAGE_BYTES
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.resources import RESOURCES
from registry.views.export_status import CONFLICT, READY, ExportCondition
from registry.writers.answers import WriteError, list_page, success

FIELD_MANAGER = "mesh-registry-exports"
"""Apart from that of other objects: what one manager applies is all it owns of an object."""

EXPORTS = RESOURCES[Kind.SERVICE_EXPORT]
PAGE_SIZE = 500
MOST_EXPORTS = 300_000
MISSING = "it is gone, or the API server has no ServiceExports with a status; install the MCS API's custom resources"


@dataclass(frozen=True, slots=True)
class HeldCondition:
    """A condition as the API server has it, with the time of its last transition as it is written there."""

    condition: ExportCondition
    since: str


@dataclass(frozen=True, slots=True)
class HeldExport:
    """A ServiceExport as the API server has it: its conditions by type, but those that are Unknown."""

    key: ServiceKey
    uid: str
    version: str
    conditions: Mapping[str, HeldCondition]

    def has(self, wanted: Iterable[ExportCondition]) -> bool:
        """Every one of ``wanted`` is there just so."""
        return all(each.type in self.conditions and self.conditions[each.type].condition == each for each in wanted)


def held_export(document: Mapping[str, Any]) -> HeldExport:
    """The object as the API server answers it."""
    metadata = document["metadata"]
    conditions = (document.get("status") or {}).get("conditions") or ()
    return HeldExport(
        ServiceKey(metadata["namespace"], metadata["name"]),
        metadata["uid"],
        metadata.get("resourceVersion") or "",
        {
            each["type"]: HeldCondition(
                ExportCondition(
                    each["type"], each["status"] == "True", each.get("reason") or "", each.get("message") or ""
                ),
                each.get("lastTransitionTime") or "",
            )
            for each in conditions
            if each["status"] in ("True", "False")
        },
    )


def while_unknown(wanted: Iterable[ExportCondition], held: HeldExport) -> tuple[ExportCondition, ...]:
    """``wanted`` as far as it is certain while members are not known.

    Such a member may have an export that conflicts, and may be one of the clusters that are counted.
    """
    found = []
    for each in wanted:
        before = held.conditions.get(each.type)
        if each.type == CONFLICT and not each.status:
            found += [before.condition] if before is not None else []
        elif each.type == READY and each.status and before is not None and before.condition.status:
            found.append(before.condition)
        else:
            found.append(each)
    return tuple(found)


def condition_documents(
    wanted: Sequence[ExportCondition], held: HeldExport, now: float
) -> Sequence[Mapping[str, object]]:
    """As ``metav1.Condition``. The time stays as long as the status does; ``now`` is in seconds since the epoch."""
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    documents = []
    for each in wanted:
        before = held.conditions.get(each.type)
        same = before is not None and before.condition.status is each.status and before.since
        documents.append(
            {
                "type": each.type,
                "status": "True" if each.status else "False",
                "reason": each.reason,
                "message": each.message,
                "lastTransitionTime": before.since if before is not None and same else time,
            }
        )
    return documents


class ExportApi:
    """Calls raise ``WriteError`` for an answer that is no success, ``TransportError`` for none."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._path = EXPORTS.paths[0]

    async def list_all(self) -> list[HeldExport]:
        """All there are, of the newest version of the API that is served; none where there is no such API."""
        for path in EXPORTS.paths:
            found = await self._list(path)
            if found is not None:
                self._path = path
                return found
        return []

    async def read(self, key: ServiceKey) -> HeldExport | None:
        """The one of that name, None when there is none."""
        response = await self._client.request("GET", self._path_of(key), most=PAGE_BYTES)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        return success("get", f"{EXPORTS.name} {key}", response, MISSING, held_export)

    async def apply(self, held: HeldExport, wanted: Sequence[Mapping[str, object]]) -> HeldExport:
        """Server-side apply of the conditions to that very object; what another manager owns is not taken from it."""
        namespace, name = held.key
        body = {
            "apiVersion": self._path.removeprefix("/apis/").rpartition("/")[0],
            "kind": str(Kind.SERVICE_EXPORT),
            "metadata": {"namespace": namespace, "name": name, "uid": held.uid},
            "status": {"conditions": wanted},
        }
        response = await self._client.request(
            "PATCH",
            f"{self._path_of(held.key)}/status",
            query={"fieldManager": FIELD_MANAGER, "force": "false"},
            body=msgspec.json.encode(body),
            content_type="application/apply-patch+yaml",
            most=PAGE_BYTES,
        )
        return success("patch", f"{EXPORTS.name}/status {held.key}", response, MISSING, held_export)

    def _path_of(self, key: ServiceKey) -> str:
        base, _, resource = self._path.rpartition("/")
        return f"{base}/namespaces/{key.namespace}/{resource}/{key.name}"

    async def _list(self, path: str) -> list[HeldExport] | None:
        query = {"limit": str(PAGE_SIZE)}
        found: list[HeldExport] = []
        while True:
            response = await self._client.request("GET", path, query=query, most=PAGE_BYTES)
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            page = success("list", EXPORTS.name, response, MISSING, list_page(Kind.SERVICE_EXPORT, held_export))
            found += page.items
            if not page.token:
                return found
            if page.token == query.get("continue") or len(found) > MOST_EXPORTS:
                text = f"list {EXPORTS.name}: the pages do not come to an end after {len(found)} exports"
                raise WriteError(Fault(Reason.LIMIT_EXCEEDED, text), response.status, None, None)
            query["continue"] = page.token
