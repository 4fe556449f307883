"""What follows one member: a source, and the relay through which it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from registry.membership.spec import Connection, MemberSpec
from registry.membership.standby import Relay
from registry.model.facts import Fact
from registry.model.names import BASE_KINDS, ClusterId, Kind, ObjectRef
from registry.model.status import Sink, Source, SourceState, SourceStatus
from registry.sources.kubernetes.reflector import Connect
from registry.supervision import Supervisor

INTERNAL_ERROR = "InternalError"

STEP_SECONDS = 0.001
"""How long the loop is held at once by what a source tells when it takes over."""

Admit = Callable[[str], str | None]
"""Told the UID of the cluster that was reached: None when it may be followed, else why it may not."""


class Hub(Sink, Protocol):
    """Where all that members say goes."""

    def add_cluster(self, cluster: ClusterId, network: str, relist: Callable[[Iterable[Kind]], None]) -> None:
        """Expect events of ``cluster``; ``relist`` asks for new lists of it."""

    def set_network(self, cluster: ClusterId, network: str) -> None:
        """Endpoints of ``cluster`` are on ``network`` from now on."""

    def set_local(self, cluster: ClusterId, *, local: bool) -> None:
        """Whether ``cluster`` is a folder of manifests from now on; it is none when it is added."""

    def told(self, cluster: ClusterId, kind: Kind) -> Mapping[ObjectRef, Fact]:
        """What is held of ``cluster``, as it was said here."""

    def start_over(self, cluster: ClusterId) -> None:
        """Forget what was said of ``cluster``, unless it is shown: it was perhaps said of another."""

    def remove_cluster(self, cluster: ClusterId) -> None:
        """Forget ``cluster``, on its operator's word."""


class Companion(Protocol):
    """Something that exists once for each member, apart from its source. Calls never block and never raise."""

    def joined(self, cluster: ClusterId) -> None:
        """There is a new member."""

    def reached(self, cluster: ClusterId, connect: Connect | None) -> None:
        """The member is reached so from now on: for the first time, or with other credentials. None: it has no API."""

    def changed(self, cluster: ClusterId) -> None:
        """Something else is said of the member than before."""

    def left(self, cluster: ClusterId) -> None:
        """It is no member any more."""


Held = Callable[[Kind], Mapping[ObjectRef, Fact]]
"""What the source's listener holds of a kind, as the source said it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The parts for one way to reach a member; ``connect`` is None where there is no API server."""

    source: Source
    connect: Connect | None


Open = Callable[[ClusterId, str, Connection, Admit, Held], Opened]
"""Makes them for a member, from where it is said to be a member (``origin``) and how it is reached. Does no IO."""


class Following:
    """One source of a member, running. ``heard`` is told each status before it is handed on."""

    def __init__(
        self,
        spec: MemberSpec,
        connection: Connection,
        hub: Hub,
        *,
        open_: Open,
        admit: Admit,
        heard: Callable[[Following, SourceStatus], None],
        tasks: Supervisor | None = None,
    ) -> None:
        self.cluster = ClusterId(spec.name)
        self.origin = spec.origin
        self.connection = connection
        self._relay = Relay(self.cluster, self._hear)
        held = partial(_held, self._relay, hub, self.cluster)
        opened = open_(self.cluster, spec.origin, connection, admit, held)
        self.source = opened.source
        self.connect = opened.connect
        self.listed = False
        """It listed everything, once: there is something to lose."""
        self.settled = False
        """And what follows from that was done."""
        self._hub = hub
        self._heard = heard
        self._tasks = tasks or Supervisor()
        self._status = SourceStatus(SourceState.CONNECTING)
        self._task: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._steps: Iterator[bool] | None = None
        """What is left to tell to the hub; None: begin with everything."""

    def start(self) -> None:
        """Follow the cluster; nobody hears of it before ``take_over``."""
        run = partial(self.source.run, self._relay)
        self._task = self._tasks.start("source", run, subject=self.cluster, failed=self._failed)

    def take_over(self) -> None:
        """The hub hears it from now on, and all that it said before: now or, if it is much, a little at a time."""
        done: list[bool] = []
        self._tasks.attempt("taking over", lambda: done.append(self._advance()))
        if done != [True]:
            self._telling = self._tasks.start("taking over", self._tell, subject=self.cluster, may_end=True)

    def stop(self) -> asyncio.Task[None] | None:
        """Nothing is heard of it from now on; the task that is ending, if it was started."""
        self._relay.close()
        for task in (self._task, self._telling):
            if task is not None:
                task.cancel()
        return self._task

    def _hear(self, status: SourceStatus) -> None:
        self._status = status
        self.listed = self.listed or status.state is SourceState.SYNCED or status.listed >= BASE_KINDS
        self._heard(self, status)

    async def _tell(self) -> None:
        """Ends with the relay, whatever was not told by then."""
        while not self._advance():
            await asyncio.sleep(0)

    def _advance(self) -> bool:
        """Take steps for ``STEP_SECONDS``, and on to where there may be a pause; whether that was all."""
        steps, self._steps = self._steps or self._relay.take_over(self._hub), None
        clock = asyncio.get_running_loop().time
        until = clock() + STEP_SECONDS
        done = all(not may_pause or clock() < until for may_pause in steps)
        self._steps = steps
        return done

    def _failed(self, error: Exception, wait: float) -> None:
        """A bug of one member's source disturbs no other. What it said before stands."""
        text = f"{type(error).__name__}: {error}"[:200]
        message = f"a bug: {text}; it is followed anew in {wait:.0f} s; the log has the details"
        failing = replace(self._status, state=SourceState.FAILING, reason=INTERNAL_ERROR, message=message)
        self._relay.status(self.cluster, failing)


def _held(relay: Relay, hub: Hub, cluster: ClusterId, kind: Kind) -> Mapping[ObjectRef, Fact]:
    """No method of ``Following``: the source keeps it, and would keep with it what follows the member no more."""
    return hub.told(cluster, kind) if relay.in_charge else relay.held(kind)
