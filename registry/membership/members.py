"""Starts, replaces and stops what follows each member, as the membership changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec

from registry.membership.following import Companion, Following, Hub, Open
from registry.membership.hearing import Hearing
from registry.membership.identity import IdentityBook
from registry.membership.leaving import Leaving
from registry.membership.reconcile import Membership, Plan, plan
from registry.membership.spec import Connection, Manifests, MemberSpec, Provider, Remembered, Unusable
from registry.model.conditions import Condition, ConditionType
from registry.model.names import ClusterId, Kind
from registry.model.status import Source, SourceState, SourceStatus
from registry.sources.kubernetes.conditions import Reason
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

Params = ParamSpec("Params")

UNUSABLE = "KubeconfigInvalid"
NOT_NAMED = "NotNamedYet"
NAMED_NO_MORE = "NamedNoMore"
NAMED_AGAIN = "NamedAgain"
IN_USE = "InUse"


@dataclass(slots=True)
class _Member:
    """``current`` is heard, ``candidate`` is to take its place; a member whose kubeconfig is unusable may have none.

    ``returned``: it was to go, was named again by other words, and is not known yet to be the same cluster.
    """

    spec: MemberSpec
    current: Following | None = None
    candidate: Following | None = None
    returned: bool = False


class Members:
    """The members of all ``providers``, the most important first, followed into ``hub``.

    A member whose connection changes is followed over the old one until the new one has listed everything, and is known
    to lead to the same cluster: then one takes the other's place, in one step. Nothing here waits for a cluster.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        hub: Hub,
        open_: Open,
        companions: Sequence[Companion] = (),
        *,
        settle_seconds: float,
        tasks: Supervisor | None = None,
    ) -> None:
        """``settle_seconds``: a removal waits for so long, and is none if the member or its cluster is named again."""
        self._supervisor = tasks or Supervisor()
        self.hearing = Hearing(providers, self._changed, self._supervisor)
        self._hub = hub
        self._open = open_
        self._companions = companions
        self._members: dict[str, _Member] = {}
        self._book = IdentityBook()
        self._leaving = Leaving(settle_seconds, lambda name: self._attempt(self._drop, name))
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, when_told: Callable[[], None]) -> None:
        """Begin. ``when_told`` is as in ``Hearing.run``."""
        self._keep(asyncio.create_task(self.hearing.run(when_told), name="membership"))

    async def stop(self) -> None:
        """End everything. The members stay known: nothing is removed by a program that ends."""
        self._leaving.stop()
        for member in self._members.values():
            self._end(member.current)
            self._end(member.candidate)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def settle_seconds(self) -> float:
        """So long a removal waits."""
        return self._leaving.settle_seconds

    @settle_seconds.setter
    def settle_seconds(self, seconds: float) -> None:
        self._leaving.settle_seconds = seconds

    def clusters(self) -> Sequence[ClusterId]:
        """The members, ordered by name; also one that leaves only when another has taken its place."""
        return [ClusterId(name) for name in sorted(self._members)]

    def expect(self, cluster: ClusterId, uid: str) -> bool:
        """An earlier run knew the member as the cluster ``uid``: it has to lead there now too.

        False when another member is that cluster.
        """
        return self._book.expect(cluster, uid)

    def uid(self, cluster: ClusterId) -> str:
        """Which cluster the member is, as was proven when it was reached, or is remembered; empty if unknown.

        It counts as long as the member does, whatever its lists lack.
        """
        return self._book.uid(cluster) or ""

    def spec(self, cluster: ClusterId) -> MemberSpec:
        """What is said of the member."""
        return self._members[cluster].spec

    def source(self, cluster: ClusterId) -> Source | None:
        """The source that is heard of the member now; None where there is none yet, or it is no member."""
        member = self._members.get(cluster)
        return member.current.source if member is not None and member.current is not None else None

    def recognize(self, cluster: ClusterId, uid: str) -> str | None:
        """None where the member is known to be the cluster ``uid``, else what is wrong. Claims nothing."""
        known = self._book.uid(cluster)
        if known == uid:
            return None
        return (
            f"this is not known to be the member's cluster (kube-system has UID {uid}, the member's is {known or '?'})"
        )

    @property
    def known(self) -> bool:
        """Every provider has said who its members are."""
        return self.hearing.known

    def release(self, cluster: ClusterId) -> bool:
        """Somebody decides that the member is gone, where that is doubted; whether it was. It goes soon."""
        released = self.hearing.release(cluster)
        if released:
            log.warning("cluster %s: let go by hand", cluster)
        return released

    def duplicate(self, cluster: ClusterId) -> bool:
        """The member is not followed because another one is the same cluster."""
        return self._book.duplicate(cluster)

    def _changed(self, before: Membership, after: Membership) -> None:
        """One member that cannot be added, changed or removed keeps no other from it."""
        changes = plan(before.members, after.members)
        for spec in changes.added:
            self._attempt(self._add_heir, spec)
        for spec in changes.changed:
            self._attempt(self._change, spec)
        for name in changes.removed:
            self._attempt(self._remove, name, changes)

    def _attempt(self, call: Callable[Params, object], *args: Params.args, **kwargs: Params.kwargs) -> None:
        self._supervisor.attempt("membership", call, *args, **kwargs)

    def _add_heir(self, spec: MemberSpec) -> None:
        """Add a member, which may be the same cluster as one that was removed a moment ago."""
        self._add(spec)
        for leaving in self._leaving.settling:
            if leaving != spec.name and self._possible_heirs(leaving, [spec]):
                self._leaving.expect(spec.name, leaving)

    def _possible_heirs(self, name: str, added: Iterable[MemberSpec]) -> Set[str]:
        """Those that may be the same cluster under a new name: a folder of manifests is known by its path."""
        connection = self._members[name].spec.connection
        if isinstance(connection, Manifests):
            return {spec.name for spec in added if spec.connection == connection}
        if self._book.uid(name) is None:
            return set()
        return {spec.name for spec in added if not isinstance(spec.connection, Manifests)}

    def _add(self, spec: MemberSpec) -> None:
        if spec.name in self._members:
            if not _elsewhere(self._members[spec.name].spec.connection, spec.connection):
                self._stay(spec)
                return
            self._drop(spec.name)
        cluster = ClusterId(spec.name)
        member = self._members[spec.name] = _Member(spec)
        log.info("cluster %s: a member now (%s)", cluster, spec.origin)
        self._hub.add_cluster(cluster, spec.network, partial(self._relist, cluster))
        for companion in self._companions:
            self._attempt(companion.joined, cluster)
        self._note_doubt(spec, "")
        self._change_connection(member)

    def _stay(self, spec: MemberSpec) -> None:
        """The member was to leave, and is wanted again."""
        member = self._members[spec.name]
        if member.current is None or member.current.connection != spec.connection:
            member.returned = True
        self._leaving.end(spec.name)
        self._book.stay(spec.name)
        self._change(spec)
        heir = self._members.get(self._book.heir(spec.name) or "")
        if heir is not None and heir.current is not None and heir.current.listed:
            self._start_anew(member)

    def _relist(self, cluster: ClusterId, kinds: Iterable[Kind]) -> None:
        source = self.source(cluster)
        if source is not None:
            source.relist(kinds)

    def _change(self, spec: MemberSpec) -> None:
        member = self._members[spec.name]
        before, member.spec = member.spec, spec
        self._note_doubt(spec, before.doubt)
        if spec.network != before.network:
            self._hub.set_network(ClusterId(spec.name), spec.network)
        if spec.connection != before.connection:
            self._change_connection(member)
        for companion in self._companions:
            self._attempt(companion.changed, ClusterId(spec.name))

    def _note_doubt(self, spec: MemberSpec, before: str) -> None:
        """Say whether it is doubted that the member is gone. While it is, another name may take over its cluster."""
        if spec.doubt:
            self._book.leave(spec.name)
            reason = NOT_NAMED if isinstance(spec.connection, Remembered) else NAMED_NO_MORE
            self._hub.condition(ClusterId(spec.name), Condition(ConditionType.NAMED, False, reason, spec.doubt))
        elif before:
            self._book.stay(spec.name)
            self._hub.condition(ClusterId(spec.name), Condition(ConditionType.NAMED, True, NAMED_AGAIN))

    def _change_connection(self, member: _Member) -> None:
        cluster, connection = ClusterId(member.spec.name), member.spec.connection
        current = member.current
        if isinstance(connection, Unusable):
            reason = NOT_NAMED if isinstance(connection, Remembered) else UNUSABLE
            if current is None:
                self._hub.status(cluster, SourceStatus(SourceState.FAILING, reason, connection.message))
            else:
                self._not_current(member, UNUSABLE, connection.message)
        elif current is None or not current.listed:
            self._begin(member, connection)
        elif connection == current.connection:
            self._end(member.candidate)
            member.candidate = None
            member.returned = False
            self._in_use(member)
        elif member.candidate is None or member.candidate.connection != connection:
            self._end(member.candidate)
            member.candidate = self._following(member, connection, self._candidate_heard)
            member.candidate.start()

    def _begin(self, member: _Member, connection: Connection) -> None:
        """Follow the member so. What was followed before listed nothing that could be lost, and need not be right."""
        cluster = ClusterId(member.spec.name)
        if member.current is not None:
            self._end(member.current)
            self._book.start_over(cluster)
            self._hub.start_over(cluster)
            self._hub.status(cluster, SourceStatus(SourceState.CONNECTING))
        before = member.current
        current = member.current = self._following(member, connection, self._heard)
        for companion in self._companions:
            self._attempt(companion.reached, cluster, current.connect)
        current.start()
        self._take_over(before, current)

    def _take_over(self, before: Following | None, current: Following) -> None:
        """The hub hears ``current`` from now on, and heard ``before`` until now."""
        local = isinstance(current.connection, Manifests)
        if local or (before is not None and isinstance(before.connection, Manifests)):
            self._hub.set_local(current.cluster, local=local)
        current.take_over()

    def _following(
        self, member: _Member, connection: Connection, heard: Callable[[Following, SourceStatus], None]
    ) -> Following:
        admit = partial(self._admit, ClusterId(member.spec.name))
        return Following(
            member.spec, connection, self._hub, open_=self._open, admit=admit, heard=heard, tasks=self._supervisor
        )

    def _admit(self, cluster: ClusterId, uid: str) -> str | None:
        """Whether the member may be this cluster; whoever waited to know may go then."""
        refusal = self._book.admit(cluster, uid)
        for leaving in self._leaving.waiting_for(cluster):
            if self._book.uid(leaving) != self._book.uid(cluster):
                self._leaving.rule_out(cluster, leaving)
        return refusal

    def _heard(self, following: Following, status: SourceStatus) -> None:
        """The member's source said how it is doing."""
        member = self._members[following.cluster]
        if self._is_another(member, following, status):
            self._start_anew(member)
            return
        if status.state is not SourceState.SYNCED or following.settled:
            return
        following.settled = True
        member.returned = False
        if member.spec.connection == following.connection:
            self._in_use(member)
        self._arrived(following.cluster)

    def _candidate_heard(self, candidate: Following, status: SourceStatus) -> None:
        """The one that is to take the place of the member's source said how it is doing."""
        member = self._members[candidate.cluster]
        if candidate is not member.candidate:  # it is the member's source by now
            self._heard(candidate, status)
        elif self._is_another(member, candidate, status):
            self._start_anew(member)
        elif status.state is SourceState.FAILING:
            self._not_current(member, status.reason, status.message)
        elif status.state is SourceState.SYNCED:
            before, member.current, member.candidate = member.current, candidate, None
            self._end(before)
            self._take_over(before, candidate)
            log.info("cluster %s: reached with other credentials now (%s)", candidate.cluster, candidate.origin)
            for companion in self._companions:
                self._attempt(companion.reached, candidate.cluster, candidate.connect)
            self._heard(candidate, status)

    def _is_another(self, member: _Member, following: Following, status: SourceStatus) -> bool:
        """It was removed and named again, and is another cluster now: the removal was one.

        Only what is named now can tell, and not of a member that is to go once more.
        """
        if not member.returned or following.connection != member.spec.connection:
            return False
        refused = status.state is SourceState.FAILING and status.reason == Reason.IDENTITY_REFUSED
        return refused and not self._leaving.leaving(member.spec.name)

    def _start_anew(self, member: _Member) -> None:
        self._drop(member.spec.name)
        self._add(member.spec)

    def _not_current(self, member: _Member, reason: str, message: str) -> None:
        text = f"{member.spec.origin}: {message}; the credentials before are used on"
        condition = Condition(ConditionType.CREDENTIALS_CURRENT, False, reason, text)
        self._hub.condition(ClusterId(member.spec.name), condition)

    def _in_use(self, member: _Member) -> None:
        condition = Condition(ConditionType.CREDENTIALS_CURRENT, True, IN_USE)
        self._hub.condition(ClusterId(member.spec.name), condition)

    def _remove(self, name: str, changes: Plan) -> None:
        """Remove the member in a moment; where another may be the same cluster under a new name, when that has come.

        Those ``waiting`` are the same cluster, those that are added may be.
        """
        waiting = self._book.waiting(name).difference(changes.removed)
        heirs = waiting | self._possible_heirs(name, changes.added)
        self._book.leave(name)
        self._leaving.begin(name, heirs)
        self._try_again(waiting)

    def _arrived(self, name: str) -> None:
        """The member is there, or gone: none waits for it any more, and nobody doubts that it has taken a place."""
        for other in self._book.succeeded(name):
            if self._members[other].spec.doubt:
                self.hearing.release(other)
            elif not self._leaving.leaving(other):  # it came back, too late
                self._start_anew(self._members[other])
        for leaving in self._leaving.waiting_for(name):
            self._leaving.rule_out(name, leaving)

    def _drop(self, name: str) -> None:
        member = self._members.pop(name)
        cluster = ClusterId(name)
        log.info("cluster %s: no member any more", cluster)
        self._end(member.current)
        self._end(member.candidate)
        for companion in self._companions:
            self._attempt(companion.left, cluster)
        self._hub.remove_cluster(cluster)
        waiting = self._book.waiting(name)
        self._leaving.end(name)
        self._book.forget(name)
        self._arrived(name)
        self._try_again(waiting)

    def _try_again(self, names: frozenset[str]) -> None:
        """These were refused for a reason that is gone."""
        for name in sorted(names):
            member = self._members[name]
            if member.current is not None and not member.current.listed:
                self._begin(member, member.current.connection)

    def _end(self, following: Following | None) -> None:
        task = following.stop() if following is not None else None
        if task is not None:
            self._keep(task)

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold the task until it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _elsewhere(before: Connection | Unusable, after: Connection | Unusable) -> bool:
    """``after`` certainly leads to another cluster: a folder of manifests is known by its path."""
    known = not isinstance(after, Unusable) and Manifests in (type(before), type(after))
    return known and before != after
