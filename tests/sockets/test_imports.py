"""What ``serve`` imports, in a process of its own: each module is time and memory before the first byte is read."""

from __future__ import annotations

import subprocess
import sys

NEEDLESS = ("kubernetes_asyncio.client.models", "kubernetes_asyncio.client.api", "grpc", "rich")


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_serve_imports_no_generated_models() -> None:
    imported = run(
        "import sys, registry.cli.serve\n"
        "from registry.sources.kubernetes.library import readers\n"
        "print(readers().KubeConfigLoader.__name__, *sys.modules)"
    ).split()
    assert "KubeConfigLoader" in imported
    assert not set(NEEDLESS) & set(imported)


def test_who_wants_all_of_the_library_gets_it() -> None:
    library = "from registry.sources.kubernetes.library import readers; Configuration = readers().Configuration"
    package = "import kubernetes_asyncio"
    same = "print(kubernetes_asyncio.client.V1Pod.__name__, Configuration is kubernetes_asyncio.client.Configuration)"
    for order in ((library, package), (package, library)):
        assert run("\n".join((*order, same))) == "V1Pod True"
