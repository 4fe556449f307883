"""Keeps the ServiceEntries of one cluster as the merged list says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from registry.model.names import ClusterId, ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.model.status import WriterStatus
from registry.sources.kubernetes.client import TransportError
from registry.sources.kubernetes.conditions import Fault
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.views.service_entry import MAX_ENDPOINTS, NAME_PREFIX, Document, entry_name, service_entry
from registry.writers.entry_api import EntryApi, EntryError
from registry.writers.plan import Action, HeldEntry, plan

log = logging.getLogger(__name__)

RELIST_SECONDS = 300.0
"""How often what is there is compared with what should be, in case somebody else changed it."""

RETRY_SECONDS = (1.0, 60.0)
"""The first wait after a failure, and the longest; each is twice the one before."""

CONCURRENT_WRITES = 8

Sleep = Callable[[float], Awaitable[None]]


class ServiceEntryWriter:
    """Writes into one cluster, into the service's own namespace, where the cluster has that namespace.

    ``get`` and ``services`` are the merged list, ``namespaces`` those of this cluster. Nothing is written before
    ``ready`` says that every configured cluster was listed once: until then an entry could only be too short.
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
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.cluster = cluster
        self._connect = connect
        self._services = services
        self._get = get
        self._namespaces = namespaces
        self._ready = ready
        self._names = names
        self._random = random
        self._sleep = sleep
        self._waiting = True
        self._held: dict[ServiceKey, HeldEntry] = {}
        self._dirty: set[ServiceKey] = set()
        self._changed = asyncio.Event()
        self._failures = 0
        self._conflicts: set[ServiceKey] = set()
        self._rejected: dict[ServiceKey, str] = {}
        self._trouble: Fault | None = None
        self._written = 0
        self._deleted = 0

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        self._dirty.update(change.key for change in changes)
        self._changed.set()

    def look_again(self) -> None:
        """Something else that matters changed: the cluster's namespaces, or whether it is time to write."""
        self._dirty.update(service.key for service in self._services())
        self._dirty.update(self._held)
        self._changed.set()

    def status(self) -> WriterStatus:
        """How the writing goes."""
        reason, message = "", ""
        if self._waiting:
            reason, message = "Waiting", "nothing is written until every cluster was listed once"
        elif self._trouble is not None:
            reason, message = self._trouble.reason, self._trouble.message
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
        while not self._ready():
            self._changed.clear()
            await self._changed.wait()
        self._waiting = False
        while True:
            try:
                client = await self._connect()
            except TransportError as error:
                await self._back_off(Fault(error.reason, str(error)))
                continue
            try:
                await self._follow(EntryApi(client))
            finally:
                await client.close()

    async def _follow(self, api: EntryApi) -> None:
        while True:
            try:
                await self._reconcile(api)
            except TransportError as error:
                await self._back_off(Fault(error.reason, str(error)))
            except EntryError as error:
                await self._back_off(error.condition, error.retry_after)

    async def _reconcile(self, api: EntryApi) -> None:
        """Compare all that is there with all that should be, then follow changes until it is time to compare again."""
        self._held = {_key(entry): entry for entry in await api.list_ours() if entry.name.startswith(NAME_PREFIX)}
        self._rejected.clear()
        self._conflicts.clear()
        self.look_again()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELIST_SECONDS):
                while True:
                    await self._write_dirty(api)
                    self._trouble = None
                    self._failures = 0
                    await self._changed.wait()

    async def _write_dirty(self, api: EntryApi) -> None:
        """Write what is marked, a few at a time; raises the first failure after all were tried."""
        self._changed.clear()
        while self._dirty:
            keys = sorted(self._dirty)[:CONCURRENT_WRITES]
            outcomes = await asyncio.gather(*(self._write(api, key) for key in keys), return_exceptions=True)
            failed = {key: each for key, each in zip(keys, outcomes, strict=True) if each is not None}
            if failed:
                self._dirty.update(failed)
                raise next(iter(failed.values()))

    async def _write(self, api: EntryApi, key: ServiceKey) -> None:
        """Bring one entry to where it should be. The mark is taken first: a change meanwhile marks it again."""
        self._dirty.discard(key)
        self._conflicts.discard(key)
        self._rejected.pop(key, None)
        service = self._get(key)
        if service is not None and len(service.endpoints) > MAX_ENDPOINTS:
            text = f"{key} has {len(service.endpoints)} endpoints and a ServiceEntry holds {MAX_ENDPOINTS}: not written"
            self._rejected[key] = text
            return
        wanted = self._wanted(key, service)
        held = self._held.get(key)
        if plan(wanted, held) is Action.CREATE:
            held = await api.read(key.namespace, entry_name(key.name))
        try:
            await self._act(api, key, plan(wanted, held), wanted, held)
        except EntryError as error:
            if not error.lasting:
                if error.status == HTTPStatus.CONFLICT:
                    self._held.pop(key, None)
                raise
            self._rejected[key] = str(error)

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

    def _wanted(self, key: ServiceKey, service: MergedService | None) -> Document | None:
        if service is None or key.namespace not in self._namespaces():
            return None
        return service_entry(service, self._names)

    async def _back_off(self, condition: Fault, retry_after: float | None = None) -> None:
        if condition != self._trouble:
            log.warning("cluster %s: writing ServiceEntries: %s: %s", self.cluster, condition.reason, condition.message)
        self._trouble = condition
        first, longest = RETRY_SECONDS
        wait = min(longest, first * 2.0 ** min(self._failures, 16)) * (1 - self._random() / 2)
        self._failures += 1
        await self._sleep(max(wait, retry_after or 0.0))


def _key(entry: HeldEntry) -> ServiceKey:
    return ServiceKey(entry.namespace, entry.name.removeprefix(NAME_PREFIX))
