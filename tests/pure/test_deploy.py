"""The image's pinned dependencies are those of the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^(?P<name>[a-z0-9][-a-z0-9_.]*)==(?P<version>[^\s\\]+) \\$", re.MULTILINE)
WANT = re.compile(r"^(?P<name>[A-Za-z0-9][-A-Za-z0-9_.]*)>=(?P<version>[0-9.]+)$")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def test_every_dependency_is_pinned_at_a_version_the_package_accepts() -> None:
    pins = {pin["name"]: pin["version"] for pin in PIN.finditer((ROOT / "deploy" / "requirements.txt").read_text())}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert wanted
    for text in wanted:
        want = WANT.match(text)
        assert want is not None, text
        assert numbers(pins[want["name"].lower()]) >= numbers(want["version"]), text


def test_every_pin_has_a_hash() -> None:
    text = (ROOT / "deploy" / "requirements.txt").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in block for block in blocks if block.strip())
