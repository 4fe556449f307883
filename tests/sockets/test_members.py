"""Members that come, change, change their names and go, in the running registry over fake API servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from support.fake_apiserver import FakeApiServer, kubeconfig, refuse
from support.fleet import LISTEN, Fleet, a_cluster, a_slice_of, config_of, fleet, replace_file
from support.processes import until

from registry.config import ClusterConfig, Config, load
from registry.config.sections import FollowConfig, GuardConfig, SnapshotConfig, StartupConfig
from registry.model.conditions import ConditionType
from registry.model.names import Kind
from registry.servers.explanation import explanation_document
from registry.views.names import Names

A1, A2, B1, C1 = "10.1.0.1", "10.1.0.2", "10.2.0.1", "10.3.0.1"
ROTATIONS = 100


@pytest_asyncio.fixture
async def a() -> AsyncIterator[FakeApiServer]:
    async with a_cluster("uid-a", A1, A2) as server:
        yield server


@pytest_asyncio.fixture
async def b() -> AsyncIterator[FakeApiServer]:
    async with a_cluster("uid-b", B1) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfigs"
    path.mkdir()
    return path


def of_folder(folder: Path) -> Config:
    return Config(kubeconfig_folder=str(folder), listen=LISTEN)


async def test_folder_of_kubeconfigs_is_followed(folder: Path, a: FakeApiServer, b: FakeApiServer) -> None:
    (folder / "a.yaml").write_text(config_of(a))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        lists = len(await a.requests("list", Kind.SERVICE, 1))
        replace_file(folder / "b.kubeconfig", config_of(b))
        await on.has(A1, A2, B1)
        assert on.report("b").named_by == f"folder {folder} (b.kubeconfig)"
        (folder / "b.kubeconfig").unlink()
        on.client.ask(B1)
        await on.has(A1, A2)
        await on.members_are(a="Synced")
        assert len(await a.requests("list", Kind.SERVICE, 1)) == lists, "the other member was not touched"
        assert not on.client.wrong


async def test_file_without_sense_is_said_and_taken_up_when_it_is_mended(folder: Path, a: FakeApiServer) -> None:
    (folder / "a").write_text("clusters: [")
    (folder / "b c.yaml").write_text(config_of(a))
    (folder / ".hidden").write_text("x")
    async with fleet(of_folder(folder)) as on:
        await on.members_are(a="Failing KubeconfigInvalid")
        assert "line 2" in on.report("a").status.message
        (refused,) = on.registry.reports.membership().refused
        assert refused[0] == "b c"
        assert refused[2] == "NameInvalid"
        replace_file(folder / "a", config_of(a))
        await on.has(A1, A2)


async def test_half_written_kubeconfig_and_a_folder_that_is_gone_remove_nobody(
    folder: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    (folder / "a").write_text(config_of(a))
    (folder / "b").write_text(config_of(b))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2, B1)
        (folder / "a").write_text(config_of(a)[:40])
        text = await on.current("a", is_=False, reason="KubeconfigInvalid")
        assert "the credentials before are used on" in text
        (folder / "a").write_text(config_of(a))
        await on.current("a", is_=True)
        away = folder.with_name("away")
        folder.rename(away)
        await until(lambda: on.registry.reports.membership().troubles, "the folder is missed")
        ((origin, reason, message),) = on.registry.reports.membership().troubles
        assert (origin, reason) == (f"folder {folder}", "FolderUnreadable")
        assert "its members stay" in message
        folder.mkdir()
        await until(lambda: "empty" in on.registry.reports.membership().troubles[0][2], "an empty one is no better")
        folder.rmdir()
        away.rename(folder)
        await until(lambda: not on.registry.reports.membership().troubles, "it is back")
        assert on.states() == {"a": "Synced", "b": "Synced"}
        assert len(on.client.responses) == 1


def doubting(folder: Path, member_seconds: float = 600, snapshot: Path | None = None) -> Config:
    guard = GuardConfig(confirm_seconds=min(30.0, member_seconds), member_seconds=member_seconds)
    kept = SnapshotConfig(str(snapshot) if snapshot else None, min_seconds=0)
    return Config(kubeconfig_folder=str(folder), listen=LISTEN, guard=guard, snapshot=kept)


async def unnamed(on: Fleet, *names: str, reason: str = "NamedNoMore") -> None:
    """Exactly these members are in doubt since nobody names them."""

    def told() -> bool:
        found = {name: on.condition(name, ConditionType.NAMED) for name in on.states()}
        doubted = {name: each.condition.reason for name, each in found.items() if each and not each.condition.status}
        return doubted == dict.fromkeys(names, reason)

    await until(told, f"{names} are in doubt: {reason}")


async def test_folder_that_lost_most_of_its_files_removes_nobody_until_that_stays_so(
    folder: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    async with a_cluster("uid-c", C1) as c, fleet(doubting(folder, member_seconds=3)) as on:
        for name, server in (("a", a), ("b", b), ("c", c)):
            replace_file(folder / name, config_of(server))
        await on.has(A1, A2, B1, C1)
        (folder / "b").rename(folder / ".b")
        (folder / "c").rename(folder / ".c")
        await unnamed(on, "b", "c")
        ((origin, reason, message),) = on.registry.reports.membership().troubles
        assert (origin, reason) == (f"folder {folder}", "MembersMissing")
        assert "2 of its 3 members are named no more (b, c)" in message
        (folder / ".b").rename(folder / "b")
        (folder / ".c").rename(folder / "c")
        await unnamed(on)
        assert not on.registry.reports.membership().troubles
        assert on.states() == dict.fromkeys("abc", "Synced")
        assert not on.client.removals
        on.client.ask(B1, C1)
        (folder / "b").unlink()
        (folder / "c").unlink()
        await on.has(A1, A2)
        assert not on.client.wrong


async def test_folder_that_is_empty_at_the_start_drops_no_member_of_the_snapshot(
    folder: Path, tmp_path: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    for name, server in (("a", a), ("b", b)):
        replace_file(folder / name, config_of(server))
    config = doubting(folder, snapshot=tmp_path / "snapshot")
    async with fleet(config) as on:
        await on.has(A1, A2, B1)
    (folder / "a").rename(folder / ".a")
    (folder / "b").rename(folder / ".b")
    async with fleet(config) as on:
        await on.has(A1, A2, B1)
        await unnamed(on, "a", "b", reason="NotNamedYet")
        assert set(on.states().values()) == {"Failing NotNamedYet"}
        assert {each[1] for each in on.registry.reports.membership().troubles} == {"MembersMissing", "NobodyNamed"}
        verified = on.condition("a", ConditionType.VERIFIED)
        assert verified is not None
        assert verified.condition.reason == "FromSnapshot"
        (folder / ".a").rename(folder / "a")
        await on.members_are(a="Synced", b="Failing NotNamedYet")
        on.client.ask(B1)
        url = f"http://{on.registry.http_address}/api/v1/guard"
        async with aiohttp.ClientSession() as session:
            (shown,) = (await (await session.get(url)).json())["members"]
            assert (shown["cluster"], shown["reason"]) == ("b", "NotNamedYet")
            answer = await session.post(f"{url}/release", json={"cluster": "b"})
            assert (await answer.json())["members"] == ["b"]
        await on.has(A1, A2)
        await on.members_are(a="Synced")
        assert not on.registry.reports.membership().troubles
        assert not on.client.wrong


async def test_one_file_that_was_removed_while_nobody_ran_is_no_member_any_more(
    folder: Path, tmp_path: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    for name, server in (("a", a), ("b", b)):
        replace_file(folder / name, config_of(server))
    config = doubting(folder, snapshot=tmp_path / "snapshot")
    async with fleet(config) as on:
        await on.has(A1, A2, B1)
    (folder / "b").unlink()
    async with fleet(config) as on:
        await on.has(A1, A2)
        await on.members_are(a="Synced")


async def test_link_whose_file_is_away_removes_nobody(
    folder: Path, tmp_path: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "a").write_text(config_of(a))
    (folder / "a").symlink_to(volume / "a")
    (folder / "b").write_text(config_of(b))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2, B1)
        volume.rename(tmp_path / "away")
        assert "No such file" in await on.current("a", is_=False, reason="KubeconfigInvalid")
        (tmp_path / "away").rename(volume)
        await on.current("a", is_=True)
        assert len(on.client.responses) == 1
        (folder / "a").unlink()
        on.client.ask(A1, A2)
        await on.has(B1)


async def test_configuration_file_is_followed_and_says_what_needs_a_restart(
    tmp_path: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    path = tmp_path / "registry.yaml"
    for name, server in (("a", a), ("b", b)):
        (tmp_path / name).write_text(config_of(server))
    one = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0'}\nclusters:\n- {name: a, kubeconfig: a}\n"
    path.write_text(one)
    loaded = load(path)
    async with fleet(loaded, file=(path, loaded)) as on:
        await on.has(A1, A2)
        replace_file(path, one + "- {name: b, kubeconfig: b, network: n1}\n")
        await on.has(A1, A2, B1)
        assert on.report("b").network == "n1"
        for bad, said in (("clusters: [", ":2: "), ("", "says nothing"), (one + "- {nam: c}\n", ":4: clusters[1]")):
            path.write_text(bad)
            await until(
                lambda said=said: any(said in each[2] for each in on.registry.reports.membership().troubles),
                f"{said!r} is said",
            )
            ((_, reason, message),) = on.registry.reports.membership().troubles
            assert reason == "ConfigurationInvalid"
            assert str(path) in message
        assert on.states() == {"a": "Synced", "b": "Synced"}
        replace_file(path, one + "- {name: b, kubeconfig: b}\ndomain: example.org\n")
        await until(
            lambda: "domain changed" in str(on.registry.reports.membership().troubles), "a restart is asked for"
        )
        await until(lambda: not on.report("b").network, "the rest took effect")
        on.client.ask(A1, A2)
        replace_file(path, one.replace("- {name: a, kubeconfig: a}", "- {name: b, kubeconfig: b}"))
        await on.has(B1)
        await until(lambda: not on.registry.reports.membership().troubles, "nothing is wrong any more")
        assert not on.client.wrong


async def test_half_of_a_configuration_file_removes_nobody(tmp_path: Path, a: FakeApiServer, b: FakeApiServer) -> None:
    path = tmp_path / "registry.yaml"
    (tmp_path / "a").write_text(config_of(a))
    (tmp_path / "b").write_text(config_of(b))
    whole = "clusters:\n- {name: a, kubeconfig: a}\n- {name: b, kubeconfig: b}\ndomain: clusterset.local\n"
    path.write_text(whole)
    started = load(path)
    async with fleet(Config(listen=LISTEN, clusters=started.clusters), [], (path, started)) as on:
        await on.has(A1, A2, B1)
        for cut in range(len(whole)):  # each within the moment that a file has to be left alone
            path.write_text(whole[:cut])
            await asyncio.sleep(0.05)
        path.write_text(whole[: whole.index("\n- {name: b")])
        await until(lambda: "lacks b" in str(on.registry.reports.membership().troubles), "that it breaks off is said")
        path.write_text(whole)
        await until(lambda: not on.registry.reports.membership().troubles, "it is whole again")
        assert on.states() == {"a": "Synced", "b": "Synced"}
        assert len(on.client.responses) == 1
        path.write_text("clusters:\n- {name: a, kubeconfig: a}\n")
        on.client.ask(B1)
        await on.has(A1, A2)


async def test_configuration_file_that_lost_most_clusters_at_the_end_of_a_line_removes_nobody(
    tmp_path: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    path = tmp_path / "registry.yaml"
    async with a_cluster("uid-c", C1) as c:
        for name, server in (("a", a), ("b", b), ("c", c)):
            (tmp_path / name).write_text(config_of(server))
        lines = ["clusters:", *(f"- {{name: {name}, kubeconfig: {name}}}" for name in "abc"), ""]
        path.write_text("\n".join(lines))
        started = load(path)
        config = Config(listen=LISTEN, clusters=started.clusters)
        async with fleet(config, (), (path, started)) as on:
            await on.has(A1, A2, B1, C1)
            path.write_text("\n".join([*lines[:2], ""]))
            await unnamed(on, "b", "c")
            ((origin, reason, _),) = on.registry.reports.membership().troubles
            assert (origin, reason) == (f"file {path}", "MembersMissing")
            path.write_text("\n".join(lines))
            await unnamed(on)
            assert not on.registry.reports.membership().troubles
            assert len(on.client.responses) == 1
            on.client.ask(C1)
            path.write_text("\n".join([*lines[:3], ""]))
            await on.has(A1, A2, B1)
            assert not on.client.wrong


async def test_name_in_two_places_counts_in_the_first_and_moves_over_when_that_gives_it_up(
    tmp_path: Path, folder: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    path = tmp_path / "registry.yaml"
    (tmp_path / "other").write_text(config_of(a, "other"))
    (folder / "a").write_text(config_of(a))
    head = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0'}\nkubeconfigFolder: kubeconfigs\n"
    path.write_text(head + "clusters: [{name: a, kubeconfig: other}]\n")
    loaded = load(path)
    async with fleet(loaded, file=(path, loaded)) as on:
        await on.has(A1, A2)
        await until(lambda: on.registry.reports.membership().refused, "the second is refused")
        ((name, origin, reason, message),) = on.registry.reports.membership().refused
        assert (name, origin, reason) == ("a", f"folder {folder} (a)", "NameTaken")
        assert f"file {path} has a cluster of this name already" in message
        replace_file(path, head + "clusters: []\n")
        await until(lambda: on.report("a").named_by.startswith("folder"), "the folder's counts now")
        await until(lambda: a.seen[-1].authorization == "Bearer secret", "with its credentials")
        assert not on.registry.reports.membership().refused
        assert len(on.client.responses) == 1


async def test_renamed_cluster_drops_no_endpoint(folder: Path, a: FakeApiServer, b: FakeApiServer) -> None:
    (folder / "a").write_text(config_of(a))
    (folder / "b").write_text(config_of(b))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2, B1)
        (folder / "a").rename(folder / "z")
        await on.members_are(b="Synced", z="Synced")
        await until(lambda: set(on.clusters_of().values()) == {"b", "z"}, "the endpoints are z's")
        await on.has(A1, A2, B1)
        assert not on.client.removals


async def test_renamed_folder_of_manifests_drops_no_endpoint(tmp_path: Path) -> None:
    manifests, path = tmp_path / "manifests", tmp_path / "registry.yaml"
    manifests.mkdir()
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": "echo", "namespace": "shop"}, "spec": {"ports": ports}}
    objects = (
        {"apiVersion": "v1", "kind": "Service", **service},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **a_slice_of(A1, A2)},
    )
    for number, each in enumerate(objects):
        (manifests / f"{number}.json").write_text(json.dumps(each))
    path.write_text("clusters:\n- {name: a, manifests: manifests}\n")
    started = load(path)
    async with fleet(Config(listen=LISTEN, clusters=started.clusters), [], (path, started)) as on:
        await on.has(A1, A2)
        replace_file(path, "clusters:\n- {name: z, manifests: manifests}\n")
        await on.members_are(z="Synced")
        await on.has(A1, A2)
        assert not on.client.removals


async def test_member_removed_together_with_the_coming_of_another_cluster_goes_as_soon_as_that_is_known(
    folder: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    (folder / "a").write_text(config_of(a))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        replace_file(folder / "a", config_of(a))
        on.client.ask(A1, A2)
        (folder / "b").write_text(config_of(b))
        (folder / "a").unlink()
        await on.has(B1)
        await on.members_are(b="Synced")


async def test_second_name_of_a_cluster_is_refused_and_takes_over_when_the_first_goes(
    folder: Path, a: FakeApiServer
) -> None:
    (folder / "a").write_text(config_of(a))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        (folder / "again").write_text(config_of(a, "other"))
        await on.members_are(a="Synced", again="Failing IdentityRefused")
        assert "the member a already" in on.report("again").status.message
        assert set(on.clusters_of().values()) == {"a"}
        (folder / "a").unlink()
        await on.members_are(again="Synced")
        await until(lambda: set(on.clusters_of().values()) == {"again"}, "the endpoints are the other's")
        assert not on.client.removals


async def test_a_member_that_is_refused_is_explained_as_such(folder: Path, a: FakeApiServer) -> None:
    (folder / "a").write_text(config_of(a))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        (folder / "again").write_text(config_of(a, "other"))
        await on.members_are(a="Synced", again="Failing IdentityRefused")
        told = on.registry.reports.explain(next(each.key for each in on.registry.reports.services()), None)
        document: Any = explanation_document(told, Names(), told.service.endpoints)
        reasons = {each["name"]: each["reason"] for each in document["clusters"]}
        assert reasons == {"a": None, "again": "ClusterRefused"}
        assert "the member a already" in document["clusters"][1]["message"]


async def test_credentials_that_lead_to_another_cluster_are_refused_while_the_old_go_on(
    folder: Path, a: FakeApiServer, b: FakeApiServer
) -> None:
    (folder / "a").write_text(config_of(a))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        replace_file(folder / "a", config_of(b))
        text = await on.current("a", is_=False, reason="IdentityRefused")
        assert "UID uid-b" in text
        await a.put(Kind.ENDPOINT_SLICE, a_slice_of(A1, A2, C1))
        await on.has(A1, A2, C1)
        assert on.states() == {"a": "Synced"}
        assert not await_nothing_of(b)
        replace_file(folder / "a", config_of(a, "renewed"))
        await on.current("a", is_=True)
        await until(lambda: a.seen[-1].authorization == "Bearer renewed", "the newest are used")
        assert not on.client.removals


def await_nothing_of(server: FakeApiServer) -> list[str]:
    """What was asked of the server apart from who it is."""
    return [seen.verb for seen in server.seen if seen.verb != "identity"]


async def test_credentials_that_do_not_work_are_said_and_the_old_go_on(folder: Path, a: FakeApiServer) -> None:
    (folder / "a").write_text(config_of(a, "good"))
    a.accepts = "Bearer good"
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        replace_file(folder / "a", config_of(a, "bad"))
        assert "401" in await on.current("a", is_=False, reason="Unauthorized")
        a.script("list", Kind.POD, *[refuse(403, "Forbidden")] * 50)
        a.accepts = ""
        replace_file(folder / "a", config_of(a, "poor"))
        assert "list pods: 403" in await on.current("a", is_=False, reason="Forbidden")
        replace_file(folder / "a", kubeconfig("http://127.0.0.1:1", user={"token": "x"}))
        await on.current("a", is_=False, reason="Unreachable")
        await a.put(Kind.ENDPOINT_SLICE, a_slice_of(A1, A2, C1))
        await on.has(A1, A2, C1)
        assert on.states() == {"a": "Synced"}
        replace_file(folder / "a", config_of(a, "good"))
        await on.current("a", is_=True)
        assert not on.client.removals
        assert len(on.client.responses) == 2


async def test_hundred_rotations_under_a_watching_client_bring_it_nothing(folder: Path, a: FakeApiServer) -> None:
    (folder / "a").write_text(config_of(a, "token-0"))
    async with fleet(of_folder(folder)) as on:
        await on.has(A1, A2)
        for turn in range(1, ROTATIONS + 1):
            replace_file(folder / "a", config_of(a, f"token-{turn}"))
            await until(lambda turn=turn: watches_with(a, f"Bearer token-{turn}"), f"rotation {turn} is done")
        await a.put(Kind.ENDPOINT_SLICE, a_slice_of(A1, A2, C1))
        await on.has(A1, A2, C1)
        assert len(on.client.responses) == 2, "the first, and the one for the change afterwards"
        assert not on.client.removals
        assert not on.client.without_cause
        since = on.condition("a", ConditionType.CREDENTIALS_CURRENT)
        assert since is not None
        assert since.condition.status
        leaked = [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "source a"]
        assert len(leaked) == 1


def watches_with(server: FakeApiServer, authorization: str) -> bool:
    """Every kind is watched with it."""
    seen = {each.kind for each in server.seen if each.verb == "watch" and each.authorization == authorization}
    return seen >= {Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.POD, Kind.NODE, Kind.NAMESPACE}


async def test_member_that_never_listed_takes_newer_credentials_at_once(folder: Path, a: FakeApiServer) -> None:
    (folder / "a").write_text(kubeconfig("http://127.0.0.1:1"))
    async with fleet(of_folder(folder)) as on:
        await on.members_are(a="Failing Unreachable")
        replace_file(folder / "a", config_of(a))
        await on.has(A1, A2)


async def test_kubeconfigs_of_flags_are_followed_too(tmp_path: Path, a: FakeApiServer) -> None:
    path = tmp_path / "a"
    path.write_text(config_of(a))
    flags = (ClusterConfig("a", kubeconfig=str(path)), ClusterConfig("b", kubeconfig=str(tmp_path / "b")))
    async with fleet(Config(clusters=flags, listen=LISTEN, startup=StartupConfig(0)), flags) as on:
        await on.has(A1, A2)
        replace_file(path, config_of(a, "renewed"))
        await until(lambda: watches_with(a, "Bearer renewed"), "the newest are used")
        assert on.states() == {"a": "Synced", "b": "Failing KubeconfigInvalid"}
        assert len(on.client.responses) == 1


async def test_what_no_watch_told_is_found_mended_and_counted(folder: Path, a: FakeApiServer) -> None:
    (folder / "a.yaml").write_text(config_of(a))
    config = Config(kubeconfig_folder=str(folder), listen=LISTEN, follow=FollowConfig(audit_seconds=0.5))
    async with fleet(config) as on:
        await on.has(A1, A2)
        assert on.report("a").drifted == 0
        a.betray(Kind.ENDPOINT_SLICE, a_slice_of(A1, A2, C1))
        await on.has(A1, A2, C1)
        assert on.report("a").drifted == 1
        async with aiohttp.ClientSession() as session:
            text = await (await session.get(f"http://{on.registry.http_address}/metrics")).text()
        assert 'mesh_registry_cluster_drift_total{cluster="a"} 1.0' in text
        assert not on.client.wrong
