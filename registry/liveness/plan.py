"""How a cluster's data plane is to be probed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.liveness.sample import Target
from registry.liveness.tally import Thresholds


class Method(StrEnum):
    """How a target is asked. ``TCP``: it accepts a connection. ``GRPC``: ``grpc.health.v1`` says SERVING."""

    TCP = "tcp"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class ProbeTls:
    """A gRPC probe goes over TLS: the server has to show a certificate for ``server_name`` (empty: the target's host)
    by an authority in the PEM file ``ca`` (None: those that gRPC comes with).

    There is no way to leave that out. Who answers at an address while a cluster is away may be anybody, and a probe
    that anybody can answer keeps endpoints in the list that are dead.
    """

    ca: str | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """How one cluster is probed: one ``target``, or by TCP a sample of so many of its ``endpoints``.

    Times are in seconds. A round is made every ``interval``, give or take a fifth, so that the clusters' rounds
    spread.
    """

    method: Method = Method.TCP
    target: Target | None = None
    endpoints: int = 0
    interval: float = 5.0
    timeout: float = 2.0
    up: int = 1
    down: int = 3
    tls: ProbeTls | None = None

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.up, self.down, proof=self.target is None)

    def __str__(self) -> str:
        scheme = f"{self.method}s" if self.tls else f"{self.method}"
        return f"{scheme}://{self.target}" if self.target else f"{self.endpoints} of its endpoints"
