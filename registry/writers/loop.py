"""The loop of a writer: compare what is there with what should be, then follow changes; back off from failures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
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
from registry.writers.aside import Asides

log = logging.getLogger(__name__)

RELIST_SECONDS = 300.0
"""How often what is there is compared with what should be, whatever was noticed meanwhile."""

RETRY_SECONDS = (1.0, 60.0)
"""The first wait after a failure, and the longest; each is twice the one before."""

CONCURRENT_WRITES = 8

FAILURES_IN_A_ROW = 8
"""So many failures in a row that may be about the cluster are about the cluster: nothing else is tried then."""

Sleep = Callable[[float], Awaitable[None]]
Confirm = Callable[[], Awaitable[None]]
Api = TypeVar("Api")
ApiUsed_contra = TypeVar("ApiUsed_contra", contravariant=True)


class Writer(Protocol):
    """Writes one kind of object into one cluster."""

    @property
    def cluster(self) -> ClusterId: ...

    @property
    def uid(self) -> str:
        """Which cluster it wrote into last, empty where it reached none."""

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""

    def look_again(self) -> None:
        """Something else that matters changed."""

    def status(self) -> WriterStatus:
        """How the writing goes."""

    def report(self) -> None:
        """Say how the writing goes."""

    async def run(self) -> None:
        """Write until cancelled."""


class Work(Protocol[ApiUsed_contra]):
    """What a writer does when the loop calls it. All raise ``WriteError`` and ``TransportError``."""

    async def compare(self, api: ApiUsed_contra) -> None:
        """Read what is there, and mark all that is there or should be."""

    async def write(self, api: ApiUsed_contra, key: ServiceKey) -> float | None:
        """Bring one object to where it should be; in how many seconds to look at it again, None: there is no need."""

    async def follow(self, api: ApiUsed_contra, confirm: Confirm, /) -> None:
        """Mark what others change, until it has to be compared anew. ``confirm`` is as in ``EntryWatch``."""

    def report(self) -> None:
        """How the writing goes may be another than before."""


class WriteLoop(Generic[Api]):
    """Calls ``work`` for what is marked, a few at a time, over clients that ``connect`` gives.

    Nothing is written before ``ready``, nor before ``admit`` knows the cluster that the client leads to for the
    member's: it is asked at each comparison, and again after each failure. An object whose writing fails is set aside,
    and tried again later; ``what`` is written, for logs.
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
        self._dirty: dict[ServiceKey, None] = {}
        self._changed = asyncio.Event()
        self._failures = 0
        self._in_a_row = 0
        self._doubted_at = 0.0
        """When it was last in doubt whether the client leads to the member's cluster."""
        self.asides = Asides(what, cluster, random)
        self.uid = ""
        self.waiting = True
        self.trouble: Fault | None = None

    def mark(self, keys: Iterable[ServiceKey], *, changed: bool = True) -> None:
        """Look at these; with none, look whether it is time to begin.

        What failed is tried again soon where it ``changed``, else at its time.
        """
        for key in keys:
            if key not in self.asides:
                self._dirty[key] = None
            elif changed:
                self.asides.hurry(key)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled. What fails is tried again; a bad object holds up no other."""
        self.waiting = True
        while not self._ready():
            self._work.report()
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
                self._doubt()
                await self._confirm(identity)
                await self._reconcile(api, identity)
            except TransportError as error:
                await self._back_off(Fault(error.reason, str(error)))
            except WriteError as error:
                await self._back_off(error.condition, error.retry_after)

    async def _reconcile(self, api: Api, identity: Identity) -> None:
        """Compare all that is there with all that should be, then follow changes until it is time to compare again."""

        async def confirm() -> None:
            self._doubt()
            await self._confirm(identity)

        await self._work.compare(api)
        following = asyncio.ensure_future(self._work.follow(api, confirm))
        following.add_done_callback(lambda _: self._changed.set())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELIST_SECONDS):
                    while not following.done():
                        await self._write_dirty(api, identity)
                        self.trouble = None
                        self._failures = 0
                        self._work.report()
                        await self._until_due()
                    following.result()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _until_due(self) -> None:
        """Something is marked, or it is time to look at something that was set aside."""
        due = self.asides.next_at()
        if due is None:
            await self._changed.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._changed.wait()

    async def _write_dirty(self, api: Api, identity: Identity) -> None:
        """Write what is marked, a few at a time. What fails is set aside, unless it is the cluster that fails."""
        self._changed.clear()
        now = asyncio.get_running_loop().time
        self._dirty.update(dict.fromkeys(self.asides.due(now())))
        while self._dirty:
            keys = list(islice(self._dirty, CONCURRENT_WRITES))
            await self._confirm(identity)
            outcomes = await asyncio.gather(*(self._write(api, key) for key in keys), return_exceptions=True)
            broken: BaseException | None = None
            for key, outcome in zip(keys, outcomes, strict=True):
                if isinstance(outcome, WriteError):
                    self._failed(key, outcome, now())
                    broken = outcome if self._in_a_row >= FAILURES_IN_A_ROW else broken
                elif isinstance(outcome, BaseException):
                    self._dirty[key] = None
                    broken = outcome
            if broken is not None:
                self._in_a_row = 0
                raise broken

    def _failed(self, key: ServiceKey, error: WriteError, now: float) -> None:
        self.asides.put(key, error, now)
        if error.refusal is None:
            self._in_a_row += 1
            self._doubt()

    async def _write(self, api: Api, key: ServiceKey) -> None:
        """The mark is taken first: a change meanwhile marks it again."""
        self._dirty.pop(key, None)
        again = await self._work.write(api, key)
        self._in_a_row = 0
        self.asides.done(key)
        if again is not None:
            self.asides.later(key, asyncio.get_running_loop().time() + again)

    def _doubt(self) -> None:
        self._doubted_at = asyncio.get_running_loop().time()

    async def _confirm(self, identity: Identity) -> None:
        await identity.confirm(self._doubted_at)

    def _identity(self, client: KubernetesClient) -> Identity:
        """Whether it is the member's cluster that the client leads to."""

        def changed() -> None:
            if identity.fault is not None:
                self._say(identity.fault)

        def admit(uid: str) -> str | None:
            why = self._admit(uid) if self._admit is not None else None
            if why is None:
                self.uid = uid
            return why

        around = Surroundings(self._random, asyncio.get_running_loop().time, self._sleep)
        known = None if self._admit is None else admit
        identity = Identity(client, known, around, changed=changed, say=lambda _: None)
        return identity

    def _say(self, trouble: Fault) -> None:
        if trouble != self.trouble:
            log.warning("cluster %s: writing %s: %s: %s", self._cluster, self._what, trouble.reason, trouble.message)
        self.trouble = trouble
        self._work.report()

    async def _back_off(self, condition: Fault, retry_after: float | None = None) -> None:
        self._say(condition)
        first, longest = RETRY_SECONDS
        wait = min(longest, first * 2.0 ** min(self._failures, 16)) * (1 - self._random() / 2)
        self._failures += 1
        await self._sleep(max(wait, retry_after or 0.0))
