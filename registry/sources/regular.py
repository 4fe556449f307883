"""Files of the disk that can be read in a bounded time: a pipe or a device can make the reader wait for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 16 << 20
"""Enough for tokens, certificates and bundles of them."""

YAML_BYTES = 2 << 20
"""A kubeconfig or a configuration file. The longest text in it is read in one piece, in some 25 ms."""


def read_regular(path: Path, most: int = MAX_BYTES) -> bytes:
    """The content of a regular file, or of one that a link leads to. Blocks on the disk alone.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than ``most`` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer opens at once
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
    return content
