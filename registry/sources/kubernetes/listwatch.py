"""List, then watch, one kind: the state machine. No IO; a driver performs ``step`` and tells what came of it.

====================  =====================================  =================================================
step                  what came of it                        next step
====================  =====================================  =================================================
GetPage               a page with a continue token           GetPage of the next
GetPage               the last page                          OpenWatch from the list's resourceVersion
GetPage of a token    410 or 400: too old, or not its own    the list from its beginning
GetPage               another status, or no answer           Wait, then the same page
OpenWatch             an event, a bookmark                   (the same; resume from its resourceVersion)
OpenWatch             410, as a status or as an event        the list from its beginning, never that version again
OpenWatch             a line nobody can read                 the list from its beginning
OpenWatch             another status or error event          Wait, then OpenWatch from the last resourceVersion
OpenWatch             its end                                OpenWatch from the last resourceVersion; Wait before,
                                                             if it was short
OpenWatch             it broke off                           Wait, then OpenWatch from the last resourceVersion
Wait                  it is over                             what it was to wait for
====================  =====================================  =================================================

The list begun anew comes at once; when no watch brought anything since the last time that happened, after a Wait.

Sources: Kubernetes API concepts, "Efficient detection of changes", "410 Gone responses", "Retrieving large results sets
in chunks"; KEP-956 (bookmarks); RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.names import Kind
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import DecodeError, WatchEvent, decode_event, decode_page, decode_status_message

PAGE_SIZE = 500
WATCH_SECONDS = (300, 600)
"""A watch is asked to last a random time between these, so that watches of many clusters do not end together."""

BACKOFF_SECONDS = (0.5, 30.0)
"""The first wait after a failure, and the longest; each is twice the one before, less a random part of up to half."""

MAX_RETRY_AFTER_SECONDS = 300.0
STEADY_SECONDS = 5.0
"""A watch that ends after this long ended as watches and proxies do; before, something may be wrong: no spinning."""

LOST_WATCHES = 2
"""How many watches in a row may break off, short and without bringing anything, before that is said to be a fault."""


@dataclass(frozen=True, slots=True)
class Resource:
    """How the API calls a kind: its path, and the name RBAC knows it by."""

    path: str
    name: str


RESOURCES: Mapping[Kind, Resource] = {
    Kind.SERVICE: Resource("/api/v1/services", "services"),
    Kind.ENDPOINT_SLICE: Resource("/apis/discovery.k8s.io/v1/endpointslices", "endpointslices.discovery.k8s.io"),
    Kind.POD: Resource("/api/v1/pods", "pods"),
    Kind.NODE: Resource("/api/v1/nodes", "nodes"),
    Kind.NAMESPACE: Resource("/api/v1/namespaces", "namespaces"),
    Kind.SERVICE_EXPORT: Resource(
        "/apis/multicluster.x-k8s.io/v1alpha1/serviceexports", "serviceexports.multicluster.x-k8s.io"
    ),
}


@dataclass(frozen=True, slots=True)
class GetPage:
    """GET this; then ``page`` or ``refused`` or ``failed``."""

    path: str
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OpenWatch:
    """GET this as a stream of at most ``seconds``; then ``line`` for each, and ``ended``, ``lost`` or ``refused``."""

    path: str
    query: Mapping[str, str]
    seconds: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Let ``seconds`` pass; then ``waited``."""

    seconds: float
    then: GetPage | OpenWatch


Step = GetPage | OpenWatch | Wait


