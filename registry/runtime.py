"""How the process is set up for a server of many connections: its loop, its memory, its open files."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

YOUNG_OBJECTS = 50_000
"""How many more containers are made than freed before they are looked through. Little of ours is cyclic, and most
of what a change makes is gone with it; at Python's default of 700 looking costs as much as sending."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BYTES = 128 << 10
"""Buffers from this size on are given back to the system when they are freed. It is glibc's default (mallopt(3)), but
one that glibc raises to the size of what was freed last, up to 32 MB: the pages of a list would stay for good."""

MANY_FILES = 1 << 20
"""As good as without a limit."""

Result = TypeVar("Result")


def run(main: Coroutine[None, None, Result]) -> Result:
    """Run ``main`` on uvloop, with as many open files as the system allows.

    Garbage is not collected before ``loaded`` is called: all that is made until then is there to stay.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(AttributeError):  # another C library than glibc
        for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(threshold, LARGE_BYTES)
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
    gc.disable()
    return uvloop.run(main)


def open_files() -> int:
    """How many files the process may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MANY_FILES if limit == resource.RLIM_INFINITY else min(limit, MANY_FILES)


def loaded() -> None:
    """What exists now stays for good: from now on garbage is collected, but not looked for in that.

    Called again, the same for what came since.
    """
    gc.freeze()
    gc.enable()
