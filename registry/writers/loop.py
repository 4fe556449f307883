"""The loop of a writer: compare what is there with what should be, then follow changes; back off from failures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar

from registry.model.names import ClusterId, ServiceKey
from registry.model.services import ChangeSet
from registry.model.status import WriterStatus
from registry.sources.kubernetes.api import Surroundings
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Fault
from registry.sources.kubernetes.identity import Admit, Identity
from registry.sources.kubernetes.reflector import Connect
from registry.writers.answers import WriteError

log = logging.getLogger(__name__)

RELIST_SECONDS = 300.0
"""How often what is there is compared with what should be, in case somebody else changed it."""

RETRY_SECONDS = (1.0, 60.0)
"""The first wait after a failure, and the longest; each is twice the one before."""

CONCURRENT_WRITES = 8

Sleep = Callable[[float], Awaitable[None]]
Api = TypeVar("Api")
ApiUsed_contra = TypeVar("ApiUsed_contra", contravariant=True)


class Writer(Protocol):
    """Writes one kind of object into one cluster."""

    @property
    def cluster(self) -> ClusterId: ...

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""

    def look_again(self) -> None:
        """Something else that matters changed."""

    def status(self) -> WriterStatus:
        """How the writing goes."""

    async def run(self) -> None:
        """Write until cancelled."""


class Work(Protocol[ApiUsed_contra]):
    """What a writer does when the loop calls it. Both raise ``WriteError`` and ``TransportError``."""

    async def compare(self, api: ApiUsed_contra) -> None:
        """Read what is there, and mark all that is there or should be."""

    async def write(self, api: ApiUsed_contra, key: ServiceKey) -> None:
        """Bring one object to where it should be."""


class WriteLoop(Generic[Api]):
    """Calls ``work`` for what is marked, a few at a time, over clients that ``connect`` gives.

    Nothing is written before ``ready``, nor before ``admit`` knows the cluster that the client leads to for the
    member's: it is asked at each comparison, so also after each failure. What fails is marked again and tried later;
    ``what`` is written, for logs.
    """

    def __init__(
        self,
        what: str,
        cluster: ClusterId,
        connect: Connect,
        api: Callable[[KubernetesClient], Api],
        work: Work[Api],
        *,
        ready: Callable[[], bool],
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        admit: Admit | None = None,
    ) -> None:
        self._what = what
        self._cluster = cluster
        self._connect = connect
        self._api = api
        self._work = work
        self._ready = ready
        self._random = random
        self._sleep = sleep
        self._admit = admit
        self._dirty: set[ServiceKey] = set()
        self._changed = asyncio.Event()
        self._failures = 0
        self.waiting = True
        self.trouble: Fault | None = None

    def mark(self, keys: Iterable[ServiceKey]) -> None:
        """Look at these; with none, look whether it is time to begin."""
        self._dirty.update(keys)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled. What fails is tried again; a bad object holds up no other."""
        while not self._ready():
            self._changed.clear()
            await self._changed.wait()
        self.waiting = False
        while True:
            try:
                client = await self._connect()
            except TransportError as error:
                await self._back_off(Fault(error.reason, str(error)))
                continue
            try:
                await self._follow(self._api(client), self._identity(client))
            finally:
                await client.close()

    async def _follow(self, api: Api, identity: Identity) -> None:
        while True:
            try:
                await identity.confirm(asyncio.get_running_loop().time())
                await self._reconcile(api)
            except TransportError as error:
                await self._back_off(Fault(error.reason, str(error)))
            except WriteError as error:
                await self._back_off(error.condition, error.retry_after)

    async def _reconcile(self, api: Api) -> None:
        """Compare all that is there with all that should be, then follow changes until it is time to compare again."""
        await self._work.compare(api)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELIST_SECONDS):
                while True:
                    await self._write_dirty(api)
                    self.trouble = None
                    self._failures = 0
                    await self._changed.wait()

    async def _write_dirty(self, api: Api) -> None:
        """Write what is marked, a few at a time; raises the first failure after all were tried."""
        self._changed.clear()
        while self._dirty:
            keys = sorted(self._dirty)[:CONCURRENT_WRITES]
            outcomes = await asyncio.gather(*(self._write(api, key) for key in keys), return_exceptions=True)
            failed = {key: each for key, each in zip(keys, outcomes, strict=True) if each is not None}
            if failed:
                self._dirty.update(failed)
                raise next(iter(failed.values()))

    async def _write(self, api: Api, key: ServiceKey) -> None:
        """The mark is taken first: a change meanwhile marks it again."""
        self._dirty.discard(key)
        await self._work.write(api, key)

    def _identity(self, client: KubernetesClient) -> Identity:
        """Whether it is the member's cluster that the client leads to."""

        def changed() -> None:
            if identity.fault is not None:
                self._say(identity.fault)

        around = Surroundings(self._random, asyncio.get_running_loop().time, self._sleep)
        identity = Identity(client, self._admit, around, changed=changed, say=lambda _: None)
        return identity

    def _say(self, trouble: Fault) -> None:
        if trouble != self.trouble:
            log.warning("cluster %s: writing %s: %s: %s", self._cluster, self._what, trouble.reason, trouble.message)
        self.trouble = trouble

    async def _back_off(self, condition: Fault, retry_after: float | None = None) -> None:
        self._say(condition)
        first, longest = RETRY_SECONDS
        wait = min(longest, first * 2.0 ** min(self._failures, 16)) * (1 - self._random() / 2)
        self._failures += 1
        await self._sleep(max(wait, retry_after or 0.0))
