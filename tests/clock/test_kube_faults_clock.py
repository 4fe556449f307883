"""The Kubernetes source against an API server that fails for minutes, on a clock that costs nothing."""

from __future__ import annotations

import asyncio

import pytest
from support.kube_wire import a_status
from support.memory_api import MemoryApi, Reply
from support.recording_sink import RecordingSink
from support.source_rig import SERVICE, A, Rig, condition, now
from support.virtual_loop import virtually

from registry.model.conditions import ConditionType
from registry.model.events import Init, InitDone, SourceEvent
from registry.model.names import BASE_KINDS, ClusterId, Kind, ObjectRef
from registry.model.status import SourceState
from registry.sources.kubernetes.api import Api
from registry.sources.kubernetes.follower import LIST_QUIET_SECONDS, LIST_SECONDS
from registry.sources.kubernetes.reflector import AWAITED_SECONDS, KubernetesSource
from registry.sources.kubernetes.watches import QUIET_SECONDS


@pytest.mark.parametrize("fault", ["dead", "dripping"])
def test_watch_that_brings_no_whole_line_is_proven_or_fails(fault: str) -> None:
    """A half-open connection, and a body that stalls in the middle of a line."""

    async def play() -> None:
        rig = Rig()
        async with rig.running() as source:
            await asyncio.sleep(30)
            setattr(rig.api, fault, True)
            heard, before = source.heard_at, rig.api.count("version")
            assert heard is not None
            await rig.until(lambda: rig.api.count("version") > before, QUIET_SECONDS)
            assert now() == pytest.approx(heard + QUIET_SECONDS, abs=0.5)
            assert rig.services == {"one", "two"}
            if fault == "dead":
                await rig.until(lambda: rig.failing("Timeout"), 65)
                assert source.heard_at == heard
                rig.api.dead = False
                await rig.until(rig.synced, 95)
            else:
                rig.api.dripping = False
            await rig.api.put("three")
            await rig.has("one", "two", "three", within=65)
            assert rig.deleted() == []

    virtually(play())


def test_change_during_a_half_open_connection_is_seen_once_it_is_replaced() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.dead = True
            await rig.api.put("three")
            await rig.api.delete("one")
            await asyncio.sleep(10)
            rig.api.dead = False
            assert await rig.has("two", "three", within=QUIET_SECONDS) > 0
            assert rig.deleted() == ["one"], "the history told it, no list"

    virtually(play())


def test_proxy_that_closes_every_thirty_seconds_is_no_fault_and_costs_no_list() -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.proxy_seconds = 30
        async with rig.running() as source:
            for number in range(60):
                await rig.api.put("three", 80 + number)
                await asyncio.sleep(31)
                held = rig.sink.listener.held[ObjectRef(SERVICE, "shop", "three")]
                assert held.resource_version == str(rig.api.version)
                assert source.heard_at is not None
                assert now() - source.heard_at < 35
            assert not any(status.state is SourceState.FAILING for status in rig.sink.statuses)
            assert rig.lists() == 1

    virtually(play())


def test_proxy_that_closes_before_a_streaming_list_is_complete_is_worked_around() -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.proxy_seconds = 0.002
        async with rig.started():
            await rig.until(lambda: SERVICE in rig.last.listed, 60)
            assert rig.services == {"one", "two"}

    virtually(play())


@pytest.mark.parametrize("busy", [False, True])
def test_server_that_does_not_know_of_streaming_lists_costs_a_bounded_time_and_only_once(busy: bool) -> None:
    """A quiet one within the ten seconds of a silence; a busy one at its first bookmark, or after a minute."""

    async def play() -> None:
        rig = Rig(MemoryApi(streams=None))
        async with rig.started() as source:
            while SERVICE not in rig.last.listed:
                await asyncio.sleep(1)
                if busy:
                    await rig.api.put("three", 80 + int(now()))
                assert now() <= (LIST_SECONDS + 2 if busy else LIST_QUIET_SECONDS + 2)
            source.relist([SERVICE])
            await rig.until(lambda: rig.sink.events.count(InitDone(SERVICE)) == 2, 1)
            assert rig.api.count("stream") == 1
            assert rig.deleted() == []

    virtually(play())


