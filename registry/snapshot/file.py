"""A file that is replaced in one step: whoever reads it, whenever this process dies, finds the old or the new one.

The new content goes to a file beside it, is forced to the disk, and is renamed over the old; then the folder is forced
to the disk too, since a rename is a change of the folder.
"""

from __future__ import annotations

import fcntl
import os
from io import FileIO
from pathlib import Path
from typing import Protocol

from registry.snapshot.format import MAGIC, ForeignError, SnapshotError

MOST_SET_ASIDE = 10


class Writable(Protocol):
    """The part of an unbuffered binary file that is used."""

    def write(self, data: bytes, /) -> int | None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Disk:
    """The system calls, so that a test can hand in a disk that fails."""

    def create(self, path: Path) -> Writable:
        """An empty file, for its owner only, and for this process until it is closed.

        Raises:
            OSError: among others, when another process is writing it.
        """
        while True:
            file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")
            try:
                if _is_ours(file, path):
                    file.truncate(0)
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def sync(self, file: Writable) -> None:
        os.fsync(file.fileno())

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_ours(file: Writable, path: Path) -> bool:
    """Lock the file; whether it is still that of the name, or was renamed by whoever had the lock before.

    Raises:
        OSError: another process has it.
    """
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, "another process is writing it; give each registry a file of its own") from error
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


class Replacement:
    """The next content of ``path``: ``write`` it, then ``commit`` it. All of it blocks, and raises OSError."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._beside = path.with_name(f"{path.name}.tmp")
        self._file: Writable | None = disk.create(self._beside)

    def write(self, data: bytes) -> None:
        """Append all of ``data``."""
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[self._file.write(bytes(view)) or 0 :]

    def commit(self) -> None:
        """From now on it is the file's content, also after a power cut."""
        assert self._file is not None
        self._disk.sync(self._file)
        self._disk.replace(self._beside, self._path)
        self.close()  # not before: it is what keeps others from writing to it
        self._disk.sync_folder(self._path.parent)

    def close(self) -> None:
        """Without ``commit`` the file stays what it was. Closing twice is no error."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def read(path: Path) -> bytes | None:
    """The file's content; None when there is no file.

    Raises:
        ForeignError: it does not even begin like a snapshot; no more of it was read.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
            if head != MAGIC:
                raise ForeignError("it is no snapshot of a mesh-registry")
            return head + file.read()
    except FileNotFoundError:
        return None


def set_aside(path: Path, error: SnapshotError) -> Path | None:
    """Give a file that cannot be used another name, where the next snapshot does not overwrite it.

    Nothing is deleted, and at most ``MOST_SET_ASIDE`` of them are kept: None when there are so many already, and the
    file stays where it is.

    Raises:
        OSError: it cannot be renamed.
    """
    taken = {other.name for other in path.parent.iterdir()}
    kinds = [each.kind for each in SnapshotError.__subclasses__()]
    names = [f"{path.name}.{kind}.{number}" for number in range(1, MOST_SET_ASIDE + 1) for kind in kinds]
    if len(taken.intersection(names)) >= MOST_SET_ASIDE:
        return None
    own = (f"{path.name}.{error.kind}.{number}" for number in range(1, MOST_SET_ASIDE + 1))
    free = path.with_name(next(name for name in own if name not in taken))
    path.rename(free)
    return free
