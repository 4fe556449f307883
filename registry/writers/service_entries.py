"""Keeps the ServiceEntries of one cluster as the merged list says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from registry.model.conditions import Condition
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.model.status import WriterStatus
from registry.sources.kubernetes.identity import Admit
from registry.sources.kubernetes.reflector import Connect
from registry.views.names import Names
from registry.views.policy import NO_POLICY, TrafficPolicy
from registry.views.service_entry import NAME_PREFIX, Omission, service_entries
from registry.writers.answers import WriteError
from registry.writers.contests import Contests, Place
from registry.writers.entry_api import EntryApi, Heard
from registry.writers.entry_watch import EntryWatch
from registry.writers.held import HeldEntries
from registry.writers.kept import LeftOf, as_ours, of_unknown, still_there, with_kept
from registry.writers.loop import Confirm, Sleep, WriteLoop
from registry.writers.plan import Action, HeldEntry, key_of, make_before_break, plan
from registry.writers.refusals import Refusal
from registry.writers.told import entries_complete, entries_status, entries_written
from registry.writers.unknown import NOBODY, Unknown

log = logging.getLogger(__name__)

Entry = Mapping[str, Any]

TERMINATING_SECONDS = 30.0
"""How long until a namespace that takes nothing new is tried again."""


class ServiceEntryWriter:
    """Writes into one cluster, into the service's own namespace, where the cluster has that namespace.

    ``get`` and ``services`` are the merged list, ``namespaces`` those of this cluster. Nothing is written before
    ``ready`` says that this cluster is known; nor before ``admit`` knows it for the member's. What our entries have of
    members that are ``unknown`` stays. In a namespace that is not known nothing is done. ``policy`` is that of a
    service, ``family`` the one that the cluster's own addresses have first. ``tcp``: entries have ports for
    which sidecars take all TCP traffic. ``say`` takes conditions.
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
        unknown: Callable[[], Unknown] = lambda: NOBODY,
        policy: Callable[[MergedService], TrafficPolicy] = lambda _: NO_POLICY,
        family: Callable[[], str] = lambda: "",
        tcp: bool = False,
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        admit: Admit | None = None,
        say: Callable[[Condition], None] = lambda _: None,
    ) -> None:
        self.cluster = cluster
        self._services = services
        self._get = get
        self._namespaces = namespaces
        self._names = names
        self._unknown = unknown
        self._policy = policy
        self._family = family
        self._tcp = tcp
        self._say = say
        self._loop = WriteLoop(
            "ServiceEntries", cluster, connect, EntryApi, self, ready=ready, random=random, sleep=sleep, admit=admit
        )
        self._watch = EntryWatch(cluster, self._hear, random, sleep)
        self._held = HeldEntries()
        self._version = ""
        self._contests = Contests()
        self._fresh: set[ServiceKey] = set()
        """Services that changed: what is written of them need not wait for who changed our entry."""
        self._in_flight: dict[Place, Heard | None] = {}
        """Entries that are being written, each with the last event of it meanwhile: it may be of that write."""
        self._conflicts: set[Place] = set()
        self._omitted: dict[ServiceKey, Sequence[Omission]] = {}
        self._written = self._deleted = self._mended = 0

    @property
    def uid(self) -> str:
        return self._loop.uid

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        keys = [change.key for change in changes]
        self._fresh.update(keys)
        self._loop.mark(keys)

    def look_again(self) -> None:
        """Something else that matters changed: namespaces, who is unknown, or whether it is time to write."""
        self._loop.mark((service.key for service in self._services()), changed=False)
        self._loop.mark(self._held.keys(), changed=False)

    def status(self) -> WriterStatus:
        """How the writing goes."""
        now = asyncio.get_running_loop().time()
        return entries_status(
            WriterStatus(
                entries=self._held.ours,
                written=self._written,
                deleted=self._deleted,
                mended=self._mended,
                conflicts=tuple(map(str, sorted(self._conflicts))),
                failures=self._loop.asides.failures,
                awaits=self._unknown().clusters,
                unwatched=self._watch.fault,
            ),
            waiting=self._loop.waiting,
            trouble=self._loop.trouble,
            contested=list(self._contests.lasting(now)),
        )

    def report(self) -> None:
        self._say(entries_written(self.status()))
        if not self._loop.waiting:
            self._say(entries_complete(self._unknown(), self._omitted))

    async def run(self) -> None:
        """Write until cancelled. What fails is tried again; a bad object holds up no other."""
        await self._loop.run()

    async def compare(self, api: EntryApi) -> None:
        listed = await api.list_ours()
        self._version = listed.version
        self._held.listed(entry for entry in listed.entries if entry.name.startswith(NAME_PREFIX))
        self._conflicts.clear()
        self.look_again()

    async def follow(self, api: EntryApi, confirm: Confirm) -> None:
        await self._watch.follow(api, self._version, confirm)

    def _hear(self, heard: Heard) -> None:
        """An event of our entries. Our own writes are known already, by their version."""
        entry = heard.entry
        if entry is None or not entry.name.startswith(NAME_PREFIX) or not self._held.is_news(entry):
            return
        place = Place(entry.namespace, entry.name)
        if place in self._in_flight:
            self._in_flight[place] = heard
            return
        before = self._held.get(place)
        if heard.gone:
            self._held.drop(place)
        else:
            self._held.put(entry)
        if before is not None or not heard.gone:
            now, replica = asyncio.get_running_loop().time(), not heard.gone and entry.as_replicas_write(before)
            self._contests.edited(place, now, "" if heard.gone else entry.editor, replica=replica)
        self._loop.mark((key_of(entry),))

    async def write(self, api: EntryApi, key: ServiceKey) -> float | None:
        """Bring the entries of one service to where they should be.

        They go together: where one is not written, the others only lose what is gone.
        """
        fresh = key in self._fresh
        self._fresh.discard(key)
        self._omitted.pop(key, None)
        unknown = self._unknown()
        remembered = self._held.remembered(key, unknown)
        if key.namespace not in self._namespaces():
            # Gone with its namespace, if that is gone. If not, a list lacked it, and that is no reason to delete.
            self._held.forget(key)
            return None
        service = self._get(key)
        if service is not None:
            service = with_kept(service, self._held.kept(key, unknown))
        waits: list[float] = []
        failure: WriteError | None = None
        for name, wanted in make_before_break(self._wanted(key, service, remembered, unknown), self._held.of(key)):
            place = Place(key.namespace, name)
            with self._flight(place):
                try:
                    if failure is None:
                        waits += await self._bring(api, place, wanted, fresh=fresh)
                except WriteError as error:
                    failure = error
                    if error.status == HTTPStatus.CONFLICT:
                        self._held.drop(place)
                if failure is not None:
                    left = partial(still_there, service=service, stays=unknown.stays)
                    failure = await self._refused(api, place, left, failure, unwanted=wanted is None)
        if failure is None:
            return min(waits, default=None)
        if failure.refusal is not Refusal.TERMINATING:
            raise failure
        return TERMINATING_SECONDS

    @contextmanager
    def _flight(self, place: Place) -> Iterator[None]:
        """Hear of the entry when it has been written: by then its version is known."""
        self._in_flight[place] = None
        try:
            yield
        finally:
            heard = self._in_flight.pop(place)
            if heard is not None:
                self._hear(heard)

    def _wanted(
        self, key: ServiceKey, service: MergedService | None, remembered: Sequence[HeldEntry], unknown: Unknown
    ) -> Sequence[Entry]:
        """What the service should have here."""
        if service is not None:
            policy, family = self._policy(service), self._family()
            found = service_entries(service, self._names, policy, family, tcp=self._tcp)
            if found.omissions:
                self._omitted[key] = found.omissions
            return found.documents
        return [each for each in (of_unknown(entry, unknown.stays) for entry in remembered) if each is not None]

    async def _bring(self, api: EntryApi, place: Place, wanted: Entry | None, *, fresh: bool) -> Sequence[float]:
        """Bring one entry to where it should be; in how many seconds to look again, if at all."""
        self._conflicts.discard(place)
        held = self._held.get(place)
        action = plan(wanted, held)
        now = asyncio.get_running_loop().time()
        if action is Action.NOTHING:
            self._contests.right(place)
            return tuple(self._contests.calm_in(place, now))
        wait = self._contests.wait(place, now)
        if wait and not fresh:
            return (wait,)
        if action is Action.CREATE:
            if (held := await api.read(*place)) is not None:
                self._held.put(held)
            action = plan(wanted, held)
        if action is Action.CONFLICT:
            self._conflicts.add(place)
            log.warning("cluster %s: ServiceEntry %s is somebody else's", self.cluster, place)
            return ()
        await self._act(api, place, action, wanted, held)
        self._mended += self._contests.mended(place, now)
        return tuple(self._contests.calm_in(place, now))

    async def _act(
        self, api: EntryApi, place: Place, action: Action, wanted: Entry | None, held: HeldEntry | None
    ) -> None:
        if action is Action.DELETE and held is not None:
            await api.delete(held)
            self._held.drop(place)
            self._held.let_go(place)
            self._deleted += 1
        elif wanted is not None and action is not Action.NOTHING:
            if held is not None and "ports" in held.shared:
                await api.take_over_ports(held)
            self._held.put(await api.apply(wanted, held.uid if held is not None else None))
            self._written += 1

    async def _refused(
        self, api: EntryApi, place: Place, left_of: LeftOf, error: WriteError, *, unwanted: bool
    ) -> WriteError:
        """An entry was not written, or not deleted, since it or another of its service failed so.

        Where the API server does not take that, what is gone is taken out of it; ``left_of`` is what is not.
        """
        held = self._held.get(place)
        refused = error.refusal is not None or (unwanted and error.status == HTTPStatus.FORBIDDEN)
        if not refused or held is None or not held.ours:
            return error
        left = left_of(held)
        gone = len(held.spec.get("endpoints") or ()) - len(left)
        if not gone:
            return error
        try:
            self._held.put(await api.apply(as_ours(held, left), held.uid))
            outcome = f"{gone} endpoints that are gone were taken out of the entry as it was"
        except WriteError as again:
            outcome = f"the entry has {gone} endpoints that are gone, and taking them out is refused too ({again})"
            if not left and await self._empty(api, held):
                outcome = f"the entry had {gone} endpoints that are gone and no other, so it was deleted"
        log.warning("cluster %s: ServiceEntry %s: %s", self.cluster, place, outcome)
        return error.with_outcome(outcome)

    async def _empty(self, api: EntryApi, held: HeldEntry) -> bool:
        """Delete an entry of which nothing is left and that cannot be changed; whether that was possible."""
        try:
            await api.delete(held)
        except WriteError:
            return False
        self._held.drop(Place(held.namespace, held.name))
        self._deleted += 1
        return True
