"""Members that come and go at run time, over real API servers, through each place that names them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from support.chart import of_kind, render
from support.controlplane import ControlPlane
from support.fleet import replace_file
from support.kube_api import CORE, DISCOVERY, RBAC, service
from support.processes import until
from support.registry import RunningRegistry
from support.removal_counter import RemovalCounter
from support.scene import Planes

A, B = {"198.18.1.1", "198.18.1.2"}, {"198.18.2.1"}
ROTATIONS = 100
SWAPPED = "reached with other credentials now"


async def write_service(plane: ControlPlane, namespace: str, *addresses: str) -> None:
    """The service ``echo`` with these endpoints, written by hand: no controller has a say in it."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    manual = service("echo", {"app": "echo"}, ports)
    del manual["spec"]["selector"]
    await plane.api.create(f"{CORE}/namespaces/{namespace}/services", manual)
    document = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "echo-1", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }
    await plane.api.create(f"{DISCOVERY}/namespaces/{namespace}/endpointslices", document)


@asynccontextmanager
async def watched(
    planes: Planes, folder: Path, *arguments: str
) -> AsyncIterator[tuple[RunningRegistry, RemovalCounter]]:
    """The registry over both clusters' ``echo``, and a client that watches it."""
    async with AsyncExitStack() as stack:
        await write_service(planes.a, planes.namespace, *A)
        await write_service(planes.b, planes.namespace, *B)
        registry = await stack.enter_async_context(RunningRegistry(folder, *arguments))
        name = f"outbound|80||echo.{planes.namespace}.svc.clusterset.local"
        yield registry, await stack.enter_async_context(RemovalCounter(registry.grpc, name))


async def has(client: RemovalCounter, *addresses: set[str]) -> None:
    wanted = set[str]().union(*addresses)
    await client.until(lambda: client.addresses() == wanted, f"exactly {wanted}")


async def condition(registry: RunningRegistry, cluster: str, kind: str) -> dict[str, Any]:
    conditions = (await registry.cluster(cluster))["conditions"]
    return next((each for each in conditions if each["type"] == kind), {})


def content(plane: ControlPlane, user: str = "admin") -> str:
    return plane.kubeconfig(user).read_text()


async def test_folder_of_kubeconfigs(planes: Planes, tmp_path: Path) -> None:
    folder = tmp_path / "kubeconfigs"
    folder.mkdir()
    (folder / "a.yaml").write_text(content(planes.a))
    async with watched(planes, tmp_path, f"--kubeconfig-dir={folder}") as (registry, client):
        await has(client, A)
        replace_file(folder / "b.yaml", content(planes.b))
        await has(client, A, B)
        (folder / "b.yaml").rename(folder / "beta.yaml")
        await until(lambda: named(registry, "a", "beta"), "b is called beta now")
        assert not client.removals
        replace_file(folder / "again.yaml", content(planes.a, "registry"))
        await grant(planes.a, planes.namespace, "registry")
        await until(lambda: reason_of(registry, "again", "IdentityRefused"), "a second name for a cluster is refused")
        replace_file(folder / "a.yaml", content(planes.b))
        await until(
            lambda: not_current(registry, "a", "IdentityRefused"), "a credential for another cluster is refused"
        )
        (folder / "again.yaml").unlink()
        await until(lambda: named(registry, "a", "beta"), "one file is removed, and then another one")
        client.ask(*B)
        (folder / "beta.yaml").unlink()
        await has(client, A)
        assert await named(registry, "a")
        assert not client.wrong


