"""A member cluster behind an API server: one list-watch per kind, driven over one client."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from registry.model.events import SourceEvent
from registry.model.names import BASE_KINDS, ClusterId, Kind
from registry.model.status import Sink, SourceState, SourceStatus
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.framing import LineFramer, LineTooLongError
from registry.sources.kubernetes.listwatch import GetPage, ListWatch, OpenWatch, Wait

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30
"""How much longer than asked for a watch may go on without a byte before it is given up."""

CONNECT_RETRY_SECONDS = 10.0
RESTART_SECONDS = 5.0

KINDS = tuple(kind for kind in Kind if kind in BASE_KINDS)

Connect = Callable[[], Awaitable[KubernetesClient]]
Sleep = Callable[[float], Awaitable[None]]


class KubernetesSource:
    """The facts of one cluster. ``connect`` makes its client; ``random`` gives numbers in [0, 1)."""

    def __init__(
        self,
        cluster: ClusterId,
        origin: str,
        connect: Connect,
        *,
        random: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.cluster = cluster
        self._origin = origin
        self._connect = connect
        self._random = random
        self._clock = clock
        self._sleep = sleep
        self._machines: dict[Kind, ListWatch] = {}
        self._servers: dict[Kind, str] = {}
        self._crashed: dict[Kind, Fault] = {}
        self._heard: dict[Kind, float] = {}

    @property
    def origin(self) -> str:
        return f"kubernetes {next(iter(self._servers.values()), self._origin)}"

    @property
    def heard_at(self) -> float | None:
        return None if len(self._heard) < len(KINDS) else min(self._heard.values())

    def relist(self, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            if kind in self._machines:
                self._machines[kind].relist()

    async def run(self, sink: Sink) -> None:
        """Follow every kind until cancelled."""
        client = await self._connected(sink)
        self._machines = {kind: ListWatch(kind, self._random) for kind in KINDS}
        self._servers = dict.fromkeys(KINDS, client.server)
        try:
            async with asyncio.TaskGroup() as tasks:
                for kind in KINDS:
                    tasks.create_task(self._follow(kind, client, sink), name=f"{self.cluster} {kind}")
        finally:
            await client.close()

    async def _connected(self, sink: Sink) -> KubernetesClient:
        """A client, as soon as one can be made: a kubeconfig that is wrong may be mended."""
        while True:
            try:
                return await self._connect()
            except TransportError as error:
                sink.status(self.cluster, SourceStatus(SourceState.FAILING, error.reason, str(error)))
            await self._sleep(CONNECT_RETRY_SECONDS)

    async def _follow(self, kind: Kind, client: KubernetesClient, sink: Sink) -> None:
        """Drive one kind. A bug in it is told and the kind begun anew; the other kinds never notice."""
        while True:
            try:
                await self._perform(kind, client, sink)
                self._crashed.pop(kind, None)
            except Exception as error:
                log.exception("cluster %s: following %s failed", self.cluster, kind)
                self._crashed[kind] = Fault(Reason.INTERNAL_ERROR, f"{kind}: {error!r}; the log has the details")
                listed = self._machines[kind].listed
                self._machines[kind] = ListWatch(kind, self._random)
                self._machines[kind].listed = listed
                self._report(sink)
                await self._sleep(RESTART_SECONDS)
            self._report(sink)

    async def _perform(self, kind: Kind, client: KubernetesClient, sink: Sink) -> None:
        """One step of the kind's machine."""
        machine = self._machines[kind]
        match machine.step:
            case Wait(seconds):
                await self._sleep(seconds)
                machine.waited()
            case GetPage(path, query):
                try:
                    response = await client.request("GET", path, query=query)
                except TransportError as error:
                    machine.failed(Fault(error.reason, str(error)))
                    return
                if self._moved(kind, client):
                    return
                if response.status == HTTPStatus.OK:
                    self._emit(sink, machine.page(response.body))
                else:
                    machine.refused(response.status, response.body, retry_after(response.headers))
            case OpenWatch() as step:
                await self._watch(kind, step, client, sink)

    async def _watch(self, kind: Kind, step: OpenWatch, client: KubernetesClient, sink: Sink) -> None:
        machine = self._machines[kind]
        framer = LineFramer()
        opened_at: float | None = None
        try:
            async with client.stream(step.path, step.query, silence=step.seconds + PATIENCE_SECONDS) as stream:
                if self._moved(kind, client):
                    return
                if stream.status != HTTPStatus.OK:
                    machine.refused(stream.status, await stream.read(), retry_after(stream.headers))
                    return
                opened_at = self._clock()
                machine.opened()
                self._report(sink)
                async for chunk in stream.chunks():
                    for line in framer.feed(chunk):
                        self._emit(sink, machine.line(line))
                        if machine.step is not step:
                            return
                    self._report(sink)
        except TransportError as error:
            condition = Fault(error.reason, str(error))
            if opened_at is None:
                machine.failed(condition)
            else:
                machine.lost(condition, self._clock() - opened_at)
        except LineTooLongError as error:
            machine.failed(Fault(Reason.BAD_RESPONSE, f"watch {step.path}: {error}"))
        else:
            machine.ended(self._clock() - opened_at)

    def _moved(self, kind: Kind, client: KubernetesClient) -> bool:
        """The kubeconfig names another API server since this kind's last answer: it is listed there anew."""
        if client.server == self._servers[kind]:
            return False
        self._servers[kind] = client.server
        self._machines[kind].relist()
        return True

    def _emit(self, sink: Sink, events: Iterable[SourceEvent]) -> None:
        for event in events:
            sink.event(self.cluster, event)

    def _report(self, sink: Sink) -> None:
        """One status for all kinds: what is wrong with any of them, each thing said once."""
        machines = [self._machines[kind] for kind in KINDS]
        faults = _distinct(self._crashed.get(kind) or self._machines[kind].fault for kind in KINDS)
        listed = frozenset(kind for kind in KINDS if self._machines[kind].listed)
        if faults:
            state = SourceState.FAILING
        else:
            state = SourceState.SYNCED if listed == BASE_KINDS else SourceState.CONNECTING
        told = faults or _distinct(machine.warning for machine in machines)
        reason = told[0].reason if told else ""
        sink.status(self.cluster, SourceStatus(state, reason, "; ".join(each.message for each in told), listed))


def _distinct(conditions: Iterable[Fault | None]) -> list[Fault]:
    return list(dict.fromkeys(each for each in conditions if each is not None))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The header ``Retry-After`` in seconds, None without a usable one (RFC 9110 section 10.2.3).

    A date is taken relative to the answer's own ``Date``, so that neither clock has to be right.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, until.total_seconds())
