"""Whatever happens to clusters and to the registry: what nobody deleted stays, what somebody deleted goes.

A state machine works in clusters, breaks them, mends them, and restarts the registry, on a virtual clock. What clients
are shown is held against ``support.promises`` each time they are told anything.
"""

from __future__ import annotations

import asyncio
import os
import random
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from support.cluster_api import SERVICE_LABEL, Backup, ClusterApi, Document, Workloads
from support.kube_wire import a_status
from support.memory_api import Reply
from support.plain_clients import DeltaClient, LookupClient, Shown
from support.promises import Place, Promises, Site
from support.virtual_loop import VirtualLoop
from support.whole_registry import (
    SNAPSHOT_SECONDS,
    WholeRegistry,
    World,
    fresh_store,
    gateway,
    remembered_members,
    serve,
)

from registry.index import GuardPolicy
from registry.membership.spec import MemberSpec
from registry.model.names import ClusterId, Kind
from registry.sources.kubernetes.kubeconfig import Kubeconfig

SERVICES = ("echo", "cart")
TOLD_SECONDS = 0.25
"""Within which a watch's word is with the clients: a burst is at most 100 ms long."""

RIGHT_SECONDS = 600.0
"""Within which everything is right when nothing is wrong any more: an audit finds what no watch told (375 s and 10 s
more), the list that mends it is doubted (30 s); waits after failures are shorter than what is left."""

LIE_SECONDS = 25
DOUBT_SECONDS = 75.0
"""A cluster that was well for so long has had every doubt about its lists cleared: a second list after 30 s, and after
the longest wait."""

EVERY_LOSS = GuardPolicy(share=0.0, floor=0)
EXAMPLES = os.environ.get("REGISTRY_PROMISES_EXAMPLES", "")

TWIN = "0-twin"
"""Before every other name, so that its endpoints would be those that are shown."""

ACTIONS = ("label", "take", "move", "add", "add bare", "unready", "ready", "select", "empty", "delete")

names = st.sampled_from("abc")
services = st.sampled_from(SERVICES)


class PromisesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._went_wrong)
        self.wrong: list[str] = []
        self.world = World()
        self.registry: WholeRegistry | None = None
        self.sites: dict[str, Site] = {}
        self.credentials: dict[str, Kubeconfig] = {}
        self.twin: Kubeconfig | None = None
        self.backups: dict[str, Backup] = {}
        self.lies: dict[str, asyncio.TimerHandle] = {}
        self.snapshot = b""
        self.opened = False
        self.policy = GuardPolicy()

    # --- the rules -----------------------------------------------------------------------------------------------

    @initialize(every_loss=st.booleans())
    def begin(self, every_loss: bool) -> None:
        self.policy = EVERY_LOSS if every_loss else GuardPolicy()
        self._run(self._begin())

    @rule(
        name=names,
        service=services,
        action=st.sampled_from(ACTIONS),
        count=st.integers(1, 5),
    )
    def work(self, name: str, service: str, action: str, count: int) -> None:
        self._run(self._told(self.sites[name], service, action, count))

    @rule(seconds=st.sampled_from([0.03, 1.5, 8, 31, 100, 260, 800]))
    def wait(self, seconds: float) -> None:
        async def wait() -> None:
            honest = [site for site in self.sites.values() if self._followed(site) and site.api.hides is None]
            await asyncio.sleep(seconds)
            if seconds >= DOUBT_SECONDS:
                for site in filter(self._followed, honest):
                    site.lied_since = None

        self._run(wait())

    @rule(name=names, fault=st.sampled_from(["down", "dead", "429", "503", "forbidden", "proxy"]))
    def break_api(self, name: str, fault: str) -> None:
        async def fail() -> None:
            site = self.sites[name]
            self._in_trouble(site)
            await _break(site.api, fault)

        self._run(fail())

    @rule(name=names)
    def mend_api(self, name: str) -> None:
        async def mend() -> None:
            _mend(self.sites[name].api)

        self._run(mend())

    @rule(name=names, compact=st.booleans())
    def cut(self, name: str, compact: bool) -> None:
        self._run(self._cut(self.sites[name], compact=compact))

    @rule(name=names, up=st.booleans())
    def gateway(self, name: str, up: bool) -> None:
        site = self.sites[name]
        if up:
            self.world.silent.discard(name)
            if not site.may_be_evicted(self.loop.now):  # else it may be gone until it is seen that it is there
                site.silent_since = None
        elif name not in self.world.silent:
            self.world.silent.add(name)
            site.silent_since = self.loop.now if site.silent_since is None else site.silent_since

    @rule(
        name=names,
        kinds=st.sets(st.sampled_from(list(Kind)), min_size=1),
        about=st.sets(services, min_size=1),
        part=st.booleans(),
        seconds=st.integers(1, LIE_SECONDS),
    )
    def lie(self, name: str, kinds: set[Kind], about: set[str], part: bool, seconds: int) -> None:
        """For a while lists lack objects, and there is a reason to list. Only so much that it is too much."""
        if self.policy is not EVERY_LOSS:
            part = False
            kinds = kinds - {Kind.POD} if about != set(SERVICES) else kinds

        async def lie() -> None:
            site = self.sites[name]
            if site.lied_since is not None:
                return
            site.lied_since = self.loop.now
            site.api.hides = lambda kind, each: kind in kinds and _concerns(kind, each, about, part=part)
            self.lies[name] = self.loop.call_later(seconds, lambda: setattr(site.api, "hides", None))
            await self._cut(site, compact=True)

        self._run(lie())

    @rule(name=names, about=services, kind=st.sampled_from([Kind.SERVICE, Kind.ENDPOINT_SLICE]), data=st.data())
    def lie_meanwhile(self, name: str, about: str, kind: Kind, data: st.DataObject) -> None:
        """There is work in the cluster while what a list lacked is in doubt."""
        self.lie(name, {kind}, {about}, False, LIE_SECONDS)
        self.wait(1.5)
        for action in data.draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3)):
            self.work(name, about, action, data.draw(st.integers(1, 3)))

    @rule(name=names, seconds=st.sampled_from([260, 800]), gateway=st.booleans())
    def lose(self, name: str, seconds: float, gateway: bool) -> None:
        """Nothing is heard of a cluster for long, or nothing at all."""
        self.break_api(name, "down")
        if gateway:
            self.gateway(name, False)
        self.wait(seconds)

    @rule(name=names)
    def back_up(self, name: str) -> None:
        self.backups[name] = self.sites[name].api.backup()

    @rule(name=names)
    def restore_backup(self, name: str) -> None:
        async def restore() -> None:
            if name in self.backups:
                site = self.sites[name]
                before, followed = site.truth(), self._followed(site) and site.trouble_since is None
                selected = site.work.selectors()
                self._in_trouble(site)
                await site.api.restore(self.backups[name])
                site.reborn |= site.truth() ^ before
                if followed:
                    await asyncio.sleep(8)
                    same = {name for name, selector in site.work.selectors().items() if selected.get(name) == selector}
                    lost = {place for place in before - site.truth() if place.service in same}
                    self._there(lost, "is not in the backup")
                    self._there(site.truth() - before, "is in the backup again")

        self._run(restore())

    @rule(name=names, service=services, actions=st.lists(st.sampled_from(["add", "add bare", "take"]), max_size=2))
    def lose_work(self, name: str, service: str, actions: list[str]) -> None:
        """A backup is restored that lacks what was done since, be it little; and work goes on."""
        self.back_up(name)
        for action in actions:
            self.work(name, service, action, 1)
        self.wait(1.5)
        self.restore_backup(name)
        self.work(name, service, "take", 1)

    @rule(name=names, seconds=st.integers(1, LIE_SECONDS))
    def hide_identity(self, name: str, seconds: int) -> None:
        """Lists lack the namespace whose UID tells which cluster it is, and nothing else; who asks for it is told."""

        async def hide() -> None:
            site = self.sites[name]
            if site.api.hides is None:
                site.api.hides = lambda kind, each: kind is Kind.NAMESPACE and each["metadata"]["name"] == "kube-system"
                self.lies[name] = self.loop.call_later(seconds, lambda: setattr(site.api, "hides", None))
                await self._cut(site, compact=True)

        self._run(hide())

    @rule(name=names, sort=st.sampled_from(["good", "good", "bad", "elsewhere", "revoked"]))
    def credential(self, name: str, sort: str) -> None:
        async def change() -> None:
            site = self.sites[name]
            if site.member is None or (sort == "elsewhere" and not self._known(site.member)):
                return
            self._in_trouble(site)
            if sort == "revoked":
                self.world.doors[self.credentials[name].user].locked = True
            else:
                self._give_credential(name, sort)
                self._say()
                await asyncio.sleep(TOLD_SECONDS)

        self._run(change())

    @rule(name=names)
    def membership(self, name: str) -> None:
        """The operator takes the cluster out, or brings it in."""

        async def change() -> None:
            site = self.sites[name]
            if site.member is None:
                self._give_credential(name, "good")
                self._in_trouble(site)
                site.member = name
            else:
                site.member = None
            if name == "a":
                self.twin = None
            self._say()
            await asyncio.sleep(TOLD_SECONDS)
            if site.member is None and self.opened:  # before that clients are told nothing, and keep what they have
                self._gone(site.truth(), "was taken out with its cluster")

        self._run(change())

    @rule(name=names)
    def rename(self, name: str) -> None:
        """The same cluster under another name, at once."""

        async def rename() -> None:
            site = self.sites[name]
            if self.twin is not None or not self._followed(site) or site.trouble_since is not None:
                return
            self._in_trouble(site)
            site.member = name if site.member != name else f"{name}2"
            self._say()
            await asyncio.sleep(TOLD_SECONDS)

        self._run(rename())

    @rule()
    def name_twice(self) -> None:
        """One more name for a cluster that is a member."""

        async def name_twice() -> None:
            member = self.sites["a"].member
            if self.twin is None and member is not None and self._known(member):
                self.twin = self.world.door(self.sites["a"].api)
                self._say()
                await asyncio.sleep(TOLD_SECONDS)

        self._run(name_twice())

    @rule(remembers=st.sampled_from([True, True, False]))
    def restart(self, remembers: bool) -> None:
        self._run(self._restart(remembers))

    @rule()
    def all_is_well(self) -> None:
        self._run(self._settle())

    def teardown(self) -> None:
        try:
            if self.registry is not None and not self.wrong:
                self._run(self._settle())
                self._run(self.registry.kill())
        finally:
            self.loop.run_until_complete(_end_all())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    # --- how it is done ------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        for number, name in enumerate("abcz", start=1):
            api = ClusterApi(f"uid-{name}")
            work = Workloads(number if name != "z" else 99, api)
            await work.begin()
            await work.write_service("echo", colour="red")
            await work.add("echo", 2 * number, podded=name != "b")
            if name == "a":
                await work.write_service("cart", colour="red")
                await work.add("cart", 2, podded=False)
            self.sites[name] = Site(api, work, name)
        self.foreign = self.sites.pop("z").api
        self.promises = {who: Promises(who, self.sites.values()) for who in ("xDS", "lookup")}
        self.xds = DeltaClient(lambda: self._looked("xDS"))
        self.lookup = LookupClient(SERVICES, lambda: self._looked("lookup"))
        for name in self.sites:
            self._give_credential(name, "good")
        await self._restart(False)
        await self._settle()

    async def _restart(self, remembers: bool) -> None:
        """kill -9, and another one of the snapshot that is there, or of none."""
        if self.registry is not None:
            self.snapshot = self.registry.written
            await self.registry.kill()
        remembered = remembered_members(self.snapshot) if remembers else frozenset()
        for name, site in self.sites.items():
            if site.member not in remembered:  # nothing says any more which cluster it is
                self.twin = None if name == "a" else self.twin
                if name in self.credentials and self._elsewhere(name):
                    self._give_credential(name, "good")
        lost = [site for site in self.sites.values() if site.trouble_since is not None or site.api.hides is not None]
        for each in self.promises.values():
            each.restarted(self.loop.now, SNAPSHOT_SECONDS + 0.2 if remembers else None, lost)
        for site in self.sites.values():
            self._in_trouble(site)
        snapshot = self.snapshot if remembers else b""
        self.opened = False
        self.registry = WholeRegistry(self.world, self._specs(), self.policy, snapshot, self._open)
        self.xds.connect(self.registry.xds)
        self.lookup.connect(self.registry.lookup)
        self.registry.start()
        await asyncio.sleep(0.5)

    async def _settle(self) -> None:
        """Everything is mended; then everything has to be right in a while, and stay so."""
        self.twin = None
        self.world.silent.clear()
        for name, site in self.sites.items():
            if name in self.lies:
                self.lies.pop(name).cancel()
            site.api.hides = None
            _mend(site.api)
            if site.member is not None and self.world.doors[self.credentials[name].user].locked | self._elsewhere(name):
                self._give_credential(name, "good")
        self._say()
        until = self.loop.now + RIGHT_SECONDS
        fresh = DeltaClient(lambda: None)
        fresh.connect(serve(fresh_store({site.member: site.api for site in self.sites.values() if site.member})))
        while problems := self._problems() or self._other_bytes(fresh):
            assert self.loop.now < until, f"{RIGHT_SECONDS:.0f} s after the last fault: {problems}"
            await asyncio.sleep(1)
        for each in self.promises.values():
            each.settled()
        for site in self.sites.values():
            site.trouble_since = site.silent_since = site.lied_since = None
            site.reborn.clear()
        for who in self.promises:
            self._looked(who)

    def _problems(self) -> list[str]:
        assert self.registry is not None
        truth: Shown = {}
        for site in self.sites.values():
            if site.member is not None:
                for service in site.work.services():
                    truth.setdefault(service, {})
                for service, address in site.truth():
                    truth[service][site.member, address] = 0
        found = self.registry.problems()
        for who, client in (("xDS", self.xds), ("lookup", self.lookup)):
            shown = client.shown()
            if shown != truth:
                found.append(f"{who} is shown {shown}, and there is {truth}")
        return found

    def _other_bytes(self, fresh: DeltaClient) -> list[str]:
        """Where the bytes are not those of a registry that was started on what is there now."""
        ours, theirs = self.xds.resources(), fresh.resources()
        other = sorted(named for named in ours | theirs if ours.get(named) != theirs.get(named))
        return [f"{name}: {ours.get((kind, name))!r}, fresh: {theirs.get((kind, name))!r}" for kind, name in other]

    async def _told(self, site: Site, service: str, action: str, count: int) -> None:
        """Work in a cluster; where every watch is open, what is deleted is gone from every client soon."""
        before, followed = site.truth(), self._followed(site)
        await _work(site.work, service, action, count)
        after = site.truth()
        site.reborn |= before - after
        await asyncio.sleep(TOLD_SECONDS)
        if followed and self._followed(site):
            self._gone(before - after, "was deleted under an open watch")

    def _there(self, places: set[Place], why: str) -> None:
        for client in (self.xds, self.lookup):
            there = {Place(service, address) for service, ends in client.shown().items() for _, address in ends}
            assert places <= there, f"{sorted(places - there)} {why}, and is not shown any more"

    def _gone(self, places: set[Place], why: str) -> None:
        for client in (self.xds, self.lookup):
            there = {Place(service, address) for service, ends in client.shown().items() for _, address in ends}
            assert not there & places, f"{sorted(there & places)} {why} and is shown {TOLD_SECONDS} s later"

    def _followed(self, site: Site) -> bool:
        if site.member is None or self.registry is None or not self.opened:
            return False
        door = self.registry.door(ClusterId(site.member))
        return door is not None and door.api is site.api and door.followed and not site.api.dead

    def _known(self, member: str) -> bool:
        """The registry knows which cluster the member is."""
        assert self.registry is not None
        cluster = ClusterId(member)
        return self.registry.index.synced(cluster) or self.registry.index.restored(cluster)

    async def _cut(self, site: Site, *, compact: bool) -> None:
        """Every connection breaks; with compaction nobody can go on from where he was."""
        self._in_trouble(site)
        if compact:
            site.api.compact()
        await site.api.restart()
        await asyncio.sleep(TOLD_SECONDS)

    def _in_trouble(self, site: Site) -> None:
        if site.trouble_since is None:
            site.trouble_since = self.loop.now

    def _elsewhere(self, name: str) -> bool:
        return self.world.doors[self.credentials[name].user].api is self.foreign

    def _give_credential(self, name: str, sort: str) -> None:
        api = self.foreign if sort == "elsewhere" else self.sites[name].api
        self.credentials[name] = self.world.door(api, locked=sort == "bad")

    def _specs(self) -> list[MemberSpec]:
        probes = {"a": gateway("a"), "b": gateway("b")}
        specs = [
            MemberSpec(site.member, "test", self.credentials[name], probe=probes.get(name))
            for name, site in self.sites.items()
            if site.member is not None
        ]
        return [*specs, *([MemberSpec(TWIN, "test", self.twin)] if self.twin else [])]

    def _say(self) -> None:
        assert self.registry is not None
        self.registry.operator.say(self._specs())

    def _open(self) -> None:
        self.opened = True

    def _looked(self, who: str) -> None:
        """A client was told something."""
        client = self.xds if who == "xDS" else self.lookup
        self.promises[who].look(client.shown(), self.loop.now)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        random.seed(1)  # probes and writers that take chance from the module
        self.loop.run_until_complete(work)
        assert not self.wrong, self.wrong[0]
        if self.registry is not None:
            for cluster, status in self.registry.pipeline.statuses.items():
                assert status.reason != "InternalError", f"{cluster}: {status}"

    def _went_wrong(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something was raised where nobody waits for it: also what ``_looked`` has to say."""
        error = context.get("exception")
        self.wrong.append(f"{context['message']}: {error!r} {context.get('task')}")


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        if task is not None:
            task.cancel()
    await asyncio.gather(*filter(None, tasks), return_exceptions=True)


async def _work(work: Workloads, service: str, action: str, count: int) -> None:
    if service not in work.services():
        if action in ("add", "add bare", "ready"):
            await work.write_service(service, colour="red")
            await work.add(service, count, podded=action == "add")
        return
    ends = work.endpoints(service)
    match action:
        case "add" | "add bare":
            if len(ends) < 12:
                await work.add(service, count, podded=action == "add")
        case "take":
            await work.take(service, min(count, len(ends)))
        case "empty":
            await work.take(service, len(ends))
        case "delete":
            await work.delete_service(service)
        case "unready" | "ready" if ends:
            await work.set_ready(service, count % len(ends), action == "ready")
        case "move":
            await work.rename_slices(service)
        case "select":
            await work.select_others(service)
        case "label":  # nothing that matters changes
            await work.write_service(service, note=f"note-{count}")
            await work.label_node(0, f"z{count}")


async def _break(api: ClusterApi, fault: str) -> None:
    match fault:
        case "down":
            api.down = True
            await api.restart()
        case "dead":
            api.dead = True
        case "429":
            api.storm = Reply(429, a_status(429, "TooManyRequests", "later"), {"Retry-After": "5"})
            await api.restart()
        case "503":
            api.storm = Reply(503, a_status(503, "ServiceUnavailable", "later"))
            await api.restart()
        case "forbidden":
            api.forbidden = frozenset({Kind.POD})
            await api.restart()
        case "proxy":
            api.proxy_seconds = 30


def _mend(api: ClusterApi) -> None:
    api.down = False
    api.storm = None
    api.forbidden = frozenset()
    api.proxy_seconds = None
    api.revive()


def _concerns(kind: Kind, document: Document, about: set[str], *, part: bool) -> bool:
    """Whether the object belongs to one of the services. ``part``: only every other one does."""
    metadata = document["metadata"]
    match kind:
        case Kind.SERVICE:
            owner = metadata["name"]
        case Kind.ENDPOINT_SLICE:
            owner = metadata["labels"][SERVICE_LABEL]
        case Kind.POD:
            owner = document["spec"]["serviceAccountName"]
        case _:
            owner = SERVICES[0]
    return owner in about and not (part and zlib.crc32(metadata["name"].encode()) % 2)


PromisesMachine.TestCase.settings = settings(
    max_examples=int(EXAMPLES or 150),
    stateful_step_count=25,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
)
TestPromises = pytest.mark.timeout(300)(PromisesMachine.TestCase)  # half a minute of CPU


def played(*steps: Callable[[PromisesMachine], None]) -> None:
    """One walk of the machine, to the end."""
    machine = PromisesMachine()
    machine.begin(every_loss=False)
    machine.wait(8)
    for step in steps:
        step(machine)
    machine.teardown()


def test_list_that_new_credentials_brought_while_it_lied_is_no_second_list() -> None:
    """They take over later, when they have listed everything; what they listed first is old by then."""
    played(
        lambda on: on.lie("b", {Kind.ENDPOINT_SLICE}, {"echo"}, False, 20),
        lambda on: on.wait(1.5),
        lambda on: on.break_api("b", "forbidden"),
        lambda on: on.credential("b", "revoked"),
        lambda on: on.credential("b", "good"),
        lambda on: on.wait(31),
        lambda on: on.wait(8),
        lambda on: on.mend_api("b"),
        lambda on: on.wait(100),
    )


def test_clusters_whose_two_signals_are_down_keep_a_services_last_endpoints() -> None:
    played(lambda on: on.lose("a", 800, True), lambda on: on.lose("c", 800, True))


def test_what_moved_while_it_was_in_doubt_goes_when_it_is_deleted() -> None:
    played(
        lambda on: on.lie("b", {Kind.ENDPOINT_SLICE}, {"echo"}, False, 20),
        lambda on: on.wait(1.5),
        lambda on: on.work("b", "echo", "move", 1),
        lambda on: on.work("b", "echo", "take", 2),
    )


@pytest.mark.parametrize("action", ["empty", "delete"])
def test_what_is_deleted_while_it_is_in_doubt_goes_at_once(action: str) -> None:
    played(
        lambda on: on.lie("b", set(Kind), set(SERVICES), False, 20),
        lambda on: on.wait(1.5),
        lambda on: on.work("b", "echo", action, 1),
    )


def test_what_is_said_of_a_service_whose_endpoints_are_in_doubt_takes_none_of_them() -> None:
    played(
        lambda on: on.lie("b", {Kind.ENDPOINT_SLICE}, {"echo"}, False, 20),
        lambda on: on.wait(1.5),
        lambda on: on.work("b", "echo", "label", 1),
        lambda on: on.wait(8),
    )


def test_cluster_is_known_after_a_restart_though_a_list_lacked_the_namespace_that_tells_it() -> None:
    """The credentials lead to another cluster by then."""
    played(
        lambda on: on.hide_identity("b", LIE_SECONDS),
        lambda on: on.wait(1.5),
        lambda on: on.work("b", "echo", "add", 1),  # it is written down anew
        lambda on: on.wait(8),
        lambda on: on.credential("b", "elsewhere"),
        lambda on: on.restart(True),
        lambda on: on.wait(8),
    )


def test_object_that_was_written_anew_at_the_very_version_that_is_held_is_found_with_what_else_differs() -> None:
    """A backup was restored and has gone past what was known before anybody looked: the slice's version is as held."""
    played(
        lambda on: on.back_up("a"),
        lambda on: on.work("a", "echo", "add", 1),
        lambda on: on.wait(8),
        lambda on: on.break_api("a", "down"),
        lambda on: on.restore_backup("a"),
        lambda on: on.work("a", "echo", "add", 1),
        lambda on: on.work("a", "cart", "label", 1),
        lambda on: on.mend_api("a"),
    )


def test_history_that_went_back_for_one_kind_went_back_for_all() -> None:
    """By then the server has come to the very version that is known of the slices, and not to that of the Services."""

    def is_seen(on: PromisesMachine) -> None:
        """What the history lacks now is in doubt at first, as after every list of an earlier time."""
        there = on.sites["a"].truth()
        on._there(there | before, "is in the cluster, or was")
        before.clear()

    def is_right(on: PromisesMachine) -> None:
        assert not on._problems()

    before: set[Place] = set()

    played(
        lambda on: on.back_up("a"),
        lambda on: on.work("a", "echo", "add bare", 1),
        lambda on: on.work("a", "echo", "label", 1),
        lambda on: on.wait(8),
        lambda on: before.update(on.sites["a"].truth()),
        lambda on: on.break_api("a", "down"),
        lambda on: on.restore_backup("a"),
        lambda on: on.work("a", "echo", "add bare", 1),
        lambda on: on.mend_api("a"),
        lambda on: on.wait(8),
        is_seen,
        lambda on: on.wait(31),
        is_right,
    )
