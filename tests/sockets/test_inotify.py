"""A registry that cannot have inotify: its folders and files are followed all the same, and it says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.processes import until
from support.registry import RunningRegistry

WITHOUT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000) != 0:  # CLONE_NEWUSER, which has limits of its own
    sys.exit(3)
open("/proc/sys/user/max_inotify_instances", "w").write("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""
MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop}
spec: {ports: [{port: 80}]}
"""


def command(*arguments: str) -> list[str]:
    """The command in a user namespace whose processes may have no inotify instance."""
    return [sys.executable, "-c", WITHOUT, *arguments]


@pytest.fixture(autouse=True)
def _allowed() -> None:
    if subprocess.run(command("true"), check=False, capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not allowed here")


async def test_configuration_and_folders_are_followed_without_inotify(tmp_path: Path) -> None:
    for cluster in "ab":
        (tmp_path / cluster).mkdir()
        (tmp_path / cluster / "service.yaml").write_text(MANIFEST.replace("NAME", cluster))
    kubeconfigs = tmp_path / "kubeconfigs"
    kubeconfigs.mkdir()
    config = tmp_path / "registry.yaml"
    line = f"- {{name: NAME, manifests: {tmp_path}/NAME}}\n"
    config.write_text(
        f"guard: {{confirmSeconds: 1}}\nkubeconfigFolder: {kubeconfigs}\nclusters:\n" + line.replace("NAME", "a")
    )
    async with RunningRegistry(tmp_path, "--config", str(config), before=command()) as registry:
        await until(lambda: _names(registry, {"a"}), "it is there")
        (tmp_path / "a" / "more.yaml").write_text(MANIFEST.replace("NAME", "more"))
        await until(lambda: _names(registry, {"a", "more"}), "the folder is followed")
        config.write_text(config.read_text() + line.replace("NAME", "b"))
        await until(lambda: _names(registry, {"a", "more", "b"}), "the configuration is followed")
        (kubeconfigs / "c.yaml").write_text("half of it")
        await until(lambda: _has_cluster(registry, "c"), "the folder of kubeconfigs is followed")
        clusters = await registry.get("/api/v1/clusters")
        found = str(clusters)
        assert "InotifyUnavailable" in found
        assert "raise fs.inotify.max_user_instances with sysctl" in found


async def _names(registry: RunningRegistry, names: set[str]) -> bool:
    listed: Any = await registry.get("/api/v1/services")
    return {each["name"] for each in listed["services"]} == names


async def _has_cluster(registry: RunningRegistry, name: str) -> bool:
    return f"'{name}'" in str(await registry.get("/api/v1/clusters"))
