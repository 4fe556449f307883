"""What a kubeconfig adds to every request: whom we impersonate, and whether answers are compressed."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from support.authorities import authority, issue, showing
from support.fake_apiserver import kubeconfig

from registry.sources.kubernetes.client import KubernetesClient

USER = {
    "token": "t",
    "as": "system:serviceaccount:mesh:reader",
    "as-uid": "7",
    "as-groups": ["readers", "späte"],
    "as-user-extra": {"example.org/Why": ["a", "b"]},
}
IMPERSONATED = [
    ("Impersonate-User", "system:serviceaccount:mesh:reader"),
    ("Impersonate-Uid", "7"),
    ("Impersonate-Group", "readers"),
    ("Impersonate-Group", "späte"),
    ("Impersonate-Extra-example.org%2Fwhy", "a"),
    ("Impersonate-Extra-example.org%2Fwhy", "b"),
]


async def requests(folder: Path, user: dict[str, Any], **cluster: Any) -> list[list[tuple[str, str]]]:
    """The headers of a list, a write and a watch."""
    ca = authority()
    cluster["certificate_authority_data"] = b64encode(ca.pem).decode()
    async with showing(folder, issue("server", ca)) as shown:
        (folder / "kubeconfig").write_text(kubeconfig(shown.url, user=user, **cluster))
        client = await KubernetesClient.from_kubeconfig(folder / "kubeconfig")
        try:
            await client.request("GET", "/api/v1/pods")
            await client.request("PATCH", "/apis/x", body=b"{}", content_type="application/apply-patch+yaml")
            async with client.stream("/api/v1/pods", {"watch": "1"}, silence=5) as stream:
                await stream.read()
        finally:
            await client.close()
        return shown.requests


async def test_every_request_says_whom_it_impersonates(tmp_path: Path) -> None:
    sent = await requests(tmp_path, USER)
    assert [[pair for pair in each if pair[0].startswith("Impersonate-")] for each in sent] == [IMPERSONATED] * 3
    assert all(("Authorization", "Bearer t") in each for each in sent)
    assert ("Content-Type", "application/apply-patch+yaml") in sent[1]


@pytest.mark.parametrize(("disable", "accepted"), [(True, "identity"), (False, "gzip")])
async def test_answers_are_compressed_unless_the_kubeconfig_disables_it(
    tmp_path: Path, disable: bool, accepted: str
) -> None:
    for headers in await requests(tmp_path, {"token": "t"}, disable_compression=disable):
        assert [value.split(",")[0] for name, value in headers if name == "Accept-Encoding"] == [accepted]