async def test_configuration_file(planes: Planes, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"

    def write(*clusters: ControlPlane) -> None:
        named = [{"name": plane.name, "kubeconfig": str(plane.kubeconfig())} for plane in clusters]
        replace_file(path, yaml.safe_dump({"clusters": named}))

    write(planes.a)
    async with watched(planes, tmp_path, f"--config={path}") as (registry, client):
        await has(client, A)
        write(planes.a, planes.b)
        await has(client, A, B)
        path.write_text("clusters: [")
        await until(lambda: problem(registry, "ConfigurationInvalid"), "the broken file is said")
        shown = registry.command("get", "clusters", "--server", registry.http).stdout
        assert f"file {path}: ConfigurationInvalid: {path}:2:" in shown
        client.ask(*A)
        write(planes.b)
        await has(client, B)
        assert await named(registry, "b")
        assert not client.wrong


async def test_secrets_of_a_home_cluster_with_the_chart_s_role(planes: Planes, tmp_path: Path) -> None:
    namespace = planes.namespace
    home = planes.a
    await give_the_chart_s_role(home, namespace, "nobody")
    path = tmp_path / "registry.yaml"
    remote = {"kubeconfig": str(home.kubeconfig("nobody")), "namespace": namespace}
    path.write_text(yaml.safe_dump({"remoteSecrets": remote}))
    secrets = f"{CORE}/namespaces/{namespace}/secrets"
    await home.api.create(secrets, secret("one", a=content_with_ca(planes.a)))
    async with watched(planes, tmp_path, f"--config={path}") as (registry, client):
        await has(client, A)
        both = secret("one", a=content_with_ca(planes.a), b=content_with_ca(planes.b))
        await home.api.replace(f"{secrets}/one", both)
        await has(client, A, B)
        await home.api.replace(f"{secrets}/one", secret("one", a=content_with_ca(planes.a), b="clusters: ["))
        await until(lambda: not_current(registry, "b", "KubeconfigInvalid"), "half a kubeconfig is said")
        client.ask(*A, *B)
        await home.api.delete(f"{secrets}/one")
        await until(lambda: named(registry), "nobody is left")
        await client.until(lambda: bool(client.removals) and not client.addresses(), "nothing is left")
        assert not client.wrong


async def test_hundred_rotations_under_a_watching_client_bring_it_nothing(planes: Planes, tmp_path: Path) -> None:
    """Between two users of the API server, so that each is another credential."""
    await grant(planes.a, planes.namespace, "registry")
    path = tmp_path / "kubeconfig"
    path.write_text(content(planes.a))
    async with watched(planes, tmp_path, f"--kubeconfig=a={path}") as (registry, client):
        await has(client, A)
        log = registry.process.log
        for turn in range(1, ROTATIONS + 1):
            replace_file(path, content(planes.a, "registry" if turn % 2 else "admin"))
            await until(lambda turn=turn: log.read_text().count(SWAPPED) == turn, f"turn {turn}")
        assert len(client.responses) == 1
        assert not client.removals
        assert (await condition(registry, "a", "CredentialsCurrent"))["status"]
        assert (await registry.cluster("a"))["state"] == "Synced"


async def named(registry: RunningRegistry, *names: str) -> bool:
    """Exactly these are members, and each is synced."""
    clusters = (await registry.get("/api/v1/clusters"))["clusters"]
    return {each["name"]: each["state"] for each in clusters} == dict.fromkeys(names, "Synced")


async def reason_of(registry: RunningRegistry, name: str, reason: str) -> bool:
    clusters = (await registry.get("/api/v1/clusters"))["clusters"]
    return any((each["name"], each["reason"]) == (name, reason) for each in clusters)


async def not_current(registry: RunningRegistry, name: str, reason: str) -> bool:
    """The member's newest credentials are not used, for that reason."""
    found = await condition(registry, name, "CredentialsCurrent")
    return bool(found) and (found["status"], found["reason"]) == (False, reason)


async def problem(registry: RunningRegistry, reason: str) -> bool:
    return any(each["reason"] == reason for each in (await registry.get("/api/v1/clusters"))["problems"])


async def grant(plane: ControlPlane, name: str, user: str) -> None:
    """Let the user read what a registry reads, for the rest of the session."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "nodes", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    await plane.api.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    await plane.api.create(f"{RBAC}/clusterrolebindings", binding)


async def give_the_chart_s_role(plane: ControlPlane, namespace: str, user: str) -> None:
    """The Role for Secrets as the chart renders it, bound to ``user`` instead of the ServiceAccount; nothing else."""
    documents = render("mesh", "remoteSecrets.enabled=true", f"remoteSecrets.namespace={namespace}")
    role, binding = of_kind(documents, "Role"), of_kind(documents, "RoleBinding")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == namespace
    binding["subjects"] = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]
    await plane.api.create(f"{RBAC}/namespaces/{namespace}/roles", role)
    await plane.api.create(f"{RBAC}/namespaces/{namespace}/rolebindings", binding)


def secret(name: str, **clusters: str) -> dict[str, Any]:
    data = {key: b64encode(text.encode()).decode() for key, text in clusters.items()}
    return {"metadata": {"name": name, "labels": {"istio/multiCluster": "true"}}, "data": data}


def content_with_ca(plane: ControlPlane) -> str:
    """A kubeconfig that names no file, as ``istioctl create-remote-secret`` makes them."""
    document = yaml.safe_load(content(plane))
    cluster = document["clusters"][0]["cluster"]
    cluster["certificate-authority-data"] = b64encode(Path(cluster.pop("certificate-authority")).read_bytes()).decode()
    return yaml.safe_dump(document)
