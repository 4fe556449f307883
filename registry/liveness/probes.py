"""Asking a cluster's data plane whether it is there: TCP connects and gRPC health checks, round after round."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from registry.liveness.plan import Method, ProbePlan, ProbeTls
from registry.liveness.sample import Target
from registry.liveness.table import DataPlane
from registry.liveness.tally import Tally
from registry.tls import TlsError, readable

CHECK = "/grpc.health.v1.Health/Check"
ANSWERED = ""


@dataclass(frozen=True, slots=True)
class Round:
    """What the targets of one round said: an empty text for an answer, else one CamelCase word why there was none."""

    said: tuple[tuple[Target, str], ...] = ()

    @property
    def answered(self) -> bool:
        return any(word == ANSWERED for _, word in self.said)

    @property
    def word(self) -> str:
        """Why the first target did not answer, or that it did."""
        return self.said[0][1] if self.said else ANSWERED

    def __str__(self) -> str:
        return ", ".join(f"{target}: {word or 'answered'}" for target, word in self.said)


Ask = Callable[[Target, float], Awaitable[str]]
"""Ask one target, given how many seconds it may take; ``ANSWERED`` or a word. Raises nothing but cancellation."""


@dataclass(slots=True)
class Prober:
    """Probes one cluster for as long as ``run`` runs.

    ``targets`` gives the sample of a turn, where there is no one target; it is asked once per round. ``random`` gives
    numbers from 0 to 1. A round is good when at least one target answers.
    """

    plan: ProbePlan
    targets: Callable[[int], Sequence[Target]]
    random: Callable[[], float]
    ask: Ask | None = None
    tally: Tally = field(default_factory=Tally)
    last: Round = field(default_factory=Round)
    down_for: str = ""
    """Why it is DOWN, as of when it came to be: one word."""

    @property
    def data_plane(self) -> DataPlane:
        return self.tally.data_plane

    async def run(self) -> None:
        """Probe until cancelled. When it ends, for whatever reason, nothing is known any more."""
        turn = 0
        try:
            while True:
                await self.round(turn)
                turn += 1
                await asyncio.sleep(self.plan.interval * (0.8 + 0.4 * self.random()))
        finally:
            self.tally = Tally()

    async def round(self, turn: int) -> None:
        """Ask the targets of this turn, all at once, and count what they say."""
        targets = (self.plan.target,) if self.plan.target else self.targets(turn)
        if not targets:
            self.last, self.tally = Round(), self.tally.without_targets()
            return
        ask = self.ask or (partial(ask_grpc, tls=self.plan.tls) if self.plan.method is Method.GRPC else ask_tcp)
        words = await asyncio.gather(*(ask(target, self.plan.timeout) for target in targets))
        self.last = Round(tuple(zip(targets, words, strict=True)))
        before = self.data_plane
        self.tally = self.tally.counted(self.plan.thresholds, self.last.answered)
        if self.data_plane is DataPlane.DOWN and before is not DataPlane.DOWN:
            self.down_for = self.last.word


async def ask_tcp(target: Target, timeout: float) -> str:
    """Whether the target accepts a connection. Nothing is sent."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        return "Timeout"
    except ConnectionRefusedError:
        return "Refused"
    except socket.gaierror:
        return "Unresolvable"
    except OSError:
        return "Unreachable"
    writer.transport.abort()
    return ANSWERED


async def ask_grpc(target: Target, timeout: float, tls: ProbeTls | None = None) -> str:
    """Whether the target's ``grpc.health.v1`` says that the server as a whole is SERVING.

    Each time over a connection of its own: one that is kept open shows that there was a server once. The file of the
    authority is read each time too.
    """
    import grpc
    from grpc_health.v1 import health_pb2 as pb

    options: list[tuple[str, int | str]] = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    if tls is None:
        made = grpc.aio.insecure_channel(str(target), options=options)
    else:
        try:
            authority = readable(await asyncio.to_thread(Path(tls.ca).read_bytes)) if tls.ca else None
        except (OSError, TlsError):
            return "CaUnreadable"
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        made = grpc.aio.secure_channel(str(target), grpc.ssl_channel_credentials(authority), options=options)
    async with made as channel:
        check = channel.unary_unary(
            CHECK,
            request_serializer=pb.HealthCheckRequest.SerializeToString,
            response_deserializer=pb.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(pb.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return _WORDS.get(error.code().name) or _tls_word(error.details() or "")
    return ANSWERED if answer.status == pb.HealthCheckResponse.SERVING else "NotServing"


def _tls_word(details: str) -> str:
    """Why no connection was made: gRPC says it in a text only."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details or "Peer name" in details:
        return "CertificateRefused"
    if "security handshaker" in details:  # the file is there, and has no certificate
        return "CaUnreadable"
    return "NoTls" if "WRONG_VERSION_NUMBER" in details or "handshake" in details else "Unreachable"


_WORDS = {"DEADLINE_EXCEEDED": "Timeout", "UNIMPLEMENTED": "NoHealthService", "NOT_FOUND": "NoHealthService"}
