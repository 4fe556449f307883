"""Members of the Secrets of a home cluster: listed, then watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from registry.membership.absence import AbsencePolicy
from registry.membership.roster import LABEL, Expired, Found, Roster, SecretsError, excess
from registry.membership.spec import Listener, MemberSpec, Trouble
from registry.model.names import Kind
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import DecodeError
from registry.sources.kubernetes.framing import LineFramer, LineTooLongError
from registry.sources.kubernetes.identity import QUERY, SYSTEM_NAMESPACE, system_uid
from registry.sources.kubernetes.kubeconfig import Surroundings
from registry.sources.kubernetes.resources import RESOURCES

WATCH_SECONDS = 300
PATIENCE_SECONDS = 30
"""How much longer than asked for a watch may go on without a byte before it is given up."""

BACKOFF_SECONDS = (0.5, 30.0)
"""The first wait after a failure, and the longest; each is twice the one before, less a random part of up to half."""

MAX_SECRETS = 10_000
"""Also of Secrets without data. With more the list is given up; a part of a list would look like removals."""

PAGE_SECRETS = 8
PAGE_BYTES = 16 << 20
"""A page of the list is scanned in one piece. A Secret has 1 MiB of data at most, which is 1.4 MiB of base64."""

Connect = Callable[[], Awaitable[KubernetesClient]]


class RemoteSecrets:
    """The members that the Secrets in ``namespace`` of the home cluster name. ``connect`` is used after each failure.

    What a list lacks is listed again every ``confirm_seconds`` of ``policy``, and watched meanwhile.
    Whatever happens to the home cluster, or to the right to read it, the members stay; also when its credentials lead
    to another cluster than at first, where we may see which it is.
    """

    def __init__(
        self,
        origin: str,
        namespace: str,
        connect: Connect,
        around: Surroundings | None,
        policy: AbsencePolicy,
        *,
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.origin = origin
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        self._what = f"secrets in {namespace}"
        self._connect = connect
        self._roster = Roster(namespace, around, policy)
        self._confirm_seconds = policy.confirm_seconds
        self._random = random
        self._sleep = sleep
        self._failures = 0
        self._told: list[MemberSpec] | None = None
        self._listener: Listener | None = None
        self._uid = ""
        """Of the home cluster, as soon as it is known."""

    async def run(self, listener: Listener) -> None:
        self._listener = listener
        while True:
            trouble = await self._follow(listener)
            listener.trouble(trouble)
            first, longest = BACKOFF_SECONDS
            wait = min(longest, first * 2.0 ** min(self._failures, 16)) * (1 - self._random() / 2)
            self._failures += 1
            await self._sleep(wait)

    def release(self, name: str) -> bool:
        released = self._roster.release(name)
        if released and self._listener is not None:
            self._tell(self._listener)
        return released

    async def _follow(self, listener: Listener) -> Trouble:
        """List and watch until something is wrong; what."""
        client: KubernetesClient | None = None
        try:
            client = await self._connect()
            while True:
                version = await self._list(client)
                self._tell(listener)
                try:
                    async with asyncio.timeout(self._confirm_seconds if self._roster.doubtful else None):
                        await self._watch(client, version, listener)
                except (TransportError, TimeoutError):
                    # Watches break off, through proxies all the time; the list will tell whether it is more.
                    pass
                await self._sleep(BACKOFF_SECONDS[0])
        except TransportError as error:
            return self._trouble(error.reason, f"{self._what}: {error}")
        except _RefusedError as error:
            return self._trouble(error.reason, str(error))
        except (SecretsError, DecodeError, LineTooLongError) as error:
            return self._trouble(Reason.BAD_RESPONSE, f"{self._what}: {error}")
        finally:
            if client is not None:
                await client.close()

    async def _list(self, client: KubernetesClient) -> str:
        """List once; the resourceVersion to watch from."""
        found: list[Found] = []
        query = {"labelSelector": LABEL, "limit": str(PAGE_SECRETS)}
        while True:
            answer = await client.request("GET", self._path, query=query, most=PAGE_BYTES)
            if answer.status != HTTPStatus.OK:
                raise _RefusedError(refused("list", self._what, answer.status))
            page = await asyncio.to_thread(self._roster.reader.page, answer.body)
            found += page.found
            if len(found) > MAX_SECRETS:
                raise SecretsError(f"a list of more than {MAX_SECRETS} Secrets with the label {LABEL}; delete some")
            if not page.token or excess(found):  # the roster takes nothing of what is too much
                break
            query["continue"] = page.token
        await self._recognize(client)
        self._roster.listed(found, asyncio.get_running_loop().time())
        return page.version

    async def _recognize(self, client: KubernetesClient) -> None:
        """It is the home cluster that answers. Who may not list namespaces there cannot know."""
        answer = await client.request("GET", RESOURCES[Kind.NAMESPACE].paths[0], query=QUERY)
        if answer.status != HTTPStatus.OK:
            if not self._uid or answer.status == HTTPStatus.FORBIDDEN:
                return
            raise _RefusedError(refused("list", "namespaces", answer.status))
        uid = system_uid(answer.body)
        self._uid = self._uid or uid
        if uid != self._uid:
            text = (
                f"{client.server} is another cluster ({SYSTEM_NAMESPACE} has UID {uid or 'none'}) than the home "
                f"cluster before ({self._uid}); correct the credentials, or, if it is the home cluster now, restart"
            )
            raise _RefusedError(Fault(Reason.IDENTITY_REFUSED, text))

    async def _watch(self, client: KubernetesClient, version: str, listener: Listener) -> None:
        """Watch for as long as that goes well; return when a list is needed."""
        while True:
            query = {
                "labelSelector": LABEL,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(WATCH_SECONDS),
            }
            framer = LineFramer()
            before = version
            async with client.stream(self._path, query, silence=WATCH_SECONDS + PATIENCE_SECONDS) as stream:
                if stream.status == HTTPStatus.GONE:
                    return
                if stream.status != HTTPStatus.OK:
                    raise _RefusedError(refused("watch", self._what, stream.status))
                self._failures = 0
                listener.trouble(self._roster.trouble)
                async for chunk in stream.chunks():
                    try:
                        for line in framer.feed(chunk):
                            change = await asyncio.to_thread(self._roster.reader.line, line)
                            version = self._roster.take(change) or version
                    except Expired:
                        return
                    finally:
                        self._tell(listener)
            if version == before:
                return
            await self._recognize(client)

    def _tell(self, listener: Listener) -> None:
        specs, doubt = self._roster.specs(), self._roster.trouble
        if doubt is not None:
            listener.trouble(doubt)
        if specs != self._told:
            listener.members(specs)
            self._told = specs

    @staticmethod
    def _trouble(reason: str, message: str) -> Trouble:
        return Trouble(reason, f"{message}; the members it named stay")


class _RefusedError(Exception):
    """The home cluster answered, and not with what was asked for."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.reason = fault.reason
