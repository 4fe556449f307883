"""How the process is set up for a server of many connections: its loop, its garbage collector, its open files."""

from __future__ import annotations

import gc
import resource
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

YOUNG_OBJECTS = 50_000
"""How many more containers are made than freed before they are looked through. Little of ours is cyclic, and most
of what a change makes is gone with it; at Python's default of 700 looking costs as much as sending."""

Result = TypeVar("Result")


def run(main: Coroutine[None, None, Result]) -> Result:
    """Run ``main`` on uvloop, with as many open files as the system allows.

    Garbage is not collected before ``loaded`` is called: all that is made until then is there to stay.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
    gc.disable()
    return uvloop.run(main)


def loaded() -> None:
    """What exists now stays for good: from now on garbage is collected, but not looked for in that.

    Called again, the same for what came since.
    """
    gc.freeze()
    gc.enable()
