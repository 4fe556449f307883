"""An API server without sockets, which fails as it is told to: the seam of ``registry.sources.kubernetes.api``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from support.kube_wire import a_bookmark, a_page, a_page_of_names, a_service, a_status, an_error, an_event
from support.kube_wire import the_end_of_a_list as end_of_list

from registry.model.names import Kind
from registry.sources.kubernetes.bounds import ANSWER_BYTES
from registry.sources.kubernetes.client import TransportError
from registry.sources.kubernetes.conditions import Reason
from registry.sources.kubernetes.resources import RESOURCES

BOOKMARK_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""How long the client waits for an answer that does not come."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and when it came."""

    verb: str
    kind: Kind
    at: float
    query: Mapping[str, str]


class MemoryStream:
    """A watch being read."""

    def __init__(self, status: int, lines: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        self._lines = lines
        self.status = status
        self.headers = headers or {}

    async def chunks(self) -> AsyncIterator[bytes]:
        async for line in self._lines:
            yield line

    async def read(self) -> bytes:
        return b"".join([line async for line in self._lines])


class MemoryApi:
    """Holds Services; every other kind is empty. Faults are attributes; all take effect at once.

    ``down``: no connection. ``dead``: nothing comes any more over any connection, new ones included; those that were
    open then stay so. ``dripping``: bytes come that complete
    no line. ``proxy_seconds``: every stream is cut after so long. ``short_seconds``: it ends after so long, as watches
    do. ``faulty``: those two concern the streams of these kinds. ``mute``: nothing is sent on the streams of these.
    ``storm``: this answer to everything.
    ``head_seconds``: how late answers begin. ``body_seconds``: how long after that a list is complete.
    """

    def __init__(self, *, streams: bool | None = True) -> None:
        """``streams``: whether there are streaming lists; None: it takes one for a plain watch."""
        self.server = "https://cluster"
        self.uid = "uid-1"
        self.streams = streams
        self.asked: list[Asked] = []
        self.version = 10
        self.objects: dict[str, dict[str, Any]] = {}
        self.down = self.dead = self.dripping = self.bookmarks_off = False
        self.proxy_seconds: float | None = None
        self.short_seconds: float | None = None
        self.mute: frozenset[Kind] = frozenset()
        self.faulty: frozenset[Kind] = frozenset(Kind)
        self.head_seconds = 0.001
        self.body_seconds = 0.0
        self.storm: Reply | None = None
        self.compacted = 0
        self._log: list[tuple[int, Kind, bytes]] = []
        self._changed = asyncio.Condition()
        self._cut = asyncio.Event()

    async def put(self, name: str, port: int = 80) -> None:
        self.version += 1
        document = a_service(name, port, str(self.version))
        event = "MODIFIED" if name in self.objects else "ADDED"
        self.objects[name] = document
        await self._tell(Kind.SERVICE, an_event(event, document))

    def betray(self, name: str, port: int = 80) -> None:
        """Put it without a word to the watches."""
        self.version += 1
        self.objects[name] = a_service(name, port, str(self.version))

    async def delete(self, name: str) -> None:
        self.version += 1
        document = self.objects.pop(name)
        await self._tell(
            Kind.SERVICE, an_event("DELETED", document | {"metadata": {"name": name, "namespace": "shop"}})
        )

    async def restart(self) -> None:
        """Every connection breaks."""
        self._cut.set()
        self._cut = asyncio.Event()
        await asyncio.sleep(0)

    def compact(self) -> None:
        """Nobody can go on from before now."""
        self.version += 1
        self.compacted = self.version
        self._log.clear()

    def go_back(self, version: int, *names: str) -> None:
        """Restore a backup."""
        self.version = version
        self.objects = {name: a_service(name, 80, str(version)) for name in names}
        self._log.clear()
        self.compacted = 0

    def count(self, verb: str, kind: Kind = Kind.SERVICE) -> int:
        return sum((each.verb, each.kind) == (verb, kind) for each in self.asked)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        most: int = ANSWER_BYTES,
        began: Callable[[], None] | None = None,
    ) -> Reply:
        assert method == "GET"
        query = query or {}
        names = "PartialObjectMetadataList" in accept
        verb = "names" if names else "identity" if "fieldSelector" in query else _listing(query)
        kind = await self._arrived(verb, path, query)
        if began is not None:
            began()
        if verb == "list":
            await asyncio.sleep(self.body_seconds)
        if self.storm is not None:
            return self.storm
        if verb == "identity":
            page = a_page([{"metadata": {"name": "kube-system", "uid": self.uid}}], kind=kind)
            return Reply(200, page)
        items = self._documents(kind)
        if names:
            return Reply(200, a_page_of_names(items, version=str(self.version)))
        return Reply(200, a_page(items, version=str(self.version), kind=kind))

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], *, silence: float) -> AsyncIterator[MemoryStream]:
        verb = "stream" if "sendInitialEvents" in query else "watch"
        kind = await self._arrived(verb, path, query)
        if self.storm is not None:
            yield MemoryStream(self.storm.status, _once(self.storm.body), self.storm.headers)
        elif verb == "stream" and self.streams is False:
            yield MemoryStream(422, _once(a_status(422, "Invalid", "sendInitialEvents is forbidden")))
        else:
            yield MemoryStream(200, self._follow(kind, query))

    async def close(self) -> None:
        await self.restart()

    async def _arrived(self, verb: str, path: str, query: Mapping[str, str]) -> Kind:
        kind = next(kind for kind, resource in RESOURCES.items() if path in resource.paths)
        self.asked.append(Asked(verb, kind, _now(), query))
        await asyncio.sleep(self.head_seconds)
        if self.down:
            raise TransportError(Reason.UNREACHABLE, f"{self.server}: connection refused")
        if self.dead:
            await asyncio.sleep(ANSWER_SECONDS)
            raise TransportError(Reason.TIMEOUT, f"{self.server}: no answer in time")
        return kind

    async def _follow(self, kind: Kind, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """What the server sends, cut where the fault of the day cuts it."""
        began = _now()
        cut = self._cut
        lines = _silent() if kind in self.mute else self._lines(kind, query)
        proxied = self.proxy_seconds if kind in self.faulty else None
        short = self.short_seconds if kind in self.faulty else None
        lasts = float(query["timeoutSeconds"]) if short is None else short
        while True:
            left = (proxied or lasts) - (_now() - began)
            if left < 1e-3:
                if proxied is not None:
                    raise TransportError(Reason.UNREACHABLE, f"{self.server}: connection reset")
                return
            step = asyncio.ensure_future(anext(lines))
            broken = asyncio.ensure_future(cut.wait())
            try:
                done, _ = await asyncio.wait((step, broken), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting = [each for each in (step, broken) if not each.done()]
                for each in waiting:
                    each.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            if broken in done:
                raise TransportError(Reason.UNREACHABLE, f"{self.server}: connection reset")
            if step in done:
                try:
                    yield step.result()
                except StopAsyncIteration:
                    return

    async def _lines(self, kind: Kind, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """As an API server: a version that is still to come is accepted, and nothing comes until it is there."""
        at = int(query.get("resourceVersion", self.version))
        if "sendInitialEvents" in query:
            for document in self._documents(kind):
                yield an_event("ADDED", document) + b"\n"
            if self.streams:
                yield end_of_list(str(at)) + b"\n"
        if at < self.compacted:
            yield an_error(410, "Expired") + b"\n"
            return
        bookmark_at = _now() + BOOKMARK_SECONDS
        while True:
            for version, _, line in [each for each in self._log if each[0] > at and each[1] is kind]:
                at = version
                if not self.dead:
                    yield line + b"\n"
            await self._woken(_now() + 1.0 if self.dripping else bookmark_at)
            if self.dead:
                await asyncio.Event().wait()
            if self.dripping:
                yield b" "
            elif _now() >= bookmark_at:
                bookmark_at = _now() + BOOKMARK_SECONDS
                if self.version >= at and not self.bookmarks_off:
                    yield a_bookmark(str(at)) + b"\n"

    async def _woken(self, at: float) -> None:
        """A change came, or it is ``at``."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(at), self._changed:
                await self._changed.wait()

    def _documents(self, kind: Kind) -> list[dict[str, Any]]:
        """What a list shows."""
        return list(self.objects.values()) if kind is Kind.SERVICE else []

    async def _tell(self, kind: Kind, line: bytes) -> None:
        self._log.append((self.version, kind, line))
        async with self._changed:
            self._changed.notify_all()


def _listing(query: Mapping[str, str]) -> str:
    return "version" if query.get("limit") == "1" else "list"


async def _silent() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _now() -> float:
    return asyncio.get_running_loop().time()
