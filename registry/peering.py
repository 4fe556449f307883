"""This replica among others: it gives them what it knows, and asks them for what it does not know."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from registry.config import Config
from registry.memory import Memory
from registry.model.names import ClusterId
from registry.rpc.seam import Service
from registry.servers.peers import PeerServer
from registry.snapshot.peers import PeerAddress, Peers, PeerTls
from registry.supervision import Supervisor


class Peering:
    """``missing`` are the members of which nothing is known now."""

    def __init__(
        self,
        config: Config,
        memory: Memory,
        missing: Callable[[], Collection[ClusterId]],
        tasks: Supervisor | None = None,
    ) -> None:
        instance = uuid.uuid4().hex
        self._server = PeerServer(
            config.domain,
            instance,
            clusters=memory.clusters,
            describe=memory.described,
            clock=time.monotonic,
            wall_clock=time.time,
        )
        self._gives = config.gives_to_peers
        addresses = [PeerAddress(*each) for each in config.replicas.targets()]
        self._peers = Peers(
            addresses,
            config.domain,
            instance,
            known=memory.known,
            learn=memory.learn,
            missing=missing,
            wall_clock=time.time,
            tls=_tls(config),
            tasks=tasks,
        )
        self._asks = bool(addresses)

    def services(self) -> tuple[Service, ...]:
        """What the gRPC server is to carry."""
        return (self._server.service(),) if self._gives else ()

    async def start(self) -> None:
        """Ask the peers, if there are any; returns when they have answered, or took too long."""
        if self._asks:
            await self._peers.start()

    async def stop(self) -> None:
        await self._peers.stop()
        await self._server.stop()


def _tls(config: Config) -> PeerTls | None:
    """As the gRPC port's own: replicas trust each other's authority, and show each other their certificates."""
    own, towards = config.listen.tls, config.replicas.tls
    if own is None:
        return None
    authority = (towards.ca if towards else None) or own.client_ca or own.certificate
    return PeerTls(Path(authority), Path(own.certificate), Path(own.key), towards.server_name if towards else "")
