"""Large manifest files, read by a child process one after the other while the folder is followed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from registry.printable import shortened
from registry.sources.manifests.child import LENGTH_BYTES, Answer, Ask
from registry.sources.manifests.files import Placed, placed
from registry.sources.manifests.folder import Content, Unreadable

log = logging.getLogger(__name__)

READ_SECONDS = 600.0
"""A file that takes longer to read is one that cannot be read."""

LARGE_BYTES = 256 << 10
"""Files of this size are read here; smaller ones cost less than a process."""

_PROGRAM = "from registry.sources.manifests.child import main; main()"
_ANSWER = msgspec.msgpack.Decoder(Answer)


class LargeFiles:
    """Reads the files that it is asked for. Only one child runs, and only while there is a file to read."""

    def __init__(self, seconds: float = READ_SECONDS) -> None:
        """``seconds``: one file may take so long."""
        self._seconds = seconds
        self._wanted: dict[str, Path] = {}
        self._read: dict[str, Content] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> frozenset[str]:
        """The names of the files that are being read or wait for it."""
        return frozenset(self._wanted)

    def ask(self, name: str, path: Path) -> None:
        """Read a file; ``take`` has the result some time later."""
        self._wanted[name] = path
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def forget(self, name: str) -> None:
        """The file is gone: its result is wanted no more."""
        self._wanted.pop(name, None)
        self._read.pop(name, None)

    def take(self) -> dict[str, Content]:
        """What was read since the last call."""
        found, self._read = self._read, {}
        return found

    async def done(self) -> None:
        """Wait until nothing is pending."""
        while self._wanted and self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """End the child. What was not read has to be asked for again."""
        self._wanted.clear()
        self._read.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._wanted:
            name = next(iter(self._wanted))
            try:
                async with _child() as child:
                    while self._wanted:
                        name, path = next(iter(self._wanted.items()))
                        async with asyncio.timeout(self._seconds):
                            content = await _read(child, name, path)
                        self._done(name, content)
            except TimeoutError:
                self._done(name, Unreadable(f"reading it takes more than {self._seconds:g} s; split it"))
            except OSError as error:
                self._done(name, Unreadable(f"no process to read it in: {error.strerror}", again=True))
            except _ChildEndedError as error:
                self._done(name, Unreadable(f"the process that read it ended with {error} (out of memory?); split it"))
            except Exception as error:
                log.exception("%s: reading it failed by a bug", name)
                text = shortened(f"{type(error).__name__}: {error}; the log has the details")
                self._done(name, Unreadable(text, again=True))

    def _done(self, name: str, content: Content) -> None:
        if self._wanted.pop(name, None) is not None:
            self._read[name] = content


class _ChildEndedError(Exception):
    """The child ended before its answer did. The text is its exit code."""


@contextlib.asynccontextmanager
async def _child() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _read(child: asyncio.subprocess.Process, name: str, path: Path) -> Content:
    """The facts of a file, decoded a frame at a time with a turn of the loop for others in between."""
    assert child.stdin is not None
    assert child.stdout is not None
    facts: list[Placed] = []
    try:
        child.stdin.write(msgspec.json.encode(Ask(name, str(path))) + b"\n")
        await child.stdin.drain()
        while True:
            length = int.from_bytes(await child.stdout.readexactly(LENGTH_BYTES), "big")
            answer = _ANSWER.decode(await child.stdout.readexactly(length))
            facts.extend(placed(name, answer.rows))
            if answer.last:
                break
            await asyncio.sleep(0)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise _ChildEndedError(str(await child.wait())) from error
    if answer.unreadable:
        return Unreadable(answer.unreadable, again=True)
    return answer.problem or tuple(facts)
