"""Builds a wheel with compiled modules, or takes it out of the cache where these sources were built before.

    PYTHONPATH=tests python -m tools.wheel OUTPUT_FOLDER

A build takes minutes. The cache is ``$XDG_CACHE_HOME/mesh-registry/wheels/<hash>`` (default ``~/.cache``), of all that
a wheel depends on: the package, its pins, the Python, the C compiler and its flags. It keeps the newest ``KEPT``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tools import build

ROOT = Path(__file__).parents[2]
METADATA = ("setup.py", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
SOURCES = ("registry", *METADATA, "tests/tools/xds_stubs.py")
FLAGS = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "SOURCE_DATE_EPOCH")
GENERATED = ("__pycache__", ".so", ".pyc")
KEPT = 8


def main(output: Path) -> None:
    home = place()
    if not any(home.glob("*.whl")):
        print("compiling (minutes) ...", flush=True)
        began = time.monotonic()
        home.parent.mkdir(parents=True, exist_ok=True)
        # Made elsewhere, then renamed: what was cut short leaves nothing that looks whole.
        with tempfile.TemporaryDirectory(prefix=".making-", dir=home.parent) as unfinished:
            compile_into(Path(unfinished, "made"))
            if place() != home:
                sys.exit("wheel: the sources were changed while they were compiled; run it again")
            shutil.rmtree(home, ignore_errors=True)
            Path(unfinished, "made").rename(home)
        print(f"compiled in {time.monotonic() - began:.0f} s", flush=True)
    os.utime(home)
    (wheel,) = home.glob("*.whl")
    print(f"wheel: {wheel}", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, output)
    forget_old(home.parent)


def place() -> Path:
    files = list(sources())
    names = [str(path.relative_to(ROOT)) for path in files]
    return build.cache_of(repr((names, made_with())), files, "wheels")


def compile_into(folder: Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    command = [sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={folder}", "."]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "MESH_REGISTRY_COMPILE": "1"}, check=False)
    if done.returncode != 0:
        sys.exit("wheel: the build failed; the lines above say why (it needs a C compiler)")


def made_with() -> tuple[object, ...]:
    """What a wheel depends on beside its sources."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [*compiler.split(), "--version"]
    said = subprocess.check_output(command, text=True) if shutil.which(command[0]) else ""
    return sys.version, sysconfig.get_platform(), compiler, said, *(os.environ.get(each) for each in FLAGS)


def sources() -> Iterable[Path]:
    for each in SOURCES:
        path = ROOT / each
        yield from (path,) if path.is_file() else sorted(filter(is_source, path.rglob("*")))


def is_source(path: Path) -> bool:
    return path.is_file() and not any(part.endswith(GENERATED) for part in path.parts)


def forget_old(wheels: Path) -> None:
    found = sorted((each for each in wheels.iterdir() if each.name[0] != "."), key=lambda each: each.stat().st_mtime)
    for each in found[:-KEPT]:
        shutil.rmtree(each)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
