"""Removes our ServiceEntries from a cluster that is no member any more, with the credentials it had last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from registry.model.names import ClusterId
from registry.sources.kubernetes.api import Surroundings
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.identity import Identity
from registry.sources.kubernetes.reflector import Connect
from registry.views.service_entry import MANAGED_BY, MANAGED_BY_LABEL, NAME_PREFIX
from registry.writers.answers import WriteError
from registry.writers.entry_api import EntryApi

log = logging.getLogger(__name__)

DEPARTURE_SECONDS = 60.0
"""For how long it is tried."""

RETRY_SECONDS = 2.0
CONCURRENT_DELETES = 8
BY_HAND = f"kubectl delete serviceentries -A -l {MANAGED_BY_LABEL}={MANAGED_BY}"


@dataclass(frozen=True, slots=True)
class Left:
    """Entries of ours may remain in a cluster that left. ``message`` says why, and how to remove them."""

    reason: str
    message: str


def remain(why: str) -> Left:
    return Left("EntriesRemain", f"ServiceEntries of ours may remain there: {why}; remove them with `{BY_HAND}`")


class Departure:
    """``uid`` is the cluster that we wrote into; ``claimed`` says whether another member is that cluster now.

    Nothing is deleted while a member may be that cluster (``undecided``).
    """

    def __init__(
        self,
        cluster: ClusterId,
        connect: Connect,
        uid: str,
        claimed: Callable[[], bool],
        random: Callable[[], float],
        undecided: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cluster = cluster
        self._connect = connect
        self._uid = uid
        self._claimed = claimed
        self._random = random
        self._undecided = undecided
        self._deleted = 0
        self._fault = Fault(Reason.TIMEOUT, "no answer in time")

    async def run(self, seconds: float = DEPARTURE_SECONDS) -> Left | None:
        """Delete every entry of ours, within so many seconds; None where they are another member's to keep."""
        try:
            async with asyncio.timeout(seconds):
                while not self._claimed():
                    if await self._attempt():
                        log.info("cluster %s: left: %d ServiceEntries were removed there", self._cluster, self._deleted)
                        return None
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            return None if self._claimed() else self._remain(self._fault.message)
        return None

    def _remain(self, why: str) -> Left:
        left = remain(why)
        log.warning("cluster %s: left: %s", self._cluster, left.message)
        return left

    async def _attempt(self) -> bool:
        """Whether all are gone."""
        if self._undecided():
            self._fault = Fault(Reason.TIMEOUT, "a member of its name was not reached, so it may be that cluster")
            return False
        try:
            client = await self._connect()
        except TransportError as error:
            self._fault = Fault(error.reason, str(error))
            return False
        try:
            await self._identity(client).confirm(asyncio.get_running_loop().time())
            return await self._delete_all(EntryApi(client))
        except TransportError as error:
            self._fault = Fault(error.reason, str(error))
        except WriteError as error:
            self._fault = error.condition
        finally:
            await client.close()
        return False

    async def _delete_all(self, api: EntryApi) -> bool:
        ours = [each for each in (await api.list_ours()).entries if each.ours and each.name.startswith(NAME_PREFIX)]
        limit = asyncio.Semaphore(CONCURRENT_DELETES)

        async def delete(number: int) -> None:
            async with limit:
                if not self._stays():
                    await api.delete(ours[number])
                    self._deleted += 1

        outcomes = await asyncio.gather(*map(delete, range(len(ours))), return_exceptions=True)
        failed = [each for each in outcomes if each is not None]
        if failed:
            raise failed[0]
        return not self._stays()

    def _stays(self) -> bool:
        return self._claimed() or self._undecided()

    def _identity(self, client: KubernetesClient) -> Identity:
        def changed() -> None:
            self._fault = identity.fault or self._fault

        def admit(uid: str) -> str | None:
            return None if uid == self._uid else f"it is another cluster now (kube-system has UID {uid})"

        around = Surroundings(self._random, asyncio.get_running_loop().time, _soon)
        identity = Identity(client, admit, around, changed=changed, say=lambda _: None)
        return identity


async def _soon(seconds: float) -> None:
    await asyncio.sleep(min(seconds, RETRY_SECONDS))
