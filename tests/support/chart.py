"""The Helm chart, rendered by the real helm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.missing import tool

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "mesh-registry"
KUBERNETES = "1.36.1"


def render(
    namespace: str, *values: str, release: str = "mesh-registry", more: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The objects of ``helm template`` with each of ``values`` (``KEY=VALUE``) set, over those of ``more``."""
    command = ["template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES]
    command += [*(f"--set={value}" for value in values), "--values=-"]
    done = helm(*command, stdin=json.dumps(more or {}))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def helm(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The real helm, run to its end."""
    return subprocess.run([tool("helm"), *arguments], input=stdin, capture_output=True, text=True, check=False)


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one object of that kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found
