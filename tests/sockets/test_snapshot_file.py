"""The snapshot's file: replaced in one step whatever happens, and put away when it cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import snapshot_process
from support.facts import A, B, a_service
from support.processes import until
from support.snapshot_process import DOMAIN, generation

from registry.model.names import Kind
from registry.snapshot.file import MOST_SET_ASIDE, Disk, Replacement, Writable
from registry.snapshot.format import ClusterFacts, decode, encode
from registry.snapshot.loader import load
from registry.snapshot.pace import PaceRules
from registry.snapshot.writer import SnapshotWriter


class PowerCutError(BaseException):
    """The process is gone: no code of it runs any more, so nothing may catch this."""


class FailingFile:
    """Takes so many bytes, and then raises; a few at a time, as a pipe or a full disk would."""

    def __init__(self, real: Writable, disk: FailingDisk) -> None:
        self._real = real
        self._disk = disk

    def write(self, data: bytes, /) -> int | None:
        taken = data[: min(len(data), self._disk.room, 1000)]
        if data and not taken:
            raise self._disk.error
        self._disk.room -= len(taken)
        return self._real.write(taken)

    def fileno(self) -> int:
        return self._real.fileno()

    def close(self) -> None:
        self._real.close()


@dataclass
class FailingDisk(Disk):
    """Raises ``error`` at the call named ``at``, or once ``room`` bytes were written. Keeps the order of the calls."""

    error: BaseException
    at: str = ""
    room: int = 1 << 30
    calls: list[str] = field(default_factory=list)

    def create(self, path: Path) -> Writable:
        self._call("create")
        return FailingFile(super().create(path), self)

    def sync(self, file: Writable) -> None:
        self._call("sync")
        super().sync(file)

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace")
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._call("sync_folder")
        super().sync_folder(folder)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise self.error


def write(path: Path, number: int, disk: Disk | None = None) -> None:
    replacement = Replacement(path, disk or Disk())
    try:
        for piece in encode(DOMAIN, number, [generation(number)]):
            replacement.write(piece)
        replacement.commit()
    finally:
        replacement.close()


def generation_in(path: Path) -> int:
    """Which generation the file holds, whole and unmixed."""
    (read,) = decode(path.read_bytes(), DOMAIN).clusters
    assert read == generation(int(read.uid))
    return int(read.uid)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


def test_write_that_is_cut_at_any_byte_leaves_the_old_one(path: Path) -> None:
    write(path, 1)
    size = path.stat().st_size
    ends, at = set(), 0
    for piece in encode(DOMAIN, 2, [generation(2)]):
        at += len(piece)
        ends.update({at - 17, at - 16, at - 1, at, at + 1, at + 3, at + 4, at + 5})
    cuts = {each for each in ends if 0 <= each < size} | set(random.Random(1).sample(range(size), 200))
    for cut in sorted(cuts):
        with pytest.raises(PowerCutError):
            write(path, 2, FailingDisk(PowerCutError(), room=cut))
        assert generation_in(path) == 1
    write(path, 3)
    assert generation_in(path) == 3


@pytest.mark.parametrize(
    ("at", "expected"), [("create", 1), ("sync", 1), ("replace", 1), ("sync_folder", 2), ("nowhere", 2)]
)
@pytest.mark.parametrize("error", [PowerCutError(), OSError(errno.EIO, "Input/output error")])
def test_failure_at_any_call_leaves_the_old_one_or_the_new(
    path: Path, at: str, expected: int, error: BaseException
) -> None:
    write(path, 1)
    with contextlib.suppress(PowerCutError, OSError):
        write(path, 2, FailingDisk(error, at))
    assert generation_in(path) == expected


def test_content_is_on_the_disk_before_its_name_and_the_name_before_it_is_told(path: Path) -> None:
    disk = FailingDisk(PowerCutError())
    write(path, 1, disk)
    assert disk.calls == ["create", "sync", "replace", "sync_folder"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["snapshot"]


def test_two_that_write_one_file_do_not_mix(path: Path) -> None:
    first = Replacement(path, Disk())
    with pytest.raises(OSError, match="another process is writing it"):
        Replacement(path, Disk())
    for piece in encode(DOMAIN, 1, [generation(1)]):
        first.write(piece)
    first.commit()
    assert generation_in(path) == 1
    write(path, 2)
    assert generation_in(path) == 2


def test_processes_that_write_one_file_leave_it_whole(path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-m", snapshot_process.__name__, str(path)], env=_environment())
        for _ in range(3)
    ]
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, "nobody writes anything"
            time.sleep(0.001)
        inodes = set()
        for _ in range(300):
            inodes.add(path.stat().st_ino)
            generation_in(path)
            time.sleep(0.002)
    finally:
        for child in children:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert len(inodes) > 1, "it was replaced meanwhile"


def test_writer_that_is_killed_leaves_a_whole_file(path: Path) -> None:
    """``kill -9`` at twenty moments of a process that does nothing but write."""
    moments = random.Random(2)
    seen: list[int] = []
    for _ in range(20):
        child = subprocess.Popen([sys.executable, "-m", snapshot_process.__name__, str(path)], env=_environment())
        try:
            before = path.stat().st_mtime_ns if path.exists() else 0
            deadline = time.monotonic() + 30
            while not path.exists() or path.stat().st_mtime_ns == before:
                assert time.monotonic() < deadline, "the process writes nothing"
                time.sleep(0.001)
            time.sleep(moments.random() * 0.02)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        seen.append(generation_in(path))
    assert len(set(seen)) > 3, "killed at different moments"
    assert len(list(path.parent.iterdir())) <= 2, "at most one unfinished file is left"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "foreign"),
        (b"# notes of somebody else\n", "foreign"),
        (b"".join(encode("other.example", 0, [])), "foreign"),
        (b"".join(encode(DOMAIN, 0, [generation(1)]))[:-5], "corrupt"),
    ],
)
def test_file_that_cannot_be_used_is_set_aside_and_said(
    path: Path, content: bytes, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    loaded = load(path, DOMAIN)
    assert (loaded.clusters, loaded.created, loaded.writable) == ((), None, True)
    assert not path.exists()
    assert path.with_name(f"snapshot.{kind}.1").read_bytes() == content
    assert f"is {kind}" in caplog.text
    assert f"snapshot.{kind}.1" in caplog.text


def test_files_set_aside_are_never_overwritten_and_never_too_many(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(MOST_SET_ASIDE):
        path.write_bytes(b"%d" % number)
        assert load(path, DOMAIN).writable
    path.write_bytes(b"the last straw")
    assert not load(path, DOMAIN).writable, "or it would be overwritten"
    assert path.read_bytes() == b"the last straw"
    assert "too many" in caplog.text
    kept = {each.read_bytes() for each in path.parent.iterdir()}
    assert kept == {b"%d" % number for number in range(MOST_SET_ASIDE)} | {b"the last straw"}


def test_there_is_nothing_to_load_at_first(path: Path) -> None:
    loaded = load(path, DOMAIN)
    assert (loaded.clusters, loaded.writable) == ((), True)


def test_what_cannot_be_read_is_said_and_left(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    assert load(path, DOMAIN).clusters == ()
    assert "cannot be read" in caplog.text
    assert path.is_dir()


SOON = PaceRules(min_seconds=0.02, share=0.5, retry_seconds=0.05)


@dataclass
class World:
    """What the writer under test is given."""

    path: Path
    number: int = 1
    disk: Disk = field(default_factory=Disk)
    rules: PaceRules = SOON

    def __post_init__(self) -> None:
        self.writer = SnapshotWriter(
            self.path,
            DOMAIN,
            self.clusters,
            clock=time.monotonic,
            wall_clock=time.time,
            rules=self.rules,
            disk=self.disk,
        )

    def clusters(self) -> Iterable[ClusterFacts]:
        yield generation(self.number)

    def change(self) -> None:
        self.number += 1
        self.writer.changed()


async def test_change_is_written_soon_and_a_last_time_at_the_end(path: Path) -> None:
    world = World(path)
    world.writer.start()
    world.change()
    await until(path.exists, "the first snapshot", 5)
    assert generation_in(path) == 2
    world.change()
    await world.writer.stop()
    assert generation_in(path) == 3
    assert world.writer.written == 2
    assert world.writer.bytes == path.stat().st_size


async def test_nothing_is_written_when_nothing_changed(path: Path) -> None:
    world = World(path)
    world.writer.start()
    await asyncio.sleep(0)
    await world.writer.stop()
    assert not path.exists()


async def test_stop_does_not_wait_for_the_next_time(path: Path) -> None:
    world = World(path, rules=PaceRules(min_seconds=3600))
    world.writer.start()
    world.change()
    await asyncio.wait_for(world.writer.stop(), 5)
    assert generation_in(path) == 2


async def test_full_disk_is_said_once_and_overcome(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    disk = FailingDisk(OSError(errno.ENOSPC, "No space left on device"), room=1500)
    world = World(path, disk=disk)
    world.writer.start()
    world.change()
    await until(lambda: world.writer.failed >= 3, "three attempts", 5)
    assert "No space left on device" in world.writer.problem
    assert caplog.text.count("No space left on device") == 1
    assert not path.exists()
    disk.room = 1 << 30
    await until(lambda: world.writer.written, "room again", 5)
    assert world.writer.problem == ""
    assert "is written again" in caplog.text
    assert generation_in(path) == 2
    await world.writer.stop()


async def test_folder_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    world = World(tmp_path / "missing" / "snapshot")
    world.writer.start()
    world.change()
    await until(lambda: world.writer.failed, "an attempt", 5)
    assert "No such file or directory" in world.writer.problem
    (tmp_path / "missing").mkdir()
    await until(lambda: world.writer.written, "the folder is made", 5)
    await world.writer.stop()


async def test_bug_in_what_is_written_stops_nothing(path: Path) -> None:
    calls = iter([ZeroDivisionError("a bug"), None])

    def clusters() -> Iterable[ClusterFacts]:
        error = next(calls)
        if error is not None:
            raise error
        return [generation(1)]

    bad = SnapshotWriter(path, DOMAIN, clusters, clock=time.monotonic, wall_clock=time.time, rules=SOON)
    bad.start()
    bad.changed()
    await until(lambda: bad.failed, "an attempt", 5)
    await until(lambda: bad.written, "the next one", 5)
    await bad.stop()


async def test_two_clusters_with_their_own_facts_come_back(path: Path) -> None:
    given = [ClusterFacts(A, {Kind.SERVICE: (a_service("echo"),)}, "uid-a"), ClusterFacts(B, {}, "uid-b")]
    writer = SnapshotWriter(path, DOMAIN, lambda: given, clock=time.monotonic, wall_clock=lambda: 12.5)
    writer.start()
    writer.changed()
    await writer.stop()
    loaded = load(path, DOMAIN)
    assert loaded.clusters == tuple(given)
    assert loaded.created == 12.5
