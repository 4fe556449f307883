"""The session: a network namespace of its own, and what to do where a real component is missing."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from hypothesis import settings
from support import namespace
from support.fault_table import table
from support.missing import NO_NAMESPACE, REQUIRE_REAL

EXAMPLE_DEADLINE = timedelta(seconds=2)
"""For one example of a property. Hypothesis goes by the clock, which also runs while another process has the core."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compiled", action="store_true", help="fail unless the compiled modules are the ones under test")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that opens sockets or starts threads."""
    settings.register_profile("shared cores", deadline=EXAMPLE_DEADLINE)
    settings.load_profile("shared cores")
    if config.getoption("--compiled") and not _compiled():
        raise pytest.UsageError("--compiled: registry.rpc.connection is not compiled; `make test-compiled` makes it so")
    if os.environ.get("REGISTRY_TEST_NAMESPACE") == "none":
        config.stash[NO_NAMESPACE] = "REGISTRY_TEST_NAMESPACE=none"
        return
    try:
        namespace.enter()
    except namespace.NoNamespaceError as error:
        config.stash[NO_NAMESPACE] = str(error)


def pytest_report_header(config: pytest.Config) -> list[str]:
    reason = config.stash.get(NO_NAMESPACE, None)
    where = f"none ({reason})" if reason else f"of this session's own, with {namespace.POD_RANGE} on lo"
    return [f"network namespace: {where}", f"missing real components: {'fail' if REQUIRE_REAL else 'skip'}"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where there are several processes (``-n 2``)."""
    from support.parts import Parts

    return Parts(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = list(table(chain.from_iterable(terminalreporter.stats.values())))
    if lines:
        terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)


def _compiled() -> bool:
    from registry.rpc import connection

    return connection.__file__.endswith(".so")
