"""Keeps the ServiceEntries of one cluster as the merged list says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus

from registry.model.names import ClusterId, ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.model.status import WriterStatus
from registry.sources.kubernetes.identity import Admit
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.views.policy import NO_POLICY, TrafficPolicy
from registry.views.service_entry import MAX_ENDPOINTS, NAME_PREFIX, Document, entry_name, service_entry
from registry.writers.answers import WriteError
from registry.writers.entry_api import EntryApi
from registry.writers.loop import Sleep, WriteLoop
from registry.writers.plan import Action, HeldEntry, plan

log = logging.getLogger(__name__)


class ServiceEntryWriter:
    """Writes into one cluster, into the service's own namespace, where the cluster has that namespace.

    ``get`` and ``services`` are the merged list, ``namespaces`` those of this cluster. Nothing is written before
    ``ready`` says that every configured cluster was listed once: until then an entry could only be too short; nor
    before ``admit`` knows the cluster for the member's. In a namespace that is not known nothing is done. ``policy`` is
    that of a service, ``family`` the one that the cluster's own addresses have first.
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
        self._loop = WriteLoop(
            "ServiceEntries", cluster, connect, EntryApi, self, ready=ready, random=random, sleep=sleep, admit=admit
        )
        self._held: dict[ServiceKey, HeldEntry] = {}
        self._conflicts: set[ServiceKey] = set()
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
            entries=sum(entry.ours for entry in self._held.values()),
            written=self._written,
            deleted=self._deleted,
            conflicts=tuple(f"{key.namespace}/{entry_name(key.name)}" for key in sorted(self._conflicts)),
            reason=reason,
            message=message,
        )

    async def run(self) -> None:
        """Write until cancelled. What fails is tried again; a bad object holds up no other."""
        await self._loop.run()

    async def compare(self, api: EntryApi) -> None:
        self._held = {_key(entry): entry for entry in await api.list_ours() if entry.name.startswith(NAME_PREFIX)}
        self._rejected.clear()
        self._conflicts.clear()
        self.look_again()

    async def write(self, api: EntryApi, key: ServiceKey) -> None:
        self._conflicts.discard(key)
        self._rejected.pop(key, None)
        if key.namespace not in self._namespaces():
            # Gone with its namespace, if that is gone. If not, a list lacked it, and that is no reason to delete.
            self._held.pop(key, None)
            return
        service = self._get(key)
        if service is not None and len(service.endpoints) > MAX_ENDPOINTS:
            text = f"{key} has {len(service.endpoints)} endpoints and a ServiceEntry holds {MAX_ENDPOINTS}: not written"
            self._rejected[key] = text
            return
        wanted = self._wanted(service) if service is not None else None
        held = self._held.get(key)
        if plan(wanted, held) is Action.CREATE:
            held = await api.read(key.namespace, entry_name(key.name))
        try:
            await self._act(api, key, plan(wanted, held), wanted, held)
        except WriteError as error:
            if not error.lasting:
                if error.status == HTTPStatus.CONFLICT:
                    self._held.pop(key, None)
                raise
            self._rejected[key] = str(error)

    def _wanted(self, service: MergedService) -> Document:
        return service_entry(service, self._names, self._policy(service), self._family())

    async def _act(
        self, api: EntryApi, key: ServiceKey, action: Action, wanted: Document | None, held: HeldEntry | None
    ) -> None:
        match action:
            case Action.CREATE | Action.UPDATE if wanted is not None:
                self._held[key] = await api.apply(wanted, held.uid if held is not None else None)
                self._written += 1
            case Action.DELETE if held is not None:
                await api.delete(held)
                self._held.pop(key, None)
                self._deleted += 1
            case Action.CONFLICT:
                self._conflicts.add(key)
                name = entry_name(key.name)
                log.warning("cluster %s: ServiceEntry %s/%s is somebody else's", self.cluster, key.namespace, name)


def _key(entry: HeldEntry) -> ServiceKey:
    return ServiceKey(entry.namespace, entry.name.removeprefix(NAME_PREFIX))
