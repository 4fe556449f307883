"""The manifests source on a real folder with a real watcher."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.modes import modes_count
from support.processes import until
from support.recording_sink import RecordingSink

from registry.model.names import BASE_KINDS, ClusterId
from registry.model.status import SourceState
from registry.sources.manifests import ManifestsSource
from registry.sources.manifests.disk import MAX_FILE_BYTES
from registry.sources.manifests.folder import Unreadable
from registry.sources.manifests.large import LARGE_BYTES, LargeFiles

A = ClusterId("a")
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
"""


def a_slice(*addresses: str) -> str:
    endpoints = "".join(f"- addresses: [{address}]\n" for address in addresses) or "[]\n"
    return (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        "metadata: {name: echo-1, namespace: shop, labels: {kubernetes.io/service-name: echo}}\n"
        f"ports: [{{name: http, port: 8080}}]\nendpoints:\n{endpoints}"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a service and its one endpoint, 10.0.0.1."""
    path = tmp_path / "cluster"
    path.mkdir()
    (path / "service.yaml").write_text(SERVICE)
    (path / "slice.yaml").write_text(a_slice("10.0.0.1"))
    return path


@asynccontextmanager
async def following(folder: Path) -> AsyncIterator[RecordingSink]:
    sink = RecordingSink(A)
    task = asyncio.create_task(ManifestsSource(A, folder).run(sink))
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def replace(path: Path, text: str) -> None:
    """Write beside the file, then rename: as careful programs do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def synced(sink: RecordingSink) -> bool:
    return sink.last.state is SourceState.SYNCED and not sink.last.reason


def failing(sink: RecordingSink, reason: str) -> bool:
    return (sink.last.state, sink.last.reason) == (SourceState.FAILING, reason)


def has(sink: RecordingSink, *addresses: str) -> bool:
    return sink.addresses() == set(addresses)


async def test_files_are_followed(folder: Path) -> None:
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink) and has(sink, "10.0.0.1"), "listed")
        assert sink.last.listed == BASE_KINDS
        replace(folder / "slice.yaml", a_slice("10.0.0.1", "10.0.0.2"))
        await sink.until(lambda: has(sink, "10.0.0.1", "10.0.0.2"), "the changed file")
        (folder / "deeper").mkdir()
        (folder / "deeper" / "more.yml").write_text(a_slice("10.0.0.3").replace("echo-1", "echo-2"))
        await sink.until(lambda: has(sink, "10.0.0.1", "10.0.0.2", "10.0.0.3"), "the new file in a new folder")
        (folder / "slice.yaml").unlink()
        await sink.until(lambda: has(sink, "10.0.0.3"), "the deleted file is gone")


async def test_hidden_files_and_other_suffixes_are_not_read(folder: Path) -> None:
    (folder / ".slice.yaml.swp.yaml").write_text("{")
    (folder / "notes.txt").write_text("{")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.yaml").write_text("{")
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink), "listed without a word")


async def test_half_written_file_keeps_its_last_good_content(folder: Path) -> None:
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink), "listed")
        whole = a_slice("10.0.0.1", "10.0.0.2")
        (folder / "slice.yaml").write_text(whole[: whole.index("endpoints") - 2])
        await sink.until(lambda: failing(sink, "ManifestInvalid"), "the half is refused")
        assert has(sink, "10.0.0.1")
        assert "slice.yaml:6:" in sink.last.message
        (folder / "slice.yaml").write_text("")
        await sink.until(lambda: "nothing in it" in sink.last.message, "the empty file is refused")
        assert has(sink, "10.0.0.1")
        (folder / "slice.yaml").write_text(whole)
        await sink.until(lambda: synced(sink) and has(sink, "10.0.0.1", "10.0.0.2"), "the whole is read")


async def test_broken_file_at_the_start_spoils_no_other(folder: Path) -> None:
    (folder / "broken.yaml").write_text("kind: [")
    async with following(folder) as sink:
        await sink.until(lambda: failing(sink, "ManifestInvalid"), "the broken file is said")
        assert has(sink, "10.0.0.1")
        assert sink.last.listed == BASE_KINDS


async def test_folder_that_goes_away_is_a_fault_and_takes_nothing_along(folder: Path) -> None:
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink), "listed")
        aside = folder.with_name("aside")
        folder.rename(aside)
        await sink.until(lambda: failing(sink, "FolderUnreadable"), "the folder is missed")
        assert str(folder) in sink.last.message
        assert has(sink, "10.0.0.1")
        replace(aside / "slice.yaml", a_slice("10.0.0.9"))
        aside.rename(folder)
        await sink.until(lambda: synced(sink) and has(sink, "10.0.0.9"), "it is back, with what changed meanwhile")
        replace(folder / "slice.yaml", a_slice("10.0.0.8"))
        await sink.until(lambda: has(sink, "10.0.0.8"), "it is followed again")


async def test_folder_in_whose_place_is_an_empty_one_is_a_fault(folder: Path) -> None:
    """A volume that is not mounted looks like that."""
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink), "listed")
        folder.rename(folder.with_name("aside"))
        folder.mkdir()
        await sink.until(lambda: failing(sink, "FolderUnreadable"), "the empty folder is not believed")
        assert has(sink, "10.0.0.1")
        (folder / "service.yaml").write_text(SERVICE)
        (folder / "slice.yaml").write_text(a_slice("10.0.0.7"))
        await sink.until(lambda: synced(sink) and has(sink, "10.0.0.7"), "the folder with something in it is believed")


