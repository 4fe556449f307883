"""A member cluster behind an API server: one list-watch per kind, driven over one client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from registry.endings import until_cancelled
from registry.model.conditions import Condition
from registry.model.events import InitDone, SourceEvent
from registry.model.names import BASE_KINDS, ClusterId, Kind
from registry.model.status import Sink, SourceState, SourceStatus
from registry.sources.kubernetes.api import Api, Surroundings
from registry.sources.kubernetes.auditor import AUDIT_SECONDS, Auditor, Held
from registry.sources.kubernetes.bounds import Account, MemberBounds, Total
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.follower import Follower
from registry.sources.kubernetes.identity import Admit, Identity
from registry.sources.kubernetes.turns import Turns
from registry.sources.kubernetes.watches import QUIET_SECONDS

CONNECT_RETRY_SECONDS = 10.0

AWAITED_SECONDS = 5.0
"""How long an API server that was never listed may say nothing before that is called a fault. It is waited for all the
same, but nothing else is to wait for it: it may be one that takes connections and is dead."""

FIRST_LISTS_SECONDS = 60.0
"""The same for an API server that answers, and whose first lists come to no end."""

LOOK_SECONDS = 0.5

Connect = Callable[[], Awaitable[KubernetesClient]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """``quiet_seconds``: how long a watch may bring nothing. ``audit_seconds``: how often each kind is compared with a
    listing of names. ``stream_lists``: whether lists are streamed where the server can. ``bounds``: what the cluster
    may tell."""

    quiet_seconds: float = QUIET_SECONDS
    audit_seconds: float = AUDIT_SECONDS
    stream_lists: bool = True
    bounds: MemberBounds = field(default_factory=MemberBounds)


class KubernetesSource:
    """The facts of one cluster. ``connect`` makes its client; ``random`` gives numbers in [0, 1).

    ``admit`` is asked before anything is read whether the cluster is the one that is meant. ``held`` is what the
    listener holds of a kind, as it was told here; without it nothing is audited. ``turns`` and ``total`` are shared by
    all sources.
    """

    def __init__(
        self,
        cluster: ClusterId,
        origin: str,
        connect: Callable[[], Awaitable[Api]],
        *,
        random: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        kinds: Iterable[Kind] = BASE_KINDS,
        admit: Admit | None = None,
        held: Held | None = None,
        options: SourceOptions | None = None,
        turns: Turns | None = None,
        total: Total | None = None,
    ) -> None:
        self.cluster = cluster
        self._origin = origin
        self._connect = connect
        self._around = Surroundings(random, clock, sleep)
        wanted = frozenset(kinds)
        self._kinds = tuple(kind for kind in Kind if kind in wanted)
        self._admit = admit
        self._held = held
        self._options = options or SourceOptions()
        self._turns = turns or Turns()
        self._total = total or Total(self._options.bounds.total_bytes)
        self._account: Account | None = None
        self._began = clock()
        self._followers: dict[Kind, Follower] = {}
        self._identity: Identity | None = None
        self._auditor: Auditor | None = None

    @property
    def origin(self) -> str:
        follower = next(iter(self._followers.values()), None)
        return f"kubernetes {follower.server if follower else self._origin}"

    @property
    def heard_at(self) -> float | None:
        followers = self._followers.values()
        heard = [each.heard_at for each in followers if each.machine.listed and each.heard_at is not None]
        return min(heard) if heard and len(heard) == len(followers) else None

    @property
    def drifted(self) -> int:
        """How many objects were found to differ from the API server's, and mended."""
        return self._auditor.drifted if self._auditor else 0

    def relist(self, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            if kind in self._followers:
                self._followers[kind].relist()

    async def run(self, sink: Sink) -> None:
        """Follow every kind until cancelled."""
        client = await self._connected(sink)
        try:
            self._assemble(client, sink)
            async with asyncio.TaskGroup() as tasks:
                for follower in self._followers.values():
                    tasks.create_task(until_cancelled(follower.run()), name=f"{self.cluster} {follower.kind}")
                if self._auditor is not None:
                    tasks.create_task(until_cancelled(self._auditor.run()), name=f"{self.cluster} audit")
                tasks.create_task(until_cancelled(self._await_first_lists(sink)), name=f"{self.cluster} first lists")
        finally:
            self._followers, self._identity, self._auditor = {}, None, None  # they know this source
            if self._account is not None:
                self._account.close()
                self._account = None
            await client.close()

    async def _connected(self, sink: Sink) -> Api:
        """A client, as soon as one can be made: a kubeconfig that is wrong may be mended."""
        text = f"{self._origin}: no credentials within {AWAITED_SECONDS:g} s; they are waited for"
        late = SourceStatus(SourceState.FAILING, Reason.TIMEOUT, text)
        while True:
            alarm = asyncio.get_running_loop().call_later(AWAITED_SECONDS, sink.status, self.cluster, late)
            try:
                return await self._connect()
            except TransportError as error:
                sink.status(self.cluster, SourceStatus(SourceState.FAILING, error.reason, str(error)))
            finally:
                alarm.cancel()
            await self._around.sleep(CONNECT_RETRY_SECONDS)

    async def _await_first_lists(self, sink: Sink) -> None:
        """Report from time to time, until everything was listed once: silence is no event."""
        while not all(each.machine.listed for each in self._followers.values()):
            await asyncio.sleep(LOOK_SECONDS)
            sink.status(self.cluster, self._status())

    def _assemble(self, client: Api, sink: Sink) -> None:
        def say(condition: Condition) -> None:
            sink.condition(self.cluster, condition)

        def report() -> None:
            sink.status(self.cluster, self._status())

        def emit(event: SourceEvent) -> None:
            sink.event(self.cluster, event)
            if isinstance(event, InitDone):
                if all(each.machine.listed for each in self._followers.values()):
                    account.complete()
                if self._auditor is not None:
                    self._auditor.listed(event.kind)
                if event.rewound:
                    self._went_back(event.kind)

        self._began = self._around.clock()
        account = self._account = Account(self._options.bounds, self._held, self._total, self._give_way)
        identity = self._identity = Identity(client, self._admit, self._around, changed=report, say=say)
        self._followers = {
            kind: Follower(
                kind,
                client,
                self._around,
                emit=emit,
                report=report,
                confirm=identity.confirm,
                account=account,
                turns=self._turns,
                bounds=self._options.bounds,
                quiet_seconds=self._options.quiet_seconds,
                streams=self._options.stream_lists,
            )
            for kind in self._kinds
        }
        if self._held is not None:
            self._auditor = Auditor(
                self._followers,
                client,
                self._held,
                self._around,
                confirm=identity.confirm,
                say=say,
                seconds=self._options.audit_seconds,
                most_objects=self._options.bounds.objects,
            )

    def _give_way(self, fault: Fault) -> bool:
        """Break off the lists in progress; whether there is one."""
        given = [each.give_way(fault) for each in self._followers.values()]
        return any(given)

    def _went_back(self, kind: Kind) -> None:
        """The history of ``kind`` went back, and so did that of all kinds, though no version tells it where the server
        has gone past what is known of one. Those listed since the connection was lost have heard it."""
        since = self._followers[kind].lost_at
        for other in self._followers.values():
            if other.listed_at is not None and other.listed_at < since:
                other.relist(rewound=True)

    def _status(self) -> SourceStatus:
        """One status for all kinds: what is wrong with any of them, each thing said once."""
        followers = self._followers.values()
        stranger = self._identity.fault if self._identity else None
        faults = _distinct((stranger, *(each.fault for each in followers))) or self._silence() or self._slowness()
        listed = frozenset(each.kind for each in followers if each.machine.listed)
        if faults:
            state = SourceState.FAILING
        else:
            state = SourceState.SYNCED if len(listed) == len(followers) else SourceState.CONNECTING
        told = faults or _distinct(each.machine.warning for each in followers)
        reason = told[0].reason if told else ""
        return SourceStatus(state, reason, "; ".join(each.message for each in told), listed)

    def _silence(self) -> list[Fault]:
        """What was never listed, and was asked for without any answer for too long."""
        before = self._around.clock() - AWAITED_SECONDS
        silent = [
            each
            for each in self._followers.values()
            if not each.machine.listed and each.silent_since is not None and each.silent_since <= before
        ]
        if not silent:
            return []
        text = f"{silent[0].server}: no answer to the first list for {AWAITED_SECONDS:g} s; it is waited for"
        return [Fault(Reason.TIMEOUT, text)]

    def _slowness(self) -> list[Fault]:
        """What was never listed, for too long, though something comes of it now and then."""
        if self._around.clock() - self._began < FIRST_LISTS_SECONDS:
            return []
        missing = [str(each.kind) for each in self._followers.values() if not each.machine.listed]
        if not missing:
            return []
        text = f"the first lists ({', '.join(missing)}) are not complete after {FIRST_LISTS_SECONDS:g} s; they go on"
        return [Fault(Reason.TIMEOUT, text)]


def _distinct(faults: Iterable[Fault | None]) -> list[Fault]:
    return list(dict.fromkeys(each for each in faults if each is not None))
