"""What ``serve`` imports, in a process of its own: each module is time and memory before the first byte is read."""

from __future__ import annotations

import subprocess
import sys

NEEDLESS = ("grpc", "rich", "python_socks")


def test_serve_imports_nothing_that_few_need() -> None:
    program = "import sys, registry.cli.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    imported = done.stdout.split()
    assert "registry.sources.kubernetes.credentials" in imported
    assert not set(NEEDLESS) & set(imported)
