"""What a test does where a real component is missing: skip with the mend, or fail where nothing may be skipped."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from tools import build

NO_NAMESPACE = pytest.StashKey[str]()
"""Why the session has no network namespace of its own; unset where it has one."""

REQUIRE_REAL = os.environ.get("REGISTRY_REQUIRE_REAL") == "1"


def missing(what: str, mend: str) -> NoReturn:
    """Skip the test, or fail it under ``REGISTRY_REQUIRE_REAL=1``."""
    text = f"no {what}: {mend}"
    if REQUIRE_REAL:
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def tool(name: str) -> Path:
    """A binary or folder that ``make tools`` makes; where it was not run, a binary on PATH, of whatever version."""
    found = build.find(name) or shutil.which(name)
    return Path(found) if found else missing(name, "make tools builds it")


def envoy() -> Path:
    """A real Envoy, beside this Python or on PATH."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    return Path(found) if found else missing("envoy", "make test installs it")


def pod_network(config: pytest.Config) -> None:
    """The session is in its own network namespace, where pods can have addresses."""
    reason = config.stash.get(NO_NAMESPACE, None)
    if reason is not None:
        missing("network namespace", reason)


def pod_network_of_both_families(config: pytest.Config) -> None:
    """The same, and pods can have IPv6 addresses there too."""
    pod_network(config)
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("2001:db8::1", 0))
    except OSError as error:
        missing("IPv6 in the network namespace", f"{error} (net.ipv6.conf.all.disable_ipv6=0)")
