"""Files whose mode forbids to read them, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2


@contextmanager
def modes_count() -> Iterator[None]:
    """This thread, and those that it starts meanwhile, read only what modes let them (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    before = sets[0]
    sets[0] = before & ~(_CAP_DAC_OVERRIDE | _CAP_DAC_READ_SEARCH)
    _set(libc, header, sets)
    try:
        yield
    finally:
        sets[0] = before
        _set(libc, header, sets)


def _set(libc: ctypes.CDLL, header: ctypes.Array[ctypes.c_uint32], sets: ctypes.Array[ctypes.c_uint32]) -> None:
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
