"""The lists of our ServiceEntries and of ServiceExports: in smaller pages where they are large, and with an end."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from registry.sources.kubernetes.client import ApiResponse, KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Reason
from registry.writers.answers import WriteError
from registry.writers.entry_api import EntryApi
from registry.writers.export_api import ExportApi


class Client:
    """Pages of at most ``fits`` entries fit; with ``endless`` each names the same next one."""

    def __init__(self, fits: int, *, endless: bool = False) -> None:
        self.sizes: list[int] = []
        self._fits = fits
        self._endless = endless
        self._tokens = itertools.repeat("again") if endless else itertools.repeat("")

    async def request(self, _method: str, path: str, *, query: Mapping[str, str], most: int) -> ApiResponse:
        assert most > 1 << 20
        self.sizes.append(int(query["limit"]))
        if self.sizes[-1] > self._fits:
            raise TransportError(Reason.LIMIT_EXCEEDED, "too large")
        metadata = {"resourceVersion": "7", "continue": next(self._tokens)}
        kind = "ServiceExportList" if "serviceexports" in path else "ServiceEntryList"
        document: dict[str, Any] = {"kind": kind, "metadata": metadata, "items": []}
        return ApiResponse(200, {}, json.dumps(document).encode())


def api(client: Client) -> EntryApi:
    return EntryApi(cast(KubernetesClient, client))


def test_pages_that_are_too_large_are_asked_for_with_fewer_entries() -> None:
    client = Client(fits=40)
    assert asyncio.run(api(client).list_ours()).version == "7"
    assert client.sizes == [500, 125, 31]


def test_entry_that_is_too_large_alone_is_an_error() -> None:
    with pytest.raises(TransportError):
        asyncio.run(api(Client(fits=0)).list_ours())


def test_pages_that_lead_nowhere_are_an_error() -> None:
    client = Client(fits=500, endless=True)
    with pytest.raises(WriteError, match="do not come to an end"):
        asyncio.run(api(client).list_ours())
    assert len(client.sizes) == 2


def test_pages_of_exports_that_lead_nowhere_are_an_error() -> None:
    client = Client(fits=500, endless=True)
    with pytest.raises(WriteError, match="do not come to an end"):
        asyncio.run(ExportApi(cast(KubernetesClient, client)).list_all())
    assert len(client.sizes) == 2
