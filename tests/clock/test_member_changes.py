"""Members on a virtual clock, over sources that say what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.facts import A, a_service, a_slice, listing
from support.virtual_loop import VirtualLoop, virtually

from registry.config.sections import GuardConfig
from registry.index import Index
from registry.membership.following import Admit, Following, Held, Opened
from registry.membership.hearing import Hearing
from registry.membership.leaving import SUCCESSION_SECONDS
from registry.membership.members import Members
from registry.membership.spec import Connection, Listener, MemberSpec, Trouble, Unusable
from registry.model.conditions import Condition, ConditionBoard, ConditionType
from registry.model.events import Delete, SourceEvent
from registry.model.facts import Fact
from registry.model.names import BASE_KINDS, ClusterId, Kind, ObjectRef
from registry.model.status import Sink, SourceState, SourceStatus
from registry.sources.kubernetes.kubeconfig import Kubeconfig
from registry.supervision import BACKOFF_SECONDS, Supervisor

SETTLE_SECONDS = GuardConfig().settle_seconds
SYNCED = SourceStatus(SourceState.SYNCED, listed=BASE_KINDS)
BROKEN = Unusable("half of it")


def to(uid: str, token: str = "") -> Kubeconfig:
    """A kubeconfig that leads to the cluster ``uid``."""
    return Kubeconfig(uid, user=f'{{"token": "{token}"}}')


@dataclass
class FakeSource:
    """One way to reach a cluster: the test says when it answers."""

    cluster: ClusterId
    uid: str
    admit: Admit
    held: Held
    sink: Sink | None = None
    ended: bool = False
    listed: bool = False
    heard_at: float | None = None
    origin: str = "fake"
    relists: list[Kind] = field(default_factory=list)
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    def relist(self, kinds: Iterable[Kind]) -> None:
        self.relists.extend(kinds)

    async def run(self, sink: Sink) -> None:
        self.sink = sink
        try:
            await self.broken.wait()
            raise ZeroDivisionError("a bug")
        finally:
            self.ended = True

    def answer(self) -> None:
        """It is reached, and asked who it is. If it may be that, it lists all it has: one endpoint, named after it."""
        assert self.sink is not None
        refusal = self.admit(self.uid)
        if refusal is not None:
            self.fail("IdentityRefused", refusal)
            return
        self.list_only(*BASE_KINDS)
        self.listed = True
        self.sink.status(self.cluster, SYNCED)

    def list_only(self, *kinds: Kind) -> None:
        """It may be the cluster that it is, and lists all it has of these kinds."""
        assert self.sink is not None
        assert self.admit(self.uid) is None
        for event in listing(a_service(), a_slice(f"10.0.0.{self.uid}"), kinds=kinds):
            self.sink.event(self.cluster, event)

    def fail(self, reason: str, message: str = "", listed: frozenset[Kind] = frozenset()) -> None:
        assert self.sink is not None
        self.sink.status(self.cluster, SourceStatus(SourceState.FAILING, reason, message, listed))


class FakeHub:
    """Keeps what it is told in an index, and every address that ever left the merged list."""

    def __init__(self) -> None:
        self.index = Index()
        self.statuses: dict[ClusterId, SourceStatus] = {}
        self.conditions: ConditionBoard[ClusterId] = ConditionBoard(lambda: 0.0)
        self.left: list[str] = []
        self.shown: set[str] = set()

    def add_cluster(self, cluster: ClusterId, network: str, relist: Callable[[Iterable[Kind]], None]) -> None:
        self.index.add_cluster(cluster, network)
        self.statuses[cluster] = SourceStatus(SourceState.CONNECTING)

    def start_over(self, cluster: ClusterId) -> None:
        self.index.start_over(cluster)

    def set_network(self, cluster: ClusterId, network: str) -> None:
        self.index.set_network(cluster, network)

    def remove_cluster(self, cluster: ClusterId) -> None:
        self.index.remove_cluster(cluster)
        del self.statuses[cluster]
        self.conditions.forget(cluster)
        self.commit()

    def told(self, cluster: ClusterId, kind: Kind) -> Mapping[ObjectRef, Fact]:
        return self.index.held_facts(cluster, kind)

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        self.index.apply(cluster, event)

    def status(self, cluster: ClusterId, status: SourceStatus) -> None:
        self.statuses[cluster] = status
        self.commit()

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        self.conditions.set(cluster, condition)

    def commit(self) -> None:
        self.index.commit()
        now = {endpoint.address for service in self.index.services() for endpoint in service.endpoints}
        self.left += sorted(self.shown - now)
        self.shown = now

    def current(self, name: str) -> tuple[bool, str] | None:
        """Whether the member's credentials are the newest, and why."""
        return self._said(name, ConditionType.CREDENTIALS_CURRENT)

    def named(self, name: str) -> tuple[bool, str] | None:
        """Whether somebody names the member, and why that is asked."""
        return self._said(name, ConditionType.NAMED)

    def _said(self, name: str, kind: ConditionType) -> tuple[bool, str] | None:
        found = self.conditions.get(ClusterId(name), kind)
        return None if found is None else (found.condition.status, found.condition.reason)


