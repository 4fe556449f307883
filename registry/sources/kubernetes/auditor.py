"""Compares, from time to time, what is held of a cluster with a cheap listing, and has mended what differs.

It needs no open watch: it is there for watches that do not tell what they should.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus

from registry.model.conditions import Condition, ConditionType
from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.api import Api, Surroundings
from registry.sources.kubernetes.audit import ACCEPT, Doubts, Listing, drift
from registry.sources.kubernetes.bounds import PAGE_BYTES, MemberBounds
from registry.sources.kubernetes.client import TransportError
from registry.sources.kubernetes.conditions import Reason
from registry.sources.kubernetes.decode import DecodeError, TooManyError
from registry.sources.kubernetes.follower import Follower
from registry.sources.kubernetes.resources import RESOURCES
from registry.sources.kubernetes.steps import page_step

log = logging.getLogger(__name__)

AUDIT_SECONDS = 300.0
"""How often each kind is looked at, more or less a quarter."""

SECOND_LOOK_SECONDS = 10.0
"""How long a watch may be behind."""

PAGE_PAUSE_SECONDS = 0.05
"""Between two pages: there is no hurry."""

PAGE_SIZE = 500

Held = Callable[[Kind], Mapping[ObjectRef, Fact]]
"""What is held of a kind now, as its lists and watches said it."""


class Auditor:
    """``drifted`` counts the objects that differed; ``say`` takes the condition ``Consistent``.

    ``confirm`` returns once it is certain that ``api`` led to the right cluster at the time it is given, or later.
    """

    def __init__(
        self,
        followers: Mapping[Kind, Follower],
        api: Api,
        held: Held,
        surroundings: Surroundings,
        *,
        confirm: Callable[[float], Awaitable[None]],
        say: Callable[[Condition], None],
        seconds: float = AUDIT_SECONDS,
        most_objects: int = MemberBounds().objects,
    ) -> None:
        self._followers = followers
        self._api = api
        self._held = held
        self._around = surroundings
        self._confirm = confirm
        self._say = say
        self._seconds = seconds
        self._most_objects = most_objects
        self._mending: set[Kind] = set()
        self.drifted = 0

    async def run(self) -> None:
        """Look at one kind after the other, until cancelled."""
        while True:
            for kind in self._followers:
                share = 0.75 + self._around.random() / 2
                await self._around.sleep(self._seconds / len(self._followers) * share)
                try:
                    await self._audit(kind)
                except Exception:
                    log.exception("comparing %s failed", RESOURCES[kind].name)

    def listed(self, kind: Kind) -> None:
        """A list of the kind is complete."""
        if kind in self._mending:
            self._mending.discard(kind)
            if not self._mending:
                self._say(Condition(ConditionType.CONSISTENT, True, "Relisted", f"{kind} was listed anew"))

    async def _audit(self, kind: Kind) -> None:
        first = await self._look(kind)
        if first is None:
            return
        found: Doubts = {}
        if first:
            await self._around.sleep(SECOND_LOOK_SECONDS)
            second = await self._look(kind)
            if second is None:
                return
            found = drift(first, second)
        if found:
            self._mend(kind, found)
        elif not self._mending:
            self._say(Condition(ConditionType.CONSISTENT, True, "Audited"))

    def _mend(self, kind: Kind, found: Doubts) -> None:
        """List every kind anew. Where one differs the history may be another one (an etcd that was restored), and there
        an object of any kind may have been written at the very version that is held: no listing of names tells it."""
        self.drifted += len(found)
        ref = min(found)
        text = f"{len(found)} of kind {kind} differ from the API server's, such as {ref} ({found[ref]}): listing anew"
        self._say(Condition(ConditionType.CONSISTENT, False, "Drift", text))
        self._mending.add(kind)
        for follower in self._followers.values():
            follower.relist()

    async def _look(self, kind: Kind) -> Doubts | None:
        """One listing compared; None where it cannot be had, or what is held is not settled."""
        follower = self._followers[kind]
        if not follower.is_settled():
            return None
        await self._confirm(max(each.lost_at for each in self._followers.values()))
        listing = Listing(kind, self._most_objects)
        step = page_step(follower.machine.path, PAGE_SIZE)
        listed_at = follower.listed_at
        while True:
            try:
                answer = await self._api.request("GET", step.path, query=step.query, accept=ACCEPT, most=PAGE_BYTES)
                if answer.status != HTTPStatus.OK:
                    return None
                token = listing.page(answer.body)
            except (TransportError, DecodeError) as error:
                log.debug("no listing of %s to compare with: %s", RESOURCES[kind].name, error)
                if isinstance(error, TooManyError) or _is_too_large(error):
                    self._say(Condition(ConditionType.CONSISTENT, True, "NotAudited", f"{kind}: {error}"))
                return None
            if not follower.is_settled() or follower.listed_at != listed_at or self._api.server != follower.server:
                return None
            if not token:
                return listing.doubts(self._held(kind), self._unreadable(kind))
            step = page_step(step.path, PAGE_SIZE, token)
            await self._around.sleep(PAGE_PAUSE_SECONDS)

    def _unreadable(self, kind: Kind) -> Collection[ObjectRef]:
        return self._followers[kind].machine.unreadable


def _is_too_large(error: Exception) -> bool:
    return isinstance(error, TransportError) and error.reason is Reason.LIMIT_EXCEEDED
