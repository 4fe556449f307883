"""The Helm chart, rendered by the real helm."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from support.missing import tool

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "mesh-registry"
KUBERNETES = "1.36.1"


def render(namespace: str, *values: str, release: str = "mesh-registry") -> list[dict[str, Any]]:
    """The objects of ``helm template`` with each of ``values`` (``KEY=VALUE``) set."""
    command = [str(tool("helm")), "template", release, str(CHART), "--namespace", namespace]
    command += ["--kube-version", KUBERNETES, *(f"--set={value}" for value in values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one object of that kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found
