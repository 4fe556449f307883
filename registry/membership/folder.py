"""Members of a folder of kubeconfigs: each file is a cluster, named as the file is without its suffix."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from registry.membership.absence import AbsencePolicy, Absences
from registry.membership.looking import KubeconfigFiles, Looks
from registry.membership.roster import TOO_MANY_MEMBERS
from registry.membership.spec import Listener, MemberSpec, Trouble

MAX_FILES = 1_000
FOLDER_UNREADABLE = "FolderUnreadable"
SUFFIXES = frozenset({".yaml", ".yml", ".json", ".kubeconfig", ".conf", ".config"})


class KubeconfigFolder:
    """Follows ``folder``. What is hidden (a name that begins with a dot) and what is no file is left out.

    A file that is gone is a member removed; many at once are doubted (``absence``), as is a folder that is empty from
    the start. A folder that is missing or unreadable, or that is another one than before and empty, as where a volume
    is not mounted, is a fault and removes nobody; neither does a file caught half-written, nor a link to a file that is
    not there just then.
    """

    def __init__(self, folder: Path, policy: AbsencePolicy, looks: Looks | None = None) -> None:
        self.origin = f"folder {folder}"
        self._folder = folder
        self._files = KubeconfigFiles()
        self._looks = looks or Looks()
        self._identity: tuple[int, int] | None = None
        self._had_files = False
        self._paths: frozenset[Path] = frozenset()
        self._absences = Absences(policy, self.origin, last_is_much=False)
        self._away = False
        """Nothing can be read of it."""

    async def run(self, listener: Listener) -> None:
        before: list[MemberSpec] | None = None
        clock = asyncio.get_running_loop().time
        async for _ in self._looks.at(lambda: {self._folder}):
            found = await asyncio.to_thread(self._look)
            self._away = isinstance(found, Trouble)
            if not isinstance(found, Trouble):
                self._absences.listed(found, clock())
            trouble = found if isinstance(found, Trouble) else self._absences.trouble
            listener.trouble(trouble or self._looks.trouble)
            specs = self._absences.specs
            if specs != before and (before is not None or not self._away):
                listener.members(specs)
                before = specs

    def release(self, name: str) -> bool:
        return self._absences.release(name, named=self._away)

    def _look(self) -> list[MemberSpec] | Trouble:
        """The members there are now. Blocks on the disk."""
        try:
            state = self._folder.stat()
            names = (path for path in self._folder.iterdir() if not path.name.startswith("."))
            paths = sorted(path for path in names if self._counts(path))
        except OSError as error:
            text = f"{self._folder} cannot be read: {error.strerror}; its members stay"
            return Trouble(FOLDER_UNREADABLE, text)
        identity = state.st_dev, state.st_ino
        if self._had_files and not paths and identity != self._identity:
            text = f"{self._folder} is another folder than before, and empty (a volume not mounted?); its members stay"
            return Trouble(FOLDER_UNREADABLE, text)
        if len(paths) > MAX_FILES:
            text = f"{self._folder} has {len(paths)} files, more than {MAX_FILES}; its members stay as they were"
            return Trouble(TOO_MANY_MEMBERS, text)
        self._identity = identity
        self._had_files = bool(paths)
        self._paths = frozenset(paths)
        self._files.keep({(path, None) for path in paths})
        return [
            MemberSpec(readable(name_of(path)), f"{self.origin} ({readable(path.name)})", self._files.read(path))
            for path in paths
        ]

    def _counts(self, path: Path) -> bool:
        """A file, a link to one that is not there just then, or what is in a file's place: a pipe, a device."""
        if path.is_file() or (path.is_symlink() and not path.exists()):
            return True
        return path in self._paths and path.exists() and not path.is_dir()


def readable(name: str) -> str:
    """The name of a file, with U+FFFD for what is not UTF-8 in it."""
    return os.fsencode(name).decode(errors="replace")


def name_of(path: Path) -> str:
    """The cluster's name: the file's, without a suffix that says what kind of file it is. Other dots belong to it."""
    return path.stem if path.suffix in SUFFIXES else path.name
