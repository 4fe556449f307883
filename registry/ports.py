"""The two ports: who is admitted to each, how many are, and whether files are short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from registry.admission import Admission, Refusal, RefusalLog, Room, rooms
from registry.config.sections import LimitsConfig
from registry.rpc.server import RpcServer

log = logging.getLogger(__name__)

Later = Callable[[float, Callable[[], None]], object]


class Ports:
    """Has the ``Admission`` of each port, for a process that may have ``files`` open.

    ``count`` adds a refusal to the metric, by port and reason. ``later`` calls a function after so many seconds.
    """

    def __init__(self, limits: LimitsConfig, files: int, count: Callable[[str, Refusal], None], later: Later) -> None:
        self._count = count
        self._later = later
        grpc, http = rooms(files, limits.connections, limits.http_connections, limits.peer_share, limits.peer_rate)
        wanted = limits.connections + limits.http_connections
        if grpc.connections + http.connections < wanted:
            log.warning(
                "the process may have %d files open: at most %d gRPC and %d HTTP connections are taken, not %d and %d; "
                "raise the limit of open files (`ulimit -n`, LimitNOFILE= of systemd, the container's runtime)",
                *(files, grpc.connections, http.connections, limits.connections, limits.http_connections),
            )
        self.grpc = self._admission("grpc", grpc)
        self.http = self._admission("http", http)
        self.rpc_server: RpcServer | None = None

    def connections(self) -> Mapping[str, int]:
        """How many are open, by port."""
        return {"grpc": self.grpc.taken, "http": self.http.taken}

    def short_of_files(self) -> bool:
        """Whether gRPC clients cannot connect just now, since no file can be opened for them."""
        return self.rpc_server is not None and self.rpc_server.short_of_files

    def _admission(self, port: str, room: Room) -> Admission:
        told = RefusalLog(port, log.warning, self._later)

        def refused(refusal: Refusal, peer: str) -> None:
            self._count(port, refusal)
            told.add(refusal, peer)

        return Admission(room, refused)
