"""Keeps the ServiceEntries of one cluster as the merged list says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from registry.model.names import ClusterId, ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.model.status import WriterStatus
from registry.sources.kubernetes.identity import Admit
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.views.policy import NO_POLICY, TrafficPolicy
from registry.views.service_entry import NAME_PREFIX, ServiceEntries, entry_service, service_entries
from registry.writers.answers import WriteError
from registry.writers.entry_api import EntryApi
from registry.writers.loop import Sleep, WriteLoop
from registry.writers.plan import Action, HeldEntry, make_before_break, plan

log = logging.getLogger(__name__)


class ServiceEntryWriter:
    """Writes into one cluster, into the service's own namespace, where the cluster has that namespace.

    ``get`` and ``services`` are the merged list, ``namespaces`` those of this cluster. Nothing is written before
    ``ready`` says that every configured cluster was listed once: until then an entry could only be too short; nor
    before ``admit`` knows the cluster for the member's. In a namespace that is not known nothing is done. ``policy`` is
    that of a service, ``family`` the one that the cluster's own addresses have first. ``tcp``: entries have ports for
    which sidecars take all TCP traffic.
    """

    def __init__(
        self,
        cluster: ClusterId,
        connect: Connect,
        *,
        services: Callable[[], Sequence[MergedService]],
        get: Callable[[ServiceKey], MergedService | None],
        namespaces: Callable[[], frozenset[str]],
        ready: Callable[[], bool],
        names: Names,
        policy: Callable[[MergedService], TrafficPolicy] = lambda _: NO_POLICY,
        family: Callable[[], str] = lambda: "",
        tcp: bool = False,
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        admit: Admit | None = None,
    ) -> None:
        self.cluster = cluster
        self._services = services
        self._get = get
        self._namespaces = namespaces
        self._names = names
        self._policy = policy
        self._family = family
        self._tcp = tcp
        self._loop = WriteLoop(
            "ServiceEntries", cluster, connect, EntryApi, self, ready=ready, random=random, sleep=sleep, admit=admit
        )
        self._held: dict[ServiceKey, dict[str, HeldEntry]] = {}
        """By service, its entries by name; none without entries."""
        self._conflicts: dict[ServiceKey, set[str]] = {}
        self._rejected: dict[ServiceKey, str] = {}
        self._written = 0
        self._deleted = 0

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        self._loop.mark(change.key for change in changes)

    def look_again(self) -> None:
        """Something else that matters changed: the cluster's namespaces, or whether it is time to write."""
        self._loop.mark(service.key for service in self._services())
        self._loop.mark(self._held)

    def status(self) -> WriterStatus:
        """How the writing goes."""
        reason, message = "", ""
        trouble = self._loop.trouble
        if self._loop.waiting:
            reason, message = "Waiting", "nothing is written until every cluster was listed once"
        elif trouble is not None:
            reason, message = trouble.reason, trouble.message
        elif self._rejected:
            reason, message = "Rejected", "; ".join(self._rejected[key] for key in sorted(self._rejected))
        elif self._conflicts:
            reason, message = "Conflict", "entries of these names are somebody else's; rename or delete them"
        return WriterStatus(
            entries=sum(entry.ours for entries in self._held.values() for entry in entries.values()),
            written=self._written,
            deleted=self._deleted,
            conflicts=tuple(
                sorted(f"{key.namespace}/{name}" for key, names in self._conflicts.items() for name in names)
            ),
            reason=reason,
            message=message,
        )

    async def run(self) -> None:
        """Write until cancelled. What fails is tried again; a bad object holds up no other."""
        await self._loop.run()

    async def compare(self, api: EntryApi) -> None:
        self._held = {}
        for entry in await api.list_ours():
            if entry.name.startswith(NAME_PREFIX):
                self._held.setdefault(_key(entry), {})[entry.name] = entry
        self._rejected.clear()
        self._conflicts.clear()
        self.look_again()

    async def write(self, api: EntryApi, key: ServiceKey) -> None:
        self._conflicts.pop(key, None)
        self._rejected.pop(key, None)
        if key.namespace not in self._namespaces():
            # Gone with its namespace, if that is gone. If not, a list lacked it, and that is no reason to delete.
            self._held.pop(key, None)
            return
        service = self._get(key)
        wanted = self._wanted(service).documents if service is not None else ()
        for name, document in make_before_break(wanted, self._held.get(key, {})):
            await self._write_one(api, key, name, document)

    async def _write_one(self, api: EntryApi, key: ServiceKey, name: str, wanted: Mapping[str, Any] | None) -> None:
        held = self._held.get(key, {}).get(name)
        if plan(wanted, held) is Action.CREATE:
            held = await api.read(key.namespace, name)
        try:
            await self._act(api, key, name, plan(wanted, held), wanted, held)
        except WriteError as error:
            if not error.lasting:
                if error.status == HTTPStatus.CONFLICT:
                    self._forget(key, name)
                raise
            self._rejected[key] = str(error)

    def _wanted(self, service: MergedService) -> ServiceEntries:
        return service_entries(service, self._names, self._policy(service), self._family(), tcp=self._tcp)

    async def _act(
        self,
        api: EntryApi,
        key: ServiceKey,
        name: str,
        action: Action,
        wanted: Mapping[str, Any] | None,
        held: HeldEntry | None,
    ) -> None:
        match action:
            case Action.CREATE | Action.UPDATE if wanted is not None:
                applied = await api.apply(wanted, held.uid if held is not None else None)
                self._held.setdefault(key, {})[name] = applied
                self._written += 1
            case Action.DELETE if held is not None:
                await api.delete(held)
                self._forget(key, name)
                self._deleted += 1
            case Action.CONFLICT:
                self._conflicts.setdefault(key, set()).add(name)
                log.warning("cluster %s: ServiceEntry %s/%s is somebody else's", self.cluster, key.namespace, name)

    def _forget(self, key: ServiceKey, name: str) -> None:
        entries = self._held.get(key, {})
        entries.pop(name, None)
        if not entries:
            self._held.pop(key, None)


def _key(entry: HeldEntry) -> ServiceKey:
    return ServiceKey(entry.namespace, entry_service(entry.name))
