"""Drives the list-watch machine of one kind over a client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

from registry.model.events import InitDone, SourceEvent
from registry.model.names import Kind
from registry.sources.kubernetes.api import Api, Stream, Surroundings, retry_after
from registry.sources.kubernetes.client import TransportError
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.framing import LineFramer, LineTooLongError
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.steps import GetPage, GetProof, GetVersion, OpenWatch, Wait
from registry.sources.kubernetes.watches import QUIET_SECONDS

log = logging.getLogger(__name__)

LIST_QUIET_SECONDS = 10.0
LIST_SECONDS = 60.0
"""The same while a streaming list is not complete, and how long that may take: a server that does not know of such
lists never says that it is complete."""

PATIENCE_SECONDS = 30.0
"""How much later than ours the client's own limit for a silent connection is."""

TOLERANCE = 0.05
"""A limit this close to what it should be stays: a timer for every line of a busy watch costs more than the line."""

RESTART_SECONDS = 5.0
IDENTITY_SECONDS = 5.0
"""How old the cluster's identity may be when a list begins: the kinds that begin together ask once."""


class Follower:
    """Follows ``kind`` until it is cancelled.

    ``emit`` takes what is learnt; ``report`` is called when ``fault``, ``warning`` or ``listed`` may have changed;
    ``confirm`` returns once it is certain that ``api`` led to the right cluster at the time it is given, or later.
    """

    def __init__(
        self,
        kind: Kind,
        api: Api,
        surroundings: Surroundings,
        *,
        emit: Callable[[SourceEvent], None],
        report: Callable[[], None],
        confirm: Callable[[float], Awaitable[None]],
        quiet_seconds: float = QUIET_SECONDS,
        streams: bool = True,
    ) -> None:
        self.kind = kind
        self.server = api.server
        self.heard_at: float | None = None
        self._api = api
        self._around = surroundings
        self._emit = emit
        self._report = report
        self._told: tuple[object, ...] | None = None
        self._confirm = confirm
        self._quiet_seconds = quiet_seconds
        self._streams = streams
        self._crashed: Fault | None = None
        self.lost_at = surroundings.clock()
        """When the connection was last in doubt."""
        self.listed_at: float | None = None
        """When the last list was complete."""
        self.silent_since: float | None = None
        """Something is asked for, and nothing came of it since then."""
        self._opened_at: float | None = None
        self._proofs = 0
        """How many of the machine's proofs were seen."""
        self._limit: asyncio.Timeout | None = None
        """Of the step in progress; it is also what breaks it off."""
        self.machine = self._make_machine()

    @property
    def fault(self) -> Fault | None:
        return self._crashed or self.machine.fault

    def is_settled(self) -> bool:
        """A list was complete, none is in progress, and the last request did not fail. A watch need not be open."""
        machine = self.machine
        busy = machine.listing or machine.failing or machine.absent
        return machine.listed and not busy and self._crashed is None

    def relist(self, *, rewound: bool = False) -> None:
        """List anew soon; a watch that is open ends for it. ``rewound``: since the history went back."""
        if self.machine.relist(rewound=rewound) and self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """A bug is told and the kind begun anew; the other kinds never notice."""
        while True:
            try:
                await self._perform()
                self._crashed = None
            except Exception as error:
                log.exception("following %s failed", self.kind)
                self._crashed = Fault(Reason.INTERNAL_ERROR, f"{self.kind}: {error!r}; the log has the details")
                listed = self.machine.listed
                self.machine = self._make_machine()
                self.machine.listed = listed
                self._tell()
                await self._around.sleep(RESTART_SECONDS)
            self._tell()

    def _make_machine(self) -> ListWatch:
        self._proofs = 0
        return ListWatch(self.kind, self._around.random, streams=self._streams)

    async def _perform(self) -> None:
        """One step of the machine, or as much of it as time and ``relist`` allow."""
        step = self.machine.step
        self._opened_at = None
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limit = limit
                match step:
                    case Wait(seconds):
                        await self._around.sleep(seconds)
                        self.machine.waited()
                    case GetPage() | GetVersion() | GetProof():
                        await self._get(step)
                    case OpenWatch():
                        await self._watch(step)
        except TimeoutError:
            if not limit.expired():
                raise
            if self.machine.step is step:
                self.machine.quiet()
        finally:
            self._limit = None
            self._opened_at = None
            self.silent_since = None

    async def _get(self, step: GetPage | GetVersion | GetProof) -> None:
        await self._sure(begins=isinstance(step, GetPage) and not step.continues)
        try:
            answer = await self._api.request("GET", step.path, query=step.query, began=self._began)
        except TransportError as error:
            self.lost_at = self._around.clock()
            self.machine.failed(Fault(error.reason, str(error)))
            return
        if self._moved() or self.machine.step is not step:
            return
        if answer.status != HTTPStatus.OK:
            self._refused(answer.status, answer.body, retry_after(answer.headers))
        elif isinstance(step, GetPage):
            self._say(self.machine.page(answer.body))
        elif isinstance(step, GetProof):
            self._say(self.machine.proof(answer.body))
        else:
            self.machine.version(answer.body)
            self._proven()

    async def _watch(self, step: OpenWatch) -> None:
        await self._sure(begins=step.lists)
        silence = max(self._quiet_seconds, LIST_SECONDS) + PATIENCE_SECONDS
        try:
            async with self._api.stream(step.path, step.query, silence=silence) as stream:
                if self._moved() or self.machine.step is not step:
                    return
                if stream.status != HTTPStatus.OK:
                    body = await stream.read()
                    if self.machine.step is step:
                        self._refused(stream.status, body, retry_after(stream.headers))
                    return
                self._opened()
                await self._read(step, stream)
        except TransportError as error:
            self.lost_at = self._around.clock()
            fault = Fault(error.reason, str(error))
            if self.machine.step is not step:
                return
            if self._opened_at is None:
                self.machine.failed(fault)
            else:
                self.machine.lost(fault, self._lasted())
        except LineTooLongError as error:
            self.machine.unreadable_line(str(error), self._lasted())
        else:
            if self.machine.step is step:
                self.machine.ended(self._lasted())

    def _began(self) -> None:
        """An answer comes; how long its body may take is the client's business."""
        self.silent_since = None

    def _opened(self) -> None:
        self.silent_since = self._around.clock() if self.machine.streaming else None
        self._opened_at = self._around.clock()
        self.machine.opened()
        self._expect_a_line()
        self._tell()

    async def _read(self, step: OpenWatch, stream: Stream) -> None:
        framer = LineFramer()
        async for chunk in stream.chunks():
            lines = framer.feed(chunk)
            lasted, proofs = self._lasted(), self._proofs
            for line in lines:
                self._say(self.machine.line(line, lasted))
                if self.machine.step is not step:
                    return
            if lines:
                self._proven()
                if self.machine.streaming:
                    self.silent_since = self._around.clock()
                if self.machine.streaming or self._proofs != proofs:
                    self._expect_a_line()
                self._tell()

    def _expect_a_line(self) -> None:
        """From now on so long: bytes that complete no line prove nothing, nor do events that are old."""
        assert self._limit is not None
        loop = asyncio.get_running_loop()
        if self.machine.streaming:
            seconds = min(LIST_QUIET_SECONDS, max(0.0, LIST_SECONDS - self._lasted()))
        else:
            seconds = self._quiet_seconds
        due, before = loop.time() + seconds, self._limit.when()
        if before is None or abs(due - before) > seconds * TOLERANCE:
            self._limit.reschedule(due)

    def _refused(self, status: int, body: bytes, wait: float | None) -> None:
        if status == HTTPStatus.UNAUTHORIZED:
            self.lost_at = self._around.clock()
        self.machine.refused(status, body, wait)
        self._proven()

    def _say(self, events: Iterable[SourceEvent]) -> None:
        for event in events:
            if isinstance(event, InitDone):
                self._proven()
                self.listed_at = self._around.clock()
            self._emit(event)

    def _tell(self) -> None:
        """Report, where there is news: most of what a watch brings is none."""
        news = (self.fault, self.machine.warning, self.machine.listed)
        if news != self._told:
            self._told = news
            self._report()

    def _proven(self) -> None:
        """Note the time where the machine has one proof more that what is held is current."""
        if self.machine.proofs != self._proofs:
            self._proofs = self.machine.proofs
            self.heard_at = self._around.clock()

    def _lasted(self) -> float:
        return 0.0 if self._opened_at is None else self._around.clock() - self._opened_at

    async def _sure(self, *, begins: bool) -> None:
        """Wait until the cluster is certain to be the right one, since a list begins or the connection was in doubt."""
        since = self.lost_at
        if begins:
            since = max(since, self._around.clock() - IDENTITY_SECONDS)
        self.silent_since = self._around.clock()
        await self._confirm(since)
        self.silent_since = self._around.clock()

    def _moved(self) -> bool:
        """The credentials name another API server since this kind's last answer: it is listed there anew."""
        if self._api.server == self.server:
            return False
        self.server = self._api.server
        self.machine.restart()
        return True
