"""A folder of manifests on disk: what is in it, and a file's content. Everything here blocks on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from registry.sources.regular import read_regular

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 64 << 20
MAX_FILES = 20_000
MAX_FOLDER_BYTES = 512 << 20
"""Manifests in one folder, and their bytes together."""

Signature = tuple[int, ...]
"""Times of the last change of the content and of the file, size, inode, device."""


class FolderError(Exception):
    """The folder is not there, or not what it was. The text says so."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The folder at one moment: which folder it is, and each manifest's name (relative) and signature.

    ``faults``: what is there and cannot be looked at, with the reason: a manifest, or a subfolder (with a ``/`` at the
    end), of which nobody can tell what is in it.
    """

    identity: tuple[int, int]
    files: Mapping[str, Signature]
    faults: Mapping[str, str] = field(default_factory=dict)


def scan_folder(folder: Path) -> Scan:
    """The manifests in the folder and its subfolders, without what is hidden (a name that begins with a dot).

    Raises:
        FolderError: it cannot be read, or has more than can be followed.
    """
    files: dict[str, Signature] = {}
    faults: dict[str, str] = {}

    def failed(error: OSError) -> None:
        """A subfolder that is gone by now has nothing; of another one nobody knows."""
        where = Path(error.filename)
        if where == folder:
            raise error
        if not isinstance(error, FileNotFoundError):
            faults[f"{_name(where, folder)}/"] = error.strerror or str(error)

    try:
        identity = folder.stat()
        for parent, folders, names in os.walk(folder, onerror=failed):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for each in names:
                path = Path(parent, each)
                if each.startswith(".") or path.suffix not in SUFFIXES:
                    continue
                found = _look_at(path)
                name = _name(path, folder)
                if isinstance(found, str):
                    faults[name] = found
                elif found is not None:
                    files[name] = found
                if len(files) + len(faults) > MAX_FILES:
                    raise FolderError(f"{folder} has more than {MAX_FILES} manifests; split it into several clusters")
    except OSError as error:
        raise FolderError(f"{folder} cannot be read: {error.strerror}") from error
    if sum(map(size_of, files.values())) > MAX_FOLDER_BYTES:
        raise FolderError(f"{folder} has more than {MAX_FOLDER_BYTES >> 20} MiB; split it into several clusters")
    return Scan((identity.st_dev, identity.st_ino), files, faults)


def _look_at(path: Path) -> Signature | str | None:
    """The file's signature, or why it cannot be looked at; None if it is gone."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    try:
        found = path.stat()
    except FileNotFoundError:
        return "it is a link to a file that is not there" if path.is_symlink() else None
    except OSError as error:
        return error.strerror or str(error)
    if not S_ISREG(found.st_mode):
        return "not a regular file"
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _name(path: Path, folder: Path) -> str:
    """What it is called, also where its name is not UTF-8."""
    return os.fsencode(path.relative_to(folder)).decode(errors="replace")


def size_of(signature: Signature) -> int:
    """The file's size in bytes."""
    return signature[2]


def read_file(path: Path) -> bytes:
    """Raises:
    OSError: it cannot be read, is no regular file, or has more than ``MAX_FILE_BYTES``.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        text = f"it has {size / (1 << 20):.1f} MiB, more than {MAX_FILE_BYTES >> 20} MiB; split it, as by namespace"
        raise OSError(0, text)
    return read_regular(path, MAX_FILE_BYTES)
