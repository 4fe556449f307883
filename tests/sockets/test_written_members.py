"""ServiceEntries of the whole registry as members come, go, change their names, and cannot be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace
from support.fake_apiserver import FakeApiServer, kubeconfig
from support.fake_entries import FakeEntries
from support.fleet import LISTEN, Fleet, a_cluster, config_of, fleet, replace_file
from support.processes import free_port, until

from registry.config import Config
from registry.config.sections import RemoteSecretsConfig, ServiceEntriesConfig, SnapshotConfig
from registry.model.conditions import Condition, ConditionType
from registry.model.names import Kind

NAME = ("shop", "mesh-registry-echo")
MANAGED = {"app.kubernetes.io/managed-by": "mesh-registry"}
A1, B1 = "10.1.0.1", "10.2.0.1"


class Cluster:
    """A fake API server, and the ServiceEntries in it."""

    def __init__(self, api: FakeApiServer, entries: FakeEntries) -> None:
        self.api = api
        self.entries = entries

    def has(self, *addresses: str) -> bool:
        """The entry has just these endpoints."""
        found = self.entries.objects.get(NAME)
        return found is not None and [each["address"] for each in found["spec"]["endpoints"]] == list(addresses)

    @property
    def deleted(self) -> int:
        return sum(method == "DELETE" for method, _ in self.entries.wrote)


@asynccontextmanager
async def cluster(uid: str, address: str) -> AsyncIterator[Cluster]:
    entries = FakeEntries()
    async with a_cluster(uid, address, more=entries.serve) as api:
        await api.put(Kind.NAMESPACE, {"metadata": {"name": "shop"}})
        try:
            yield Cluster(api, entries)
        finally:
            entries.cut()


@pytest_asyncio.fixture
async def a() -> AsyncIterator[Cluster]:
    async with cluster("uid-a", A1) as it:
        yield it


@pytest_asyncio.fixture
async def b() -> AsyncIterator[Cluster]:
    async with cluster("uid-b", B1) as it:
        yield it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfigs"
    path.mkdir()
    return path


def of_folder(folder: Path) -> Config:
    return Config(kubeconfig_folder=str(folder), listen=LISTEN, service_entries=ServiceEntriesConfig(write=True))


def condition(on: Fleet, name: str, kind: ConditionType) -> Condition | None:
    dated = on.condition(name, kind)
    return dated.condition if dated is not None else None


def complete(on: Fleet, name: str) -> bool | None:
    said = condition(on, name, ConditionType.ENTRIES_COMPLETE)
    return said.status if said is not None else None


def told(on: Fleet, name: str) -> str:
    said = condition(on, name, ConditionType.ENTRIES_COMPLETE)
    return said.message if said is not None else ""


def away() -> str:
    return kubeconfig(f"http://127.0.0.1:{free_port()}")


async def test_member_that_gets_another_name_keeps_its_entries(folder: Path, a: Cluster, b: Cluster) -> None:
    (folder / "a").write_text(config_of(a.api))
    (folder / "b").write_text(config_of(b.api))
    async with fleet(of_folder(folder)) as on:
        await until(lambda: a.has(A1, B1) and b.has(A1, B1), "both are written")
        (folder / "b").rename(folder / "z")
        await until(lambda: set(on.states()) == {"a", "z"}, "b is called z now")
        await until(lambda: not on.registry.writing.entries.departing, "what follows is done")
        (folder / "zz").write_text(config_of(b.api))
        await on.members_are(a="Synced", z="Synced", zz="Failing IdentityRefused")
        (folder / "z").unlink()
        await on.members_are(a="Synced", zz="Synced")
        await until(lambda: not on.registry.writing.entries.departing, "what follows is done")
        assert (a.deleted, b.deleted) == (0, 0)
        assert a.has(A1, B1)
        assert b.has(A1, B1)


async def test_member_that_leaves_has_its_entries_deleted_or_it_is_said(folder: Path, a: Cluster, b: Cluster) -> None:
    (folder / "a").write_text(config_of(a.api))
    (folder / "b").write_text(config_of(b.api))
    async with fleet(of_folder(folder)) as on:
        await until(lambda: a.has(A1, B1) and b.has(A1, B1), "both are written")
        (folder / "b").unlink()
        await until(lambda: not b.entries.objects, "b has none of ours")
        await until(lambda: a.has(A1), "a has nothing of b")
        (folder / "never").write_text(away())
        await until(lambda: "never" in on.states(), "it is a member")
        (folder / "never").unlink()

        def said() -> bool:
            troubles = on.registry.reports.membership().troubles
            return any(each[:2] == ("cluster never", "EntriesRemain") for each in troubles)

        await until(said, "nobody knows what is there")


async def test_member_that_comes_and_cannot_be_reached_holds_up_no_other(folder: Path, a: Cluster) -> None:
    (folder / "a").write_text(config_of(a.api))
    async with fleet(of_folder(folder)) as on:
        await until(lambda: a.has(A1) and complete(on, "a"), "a is written")
        (folder / "b").write_text(away())
        await until(lambda: "cluster b (Unreachable)" in told(on, "a"), "b is waited for")
        assert complete(on, "a") is False
        assert [each.name for each in on.registry.reports.start().unknown] == ["b"]
        said = condition(on, "b", ConditionType.ENTRIES_WRITTEN)
        assert said is None or said.reason in ("Waiting", "Unreachable")
        await a.api.delete(Kind.ENDPOINT_SLICE, "echo-1")
        await until(a.has, "changes follow")
        (folder / "b").unlink()
        await until(lambda: complete(on, "a"), "nobody is waited for")


async def test_member_that_the_snapshot_knows_is_known(folder: Path, tmp_path: Path, a: Cluster, b: Cluster) -> None:
    (folder / "a").write_text(config_of(a.api))
    (folder / "b").write_text(config_of(b.api))
    config = replace(of_folder(folder), snapshot=SnapshotConfig(str(tmp_path / "snapshot"), 0.05))
    async with fleet(config) as on:
        await until(lambda: a.has(A1, B1) and b.has(A1, B1), "both are written")
    a.entries.objects.clear()
    replace_file(folder / "b", away())
    async with fleet(config) as on:
        await until(lambda: a.has(A1, B1), "b is in it, as it was")
        await until(lambda: complete(on, "a"), "and that is complete")
        assert on.registry.reports.start().unknown == ()


async def test_what_is_written_outlives_a_snapshot_that_is_older(
    folder: Path, tmp_path: Path, a: Cluster, b: Cluster
) -> None:
    (folder / "a").write_text(config_of(a.api))
    (folder / "b").write_text(config_of(b.api))
    config = replace(of_folder(folder), snapshot=SnapshotConfig(str(tmp_path / "snapshot"), 0.05))
    async with fleet(config):
        await until(lambda: a.has(A1, B1), "both are written")
    spec = a.entries.objects[NAME]["spec"]
    newer = [{**spec["endpoints"][-1], "address": f"10.2.0.{number}"} for number in (2, 3)]
    a.entries.put(*NAME, {**spec, "endpoints": [spec["endpoints"][0], *newer]}, "mesh-registry", MANAGED)
    at = config_of(b.api)
    replace_file(folder / "b", away())
    async with fleet(config):
        await until(lambda: a.has(A1, B1, "10.2.0.2", "10.2.0.3"), "nobody knows that the newer ones are gone")
        replace_file(folder / "b", at)
        await until(lambda: a.has(A1, B1), "b has listed")


async def test_place_that_does_not_say_who_its_members_are_takes_nothing_out(folder: Path, a: Cluster) -> None:
    (folder / "a").write_text(config_of(a.api))
    (folder.parent / "home").write_text(away())
    ports = [{"number": 80, "name": "http", "targetPort": 8080}]
    endpoints = [
        {"address": address, "labels": {"topology.istio.io/cluster": name}, "weight": 1}
        for address, name in (("10.1.0.9", "a"), ("10.9.0.1", "c"))
    ]
    spec = {"hosts": ["echo.shop.svc.clusterset.local"], "ports": ports, "endpoints": endpoints}
    a.entries.put(*NAME, spec, "mesh-registry", MANAGED)
    config = replace(of_folder(folder), remote_secrets=RemoteSecretsConfig(kubeconfig=str(folder.parent / "home")))
    async with fleet(config) as on:
        await until(lambda: a.has(A1, "10.9.0.1"), "c may be a member")
        said = await until(lambda: condition(on, "a", ConditionType.ENTRIES_COMPLETE), "it says what is unknown")
        assert "the members of" in said.message
