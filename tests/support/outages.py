"""What goes wrong with a real control plane, done to one."""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
from cryptography import x509
from support.away import whole_answers
from support.certificates import renew_certificate, write_certificate
from support.controlplane import ControlPlane
from support.kube_api import RBAC, ApiError, Object
from support.processes import Process, until

SEEN_SECONDS = 30.0
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
READABLE = ("services", "pods", "nodes", "namespaces", "discovery.k8s.io/endpointslices")
"""What a registry reads."""


@asynccontextmanager
async def killed(plane: ControlPlane, *processes: Process) -> AsyncIterator[None]:
    """Without these processes (SIGKILL) inside the context; after it they run again and the API server is ready."""
    for process in processes:
        process.kill()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.start()
        await plane.ready()


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """The process does nothing at all inside the context (SIGSTOP); its sockets stay open."""
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


async def compact(plane: ControlPlane) -> None:
    """Make some history, and throw all of it away (etcd's JSON gateway, ``/v3/kv/...``; keys are base64)."""
    async with aiohttp.ClientSession(plane.etcd_endpoint) as session:
        for _ in range(10):
            async with session.post("/v3/kv/put", json={"key": "b3RoZXI=", "value": "b3RoZXI="}) as answer:
                revision = (await answer.json())["header"]["revision"]
        async with session.post("/v3/kv/compaction", json={"revision": revision, "physical": True}) as answer:
            assert answer.status == 200, await answer.text()


def back_up(plane: ControlPlane, folder: Path) -> None:
    """Copy what etcd has into ``folder``, as a crash at this moment would leave it."""
    with stopped(plane.etcd):
        shutil.copytree(plane.etcd_data, folder)


async def restore(plane: ControlPlane, folder: Path) -> None:
    """Put a backup in the place of what etcd has: the cluster is again what it was then, resourceVersions too.

    The API server is restarted with it, as etcd's manual on disaster recovery wants.
    """
    async with killed(plane, plane.apiserver, plane.etcd):
        shutil.rmtree(plane.etcd_data)
        shutil.copytree(folder, plane.etcd_data)


async def change_token(plane: ControlPlane, user: str, token: str) -> None:
    """Only ``token`` is accepted of ``user`` from now on. The API server reads its token file when it starts."""
    plane.tokens[user] = token
    plane.write_tokens(**plane.tokens)
    async with killed(plane, plane.apiserver):
        pass


async def grant(plane: ControlPlane, user: str, *resources: str) -> None:
    """``user`` may get, list and watch these (``services``, ``discovery.k8s.io/endpointslices``), and nothing else.

    Returns when the API server goes by it.
    """
    rules = []
    for each in resources:
        group, _, name = each.rpartition("/")
        rules.append({"apiGroups": [group], "resources": [name], "verbs": ["get", "list", "watch"]})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    await _put(plane, "clusterroles", {"metadata": {"name": user}, "rules": rules})
    await _put(plane, "clusterrolebindings", {"metadata": {"name": user}, "subjects": [subject], "roleRef": role})

    async def known() -> bool:
        for each in READABLE:
            group, _, name = each.rpartition("/")
            attributes = {"group": group, "resource": name, "verb": "list"}
            review = {"spec": {"user": user, "resourceAttributes": attributes}}
            if (await plane.api.create(REVIEWS, review))["status"]["allowed"] is not (each in resources):
                return False
        return True

    await until(known, f"{user} may read {resources} and nothing else", SEEN_SECONDS)


async def _put(plane: ControlPlane, kind: str, document: Object) -> None:
    name = document["metadata"]["name"]
    try:
        await plane.api.create(f"{RBAC}/{kind}", document)
    except ApiError as error:
        if error.status != 409:
            raise
        await plane.api.replace(f"{RBAC}/{kind}/{name}", document)


async def replace_certificate(plane: ControlPlane, *, authority: str = "ca") -> None:
    """A new server certificate, of the CA ``authority``, which is made when there is none of that name.

    Returns when the API server, which reads its files when they change, shows it.
    """
    if not (plane.folder / f"{authority}.key").exists():
        write_certificate(plane.folder, authority, "apiserver")
    else:
        renew_certificate(plane.folder, authority, "apiserver")
    wanted = x509.load_pem_x509_certificate((plane.folder / "apiserver.crt").read_bytes()).serial_number

    async def shown() -> bool:
        with whole_answers("the API server"):
            text = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", plane.port))
        return x509.load_pem_x509_certificate(text.encode()).serial_number == wanted

    await until(shown, "the new certificate is shown", SEEN_SECONDS, poll=0.1)
