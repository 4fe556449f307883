"""How pytest-xdist deals the tests to several processes."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

SHARE_CONTROL_PLANES = ("tests/real/faults/", "tests/real/")


def part(test: str) -> str:
    """The part of a test, whose tests one process runs: a folder of tests over the same control planes, or one test."""
    return next((folder for folder in SHARE_CONTROL_PLANES if test.startswith(folder)), test)


class Parts(LoadScopeScheduling):
    """The largest parts first: xdist sorts them.

    Marks (``xdist_group``) would not do: xdist 3.8 writes them into names of tests that pytest 9.2 does not read.
    """

    def _split_scope(self, nodeid: str) -> str:
        return part(nodeid)