def test_api_server_that_restarts_is_followed_again_and_nothing_is_lost() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.down = True
            await rig.api.restart()
            await rig.until(lambda: rig.failing("Unreachable"), 5)
            await rig.api.put("three")
            await rig.api.delete("two")
            await asyncio.sleep(600)
            assert rig.services == {"one", "two"}
            rig.api.down = False
            await rig.has("one", "three", within=31)
            await rig.until(rig.synced, 31)
            assert rig.lists() == 1, "the watch went on where it was"

    virtually(play())


def test_compaction_while_nobody_watched_is_one_fresh_list() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.down = True
            await rig.api.restart()
            await rig.api.delete("two")
            rig.api.compact()
            await asyncio.sleep(60)
            rig.api.down = False
            await rig.has("one", within=31)
            assert rig.lists() == 2
            assert rig.deleted() == []

    virtually(play())


@pytest.mark.parametrize(("status", "reason"), [(429, "TooManyRequests"), (503, "ServerError"), (500, "ServerError")])
def test_storm_of_refusals_is_waited_out_as_asked(status: int, reason: str) -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.storm = Reply(status, a_status(status, reason, "later"), {"Retry-After": "5"})
            await rig.api.restart()
            await rig.until(lambda: rig.failing(reason), 5)
            before = len(rig.api.asked)
            await asyncio.sleep(600)
            assert (len(rig.api.asked) - before) / len(BASE_KINDS) < 600 / 15, (
                "at most one request in 15 s of each kind"
            )
            assert rig.services == {"one", "two"}
            rig.api.storm = None
            await rig.api.put("three")
            await rig.has("one", "two", "three", within=31)
            await rig.until(rig.synced, 31)
            assert rig.deleted() == []

    virtually(play())


def test_retry_after_of_a_storm_is_kept_to_the_second() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.running():
            rig.api.storm = Reply(429, b"", {"Retry-After": "120"})
            await rig.api.restart()
            await rig.until(lambda: rig.failing("TooManyRequests"), 5)
            before = len(rig.api.asked)
            await asyncio.sleep(118)
            assert len(rig.api.asked) == before
            rig.api.storm = None
            await rig.until(rig.synced, 5)

    virtually(play())


@pytest.mark.parametrize("streams", [True, False])
def test_etcd_that_was_restored_from_a_backup_is_listed_as_a_history_that_went_back(streams: bool) -> None:
    async def play() -> None:
        rig = Rig(MemoryApi(streams=streams))
        rig.api.version = 1000
        async with rig.running():
            rig.api.go_back(500, "one", "old")
            await rig.api.restart()
            await rig.has("one", "old", within=5)
            assert InitDone(SERVICE, rewound=True) in rig.sink.events
            await rig.api.put("three")
            await rig.has("one", "old", "three", within=5)

    virtually(play())


def test_history_that_goes_back_under_an_open_connection_is_found_by_the_silence() -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.version = 1000
        async with rig.running():
            rig.api.go_back(500, "one", "old")
            await rig.has("one", "old", within=2 * QUIET_SECONDS + 5)
            assert InitDone(SERVICE, rewound=True) in rig.sink.events
            assert rig.deleted() == []

    virtually(play())


def test_server_without_bookmarks_is_no_fault() -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.bookmarks_off = True
        async with rig.running():
            await asyncio.sleep(3600)
            assert rig.synced()
            assert not any(status.state is SourceState.FAILING for status in rig.sink.statuses)
            assert rig.lists() <= 3600 / (2 * QUIET_SECONDS) + 1
            await rig.api.put("three")
            await rig.has("one", "two", "three", within=1)

    virtually(play())


def test_freshness_is_that_of_the_kind_heard_of_longest_ago() -> None:
    async def play() -> None:
        rig = Rig()
        async with rig.started() as source:
            assert source.heard_at is None
            await rig.until(rig.synced, 5)
            assert source.heard_at is not None
            listed_at = source.heard_at
            await asyncio.sleep(50)
            await rig.api.put("three")
            await asyncio.sleep(1)
            assert source.heard_at == pytest.approx(listed_at), "the other kinds were silent"
            await asyncio.sleep(20)
            assert source.heard_at == pytest.approx(listed_at + 60, abs=2), "a bookmark of every kind"

    virtually(play())


