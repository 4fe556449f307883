"""A network namespace for the whole test session: nothing in it reaches further than this machine's loopback.

Pods get addresses of 198.18.0.0/15 (RFC 2544), because an API server refuses loopback addresses in EndpointSlices; a
route makes that whole range local. Where the kernel has IPv6, which lets nobody listen at an address that is only
routed, 2001:db8::1 to 2001:db8::9 (RFC 3849) are its own, and one of the range with them: who asks for addresses of
the families that a machine has (AI_ADDRCONFIG, RFC 3493) counts no loopback address. The namespace is entered before
anything opens a socket or starts a thread, so every server, client and child process of the session is inside; tests
that use only 127.0.0.1 see no difference.

    python namespace.py    enters one and exits: 0, or 1 with the reason on standard error
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

POD_RANGE = "198.18.0.0/15"
LAST_POD = "198.19.255.254"
PODS_6 = [f"2001:db8::{number}" for number in range(1, 10)]
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


class NoNamespaceError(Exception):
    """The namespace cannot be had here; the text says why, and what would help."""


def enter() -> None:
    """Move this process into a new network namespace whose loopback is up and has ``POD_RANGE``.

    Without root a user namespace is entered too, in which we are root. There is no way back out of a namespace that
    turns out to be useless, so another process goes first.

    Raises:
        NoNamespaceError: the kernel or the machine does not allow it; this process is where it was.
    """
    rehearsal = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    if rehearsal.returncode != 0:
        raise NoNamespaceError(rehearsal.stderr.strip())
    _enter()


def _enter() -> None:
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ip is None:
        raise NoNamespaceError("no `ip` command: install iproute2")
    uid, gid = os.geteuid(), os.getegid()
    _unshare(CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER)
    if uid != 0:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        except OSError as error:
            raise NoNamespaceError(f"user namespace: {error} (run as root, or allow user namespaces)") from error
    for command in (["link", "set", "lo", "up"], ["route", "add", "local", POD_RANGE, "dev", "lo"]):
        done = subprocess.run([ip, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoNamespaceError(f"ip {' '.join(command)}: {done.stderr.strip()}")
    for address in (f"{LAST_POD}/32", *(f"{each}/128" for each in PODS_6)):
        subprocess.run([ip, "address", "add", address, "dev", "lo"], capture_output=True, check=False)


def _unshare(flags: int) -> None:
    """unshare(2); Python has it from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise NoNamespaceError(f"unshare: {os.strerror(ctypes.get_errno())} (run as root, or allow user namespaces)")


if __name__ == "__main__":
    try:
        _enter()
    except NoNamespaceError as error:
        sys.exit(str(error))
