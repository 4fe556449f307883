"""How the tests are dealt to several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from support.parts import part

TESTS = Path(__file__).parents[1]
CONFTEST = """
from support.parts import Parts

def pytest_xdist_make_scheduler(config, log):
    return Parts(config, log)
"""
TEST = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(10))
def test_it(number):
    with Path({log!r}).open("a") as log:
        print({part!r}, os.environ["PYTEST_XDIST_WORKER"], file=log)
"""


def test_tests_over_the_same_control_planes_are_one_part() -> None:
    files = [path.relative_to(TESTS.parent).as_posix() for path in TESTS.rglob("test_*.py")]
    parts = Counter(part(f"{path}::test_it[{each}]") for path in files for each in range(2))
    assert parts.pop("tests/real/faults/") == 2 * len(list((TESTS / "real" / "faults").glob("test_*.py")))
    assert parts.pop("tests/real/") == 2 * len(list((TESTS / "real").glob("test_*.py")))
    assert set(parts.values()) == {1}


def test_one_process_runs_a_part(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    log = tmp_path / "log"
    for folder in ("tests/real", "tests/real/faults", "tests/pure"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        name = folder.rpartition("/")[2]
        for number in range(2):
            (tmp_path / folder / f"test_{name}_{number}.py").write_text(TEST.format(log=str(log), part=name))
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "tests"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = Counter(tuple(line.split()) for line in log.read_text().splitlines())
    assert sum(ran.values()) == 60
    by_part = {name: {count for (each, _), count in ran.items() if each == name} for name in ("real", "faults")}
    assert by_part == {"real": {20}, "faults": {20}}
    assert {worker for name, worker in ran if name == "real"} != {worker for name, worker in ran if name == "faults"}
