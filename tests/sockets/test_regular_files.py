"""A pipe in the place of a file makes nobody wait: neither its reader, nor the other members of its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.sources.kubernetes.credentials import load_kubeconfig
from registry.sources.kubernetes.kubeconfig import KubeconfigError
from registry.sources.regular import read_regular

KUBECONFIG = """\
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1", certificate-authority: pipe}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
"""


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.timeout(10)
def test_pipe_without_a_writer_is_refused_at_once(pipe: Path) -> None:
    with pytest.raises(KubeconfigError, match="not a regular file"):
        load_kubeconfig(pipe)
    kubeconfig = pipe.with_name("kubeconfig")
    kubeconfig.write_text(KUBECONFIG)
    with pytest.raises(KubeconfigError, match="not a regular file"):
        load_kubeconfig(kubeconfig)


def test_what_a_link_leads_to_is_read_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="more than"):
        read_regular(tmp_path / "link", 4)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
