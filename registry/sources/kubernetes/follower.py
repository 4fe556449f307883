"""Drives the list-watch machine of one kind over a client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from http import HTTPStatus

from registry.model.events import InitDone, SourceEvent
from registry.model.names import Kind
from registry.sources.kubernetes.api import Api, Stream, Surroundings, retry_after
from registry.sources.kubernetes.bounds import ANSWER_BYTES, PAGE_BYTES, Account, MemberBounds, TooMuchError
from registry.sources.kubernetes.client import TransportError
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.decode import DecodeError
from registry.sources.kubernetes.framing import LineFramer, LineTooLongError
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.pieces import ListReader
from registry.sources.kubernetes.steps import GetPage, GetProof, GetVersion, OpenWatch, Wait
from registry.sources.kubernetes.turns import TURN_SECONDS, Turn, Turns
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
    ``account`` counts for all kinds of the member, ``turns`` are those of all members.
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
        account: Account,
        turns: Turns,
        bounds: MemberBounds,
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
        self._account = account
        self._turns = turns
        self._bounds = bounds
        self._quiet_seconds = quiet_seconds
        self._streams = streams
        self._crashed: Fault | None = None
        self.lost_at = surroundings.clock()
        """When the connection was last in doubt."""
        self._list_began = self.lost_at
        """When the list did that is in progress, in pages."""
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

    def give_way(self, fault: Fault) -> bool:
        """Break off a list in progress, as ``fault`` says; whether there is one."""
        if not self.machine.listing:
            return False
        self._emit_all(self.machine.too_much(fault))
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        return True

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
        return ListWatch(self.kind, self._around.random, streams=self._streams, object_bytes=self._bounds.object_bytes)

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
        begins = isinstance(step, GetPage) and not step.continues
        await self._sure(begins=begins)
        if begins:
            self._list_began = self._around.clock()
        elif isinstance(step, GetPage) and self._around.clock() - self._list_began > self._bounds.list_seconds:
            text = f"the list is not complete after {self._bounds.list_seconds:g} s (follow.listSeconds)"
            self._emit_all(self.machine.too_much(Fault(Reason.LIMIT_EXCEEDED, text)))
            return
        if isinstance(step, GetPage) and step.in_pieces:
            await self._pieces(step)
            return
        try:
            most = ANSWER_BYTES if isinstance(step, GetProof) else PAGE_BYTES
            answer = await self._api.request("GET", step.path, query=step.query, most=most, began=self._began)
        except TransportError as error:
            self.lost_at = self._around.clock()
            fault = Fault(error.reason, str(error))
            if error.reason is Reason.LIMIT_EXCEEDED and self.machine.step is step:
                self._emit_all(self.machine.too_large(fault))
            else:
                self.machine.failed(fault)
            return
        if self._moved() or self.machine.step is not step:
            return
        if answer.status != HTTPStatus.OK:
            self._refused(answer.status, retry_after(answer.headers))
        elif isinstance(step, GetPage):
            await self._page(step, answer.body)
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
                    await stream.read()  # or the connection would be of no more use
                    if self.machine.step is step:
                        self._refused(stream.status, retry_after(stream.headers))
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
            self._emit_all(self.machine.too_much(Fault(Reason.LIMIT_EXCEEDED, str(error))))
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

    async def _pieces(self, step: GetPage) -> None:
        """Read a page of any size, and tell of each object as it comes."""
        reader = ListReader()
        try:
            async with self._api.stream(step.path, step.query, silence=LIST_QUIET_SECONDS) as stream:
                self._began()
                if stream.status != HTTPStatus.OK:
                    await stream.read()
                    if self.machine.step is step:
                        self._refused(stream.status, retry_after(stream.headers))
                    return
                async for chunk in stream.chunks():
                    await self._tell_page(step, self.machine.pieces(reader.feed(chunk)))
                    if self.machine.step is not step or self._moved():
                        return
                    self._bound_list(reader.items)
            await self._tell_page(step, self.machine.pieces(reader.feed(b"", last=True)))
            await self._tell_page(step, self.machine.pieces_end(reader.beside, reader.items))
        except TransportError as error:
            self.lost_at = self._around.clock()
            if self.machine.step is step:
                self._emit_all(self.machine.too_much(Fault(error.reason, str(error))))
        except TooMuchError as error:
            self._emit_all(self.machine.too_much(error.fault))
        except DecodeError as error:
            self._emit_all(self.machine.too_much(Fault(Reason.BAD_RESPONSE, str(error))))

    def _bound_list(self, objects: int) -> None:
        """Raises:
        TooMuchError: the list that is read in pieces has too many objects, or takes too long.
        """
        seconds = self._bounds.list_seconds
        if self._around.clock() - self._list_began > seconds:
            raise TooMuchError(f"the list is not complete after {seconds:g} s (follow.listSeconds)")
        if objects > self._bounds.objects:
            raise TooMuchError(f"{objects} objects in one body, more than {self._bounds.objects} (follow.maxObjects)")

    async def _page(self, step: GetPage, body: bytes) -> None:
        await self._tell_page(step, self.machine.page(body))

    async def _tell_page(self, step: GetPage, events: Iterator[SourceEvent | None]) -> None:
        """Tell what a page has, a little in each turn."""
        while self.machine.step is step:
            async with self._turns.turn() as turn:
                if self._told_all(events, turn):
                    return

    def _told_all(self, events: Iterator[SourceEvent | None], turn: Turn) -> bool:
        """Tell ``events`` for as long as the turn lasts; whether those were all."""
        try:
            for event in events:
                if event is not None:
                    self._say((event,))
                if turn.over:
                    return False
        except TooMuchError as error:
            self._emit_all(self.machine.too_much(error.fault))
        return True

    async def _read(self, step: OpenWatch, stream: Stream) -> None:
        framer = LineFramer()
        async for chunk in stream.chunks():
            lines = iter(framer.feed(chunk))
            more = True
            while more:
                async with self._turns.turn() as turn:
                    if self.machine.step is not step:
                        return
                    more = self._lines(step, lines, turn)
                if self.machine.step is not step:
                    return
                if more and not self.machine.streaming:  # a flood gets half of the time
                    await self._around.sleep(TURN_SECONDS)

    def _lines(self, step: OpenWatch, lines: Iterator[bytes], turn: Turn) -> bool:
        """Tell what ``lines`` say for as long as the turn lasts; whether some may be left."""
        lasted, proofs, any_line = self._lasted(), self._proofs, False
        left = False
        try:
            for line in lines:
                any_line = True
                self._say(self.machine.line(line, lasted))
                if self.machine.step is not step:
                    return False
                if turn.over:
                    left = True
                    break
        except TooMuchError as error:
            self._emit_all(self.machine.too_much(error.fault))
            return False
        if any_line:
            self._proven()
            if self.machine.streaming:
                self.silent_since = self._around.clock()
            if self.machine.streaming or self._proofs != proofs:
                self._expect_a_line()
            self._tell()
        return left

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

    def _refused(self, status: int, wait: float | None) -> None:
        if status == HTTPStatus.UNAUTHORIZED:
            self.lost_at = self._around.clock()
        self.machine.refused(status, wait)
        self._proven()

    def _say(self, events: Iterable[SourceEvent]) -> None:
        """Tell these.

        Raises:
            TooMuchError: one of them would be more than the member may tell.
        """
        for event in events:
            self._account.count(event)
            if isinstance(event, InitDone):
                self._proven()
                self.listed_at = self._around.clock()
            self._emit(event)

    def _emit_all(self, events: Iterable[SourceEvent]) -> None:
        """Tell what takes back what was told."""
        for event in events:
            self._account.count(event)
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
