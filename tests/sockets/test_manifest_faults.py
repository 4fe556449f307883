"""A folder of manifests on its disk: one bad entry is its own problem, and a fault is not a deletion."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.modes import modes_count
from support.processes import until
from support.recording_sink import RecordingSink

from registry.model.names import ClusterId
from registry.model.status import SourceState
from registry.sources.manifests import ManifestsSource
from registry.sources.manifests.disk import MAX_FILES, scan_folder
from registry.sources.manifests.folder import Unreadable
from registry.sources.manifests.large import LARGE_BYTES, LargeFiles
from registry.supervision import Supervisor

A = ClusterId("a")


def a_slice(name: str, address: str) -> str:
    return (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        f"metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: echo}}}}\n"
        f"ports: [{{name: http, port: 8080}}]\nendpoints:\n- addresses: [{address}]\n"
    )


SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``one.yaml`` has 10.0.0.1, ``sub/two.yaml`` 10.0.0.2."""
    path = tmp_path / "cluster"
    (path / "sub").mkdir(parents=True)
    (path / "service.yaml").write_text(SERVICE)
    (path / "one.yaml").write_text(a_slice("one", "10.0.0.1"))
    (path / "sub" / "two.yaml").write_text(a_slice("two", "10.0.0.2"))
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


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def socket_or_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [pipe, dangling, loop, socket_or_device])
async def test_entry_that_cannot_be_looked_at_keeps_its_content_and_disturbs_no_other(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    async with following(folder) as sink:
        await until(lambda: sink.addresses() == {"10.0.0.1", "10.0.0.2"}, "all is read")
        spoil(folder / "one.yaml")
        await until(lambda: "one.yaml: cannot be read" in sink.last.message, "it is named")
        (folder / "sub" / "two.yaml").write_text(a_slice("two", "10.0.0.3"))
        await until(lambda: sink.addresses() == {"10.0.0.1", "10.0.0.3"}, "the others are followed")
        (folder / "one.yaml").unlink()
        (folder / "one.yaml").write_text(a_slice("one", "10.0.0.4"))
        await until(lambda: sink.addresses() == {"10.0.0.4", "10.0.0.3"}, "it is read again")
        assert (sink.last.state, sink.last.reason) == (SourceState.SYNCED, "")
        (folder / "one.yaml").unlink()
        await until(lambda: sink.addresses() == {"10.0.0.3"}, "a deletion is one")


async def test_subfolder_that_may_not_be_read_keeps_what_was_in_it(folder: Path) -> None:
    with modes_count():
        await subfolder_is_closed(folder)


async def subfolder_is_closed(folder: Path) -> None:
    async with following(folder) as sink:
        await until(lambda: sink.addresses() == {"10.0.0.1", "10.0.0.2"}, "all is read")
        (folder / "sub").chmod(0)
        try:
            await until(lambda: "sub/two.yaml: cannot be read" in sink.last.message, "it is named")
            (folder / "one.yaml").write_text(a_slice("one", "10.0.0.3"))
            await until(lambda: sink.addresses() == {"10.0.0.3", "10.0.0.2"}, "the others are followed")
        finally:
            (folder / "sub").chmod(0o755)
        await until(lambda: sink.last.state is SourceState.SYNCED, "all is well again")


async def test_name_that_is_not_utf8_is_that_files_problem(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.yaml")).write_text(a_slice("cafe", "10.0.0.9"))
    (folder / os.fsdecode(b"large\xe9.yaml")).write_text("#" * LARGE_BYTES)
    async with following(folder) as sink:
        await until(lambda: sink.addresses() == {"10.0.0.1", "10.0.0.2"}, "the others are read")
        assert "caf\ufffd.yaml: cannot be read: its name is not UTF-8; rename it" in sink.last.message
        sink.last.message.encode()


async def test_folder_in_whose_place_a_link_is_put_is_followed_there(folder: Path, tmp_path: Path) -> None:
    async with following(folder) as sink:
        await until(lambda: sink.addresses() == {"10.0.0.1", "10.0.0.2"}, "all is read")
        other = tmp_path / "other"
        folder.rename(other)
        folder.symlink_to(other)
        (other / "one.yaml").write_text(a_slice("one", "10.0.0.5"))
        await until(lambda: sink.addresses() == {"10.0.0.5", "10.0.0.2"}, "it is followed through the link")
        (other / "one.yaml").write_text(a_slice("one", "10.0.0.6"))
        await until(lambda: sink.addresses() == {"10.0.0.6", "10.0.0.2"}, "and goes on")


def test_folder_of_too_many_files_is_a_fault(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()
    with pytest.raises(Exception, match="split it into several clusters"):
        scan_folder(tmp_path)


async def test_large_file_that_is_read_for_too_long_is_given_up(folder: Path) -> None:
    large = folder / "large.yaml"
    large.write_text(SERVICE + "#" * LARGE_BYTES)
    files = LargeFiles(seconds=0.001)
    files.ask("large.yaml", large)
    await files.done()
    content = files.take()["large.yaml"]
    assert isinstance(content, Unreadable)
    assert "takes more than" in content.reason
    await files.close()


async def test_source_that_fails_reads_every_file_again_when_it_is_run_anew(folder: Path) -> None:
    """Its watch raises once: what came while nobody looked is there all the same."""
    runs = 0

    async def watch(_folder: Path) -> AsyncGenerator[object, None]:
        nonlocal runs
        runs += 1
        if runs == 1:
            (folder / "one.yaml").write_text(a_slice("one", "10.0.0.7"))
            raise ZeroDivisionError("a bug")
        while True:
            yield ()
            await asyncio.sleep(0.01)

    sink = RecordingSink(A)
    source = ManifestsSource(A, folder, watch)
    counted: list[str] = []
    supervisor = Supervisor(counted.append, rand=lambda: 0.9)
    task = supervisor.start("source", lambda: source.run(sink))
    await until(lambda: sink.addresses() == {"10.0.0.7", "10.0.0.2"}, "it is followed anew")
    assert counted == ["source"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
