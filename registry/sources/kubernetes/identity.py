"""Which cluster the credentials lead to: the UID of its namespace ``kube-system``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from registry.model.conditions import Condition, ConditionType
from registry.model.facts import Namespace
from registry.model.names import Kind
from registry.sources.kubernetes.api import Api, Surroundings, retry_after
from registry.sources.kubernetes.backoff import Backoff
from registry.sources.kubernetes.client import TransportError
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import DecodeError, decode_page
from registry.sources.kubernetes.resources import RESOURCES

SYSTEM_NAMESPACE = "kube-system"
REFUSED_SECONDS = 30.0
"""How long until a cluster that was refused is looked at again."""

QUERY = {"fieldSelector": f"metadata.name={SYSTEM_NAMESPACE}", "limit": "1"}
"""A list, so that the right to ``list`` namespaces is enough."""

MOST_NAMESPACES = 500
"""In an answer to that: a server may overlook both parameters, and have more namespaces than one."""

Admit = Callable[[str], str | None]
"""Is given a cluster's UID; None to admit it, else why it is refused."""


class Identity:
    """Asks an API server who it is, and ``admit`` whether that is right; until it is, nothing is read.

    ``fault`` is why it is not yet; ``changed`` is called when that changes, and ``say`` takes the condition.
    """

    def __init__(
        self,
        api: Api,
        admit: Admit | None,
        surroundings: Surroundings,
        *,
        changed: Callable[[], None],
        say: Callable[[Condition], None],
    ) -> None:
        self._api = api
        self._admit = admit
        self._around = surroundings
        self._changed = changed
        self._say = say
        self._backoff = Backoff(surroundings.random)
        self._asking = asyncio.Lock()
        self._confirmed: tuple[str, float] | None = None
        """The server, and when it was asked."""
        self.fault: Fault | None = None

    async def confirm(self, since: float) -> None:
        """Return once the cluster is certain to be the right one, at ``since`` (by the clock) or later."""
        if self._admit is None or self._certain(since):
            return
        async with self._asking:
            while not self._certain(since):
                wait = await self._ask(self._admit)
                self._changed()
                if wait is not None:
                    await self._around.sleep(wait)

    def _certain(self, since: float) -> bool:
        if self._confirmed is None:
            return False
        server, asked_at = self._confirmed
        return server == self._api.server and asked_at >= since

    async def _ask(self, admit: Admit) -> float | None:
        """Ask once. How long to wait before the next time; None when there need be none."""
        asked_at = self._around.clock()
        try:
            answer = await self._api.request("GET", RESOURCES[Kind.NAMESPACE].paths[0], query=QUERY)
        except TransportError as error:
            self.fault = Fault(error.reason, str(error))
            return self._backoff.failed()
        if answer.status != HTTPStatus.OK:
            self.fault = refused("list", "namespaces", answer.status)
            return self._backoff.failed(retry_after(answer.headers))
        try:
            uid = system_uid(answer.body)
        except DecodeError as error:
            self.fault = Fault(Reason.BAD_RESPONSE, f"list namespaces: {error}")
            return self._backoff.failed()
        self._backoff.succeeded()
        why = admit(uid) if uid else f"it shows no namespace {SYSTEM_NAMESPACE}, whose UID is its identity"
        if why is not None:
            text = f"{self._api.server}: {why}"
            self.fault = Fault(Reason.IDENTITY_REFUSED, text)
            self._say(Condition(ConditionType.IDENTITY_CONFIRMED, False, Reason.IDENTITY_REFUSED, text))
            return REFUSED_SECONDS
        self.fault = None
        self._confirmed = (self._api.server, asked_at)
        self._say(Condition(ConditionType.IDENTITY_CONFIRMED, True, "Admitted", f"uid {uid}"))
        return None


def system_uid(body: bytes) -> str:
    """The UID of the namespace in an answer to ``QUERY``, empty where there is none.

    Raises:
        DecodeError: it is no list of namespaces.
    """
    for fact in decode_page(Kind.NAMESPACE, body, MOST_NAMESPACES).objects():
        if isinstance(fact, Namespace) and fact.name == SYSTEM_NAMESPACE:
            return fact.uid
    return ""
