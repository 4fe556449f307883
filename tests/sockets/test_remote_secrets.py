"""Members of the Secrets of a home cluster: its changes are followed, its faults remove nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from support.companions import Account
from support.fake_apiserver import kubeconfig
from support.fake_secrets import FakeSecrets, a_secret
from support.fleet import LISTEN, Fleet, a_cluster, config_of, fleet
from support.processes import until

from registry.config import Config, RemoteSecretsConfig
from registry.config.sections import GuardConfig, StartupConfig
from registry.membership.absence import AbsencePolicy
from registry.membership.secrets import PAGE_SECRETS, RemoteSecrets
from registry.membership.spec import MemberSpec, Trouble, Unusable
from registry.sources.kubernetes.client import KubernetesClient

A1, B1 = "10.1.0.1", "10.2.0.1"
X = "http://127.0.0.1:1"
POLICY = AbsencePolicy(share=0.5, confirm_seconds=0.2, doubt_seconds=1.0)
NEVER = AbsencePolicy(share=0.3, confirm_seconds=60, doubt_seconds=600)


@dataclass
class Told:
    """What a provider said, and its waits, which cost next to nothing."""

    said: list[list[str]] = field(default_factory=list)
    specs: list[MemberSpec] = field(default_factory=list)
    troubles: list[Trouble | None] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    provider: RemoteSecrets = field(init=False)

    def members(self, specs: Sequence[MemberSpec]) -> None:
        self.specs = list(specs)
        self.said.append([spec.name for spec in specs])

    def trouble(self, trouble: Trouble | None) -> None:
        if not self.troubles or self.troubles[-1] != trouble:
            self.troubles.append(trouble)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0.001)

    async def are(self, *names: str) -> None:
        await until(lambda: self.said and self.said[-1] == list(names), f"the members are {names}")

    async def fails(self, reason: str) -> Trouble:
        await until(lambda: self.troubles and self.troubles[-1] and self.troubles[-1].reason == reason, reason)
        trouble = self.troubles[-1]
        assert trouble is not None
        return trouble

    async def is_well(self) -> None:
        await until(lambda: self.troubles and self.troubles[-1] is None, "all is well")


@pytest_asyncio.fixture
async def home() -> AsyncIterator[FakeSecrets]:
    async with FakeSecrets() as it:
        await it.put(a_secret("one", a=kubeconfig(X)))
        await it.put(a_secret("two", b=kubeconfig(X), c=kubeconfig(X)))
        yield it


@asynccontextmanager
async def following(home: FakeSecrets, folder: Path, policy: AbsencePolicy = POLICY) -> AsyncIterator[Told]:
    path, told = folder / "home", Told()
    path.write_text(kubeconfig(home.url))
    provider = RemoteSecrets(
        "home",
        "istio-system",
        lambda: KubernetesClient.from_kubeconfig(path),
        None,
        policy,
        random=lambda: 0.0,
        sleep=told.sleep,
    )
    told.provider = provider
    task = asyncio.create_task(provider.run(told))
    try:
        yield told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_secrets_are_listed_and_watched(home: FakeSecrets, tmp_path: Path) -> None:
    async with following(home, tmp_path) as told:
        await told.are("a", "b", "c")
        await home.put(a_secret("three", d=kubeconfig(X)))
        await told.are("a", "d", "b", "c")
        await home.put(a_secret("two", c=kubeconfig(X), e=kubeconfig(X)))
        await told.are("a", "d", "c", "e")
        await home.delete("one")
        await told.are("d", "c", "e")
        assert home.lists == 1
        assert home.selectors == {"istio/multiCluster=true"}
        assert told.troubles == [None]


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (401, "Unauthorized", "list secrets in istio-system: 401"),
        (403, "Forbidden", "list secrets in istio-system: 403 Forbidden; grant"),
        (404, "NotFound", "404"),
        (503, "ServerError", "503"),
    ],
)
async def test_refusal_of_the_home_cluster_is_said_and_removes_nobody(
    home: FakeSecrets, tmp_path: Path, status: int, reason: str, said: str
) -> None:
    async with following(home, tmp_path) as told:
        await told.are("a", "b", "c")
        await until(lambda: home.watches, "it watches")
        home.refuse = status
        home.cut()
        trouble = await told.fails(reason)
        assert said in trouble.message
        assert "the members it named stay" in trouble.message
        home.refuse = 0
        await told.is_well()
        assert told.said == [["a", "b", "c"]]
        assert max(told.waits) <= 30


async def test_home_cluster_that_cannot_be_reached_at_the_start_is_said(tmp_path: Path) -> None:
    home = FakeSecrets()
    home.url = X
    async with following(home, tmp_path) as told:
        await told.fails("Unreachable")
        assert told.said == []
        (tmp_path / "home").unlink()
        await told.fails("KubeconfigInvalid")
        async with FakeSecrets() as there:
            await there.put(a_secret("one", a=kubeconfig(X)))
            (tmp_path / "home").write_text(kubeconfig(there.url))
            await told.are("a")
            await told.is_well()


async def test_list_of_many_secrets_comes_in_pages(home: FakeSecrets, tmp_path: Path) -> None:
    more = [f"m-{number:03}" for number in range(3 * PAGE_SECRETS)]
    for name in more:
        await home.put(a_secret(name, **{name: kubeconfig(X)}))
    async with following(home, tmp_path) as told:
        await told.are(*more, "a", "b", "c")
        assert (len(told.said), home.lists) == (1, 1)


async def test_secrets_that_are_bombs_are_their_own_problem(home: FakeSecrets, tmp_path: Path) -> None:
    """Each a kubeconfig of the largest size that is read, whose aliases, merges or names would come to gigabytes."""
    text = "x" * 60_000
    bombs = {
        "laughs": f"a: &a '{text}'\nb: &b [{', '.join(['*a'] * 10_000)}]\nc: [{', '.join(['*b'] * 10_000)}]\n",
        "merges": f"a: &a {{{', '.join(f'k{n}: 1' for n in range(1_500))}}}\n"
        + "".join(f"b{n}: {{<<: *a}}\n" for n in range(10_000)),
        "names": f"current-context: &t '{text}'\ncontexts: [{{name: *t, context: {{cluster: *t, user: *t"
        + "".join(f", n{n}: 1" for n in range(900))
        + "}}]\nclusters: [{name: *t, cluster: {server: 'http://x'}}]\nusers: [{name: *t, user: {}}]\n",
        "texts": "{}" * 100_000,
        "documents": "{}\n---\n" * 25_000,
        "deep": "[" * 200_000,
        "number": f"a: {'1' * 200_000}\n",
    }
    await home.put(a_secret("bombs", **bombs))
    memory = Account(os.getpid())
    memory.forget_most()
    before = memory.resident()
    async with following(home, tmp_path) as told:
        await told.are(*sorted(bombs), "a", "b", "c")
        await home.put(a_secret("one", a=kubeconfig(X), d=kubeconfig(X)))
        await told.are(*sorted(bombs), "a", "d", "b", "c")
        for spec in told.specs[: len(bombs)]:
            assert isinstance(spec.connection, Unusable), spec.name
            assert len(spec.connection.message) < 1000, spec.name
    assert memory.most_resident() - before < 300 << 20


async def test_watch_that_is_cut_is_no_trouble(home: FakeSecrets, tmp_path: Path) -> None:
    async with following(home, tmp_path) as told:
        for turn in range(5):
            await until(lambda: home.watches, "it watches")
            home.cut()
            await until(lambda turn=turn: home.lists == turn + 2, "it lists again")
        await home.put(a_secret("zero", z=kubeconfig(X)))
        await told.are("a", "b", "c", "z")
        assert told.troubles == [None]


async def test_list_that_lacks_all_members_removes_them_only_when_that_stays_so(
    home: FakeSecrets, tmp_path: Path
) -> None:
    async with following(home, tmp_path) as told:
        await told.are("a", "b", "c")
        home.forget = True
        began = asyncio.get_running_loop().time()
        await home.expire()
        trouble = await told.fails("MembersMissing")
        assert "3 of its 3 members are named no more (a, b, c)" in trouble.message
        await told.are()
        assert asyncio.get_running_loop().time() - began >= POLICY.doubt_seconds
        assert home.lists > 4, "it is asked again and again"
        await told.is_well()
        assert told.said[0] == ["a", "b", "c"]
        assert [said for said in told.said if set(said) not in ({"a", "b", "c"}, set())] == []


async def test_list_that_lacks_one_member_is_believed_when_the_next_says_the_same(
    home: FakeSecrets, tmp_path: Path
) -> None:
    async with following(home, tmp_path) as told:
        await told.are("a", "b", "c")
        lists = home.lists
        home.conceal("one")
        await home.expire()
        await told.are("b", "c")
        assert home.lists == lists + 2


async def test_what_is_watched_counts_while_a_list_is_doubted(home: FakeSecrets, tmp_path: Path) -> None:
    async with following(home, tmp_path, NEVER) as told:
        await told.are("a", "b", "c")
        await until(lambda: home.watches, "it watches")
        home.forget = True
        await home.expire()
        await told.fails("MembersMissing")
        await until(lambda: home.watches, "it watches all the same")
        await home.put(a_secret("three", d=kubeconfig(X)))
        await told.are("d", "a", "b", "c")
        await home.delete("two")
        await told.are("d", "a")
        assert home.lists == 2


async def test_doubted_member_is_let_go_by_hand(home: FakeSecrets, tmp_path: Path) -> None:
    async with following(home, tmp_path, NEVER) as told:
        await told.are("a", "b", "c")
        assert not told.provider.release("b")
        home.forget = True
        await home.expire()
        await told.fails("MembersMissing")
        assert told.provider.release("b")
        await told.are("a", "c")


async def test_one_empty_list_after_a_cut_removes_nobody(home: FakeSecrets, tmp_path: Path) -> None:
    async with following(home, tmp_path) as told:
        await told.are("a", "b", "c")
        home.forget = True
        await home.expire()
        await told.fails("MembersMissing")
        home.forget = False
        await told.is_well()
        await home.put(a_secret("zero", z=kubeconfig(X)))
        await told.are("a", "b", "c", "z")
        assert all({"a", "b", "c"} <= set(said) for said in told.said)


async def test_home_cluster_that_names_nobody_at_the_start_is_believed_when_it_says_so_again(tmp_path: Path) -> None:
    async with FakeSecrets() as home, following(home, tmp_path) as told:
        assert (await told.fails("NobodyNamed")).unsure
        await told.is_well()
        assert told.said == [[]]
        assert home.lists == 2


async def test_credentials_that_lead_to_another_home_cluster_change_nobody(home: FakeSecrets, tmp_path: Path) -> None:
    async with following(home, tmp_path) as told, FakeSecrets() as stranger:
        stranger.uid = "uid-stranger"
        await stranger.put(a_secret("one", a=kubeconfig("http://127.0.0.1:2"), d=kubeconfig(X)))
        await told.are("a", "b", "c")
        (tmp_path / "home").write_text(kubeconfig(stranger.url))
        home.refuse = 503
        home.cut()
        trouble = await told.fails("IdentityRefused")
        assert "uid-stranger" in trouble.message
        await until(lambda: stranger.lists >= 3, "it is asked again and again")
        (tmp_path / "home").write_text(kubeconfig(home.url))
        home.refuse = 0
        await told.is_well()
        assert told.said == [["a", "b", "c"]]


async def test_home_cluster_that_shows_no_namespaces_is_followed_all_the_same(
    home: FakeSecrets, tmp_path: Path
) -> None:
    home.uid = ""
    async with following(home, tmp_path) as told:
        await told.are("a", "b", "c")
        await home.expire()
        await until(lambda: home.lists == 2, "it lists again")
        await home.delete("one")
        await told.are("b", "c")
        assert told.troubles == [None]


@asynccontextmanager
async def running(home: FakeSecrets, folder: Path, max_wait: float = 120) -> AsyncIterator[Fleet]:
    path = folder / "home"
    path.write_text(kubeconfig(home.url))
    secrets, startup = RemoteSecretsConfig(kubeconfig=str(path)), StartupConfig(max_wait)
    async with fleet(Config(remote_secrets=secrets, listen=LISTEN, startup=startup)) as on:
        yield on


async def test_registry_follows_the_clusters_of_secrets(tmp_path: Path) -> None:
    async with (
        a_cluster("uid-a", A1) as a,
        a_cluster("uid-b", B1) as b,
        FakeSecrets() as home,
    ):
        await home.put(a_secret("one", a=config_of(a)))
        async with running(home, tmp_path) as on:
            await on.has(A1)
            await home.put(a_secret("one", a=config_of(a, "renewed"), b=config_of(b)))
            await on.has(A1, B1)
            await until(lambda: a.seen[-1].authorization == "Bearer renewed", "the renewed credentials are used")
            mark = tmp_path / "mark"
            plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(mark)]}
            await home.put(a_secret("one", a=kubeconfig(a.url, user={"exec": plugin}), b=config_of(b)))
            assert "may not run a program" in await on.current("a", is_=False, reason="KubeconfigInvalid")
            assert on.report("b").named_by == "Secret istio-system/one (b)"
            on.client.ask(B1)
            await home.put(a_secret("one", a=config_of(a)))
            await on.has(A1)
            home.refuse = 403
            home.cut()
            await until(lambda: on.registry.reports.membership().troubles, "the home cluster's refusal is said")
            assert on.states() == {"a": "Synced"}
            assert not on.client.wrong
            assert not mark.exists()


async def test_member_that_only_moves_loses_no_endpoint(tmp_path: Path) -> None:
    """A Secret made anew, a key that goes to another Secret, and a member of a folder that becomes one of a Secret."""
    folder, path = tmp_path / "kubeconfigs", tmp_path / "home"
    folder.mkdir()
    async with a_cluster("uid-a", A1) as a, a_cluster("uid-b", B1) as b, FakeSecrets() as home:
        path.write_text(kubeconfig(home.url))
        (folder / "b").write_text(config_of(b))
        await home.put(a_secret("one", a=config_of(a)))
        config = Config(
            kubeconfig_folder=str(folder),
            remote_secrets=RemoteSecretsConfig(kubeconfig=str(path)),
            guard=GuardConfig(settle_seconds=5),
            listen=LISTEN,
        )
        async with fleet(config) as on:
            await on.has(A1, B1)
            await until(lambda: home.watches, "it watches")
            await home.delete("one")
            await home.put(a_secret("one", a=config_of(a, "anew")))
            await until(lambda: a.seen[-1].authorization == "Bearer anew", "the new credentials are used")
            await home.delete("one")
            await home.put(a_secret("two", a=config_of(a, "moved")))
            await until(lambda: on.report("a").named_by == "Secret istio-system/two (a)", "the other Secret's")
            (folder / "b").unlink()
            await home.put(a_secret("three", b=config_of(b)))
            await until(lambda: on.report("b").named_by == "Secret istio-system/three (b)", "the Secret's")
            await on.members_are(a="Synced", b="Synced")
            assert not on.client.removals
            on.client.ask(A1)
            await home.delete("two")
            await on.has(B1)
            assert not on.client.wrong


async def test_registry_whose_home_cluster_cannot_be_reached_serves_all_the_same(
    tmp_path: Path,
) -> None:
    home = FakeSecrets()
    home.url = X
    async with running(home, tmp_path, max_wait=0.5) as on:
        await until(lambda: on.registry.reports.start().ready, "it is ready")
        ((origin, reason, _),) = on.registry.reports.membership().troubles
        assert (origin, reason) == (f"Secrets in istio-system of kubeconfig {tmp_path / 'home'}", "Unreachable")