@pytest.mark.parametrize("streams", [True, False])
def test_relist_ends_a_running_watch_at_once(streams: bool) -> None:
    async def play() -> None:
        rig = Rig(MemoryApi(streams=streams))
        async with rig.running() as source:
            await asyncio.sleep(10)
            rig.api.betray("three")
            for times in range(2, 6):
                source.relist([SERVICE])
                await rig.until(lambda times=times: rig.sink.events.count(InitDone(SERVICE)) == times, 0.5)
            assert rig.services == {"one", "two", "three"}
            assert sum(event == Init(Kind.POD) for event in rig.sink.events) == 1
            await rig.api.put("four")
            await rig.has("one", "two", "three", "four", within=1)

    virtually(play())


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003])
def test_relist_is_never_lost_whatever_is_being_done(delay: float) -> None:
    """Asked for while the watch is being opened, accepted, read."""

    async def play() -> None:
        rig = Rig(MemoryApi(streams=False))
        async with rig.running() as source:
            for times in range(2, 20):
                source.relist([SERVICE])
                await rig.until(lambda times=times: rig.sink.events.count(InitDone(SERVICE)) >= times, 0.5)
                await asyncio.sleep(delay)

    virtually(play())


class Doubter(RecordingSink):
    """Asks for another list the moment one of Services is complete, as often as ``times``."""

    source: KubernetesSource | None = None
    times = 0

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        super().event(cluster, event)
        if self.source is not None and self.times and isinstance(event, InitDone) and event.kind is SERVICE:
            self.times -= 1
            self.source.relist([SERVICE])


@pytest.mark.parametrize("streams", [True, False])
def test_list_that_is_doubted_while_it_is_told_is_listed_again(streams: bool) -> None:
    async def play() -> None:
        sink = Doubter(A)
        rig = Rig(MemoryApi(streams=streams), sink)
        async with rig.running() as source:
            sink.source, sink.times = source, 3
            source.relist([SERVICE])
            await rig.until(lambda: sink.events.count(InitDone(SERVICE)) == 5, 1)
            await rig.api.put("three")
            await rig.has("one", "two", "three", within=1)
            assert sink.events.count(InitDone(SERVICE)) == 5

    virtually(play())


def test_cluster_that_is_another_is_neither_listed_nor_watched() -> None:
    async def play() -> None:
        expected = "uid-2"
        rig = Rig(admit=lambda uid: None if uid == expected else f"its identity is {uid}, not {expected}")
        async with rig.started() as source:
            await rig.until(lambda: rig.failing("IdentityRefused"), 5)
            await asyncio.sleep(100)
            assert {each.verb for each in rig.api.asked} == {"identity"}
            assert len(rig.api.asked) <= 5, "once in 30 s"
            assert not rig.sink.events
            assert source.heard_at is None
            assert "https://cluster: its identity is uid-1, not uid-2" in rig.last.message
            assert not condition(rig, ConditionType.IDENTITY_CONFIRMED)
            rig.api.uid = expected
            await rig.until(rig.synced, 31)
            assert condition(rig, ConditionType.IDENTITY_CONFIRMED)

    virtually(play())


def test_identity_is_asked_for_once_by_all_kinds_and_again_after_a_broken_connection() -> None:
    async def play() -> None:
        rig = Rig(admit=lambda uid: None if uid == "uid-1" else "no")
        rig.api.version = 1000
        async with rig.running():
            assert rig.api.count("identity", Kind.NAMESPACE) == 1
            rig.api.uid = "another"
            rig.api.go_back(500, "foreign")
            await rig.api.restart()
            await rig.until(lambda: rig.failing("IdentityRefused"), 5)
            await asyncio.sleep(300)
            assert rig.services == {"one", "two"}, "nothing of the other cluster was read"
            assert rig.deleted() == []
            rig.api.uid = "uid-1"
            await rig.has("foreign", within=31)

    virtually(play())


def test_cluster_that_changes_behind_its_address_is_noticed_before_a_list() -> None:
    async def play() -> None:
        rig = Rig(admit=lambda uid: None if uid == "uid-1" else "no")
        async with rig.running() as source:
            await asyncio.sleep(60)
            rig.api.uid = "another"
            rig.api.betray("foreign")
            source.relist([SERVICE])
            await rig.until(lambda: rig.failing("IdentityRefused"), 5)
            assert rig.services == {"one", "two"}

    virtually(play())