async def test_files_that_are_all_deleted_are_deleted(folder: Path) -> None:
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink), "listed")
        for path in folder.iterdir():
            path.unlink()
        await sink.until(lambda: has(sink), "nothing is left")
        assert synced(sink)


async def test_folder_that_is_not_there_yet_is_a_fault_until_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with following(folder) as sink:
        await sink.until(lambda: failing(sink, "FolderUnreadable"), "the folder is missed")
        assert sink.last.listed == frozenset()
        folder.mkdir()
        (folder / "service.yaml").write_text(SERVICE)
        await sink.until(lambda: synced(sink), "listed")


async def test_mounted_config_map_is_followed_through_its_symlinks(tmp_path: Path) -> None:
    """The kubelet writes a hidden folder and swaps the symlink ``..data`` to it."""
    folder = tmp_path / "mounted"
    for version, address in (("..1", "10.0.0.1"), ("..2", "10.0.0.2")):
        (folder / version).mkdir(parents=True)
        (folder / version / "service.yaml").write_text(SERVICE)
        (folder / version / "slice.yaml").write_text(a_slice(address))
    (folder / "..data").symlink_to("..1")
    for name in ("service.yaml", "slice.yaml"):
        (folder / name).symlink_to(f"..data/{name}")
    async with following(folder) as sink:
        await sink.until(lambda: has(sink, "10.0.0.1"), "the first version")
        (folder / "..data_tmp").symlink_to("..2")
        os.replace(folder / "..data_tmp", folder / "..data")
        await sink.until(lambda: synced(sink) and has(sink, "10.0.0.2"), "the second version")


def padded(text: str) -> str:
    """The text in a file that is large, and takes a while to read."""
    return f"{text}---\nkind: ConfigMap\napiVersion: v1\ndata:\n" + "  key: [1, 2]\n" * (LARGE_BYTES // 8)


async def test_large_file_is_read_beside_the_others(folder: Path) -> None:
    """The first list has all of it. Later, others do not wait for it, and what it may have is not taken for deleted."""
    large = folder / "large.yaml"
    large.write_text(padded(a_slice("10.0.0.7").replace("echo-1", "echo-7")))
    async with following(folder) as sink:
        await sink.until(lambda: synced(sink), "listed")
        assert has(sink, "10.0.0.1", "10.0.0.7")
        (folder / "slice.yaml").unlink()
        replace(large, padded(a_slice("10.0.0.1") + "---\n" + a_slice("10.0.0.8").replace("echo-1", "echo-7")))
        (folder / "small.yaml").write_text(a_slice("10.0.0.2").replace("echo-1", "echo-2"))
        await sink.until(lambda: "10.0.0.2" in sink.addresses(), "the small file")
        assert has(sink, "10.0.0.1", "10.0.0.2", "10.0.0.7")
        await sink.until(lambda: has(sink, "10.0.0.1", "10.0.0.2", "10.0.0.8"), "the large file")
        replace(large, padded(a_slice("10.0.0.9").replace("port: 8080", "port: http")))
        await sink.until(lambda: failing(sink, "ManifestInvalid"), "the mistake in it")
        assert "large.yaml:5: EndpointSlice ports[0].port" in sink.last.message
        large.unlink()
        await sink.until(lambda: synced(sink) and has(sink, "10.0.0.2"), "it is gone")


async def test_file_beyond_the_limit_is_not_read_and_said(folder: Path) -> None:
    with (folder / "huge.yaml").open("wb") as huge:
        huge.truncate(MAX_FILE_BYTES + 1)
    async with following(folder) as sink:
        await sink.until(lambda: failing(sink, "ManifestInvalid"), "the size is said")
        assert sink.last.message == (
            "huge.yaml: cannot be read: it has 64.0 MiB, more than 64 MiB; split it, as by namespace"
        )
        assert has(sink, "10.0.0.1")


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for the child in /proc")
async def test_large_file_whose_reader_dies_is_said_and_the_next_one_is_read(tmp_path: Path) -> None:
    files = LargeFiles()
    (tmp_path / "good.yaml").write_text(SERVICE)
    os.mkfifo(tmp_path / "stuck.yaml")
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    try:
        files.ask("stuck.yaml", tmp_path / "stuck.yaml")
        files.ask("good.yaml", tmp_path / "good.yaml")
        await until(lambda: bool(set(children.read_text().split()) - before), "the child")
        (child,) = set(children.read_text().split()) - before
        os.kill(int(child), signal.SIGKILL)
        await files.done()
        read = files.take()
    finally:
        await files.close()
    assert isinstance(stuck := read["stuck.yaml"], Unreadable)
    assert "ended with -9" in stuck.reason
    assert len(read["good.yaml"]) == 1
    assert set(children.read_text().split()) <= before


async def test_file_that_becomes_readable_is_read(folder: Path) -> None:
    """Its time of change is that of its content, so it is tried again without one."""
    path = folder / "more.yaml"
    path.write_text(a_slice("10.0.0.4").replace("echo-1", "echo-4"))
    path.chmod(0)
    with modes_count():
        async with following(folder) as sink:
            await sink.until(lambda: failing(sink, "ManifestInvalid"), "it cannot be read")
            path.chmod(0o644)
            await sink.until(lambda: synced(sink) and "10.0.0.4" in sink.addresses(), "it is read")
