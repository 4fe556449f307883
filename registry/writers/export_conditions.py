"""Says on the ServiceExports of one cluster what became of them: conditions of the MCS API v1beta1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

from registry.model.conditions import Condition
from registry.model.facts import Fact, Service
from registry.model.names import ClusterId, Kind, ObjectRef, ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.model.status import WriterStatus
from registry.sources.kubernetes.identity import Admit
from registry.sources.kubernetes.reflector import Connect
from registry.views.export_status import ExportCondition, export_conditions
from registry.writers.answers import WriteError
from registry.writers.export_api import ExportApi, HeldExport, condition_documents, while_unknown
from registry.writers.loop import Confirm, Sleep, WriteLoop
from registry.writers.told import exports_status, exports_written
from registry.writers.unknown import NOBODY, Unknown

log = logging.getLogger(__name__)


class ExportConditionWriter:
    """Writes the conditions of every ServiceExport of one cluster, each only when it would be another than it is.

    ``exports`` are those that the cluster told of, ``service`` finds a Service of the cluster, ``get`` the merged one,
    and ``excluded`` says whether the configuration exports nothing of that name. ``now`` is the time in seconds since
    the epoch. Nothing is written before ``ready``, nor before ``admit`` knows the cluster for the member's. While
    members are ``unknown``, conditions that they may be a reason for stay. ``say`` takes conditions of the cluster.
    """

    def __init__(
        self,
        cluster: ClusterId,
        connect: Connect,
        *,
        exports: Callable[[], Mapping[ObjectRef, Fact]],
        service: Callable[[ServiceKey], Service | None],
        get: Callable[[ServiceKey], MergedService | None],
        excluded: Callable[[ServiceKey], bool],
        ready: Callable[[], bool],
        unknown: Callable[[], Unknown] = lambda: NOBODY,
        now: Callable[[], float],
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        admit: Admit | None = None,
        say: Callable[[Condition], None] = lambda _: None,
    ) -> None:
        self.cluster = cluster
        self._unknown = unknown
        self._say = say
        self._exports = exports
        self._service = service
        self._get = get
        self._excluded = excluded
        self._now = now
        self._loop = WriteLoop(
            "conditions of ServiceExports",
            cluster,
            connect,
            ExportApi,
            self,
            ready=ready,
            random=random,
            sleep=sleep,
            admit=admit,
        )
        self._held: dict[ServiceKey, HeldExport] = {}
        self._wrote: dict[ServiceKey, tuple[ExportCondition, ...]] = {}
        """What we last wrote of each: a condition that is not wanted any more goes only where it was ours."""
        self._conflicts: set[ServiceKey] = set()
        self._written = 0

    @property
    def uid(self) -> str:
        return self._loop.uid

    def publish(self, changes: ChangeSet) -> None:
        """These services changed."""
        exports = self._exports()
        self._loop.mark(change.key for change in changes if _ref(change.key) in exports)

    def told(self, key: ServiceKey) -> None:
        """The cluster said something of the Service or the ServiceExport of that name."""
        self._loop.mark((key,))

    def look_again(self) -> None:
        """Something else that matters changed: a list was completed, or it is time to write."""
        self._loop.mark((ServiceKey(ref.namespace, ref.name) for ref in self._exports()), changed=False)

    def status(self) -> WriterStatus:
        """How the writing goes; ``entries`` are ServiceExports."""
        return exports_status(
            WriterStatus(
                entries=len(self._held),
                written=self._written,
                conflicts=tuple(map(str, sorted(self._conflicts))),
                failures=self._loop.asides.failures,
                awaits=self._unknown().clusters,
            ),
            waiting=self._loop.waiting,
            trouble=self._loop.trouble,
        )

    def report(self) -> None:
        self._say(exports_written(self.status()))

    async def run(self) -> None:
        """Write until cancelled. What fails is tried again; a bad object holds up no other."""
        await self._loop.run()

    async def compare(self, api: ExportApi) -> None:
        self._held = {each.key: each for each in await api.list_all()}
        self._conflicts.clear()
        self._wrote = {key: wrote for key, wrote in self._wrote.items() if key in self._held}
        self._loop.mark(self._held, changed=False)

    async def follow(self, _api: ExportApi, _confirm: Confirm, /) -> None:
        """What others change is told by the cluster's source."""
        await asyncio.Event().wait()

    async def write(self, api: ExportApi, key: ServiceKey) -> None:
        """Bring the conditions of one ServiceExport to where they should be."""
        self._conflicts.discard(key)
        export = self._exports().get(_ref(key))
        held = self._held.get(key)
        if export is not None and (held is None or held.version != export.resource_version):
            held = await api.read(key)
        if export is None or held is None:
            self._forget(key)
            return
        if (before := self._held.get(key)) is not None and before.uid != held.uid:
            self._forget(key)
        self._held[key] = held
        wanted = export_conditions(key, self.cluster, self._service(key), self._get(key), excluded=self._excluded(key))
        if self._unknown():
            wanted = while_unknown(wanted, held)
        left_over = {each.type for each in self._wrote.get(key, ())} - {each.type for each in wanted}
        if held.has(wanted) and not left_over:
            return
        try:
            self._held[key] = await api.apply(held, condition_documents(wanted, held, self._now()))
        except WriteError as error:
            self._held.pop(key, None)
            if error.status == HTTPStatus.NOT_FOUND:
                return
            if error.status != HTTPStatus.CONFLICT:
                raise
            self._conflicts.add(key)
            log.warning("cluster %s: ServiceExport %s: %s", self.cluster, key, error)
            return
        self._wrote[key] = wanted
        self._written += 1

    def _forget(self, key: ServiceKey) -> None:
        self._held.pop(key, None)
        self._wrote.pop(key, None)


def _ref(key: ServiceKey) -> ObjectRef:
    return ObjectRef(Kind.SERVICE_EXPORT, *key)
