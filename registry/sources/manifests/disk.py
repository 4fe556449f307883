"""A folder of manifests on disk: what is in it, and a file's content. Everything here blocks on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE_BYTES = 64 << 20

Signature = tuple[int, ...]
"""Time of the last change, size, inode, device."""


class FolderError(Exception):
    """The folder is not there, or not what it was. The text says so."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The folder at one moment: which folder it is, and each manifest's name (relative) and signature."""

    identity: tuple[int, int]
    files: Mapping[str, Signature]


def scan_folder(folder: Path) -> Scan:
    """The manifests in the folder and its subfolders, without what is hidden (a name that begins with a dot).

    Raises:
        FolderError: it cannot be read.
    """
    files: dict[str, Signature] = {}
    try:
        identity = folder.stat()
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(parent, name)
                if name.startswith(".") or path.suffix not in SUFFIXES:
                    continue
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                if S_ISREG(found.st_mode):
                    signature = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
                    files[str(path.relative_to(folder))] = signature
    except OSError as error:
        raise FolderError(f"{folder} cannot be read: {error.strerror}") from error
    return Scan((identity.st_dev, identity.st_ino), files)


def size_of(signature: Signature) -> int:
    """The file's size in bytes."""
    return signature[1]


def read_file(path: Path) -> bytes:
    """Raises:
    OSError: it cannot be read, or has more than ``MAX_FILE_BYTES``.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(MAX_FILE_BYTES + 1) if size <= MAX_FILE_BYTES else b""
    size = max(size, len(content))
    if size > MAX_FILE_BYTES:
        text = f"it has {size / (1 << 20):.1f} MiB, more than {MAX_FILE_BYTES >> 20} MiB; split it, as by namespace"
        raise OSError(0, text)
    return content


def _raise(error: OSError) -> None:
    raise error