class ListWatch:
    """Follows one kind. ``random`` gives numbers in [0, 1).

    ``fault`` is what keeps it from following its kind now, None when nothing does; ``warning`` tells of objects that
    cannot be read; ``listed`` is whether a list was ever complete.
    """

    def __init__(self, kind: Kind, random: Callable[[], float], page_size: int = PAGE_SIZE) -> None:
        self._kind = kind
        self._resource = RESOURCES[kind]
        self._random = random
        self._page_size = page_size
        self._failures = 0
        self._begun_anew = 0
        self._version = ""
        self._list_begun = False
        self._unreadable: dict[str, str] = {}
        """Object -> what is wrong with it."""
        self.listed = False
        self.fault: Fault | None = None
        self.step: Step = self._first_page()

    @property
    def verb(self) -> str:
        """What the present step does, as RBAC and conditions call it."""
        step = self.step.then if isinstance(self.step, Wait) else self.step
        return "list" if isinstance(step, GetPage) else "watch"

    @property
    def warning(self) -> Fault | None:
        """The first of the objects that cannot be read, and how many more there are."""
        if not self._unreadable:
            return None
        name, error = min(self._unreadable.items())
        others = f" (and {len(self._unreadable) - 1} more)" if len(self._unreadable) > 1 else ""
        text = f"{self._resource.name}: {name} cannot be read: {error}{others}; what was read of it before still counts"
        return Fault(Reason.BAD_OBJECT, text)

    def page(self, body: bytes) -> Iterator[SourceEvent]:
        """The page that was asked for. Exhaust the iterator."""
        try:
            page = decode_page(self._kind, body)
        except DecodeError as error:
            self.failed(Fault(Reason.BAD_RESPONSE, f"list {self._resource.name}: {error}"))
            return
        self._failures = 0
        self.fault = None
        if not self._list_begun:
            self._list_begun = True
            self._unreadable.clear()
            yield Init(self._kind)
        for fact in page.facts:
            yield InitApply(fact)
        for ref, reason in page.broken:
            self._unreadable[str(ref or f"a {self._kind} without a name")] = reason
            if ref is not None:
                yield InitKeep(ref)
        if page.continue_token:
            self.step = self._list_page(page.continue_token)
            return
        self._version = page.resource_version
        self._list_begun = False
        self.listed = True
        self.step = self._watch()
        yield InitDone(self._kind)

    def opened(self) -> None:
        """The API server accepted the watch."""
        self.fault = None

    def line(self, line: bytes) -> Iterator[SourceEvent]:
        """One line of the watch. Exhaust the iterator; stop reading when ``step`` is no longer the watch."""
        try:
            event = decode_event(self._kind, line)
        except DecodeError as error:
            self.fault = Fault(Reason.BAD_RESPONSE, f"watch {self._resource.name}: {error}")
            self._begin_anew()
            return
        if event.type == "ERROR":
            self._error_event(event)
            return
        self._failures = self._begun_anew = 0
        if event.resource_version:
            self._version = event.resource_version
        if event.ref is not None:
            self._unreadable.pop(str(event.ref), None)
        if event.fact is not None:
            yield Apply(event.fact)
        elif event.type == "DELETED" and event.ref is not None:
            yield Delete(event.ref)
        elif event.error:
            self._unreadable[str(event.ref)] = event.error

    def ended(self, lasted: float) -> None:
        """The watch came to its end after ``lasted`` seconds, as watches do."""
        if lasted >= STEADY_SECONDS:
            self._failures = self._begun_anew = 0
            self.step = self._watch()
        else:
            self.step = self._wait(self._watch())

    def lost(self, condition: Fault, lasted: float) -> None:
        """The open watch broke off after ``lasted`` seconds. Proxies do that; again and again, it is a fault."""
        if lasted >= STEADY_SECONDS:
            self._failures = 0
        if self._failures >= LOST_WATCHES:
            self.fault = condition
        self.step = self._wait(self._watch())

    def refused(self, status: int, body: bytes, retry_after: float | None = None) -> None:
        """An answer other than 200; ``retry_after`` is the header of that name, in seconds."""
        continuing = isinstance(self.step, GetPage) and "continue" in self.step.query
        gone = status == HTTPStatus.GONE and (continuing or isinstance(self.step, OpenWatch))
        if gone or (continuing and status == HTTPStatus.BAD_REQUEST):
            self._begin_anew()
            return
        condition = refused(self.verb, self._resource.name, status, decode_status_message(body))
        self.failed(condition, retry_after)

    def failed(self, condition: Fault, retry_after: float | None = None) -> None:
        """No usable answer: try the same again after a while."""
        self.fault = condition
        step = self.step.then if isinstance(self.step, Wait) else self.step
        self.step = self._wait(self._watch() if isinstance(step, OpenWatch) else step, retry_after)

    def relist(self) -> None:
        """Begin anew: the API server is another one, whose resourceVersions and tokens mean something else."""
        self._list_begun = False
        self.step = self._first_page()

    def waited(self) -> None:
        """The wait is over."""
        if isinstance(self.step, Wait):
            self.step = self.step.then

    def _error_event(self, event: WatchEvent) -> None:
        if event.code == HTTPStatus.GONE or event.reason in ("Expired", "Gone"):
            self._begin_anew()
        else:
            text = f"watch {self._resource.name}: {event.code} {event.error}"
            self.failed(Fault(Reason.SERVER_ERROR, text))

    def _begin_anew(self) -> None:
        """What is held is too old to go on from, or in doubt. A fresh list; with a pause when the last was no cure."""
        self._list_begun = False
        first = self._first_page()
        self.step = Wait(self._backoff(self._begun_anew - 1), first) if self._begun_anew else first
        self._begun_anew += 1

    def _wait(self, then: GetPage | OpenWatch, retry_after: float | None = None) -> Wait:
        seconds = self._backoff(self._failures)
        self._failures += 1
        if retry_after is not None:
            seconds = max(seconds, min(retry_after, MAX_RETRY_AFTER_SECONDS))
        return Wait(seconds, then)

    def _backoff(self, failures: int) -> float:
        """How long to wait after so many failures before this one."""
        first, longest = BACKOFF_SECONDS
        return min(longest, first * 2.0 ** min(failures, 16)) * (1 - self._random() / 2)

    def _first_page(self) -> GetPage:
        return self._list_page("")

    def _list_page(self, token: str) -> GetPage:
        query = {"limit": str(self._page_size)}
        if token:
            query["continue"] = token
        return GetPage(self._resource.path, query)

    def _watch(self) -> OpenWatch:
        shortest, longest = WATCH_SECONDS
        seconds = shortest + int(self._random() * (longest - shortest))
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
        }
        return OpenWatch(self._resource.path, query, seconds)