@pytest.mark.parametrize("fault", ["storm", "down"])
def test_identity_that_cannot_be_asked_for_is_a_fault_of_the_connection(fault: str) -> None:
    async def play() -> None:
        rig = Rig(admit=lambda _: None)
        rig.api.down = fault == "down"
        rig.api.storm = Reply(403, a_status(403, "Forbidden", "no"))
        async with rig.started():
            reason = "Unreachable" if fault == "down" else "Forbidden"
            await rig.until(lambda: rig.failing(reason), 5)
            if fault == "storm":
                assert "list namespaces: 403 Forbidden; grant" in rig.last.message
            rig.api.down, rig.api.storm = False, None
            await rig.until(rig.synced, 31)

    virtually(play())


def test_server_that_never_answers_is_said_to_be_silent_soon_and_listed_when_it_does() -> None:
    async def play() -> None:
        rig = Rig()
        rig.api.dead = True
        async with rig.started():
            said = await rig.until(lambda: rig.failing("Timeout"), 6)
            assert said >= AWAITED_SECONDS, "it gets its time"
            assert "no answer to the first list for 5 s; it is waited for" in rig.last.message
            rig.api.dead = False
            await rig.until(rig.synced, 95)

    virtually(play())


@pytest.mark.parametrize("streams", [True, False])
def test_server_that_answers_late_or_takes_long_over_a_list_is_not_taken_for_silent(streams: bool) -> None:
    async def play() -> None:
        rig = Rig(api=MemoryApi(streams=streams))
        rig.api.head_seconds, rig.api.body_seconds = 4.0, 30.0
        async with rig.started():
            await rig.until(rig.synced, 60)
            assert [each for each in rig.sink.statuses if each.state is SourceState.FAILING] == []

    virtually(play())


def test_credentials_that_do_not_come_are_said_soon() -> None:
    async def play() -> None:
        rig, had = Rig(), asyncio.Event()

        async def connect() -> Api:
            await had.wait()
            return rig.api

        source = KubernetesSource(A, "it", connect, random=lambda: 0.5, clock=asyncio.get_running_loop().time)
        task = asyncio.create_task(source.run(rig.sink))
        await rig.until(lambda: rig.failing("Timeout"), 6)
        assert rig.last.message == "it: no credentials within 5 s; they are waited for"
        had.set()
        await rig.until(rig.synced, 6)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtually(play())


def test_audit_finds_and_mends_what_no_watch_told() -> None:
    async def play() -> None:
        rig = Rig(audits=True)
        async with rig.running() as source:
            rig.api.betray("three")
            rig.api.betray("one", 81)
            await rig.has("one", "two", "three", within=400)
            assert source.drifted == 2
            held = rig.sink.listener.held[ObjectRef(SERVICE, "shop", "one")]
            assert held.resource_version == str(rig.api.version)
            told = [(each.status, each.reason) for each in rig.sink.told if each.type is ConditionType.CONSISTENT]
            assert told[-2:] == [(False, "Drift"), (True, "Relisted")]
            await asyncio.sleep(700)
            assert source.drifted == 2
            assert rig.lists() == 2

    virtually(play())


def test_audit_says_that_all_is_well_and_costs_one_request_of_a_kind_each_time() -> None:
    async def play() -> None:
        rig = Rig(audits=True)
        async with rig.running() as source:
            for number in range(600):
                await rig.api.put("three", 80 + number)
                await asyncio.sleep(6)
            assert source.drifted == 0
            assert condition(rig, ConditionType.CONSISTENT)
            assert 10 <= rig.api.count("names", Kind.POD) <= 16
            assert rig.lists() == 1

    virtually(play())


def test_nothing_is_audited_while_the_cluster_fails() -> None:
    async def play() -> None:
        rig = Rig(audits=True)
        async with rig.running():
            rig.api.storm = Reply(503, b"")
            await rig.api.restart()
            await rig.until(lambda: rig.failing("ServerError"), 5)
            await asyncio.sleep(1800)
            assert not [each for each in rig.api.asked if each.verb == "names"]

    virtually(play())
