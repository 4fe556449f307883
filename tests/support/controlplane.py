"""A real Kubernetes control plane: etcd, kube-apiserver and, where wanted, kube-controller-manager."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from support.certificates import write_certificate, write_key
from support.kube_api import CORE, KubeApi, node
from support.missing import tool
from support.processes import Process, free_port, until

ADMIN = "admin"
CONTROLLERS = (
    "endpointslice-controller",
    "replicaset-controller",
    "deployment-controller",
    "namespace-controller",
    "serviceaccount-token-controller",
    "garbage-collector-controller",
)
START_SECONDS = 60.0
NODES = (1, 2)


class ControlPlane:
    """One cluster. A user's token is the user's name; ``admin`` may do everything, others what RBAC says."""

    def __init__(
        self,
        name: str,
        folder: Path,
        users: tuple[str, ...] = ("registry", "nobody"),
        *,
        controllers: bool = True,
        service_ranges: str = "10.96.0.0/12",
    ) -> None:
        """Without ``controllers`` nothing happens but what is asked of the API server.

        ``service_ranges`` is the range of cluster IPs; with one of each family, after a comma, it is dual-stack.
        """
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True)
        self.tokens: dict[str, str] = {}
        """Users whose token is another than their name."""
        self._port = free_port()
        self._etcd_port = free_port()
        self._with_controllers = controllers
        self._service_ranges = service_ranges
        self._users = (ADMIN, *users)
        self._write_credentials()
        self.etcd = Process("etcd", self._etcd_command(), folder / "etcd.log")
        self.apiserver = Process("kube-apiserver", self._apiserver_command(), folder / "apiserver.log")
        self.controllers = Process("kube-controller-manager", self._controllers_command(), folder / "controllers.log")
        self.api = self.client(ADMIN)

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def etcd_data(self) -> Path:
        return self.folder / "etcd"

    @property
    def etcd_endpoint(self) -> str:
        return f"http://127.0.0.1:{self._etcd_port}"

    async def start(self) -> None:
        """Start everything, and wait until it works."""
        self.etcd.start()
        self.apiserver.start()
        await self.ready()
        if self._with_controllers:
            self.controllers.start()

    async def ready(self) -> None:
        """The API server says that it is ready."""
        await until(self._is_ready, f"control plane {self.name} is ready", START_SECONDS, poll=0.1)

    async def _is_ready(self) -> bool:
        self.etcd.check()
        self.apiserver.check()
        return await self.api.ready()

    async def add_nodes(self) -> None:
        """Nodes ``<cluster>-1`` and ``<cluster>-2``, in a zone each.

        Without its Node no pod gets into an EndpointSlice: the controller waits for it.
        """
        for number in NODES:
            name = f"{self.name}-{number}"
            await self.api.create(f"{CORE}/nodes", node(name, f"region-{self.name}", name))

    async def stop(self) -> None:
        """Stop everything; nothing of it is worth keeping, so it is not asked nicely."""
        await self.api.close()
        for process in (self.controllers, self.apiserver, self.etcd):
            process.kill()

    def client(self, user: str) -> KubeApi:
        """A client of the tests' own, as that user."""
        return KubeApi(self.server, self.folder / "ca.crt", self.tokens.get(user, user))

    def kubeconfig(self, user: str = ADMIN, server: str | None = None, ca: Path | None = None) -> Path:
        """A kubeconfig of that user, by default for the API server itself and with its authority. Replaces it whole."""
        server = server or self.server
        path = self.folder / f"kubeconfig-{user}-{urlsplit(server).port}"
        cluster = {"server": server, "certificate-authority": str(ca or self.folder / "ca.crt")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": self.tokens.get(user, user)}}],
        }
        written = path.with_suffix(".new")
        written.write_text(yaml.safe_dump(document))
        written.replace(path)
        return path

    def write_tokens(self, **tokens: str) -> None:
        """What the API server accepts from its next start on: these users' tokens, and of the others their name."""
        groups = {ADMIN: ',"system:masters"'}
        lines = [f"{tokens.get(user, user)},{user},{user}{groups.get(user, '')}" for user in self._users]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")

    def _write_credentials(self) -> None:
        self.write_tokens()
        signer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        write_key(self.folder / "service-accounts.key", signer)
        write_certificate(self.folder, "ca", "apiserver")
        self.kubeconfig()

    def _etcd_command(self) -> list[str]:
        peer = f"http://127.0.0.1:{free_port()}"
        return [
            str(tool("etcd")),
            f"--data-dir={self.etcd_data}",
            f"--listen-client-urls={self.etcd_endpoint}",
            f"--advertise-client-urls={self.etcd_endpoint}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver_command(self) -> list[str]:
        signer = self.folder / "service-accounts.key"
        return [
            str(tool("kube-apiserver")),
            f"--etcd-servers={self.etcd_endpoint}",
            "--bind-address=127.0.0.1",
            "--advertise-address=198.18.255.1",
            f"--secure-port={self._port}",
            f"--tls-cert-file={self.folder / 'apiserver.crt'}",
            f"--tls-private-key-file={self.folder / 'apiserver.key'}",
            f"--cert-dir={self.folder}",
            f"--service-cluster-ip-range={self._service_ranges}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={signer}",
            f"--service-account-signing-key-file={signer}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
            "--v=1",
        ]

    def _controllers_command(self) -> list[str]:
        return [
            str(tool("kube-controller-manager")),
            f"--kubeconfig={self.kubeconfig()}",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self.folder / 'service-accounts.key'}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--v=1",
        ]


async def start_together(*planes: ControlPlane) -> None:
    """Start several at once."""
    await asyncio.gather(*(plane.start() for plane in planes))