class FakeProvider:
    """Says what the test wants."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.listener: Listener | None = None
        self.named: list[MemberSpec] = []

    async def run(self, listener: Listener) -> None:
        self.listener = listener
        await asyncio.Event().wait()

    def say(self, **connections: Connection | Unusable) -> None:
        assert self.listener is not None
        self.named = [MemberSpec(name, self.origin, each) for name, each in sorted(connections.items())]
        self.listener.members(self.named)

    def doubt(self, *names: str) -> None:
        """It names these no more, and that is doubted."""
        assert self.listener is not None
        self.named = [replace(spec, doubt="lacking") if spec.name in names else spec for spec in self.named]
        self.listener.members(self.named)

    def release(self, name: str) -> bool:
        assert self.listener is not None
        doubted = [spec for spec in self.named if spec.name == name and spec.doubt]
        self.named = [spec for spec in self.named if spec not in doubted]
        self.listener.members(self.named)
        return bool(doubted)


class Stage:
    """Two providers, and everything that was opened."""

    def __init__(self) -> None:
        self.first, self.second = FakeProvider("first"), FakeProvider("second")
        self.hub = FakeHub()
        self.opened: list[FakeSource] = []
        self.members = Members([self.first, self.second], self.hub, self._open, settle_seconds=SETTLE_SECONDS)
        self.told = 0

    def _open(self, cluster: ClusterId, origin: str, connection: Connection, admit: Admit, held: Held) -> Opened:
        assert isinstance(connection, Kubeconfig)
        source = FakeSource(cluster, connection.server, admit, held)
        self.opened.append(source)
        return Opened(source, None)

    def _count(self) -> None:
        self.told += 1

    async def run(self, story: Callable[[Stage], Coroutine[None, None, None]]) -> None:
        self.members.start(self._count)
        await a_while()
        try:
            await story(self)
        finally:
            await self.members.stop()
        assert all(source.ended for source in self.opened if source.sink is not None), "nothing is left running"

    async def say(self, **connections: Connection | Unusable) -> None:
        """The first provider says this, and whoever is to run is running."""
        self.first.say(**connections)
        await a_while()

    def running(self, name: str) -> list[FakeSource]:
        return [each for each in self.opened if each.cluster == name and each.sink is not None and not each.ended]

    def current(self, name: str) -> FakeSource | None:
        """The source that is heard of the member."""
        found = self.members.source(ClusterId(name))
        return next((each for each in self.opened if each is found), None)

    @property
    def names(self) -> list[str]:
        return list(map(str, self.members.clusters()))


async def a_while(seconds: float = 0.001) -> None:
    await asyncio.sleep(seconds)


def played(story: Callable[[Stage], Coroutine[None, None, None]]) -> None:
    async def play() -> None:
        await Stage().run(story)

    virtually(play())


def test_taking_over_much_holds_the_loop_for_a_moment_at_a_time() -> None:
    """Each event takes the hub 0.2 ms here, so that 1,000 slices would take 0.2 s in one go."""

    class SlowHub(FakeHub):
        def event(self, cluster: ClusterId, event: SourceEvent) -> None:
            super().event(cluster, event)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.now += 0.0002

    async def play() -> None:
        slices = [replace(a_slice("10.0.0.1"), name=f"echo-{number}") for number in range(1000)]
        source = FakeSource(A, "1", lambda _uid: None, lambda _kind: {})
        hub = SlowHub()
        hub.add_cluster(A, "", lambda _kinds: None)
        connection = to("1")
        following = Following(
            MemberSpec("a", "test", connection),
            connection,
            hub,
            open_=lambda *_: Opened(source, None),
            admit=lambda _uid: None,
            heard=lambda *_: None,
        )
        following.start()
        await asyncio.sleep(0)
        assert source.sink is not None
        for event in listing(a_service(), *slices):
            source.sink.event(A, event)
        clock = asyncio.get_running_loop().time
        following.take_over()
        last, longest, turns = clock(), 0.0, 0
        while len(hub.told(A, Kind.ENDPOINT_SLICE)) < len(slices):
            await asyncio.sleep(0)
            longest, last, turns = max(longest, clock() - last), clock(), turns + 1
        assert turns > 100
        assert longest < 0.003, "1 ms, and the ends of all lists"
        source.sink.event(A, Delete(slices[0].ref))
        assert len(hub.told(A, Kind.ENDPOINT_SLICE)) == len(slices) - 1
        following.stop()

    virtually(play())


def test_all_places_are_heard_or_in_trouble_before_anything_is_accounted() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        assert on.told == 0
        assert on.second.listener is not None
        on.second.listener.trouble(Trouble("Forbidden", ""))
        assert on.told == 1
        assert not on.members.known
        on.second.say()
        assert on.members.known
        assert on.told == 1
        assert on.members.hearing.troubles != {}
        on.second.listener.trouble(None)
        assert on.members.hearing.troubles == {}

    played(story)


def test_place_that_comes_to_be_sure_that_it_names_nobody_is_news() -> None:
    """A start waits for it, and nothing else may happen that makes it look again."""

    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        assert on.second.listener is not None
        on.second.say()
        on.second.listener.trouble(Trouble("NobodyNamed", "", unsure=True))
        told = on.told
        assert not on.members.known
        on.second.listener.trouble(None)
        assert on.members.known
        assert on.told == told + 1

    played(story)


def test_newer_credentials_replace_those_that_were_being_tried() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say(a=to("1", "second"))
        await on.say(a=to("1", "third"))
        first, third = on.running("a")
        assert len(on.opened) == 3
        assert first.held(Kind.SERVICE)
        assert not third.held(Kind.SERVICE)
        third.answer()
        await a_while()
        assert on.running("a") == [third]
        assert on.members.source(ClusterId("a")) is third
        assert on.hub.current("a") == (True, "InUse")
        assert on.hub.left == []

    played(story)


def test_source_that_stands_by_is_asked_for_nothing_and_shows_what_it_holds() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say(a=to("1", "second"))
        standing_by = on.running("a")[1]
        assert standing_by.sink is not None
        for event in listing(a_service("other"), kinds=[Kind.SERVICE]):
            standing_by.sink.event(ClusterId("a"), event)
        assert [ref.name for ref in standing_by.held(Kind.SERVICE)] == ["other"]
        assert [str(service.key) for service in on.hub.index.services()] == ["shop/echo"]

    played(story)


def test_credentials_that_are_taken_back_leave_no_trace() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say(a=to("2"))
        on.running("a")[1].answer()
        assert on.hub.current("a") == (False, "IdentityRefused")
        await on.say(a=BROKEN)
        assert on.hub.current("a") == (False, "KubeconfigInvalid")
        await on.say(a=to("1"))
        assert on.hub.current("a") == (True, "InUse")
        assert len(on.running("a")) == 1

    played(story)


def test_member_whose_kubeconfig_is_broken_from_the_start_is_shown_and_begins_when_it_is_mended() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=BROKEN)
        assert on.hub.statuses[ClusterId("a")].reason == "KubeconfigInvalid"
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        assert on.hub.shown == {"10.0.0.1"}

    played(story)


def test_wrong_kubeconfig_that_never_listed_does_not_bind_the_member_to_its_cluster() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("2"))
        assert on.running("a")[0].admit("2") is None
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        assert on.hub.shown == {"10.0.0.1"}

    played(story)


def test_wrong_kubeconfig_that_listed_a_part_leaves_nothing_of_it() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("2"))
        on.running("a")[0].list_only(Kind.SERVICE, Kind.ENDPOINT_SLICE)
        await on.say(a=to("1"))
        on.running("a")[0].list_only(*BASE_KINDS - {Kind.SERVICE, Kind.ENDPOINT_SLICE})
        on.hub.commit()
        assert on.hub.shown == set(), "half of it is of the other cluster"
        on.running("a")[0].answer()
        assert on.hub.shown == {"10.0.0.1"}

    played(story)


def test_credentials_are_tried_beside_those_that_listed_everything_and_then_failed() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        source = on.running("a")[0]
        source.list_only(*BASE_KINDS)
        source.fail("Forbidden", "watch pods", listed=BASE_KINDS)
        assert on.hub.shown == {"10.0.0.1"}
        await on.say(a=to("2"))
        on.running("a")[1].answer()
        assert on.hub.current("a") == (False, "IdentityRefused")
        assert on.current("a") is source
        assert not source.ended

    played(story)


def test_bug_in_a_source_is_told_and_the_source_is_run_anew() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        source = on.running("a")[0]
        source.answer()
        source.broken.set()
        await a_while()
        told = on.hub.statuses[ClusterId("a")]
        assert (told.state, told.reason, told.listed) == (SourceState.FAILING, "InternalError", BASE_KINDS)
        assert on.hub.left == []
        source.broken.clear()
        await a_while(BACKOFF_SECONDS[0])
        source.answer()
        await a_while()
        assert on.hub.statuses[ClusterId("a")].state is SourceState.SYNCED
        assert on.hub.shown == {"10.0.0.1"}

    played(story)


@pytest.mark.parametrize("gone_between", [False, True], ids=["in one step", "removed, and in a moment named otherwise"])
def test_renamed_member_goes_when_the_new_one_has_come(gone_between: bool) -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        if gone_between:
            await on.say()
        await on.say(z=to("1", "new"))
        assert on.names == ["a", "z"]
        await a_while(SUCCESSION_SECONDS / 2)
        assert on.names == ["a", "z"]
        on.running("z")[0].answer()
        assert on.names == ["z"]
        assert on.hub.left == []

    played(story)


def test_removed_member_waits_no_longer_than_it_takes_to_know_the_others_or_than_it_may() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"), b=to("2"))
        for name in "ab":
            on.running(name)[0].answer()
        await on.say(b=to("2"), z=to("3"))
        assert on.names == ["a", "b", "z"]
        assert on.running("z")[0].admit("3") is None
        await a_while(SETTLE_SECONDS)
        assert on.names == ["b", "z"], "z is another cluster"
        await on.say(z=to("3"), y=to("4"))
        await a_while(SUCCESSION_SECONDS - 1)
        assert on.names == ["b", "y", "z"], "y does not answer"
        await a_while(2)
        assert on.names == ["y", "z"]
        await on.say(z=to("3"))
        await a_while(SETTLE_SECONDS)
        assert on.names == ["z"], "nobody was added: in a moment"

    played(story)


def test_member_that_was_to_leave_and_is_wanted_again_never_left() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say(z=to("1", "new"))
        await on.say(a=to("1"))
        await a_while(SETTLE_SECONDS)
        assert on.names == ["a"]
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.names == ["a"]
        assert len(on.running("a")) == 1
        assert on.hub.left == []
        assert on.running("a")[0].admit("1") is None, "it is itself again"
        await on.say(a=to("1"), b=to("1", "other"))
        on.running("b")[0].answer()
        assert on.members.duplicate(ClusterId("b")), "and nobody else is"

    played(story)


def test_second_name_is_tried_again_at_once_when_the_first_goes() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"), b=to("1", "other"))
        for name in "ab":
            on.running(name)[0].answer()
        assert on.members.duplicate(ClusterId("b"))
        await on.say(b=to("1", "other"))
        assert on.names == ["a", "b"], "b may take over"
        on.running("b")[0].answer()
        await a_while(SETTLE_SECONDS)
        assert on.names == ["b"]
        assert on.hub.left == []
        assert not on.members.duplicate(ClusterId("b"))

    played(story)


def test_bug_in_a_provider_is_told_and_keeps_no_other_from_being_heard() -> None:
    class Broken:
        origin = "broken"

        async def run(self, listener: Listener) -> None:
            raise ZeroDivisionError("a bug")

        def release(self, _name: str) -> bool:
            return False

    async def play() -> None:
        good = FakeProvider("good")
        hub, opened = FakeHub(), []

        def open_(cluster: ClusterId, _origin: str, _way: Connection, admit: Admit, held: Held) -> Opened:
            opened.append(FakeSource(cluster, "1", admit, held))
            return Opened(opened[-1], None)

        members = Members([Broken(), good], hub, open_, settle_seconds=SETTLE_SECONDS)
        members.start(lambda: None)
        await a_while()
        good.say(a=to("1"))
        await a_while()
        assert members.hearing.troubles["broken"].reason == "InternalError"
        opened[0].answer()
        assert hub.shown == {"10.0.0.1"}
        await members.stop()

    virtually(play())


def test_provider_that_fails_is_run_anew() -> None:
    class Failing:
        origin = "failing"
        runs = 0

        async def run(self, listener: Listener) -> None:
            self.runs += 1
            if self.runs <= 2:
                raise ZeroDivisionError("a bug")
            listener.members([])

        def release(self, _name: str) -> bool:
            return False

    async def play() -> None:
        provider = Failing()
        hearing = Hearing([provider], lambda _before, _after: None, Supervisor(rand=lambda: 0.0))
        listening = asyncio.create_task(hearing.run(lambda: None))
        await a_while(BACKOFF_SECONDS[0] * 1.5)
        assert (provider.runs, hearing.troubles["failing"].reason, hearing.known) == (2, "InternalError", False)
        await listening
        assert (provider.runs, hearing.troubles, hearing.known) == (3, {}, True)

    virtually(play())


def test_member_that_is_named_again_in_a_moment_never_left() -> None:
    """A Secret that is deleted and made anew; its credentials may be others."""

    async def story(on: Stage) -> None:
        await on.say(a=to("1"), b=to("2"))
        for name in "ab":
            on.running(name)[0].answer()
        await on.say(b=to("2"))
        await a_while(SETTLE_SECONDS / 2)
        await on.say(a=to("1", "new"), b=to("2"))
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.hub.shown == {"10.0.0.1", "10.0.0.2"}
        assert len(on.running("a")) == 2, "the old credentials are used until the new ones have listed everything"
        on.running("a")[1].answer()
        await a_while()
        assert len(on.running("a")) == 1
        assert on.hub.left == []
        await on.say(b=to("2"))
        assert on.names == ["a", "b"]
        await a_while(SETTLE_SECONDS)
        assert on.names == ["b"]
        assert on.hub.left == ["10.0.0.1"]

    played(story)


def test_member_that_moves_from_one_place_to_another_in_a_moment_never_left() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say()
        on.second.say(a=to("1"))
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.members.spec(ClusterId("a")).origin == "second"
        assert len(on.opened) == 1
        assert on.hub.left == []

    played(story)


def test_member_that_is_removed_and_named_again_as_another_cluster_is_that() -> None:
    """A cluster that was made anew: the operator does what the refusal of its identity asks for."""

    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say()
        await on.say(a=to("2"))
        assert on.hub.shown == {"10.0.0.1"}
        on.running("a")[1].answer()
        await a_while()
        assert on.hub.shown == set(), "it was removed"
        on.running("a")[0].answer()
        assert on.hub.shown == {"10.0.0.2"}
        await on.say(a=to("3"))
        on.running("a")[1].answer()
        await a_while()
        assert on.hub.current("a") == (False, "IdentityRefused"), "nobody removed it this time"
        assert on.hub.shown == {"10.0.0.2"}

    played(story)


def test_member_that_came_back_by_the_same_words_is_not_removed_by_what_is_said_later() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say()
        await on.say(a=to("1"))
        await a_while(2 * SUCCESSION_SECONDS)
        await on.say(a=to("2"))
        on.running("a")[1].answer()
        await a_while()
        assert on.hub.current("a") == (False, "IdentityRefused")
        assert on.hub.left == []

    played(story)


def test_member_that_comes_back_when_another_name_has_its_cluster_is_the_second_of_the_two() -> None:
    async def story(on: Stage) -> None:
        await on.say(b=to("2"))
        on.running("b")[0].answer()
        await on.say(a=to("2", "other"))
        on.running("a")[0].answer()
        await on.say(a=to("2", "other"), b=to("2"))
        on.running("b")[-1].answer()
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.hub.statuses[ClusterId("b")].reason == "IdentityRefused"
        assert on.members.duplicate(ClusterId("b"))
        assert on.hub.left == []

    played(story)


def test_member_that_was_refused_for_its_heir_comes_back_and_disturbs_nobody() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"), b=to("1"))
        await on.say(b=BROKEN)
        for name in "aba":
            on.running(name)[0].answer()
        await on.say(a=BROKEN)
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.names == ["a"]

    played(story)


def test_member_that_is_removed_once_more_goes_also_where_it_was_named_as_another_cluster() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"))
        on.running("a")[0].answer()
        await on.say()
        await on.say(a=to("2"))
        await on.say()
        on.running("a")[1].answer()
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.names == []

    played(story)


def test_member_that_is_in_doubt_gives_way_to_another_name_of_its_cluster() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"), b=to("2"))
        for name in "ab":
            on.running(name)[0].answer()
        on.first.doubt("a", "b")
        assert on.hub.named("a") == (False, "NamedNoMore")
        on.second.say(z=to("1"))
        await a_while()
        on.running("z")[0].answer()
        await a_while(SETTLE_SECONDS)
        assert on.names == ["b", "z"]
        assert on.hub.left == []
        on.second.say(b=to("2", "new"), z=to("1"))
        await a_while()
        assert on.hub.named("b") == (True, "NamedAgain"), "elsewhere"
        assert on.members.spec(ClusterId("b")).origin == "second"
        assert on.members.release(ClusterId("b")), "the first place is believed now, and does not matter"
        await a_while(2 * SUCCESSION_SECONDS)
        assert on.names == ["b", "z"]
        assert on.hub.left == []

    played(story)


def test_member_in_doubt_is_let_go_by_hand() -> None:
    async def story(on: Stage) -> None:
        await on.say(a=to("1"), b=to("2"))
        for name in "ab":
            on.running(name)[0].answer()
        assert not on.members.release(ClusterId("a"))
        on.first.doubt("a", "b")
        assert on.members.release(ClusterId("a"))
        await a_while(SETTLE_SECONDS)
        assert on.names == ["b"]
        assert on.hub.left == ["10.0.0.1"]

    played(story)


names = st.sampled_from("abc")
connections = st.one_of(st.builds(to, st.sampled_from("123"), st.sampled_from("xy")), st.just(BROKEN))
steps = st.one_of(
    st.tuples(st.just("say"), st.dictionaries(names, connections, max_size=3)),
    st.tuples(st.just("answer"), names),
    st.tuples(st.just("fail"), names),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 2 * SUCCESSION_SECONDS])),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=25))
def test_whatever_happens_no_cluster_counts_twice_and_only_the_operator_takes_endpoints_away(
    walk: Sequence[tuple[str, object]],
) -> None:
    async def story(on: Stage) -> None:
        said: dict[str, Connection | Unusable] = {}
        returned: set[str] = set()  # removed, and named again before they were gone
        for what, which in walk:
            before, left = set(on.hub.shown), len(on.hub.left)
            removing = False
            match what, which:
                case "say", dict():
                    removing = bool(said.keys() - which.keys())
                    returned |= (which.keys() - said.keys()) & set(on.names)
                    said = which
                    await on.say(**which)
                case "wait", float():
                    removing = True
                    await a_while(which)
                case "answer", str():
                    removing = any(on.names.count(name) for name in on.names if name not in said)
                    if which in returned:  # as another cluster: then it was removed
                        removing |= len({source.uid for source in on.running(which)}) > 1
                    for source in on.running(which):
                        source.answer()
                    if len(on.running(which)) < 2:
                        returned.discard(which)
                case _:
                    for source in on.running(str(which)):
                        source.fail("Unreachable")
            await a_while()
            if not removing:
                assert before <= on.hub.shown
                assert len(on.hub.left) == left
            followed = [source.uid for name in said if (source := on.current(name)) is not None and source.listed]
            assert len(followed) == len(set(followed)), "a cluster counts twice"
            assert said.keys() <= set(on.names)
        await a_while(2 * SUCCESSION_SECONDS)
        assert set(on.names) == said.keys()
        for name in on.names:
            assert len(on.running(name)) <= 2

    played(story)
