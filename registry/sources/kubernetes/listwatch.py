"""List, then watch, one kind: the state machine. No IO; a driver performs ``step`` and tells what came of it.

====================  =====================================  =================================================
step                  what came of it                        next step
====================  =====================================  =================================================
OpenWatch that lists  the bookmark that ends the list        (the same: it goes on as the watch)
OpenWatch that lists  400, 403, 405, 406, 415, 422, 501      GetPage, and pages for this server from now on
OpenWatch that lists  a bookmark of another sort, or quiet   the same: the server does not know of such lists
OpenWatch that lists  its end, an error event, it broke off  Wait, then GetPage: this list in pages
GetPage               a page with a continue token           GetPage of the next
GetPage               the last page                          OpenWatch from the list's resourceVersion
GetPage               a page that is too large               the list from its beginning, read in pieces
a list, OpenWatch     more than the member may tell          what was told of the list is forgotten; Wait, then the list
GetPage of a token    410 or 400: too old, or not its own    the list from its beginning
a list                404, of a kind that may be missing     the list on its next path; after the last, GetProof;
                                                             where it is known to be missing already: Wait, then the
                                                             first path again
GetProof              what proves that the kind is missing   GetProof of the next document; after the last, it is an
                                                             empty list: Wait, then the first path again
GetProof              anything else                          Wait, then the list from its beginning
a list                another status, or no answer           Wait, then the same again
OpenWatch             an event, a bookmark                   (the same; resume from its resourceVersion)
OpenWatch             an event of an older version           (the same; the event is dropped and proves nothing)
OpenWatch             410, as a status or as an event        the list from its beginning, never that version again
OpenWatch             a line nobody can read                 the list from its beginning
OpenWatch             quiet for too long                     GetVersion; the second time in a row the list from its
                                                             beginning
OpenWatch             its end                                OpenWatch from the last resourceVersion; Wait before,
                                                             if it was short
OpenWatch             it broke off, or another status        Wait, then GetVersion
OpenWatch             any of these, fruitless, twice in a    Wait, then the list from its beginning (``watches``)
                      row
GetVersion            a version not older than ours          OpenWatch from the last resourceVersion
GetVersion            an older one: etcd was restored        the list from its beginning
OpenWatch, GetVersion 404, of a kind that may be missing     the list from its beginning
Wait                  it is over                             what it was to wait for
====================  =====================================  =================================================

The list begun anew comes at once; when no watch brought anything since the last time that happened, after a Wait.
GetVersion is there because an API server accepts a watch from a version that is still to come, and says nothing then
until it is reached: after a restore that would be a silence that looks like peace. Twice quiet is the same doubt.
An open watch proves nothing, since a proxy can accept it: what proves that the kind is current is a list, a line of a
watch that is not older than what is held, and the answer to GetVersion.

Sources: Kubernetes API concepts, "Efficient detection of changes", "410 Gone responses", "Retrieving large results sets
in chunks", "Streaming lists"; KEP-956 (bookmarks); KEP-3157 (streaming lists); KEP-5504 (versions that compare).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus

from registry.model.events import InitDone, SourceEvent
from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.absence import READY, AbsenceProof, UnprovenError
from registry.sources.kubernetes.backoff import Backoff
from registry.sources.kubernetes.bounds import OBJECT_BYTES
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import (
    Broken,
    DecodeError,
    Page,
    TooManyError,
    WatchEvent,
    decode_event,
    decode_page,
    objects_of,
)
from registry.sources.kubernetes.lists import EndlessError, Lists
from registry.sources.kubernetes.resources import RESOURCES
from registry.sources.kubernetes.steps import (
    PAGE_SIZE,
    GetPage,
    GetProof,
    GetVersion,
    OpenWatch,
    Request,
    Step,
    Wait,
    version_step,
    watch_step,
)
from registry.sources.kubernetes.telling import Telling
from registry.sources.kubernetes.versions import comparable, older
from registry.sources.kubernetes.watches import STEADY_SECONDS, Silence, Watches, closed

LOST_STREAMS = 2
"""How many streaming lists in a row may break off before that is a fault."""

ABSENT_SECONDS = 30.0
"""How long until a kind that the server lacks is looked for again."""

TOO_MUCH_SECONDS = 60.0
"""How long a member that told too much is left alone."""

STREAM_REFUSED = frozenset({400, 403, 405, 406, 415, 422, 501})
"""Answers to a streaming list that may be about the streaming. 403: the role may have ``list`` alone."""


class ListWatch:
    """Follows one kind. ``random`` gives numbers in [0, 1); ``streams`` is whether streaming lists are tried.

    ``fault`` is what keeps it from following its kind now, None when nothing does; ``listed`` is whether a list was
    ever complete; ``absent`` whether the server is proven to lack the kind. ``proofs`` counts the answers that prove
    what is held to be current.
    """

    def __init__(
        self,
        kind: Kind,
        random: Callable[[], float],
        page_size: int = PAGE_SIZE,
        *,
        streams: bool = True,
        object_bytes: int = OBJECT_BYTES,
    ) -> None:
        self._kind = kind
        self._resource = RESOURCES[kind]
        self._random = random
        self._lists = Lists(self._resource, random, page_size, streams=streams)
        self._backoff = Backoff(random)
        self._watches = Watches(random)
        self._gone = ""
        """The version that the server called too old for a watch."""
        self._failure: Fault | None = None
        """Of the last request, until one succeeds."""
        self._excess: Fault | None = None
        """What was too much, until a list is complete."""
        self._object_bytes = object_bytes
        self.proofs = 0
        self._telling = Telling(kind, self._resource.name)
        self._proof = AbsenceProof(self._resource)
        self.listed = False
        self.absent = False
        self.step: Step = self._list()

    @property
    def fault(self) -> Fault | None:
        """What the last request failed with, or else what is wrong with the watches."""
        return self._failure or self._excess or self._watches.fault

    @property
    def listing(self) -> bool:
        """A list has begun, and is not complete."""
        return not isinstance(self.step, Wait) and (self.streaming or isinstance(self.step, GetPage | GetProof))

    @property
    def failing(self) -> bool:
        """The last request failed, so that the next is waited for."""
        return self._failure is not None

    @property
    def path(self) -> str:
        """Where the kind is."""
        return self._lists.path

    @property
    def streaming(self) -> bool:
        """A streaming list is what is being done, and not complete."""
        return self._lists.streaming

    @property
    def verb(self) -> str:
        """What the present step does, as RBAC and faults call it."""
        return "watch" if isinstance(self._request, OpenWatch) and not self.streaming else "list"

    @property
    def unreadable(self) -> frozenset[ObjectRef]:
        """The objects that cannot be read: what is held of them is older than they are."""
        return self._telling.unreadable.refs

    @property
    def warning(self) -> Fault | None:
        """What to say of them."""
        return self._telling.unreadable.warning

    def page(self, body: bytes) -> Iterator[SourceEvent | None]:
        """The page that was asked for. Exhaust the iterator; None: time was taken, and nothing is told."""
        try:
            page = decode_page(self._kind, body, random=self._random)
        except TooManyError as error:
            yield from self.too_large(Fault(Reason.LIMIT_EXCEEDED, str(error)))
            return
        except DecodeError as error:
            self.failed(Fault(Reason.BAD_RESPONSE, f"list {self._resource.name}: {error}"))
            return
        yield from self._objects(page.objects(self._object_bytes))
        yield from self._page_ends(page, len(page))

    def pieces(self, bodies: Iterable[bytes]) -> Iterator[SourceEvent | None]:
        """Objects of the page that was asked for in pieces. Exhaust the iterator."""
        return self._objects(objects_of(self._kind, bodies, self._object_bytes))

    def pieces_end(self, beside: bytes, objects: int) -> Iterator[SourceEvent | None]:
        """The page had so many ``objects``, and this ``beside`` them. Exhaust the iterator."""
        try:
            page = decode_page(self._kind, beside)
        except DecodeError as error:
            yield from self.too_much(Fault(Reason.BAD_RESPONSE, f"list {self._resource.name}: {error}"))
            return
        yield from self._objects(())
        yield from self._page_ends(page, objects)

    def _objects(self, objects: Iterable[Fact | Broken]) -> Iterator[SourceEvent | None]:
        """The next objects of a list. Exhaust the iterator."""
        self._backoff.succeeded()
        self._failure = None
        return self._telling.objects(objects)

    def _page_ends(self, page: Page, objects: int) -> Iterator[SourceEvent]:
        if page.continue_token:
            try:
                self.step = self._lists.page(page.continue_token, objects)
            except EndlessError as error:
                yield from self.too_much(Fault(Reason.BAD_RESPONSE, f"list {self._resource.name}: {error}"))
            return
        done = self._complete(page.resource_version)
        self.step = self._watch()
        yield done

    def version(self, body: bytes) -> None:
        """The answer to GetVersion."""
        try:
            found = decode_page(self._kind, body).resource_version
        except DecodeError as error:
            self.failed(Fault(Reason.BAD_RESPONSE, f"list {self._resource.name}: {error}"))
            return
        if older(found, self._telling.version):
            self._telling.went_back()
            self._lists.broke()
            self.step = self._list()
        else:
            self.proofs += 1
            self.step = self._watch()

    def proof(self, body: bytes) -> tuple[SourceEvent, ...]:
        """The answer to GetProof. What it says: that there is no such kind is a list of none."""
        try:
            self._proof.told(body)
        except UnprovenError as error:
            self.failed(self._unproven(Reason.NOT_FOUND, str(error)))
            return ()
        if self._proof.path is not None:
            self.step = GetProof(self._proof.path)
            return ()
        self.absent = self.listed = True
        self._failure = None
        self.proofs += 1
        self._backoff.succeeded()
        self.step = Wait(ABSENT_SECONDS, self._list())
        return self._telling.none()

    def opened(self) -> None:
        """The API server accepted the watch. That proves nothing: see ``watches``."""
        self._failure = None
        self._watches.opened()

    def line(self, line: bytes, lasted: float = 0.0) -> Iterator[SourceEvent]:
        """One line of a watch that has been open for ``lasted`` seconds. Exhaust the iterator; stop reading when
        ``step`` is no longer the watch."""
        try:
            event = decode_event(self._kind, line, self._object_bytes)
        except DecodeError as error:
            self.unreadable_line(str(error), lasted)
            return
        if event.type == "ERROR":
            self._error_event(event, lasted)
            return
        if self.streaming:
            yield from self._initial(event, lasted)
            return
        held = self._telling.version
        if older(event.resource_version, held):
            return
        self._backoff.succeeded()
        self._prove(lasted)
        if event.resource_version != held:
            self._watches.brought()
            self._gone = ""
        if lasted >= STEADY_SECONDS:
            self._watches.lasted()
        yield from self._telling.change(event)

    def unreadable_line(self, error: str, lasted: float = 0.0) -> None:
        """A line nobody can read: whatever it said is missing in what is held."""
        self._failure = Fault(Reason.BAD_RESPONSE, f"watch {self._resource.name}: {error}")
        self._begin_anew(at_once=not self._watches.useless(self._failure, lasted))

    def quiet(self) -> None:
        """No line came for too long, so the watch is given up."""
        if self.streaming:
            self._pages_from_now_on()
            return
        self.step = self._after(self._watches.quiet()) or self._watch()

    def ended(self, lasted: float) -> None:
        """The watch came to its end after ``lasted`` seconds, as watches do."""
        if self.streaming:
            self._lists.broke()
            self.step = self._wait(self._list())
        elif self._watches.ended(lasted, closed(self._resource.name)):
            self.step = Wait(self._watches.pause(), self._list())
        else:
            then = self._after(self._watches.silent(lasted)) or self._watch()
            self.step = then if lasted >= STEADY_SECONDS else Wait(self._watches.pause(), then)

    def lost(self, fault: Fault, lasted: float) -> None:
        """The open watch broke off after ``lasted`` seconds. Proxies do that; again and again, it is a fault."""
        if self.streaming:
            if lasted >= STEADY_SECONDS:
                self._backoff.succeeded()
            if self._backoff.failures >= LOST_STREAMS:
                self._failure = fault
            self._lists.broke()
            self.step = self._wait(self._again())
        elif self._watches.ended(lasted, fault):
            self.step = Wait(self._watches.pause(), self._list())
        else:
            self.step = Wait(self._watches.pause(), self._after(self._watches.silent(lasted)) or self._again())

    def too_large(self, fault: Fault) -> tuple[SourceEvent, ...]:
        """A page was larger than pages may be: lists are read in pieces from now on."""
        if isinstance(self.step, GetPage | GetVersion) and not self._lists.in_pieces:
            self._lists.in_pieces = True
            self.step = self._list()
            return ()
        return self.too_much(fault)

    def too_much(self, fault: Fault) -> tuple[SourceEvent, ...]:
        """The member told more, or took longer, than it may. What it told of a list is forgotten; what was complete
        counts on. It is listed anew after a while: that costs as much as what is broken off now."""
        self._excess = Fault(fault.reason, f"{self.verb} {self._resource.name}: {fault.message}")
        self._failure = self._excess
        self._lists.broke()
        abandoned = tuple(self._telling.abandon())
        self.step = Wait(self._backoff.failed(TOO_MUCH_SECONDS), self._list())
        return abandoned

    def refused(self, status: int, retry_after: float | None = None) -> None:
        """An answer other than 200; ``retry_after`` is the header of that name, in seconds."""
        request = self._request
        continues = isinstance(request, GetPage) and request.continues
        gone = status == HTTPStatus.GONE and (continues or not isinstance(request, GetPage))
        if isinstance(request, GetProof):
            no = refused("get", request.path, status)
            self.failed(self._unproven(no.reason, no.message), retry_after)
        elif status == HTTPStatus.NOT_FOUND and self._resource.optional:
            self._not_there()
        elif self.streaming and status in STREAM_REFUSED:
            self._pages_from_now_on()
        elif gone and self._watching:
            self._begin_anew(at_once=not self._watches.refused(self._too_old()))
        elif gone or (continues and status == HTTPStatus.BAD_REQUEST):
            self._begin_anew(at_once=not self._watches.refused(None))
        else:
            self.failed(refused(self.verb, self._resource.name, status), retry_after)

    def failed(self, fault: Fault, retry_after: float | None = None) -> None:
        """No usable answer: try the same again after a while."""
        self._failure = fault
        if self._watching and fault.reason is not Reason.TOO_MANY_REQUESTS and self._watches.refused(fault):
            self.step = Wait(self._watches.pause(retry_after), self._list())
        else:
            self.step = self._wait(self._again(), retry_after)

    def relist(self, *, rewound: bool = False) -> bool:
        """Somebody doubts what the last list said. A list in progress will do; else one comes next.

        ``rewound``: it was seen elsewhere that the history went back; here it may have gone past again by now. Returns
        whether what is being done now is to be broken off for it. A wait after a failure is waited out.
        """
        if rewound:
            self._telling.went_back()
        absent, self.absent = self.absent, False
        waited_out = isinstance(self.step, Wait) and self._failure is not None and not absent
        if self.listing and not absent:
            return False
        if waited_out and (self.streaming or isinstance(self._request, GetPage | GetProof)):
            return False
        first = self._list()
        if isinstance(self.step, Wait) and waited_out:
            self.step = Wait(self.step.seconds, first)
            return False
        self.step = first
        return True

    def restart(self) -> None:
        """Begin anew: the API server is another one, whose resourceVersions and tokens mean something else."""
        self._telling.restart()
        self._gone = ""
        self._watches.lasted()
        self._lists.restart()
        self.step = self._list()

    def waited(self) -> None:
        """The wait is over."""
        if isinstance(self.step, Wait):
            self.step = self.step.then

    @property
    def _request(self) -> Request:
        return self.step.then if isinstance(self.step, Wait) else self.step

    @property
    def _watching(self) -> bool:
        """A watch that resumes is what is asked for."""
        return isinstance(self.step, OpenWatch) and not self.streaming

    def _prove(self, lasted: float) -> None:
        """What is held was current when the watch had been open for ``lasted`` seconds."""
        self.proofs += 1
        self._watches.proven(lasted)

    def _complete(self, version: str, lasted: float = 0.0) -> InitDone:
        """The list is complete, as of ``version``. One whose version cannot be watched from any more proves nothing."""
        self._lists.complete()
        self._excess = None
        self.absent = False
        self.listed = True
        if not self._gone or older(self._gone, version):
            self._gone = ""
            self._prove(lasted)
        return self._telling.complete(version)

    def _initial(self, event: WatchEvent, lasted: float) -> Iterator[SourceEvent]:
        """An event of a streaming list."""
        if event.type == "BOOKMARK" and not event.ends_list:
            self._pages_from_now_on()
            return
        self._backoff.succeeded()
        yield from self._telling.initial(event)
        if event.ends_list:
            yield self._complete(event.resource_version, lasted)

    def _error_event(self, event: WatchEvent, lasted: float) -> None:
        if event.code == HTTPStatus.GONE or event.reason in ("Expired", "Gone"):
            self._begin_anew(at_once=not self._watches.useless(self._too_old(), lasted))
        else:
            self._lists.broke()
            self.failed(Fault(Reason.SERVER_ERROR, f"{self.verb} {self._resource.name}: an error event, {event.code}"))

    def _too_old(self) -> Fault:
        """The server cannot go on from the version that is held. What that is if it goes on so."""
        self._gone = "" if self.streaming else self._telling.version
        text = f"{self.verb} {self._resource.name}: 410 Gone; look for a proxy that answers lists from a cache"
        return Fault(Reason.BAD_RESPONSE, text)

    def _not_there(self) -> None:
        """404 of a kind that may be missing. Once that is proven, the 404 alone is believed until the kind appears."""
        if not (self.streaming or isinstance(self._request, GetPage)):
            self._begin_anew(at_once=not self._watches.refused(None))
            return
        elsewhere = self._lists.elsewhere()
        if elsewhere is not None:
            self._telling.begins()
            self.step = elsewhere
        elif self.absent:
            self._failure = None
            self.proofs += 1
            self._backoff.succeeded()
            self.step = Wait(ABSENT_SECONDS, self._list())
        else:
            self._lists.stopped()
            self._proof = AbsenceProof(self._resource)
            self.step = GetProof(READY)

    def _unproven(self, reason: Reason, why: str) -> Fault:
        """The kind is not there, and whether the server lacks it is not known."""
        name = self._resource.name
        return Fault(reason, f"list {name}: 404, which is no proof that there are none, as {why}")

    def _pages_from_now_on(self) -> None:
        """This server has no streaming lists, or not for us."""
        self._lists.cannot_stream()
        self.step = self._list()

    def _begin_anew(self, *, at_once: bool) -> None:
        """What is held is too old to go on from, or in doubt. A fresh list; with a pause when the last was no cure."""
        self._lists.broke()
        first = self._list()
        self.step = first if at_once else Wait(self._watches.pause(), first)

    def _after(self, silence: Silence) -> Request | None:
        """What has to come before the next watch, after such a silence."""
        match silence:
            case Silence.DOUBT:
                return self._list()
            case Silence.CHECK:
                return self._again()
            case _:
                return None

    def _wait(self, then: Request, retry_after: float | None = None) -> Wait:
        return Wait(self._backoff.failed(retry_after), then)

    def _again(self) -> Request:
        """What to do after a failure of what was asked for."""
        request = self._request
        if self.streaming:
            self._telling.begins()
            return self._lists.again()
        if isinstance(request, GetPage) and not request.in_pieces:
            return request
        if isinstance(request, GetPage | GetProof):
            return self._list()
        asks = comparable(self._telling.version) and not self._lists.in_pieces
        return version_step(self.path) if asks else self._watch()

    def _list(self) -> GetPage | OpenWatch:
        """A list from its beginning."""
        self._telling.begins()
        return self._lists.first()

    def _watch(self) -> OpenWatch:
        return watch_step(self.path, self._telling.version, self._random())
