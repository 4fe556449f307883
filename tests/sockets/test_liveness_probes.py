"""Probes against real listeners, and the watch that goes by them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.certificates import write_certificate
from support.facts import A, B
from support.processes import until

from registry.liveness.plan import Method, ProbePlan, ProbeTls
from registry.liveness.probes import Prober, ask_grpc, ask_tcp
from registry.liveness.sample import Target
from registry.liveness.table import Before, DataPlane, Rules
from registry.liveness.watch import LivenessWatch
from registry.model.conditions import Condition, ConditionBoard, ConditionType
from registry.model.names import ClusterId
from registry.model.standing import Standing
from registry.rpc.server import RpcServer
from registry.rpc.tls import ServerTls
from registry.servers.health import HealthServer

SOON = {"interval": 0.02, "timeout": 0.5}


@contextlib.asynccontextmanager
async def listener(target: Target | None = None) -> AsyncIterator[Target]:
    host, port = target or ("127.0.0.1", 0)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), host, port)
    try:
        yield Target(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
def nobody() -> Target:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Target(*probe.getsockname())


@pytest.fixture
def mute() -> Iterator[Target]:
    """A listener that accepts nothing any more: its queue is full, so connections are neither made nor refused."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield Target(*server.getsockname())


async def test_tcp_says_why_there_was_no_answer(nobody: Target, mute: Target) -> None:
    async with listener() as target:
        assert await ask_tcp(target, 5) == ""
    assert await ask_tcp(nobody, 5) == "Refused"
    assert await ask_tcp(mute, 0.1) == "Timeout"
    assert await ask_tcp(Target("no.such.name.invalid", 80), 5) in {"Unresolvable", "Timeout"}


async def test_grpc_health_says_why_there_was_no_answer(nobody: Target, mute: Target) -> None:
    health = HealthServer([])
    server = RpcServer([health.service()], "127.0.0.1:0")
    host, _, port = (await server.start()).rpartition(":")
    try:
        assert await ask_grpc(Target(host, int(port)), 5) == "NotServing"
        health.open()
        assert await ask_grpc(Target(host, int(port)), 5) == ""
    finally:
        await server.stop(0)
    assert await ask_grpc(nobody, 5) == "Unreachable"
    assert await ask_grpc(mute, 0.2) == "Timeout"


async def test_server_without_a_health_service_is_said() -> None:
    server = RpcServer([], "127.0.0.1:0")
    host, _, port = (await server.start()).rpartition(":")
    try:
        assert await ask_grpc(Target(host, int(port)), 5) == "NoHealthService"
    finally:
        await server.stop(0)


async def test_grpc_health_over_tls_is_believed_of_who_shows_the_right_certificate(tmp_path: Path) -> None:
    write_certificate(tmp_path, "ca", "server")
    write_certificate(tmp_path, "other", "stranger")
    health = HealthServer([])
    health.open()
    tls = ServerTls(tmp_path / "server.crt", tmp_path / "server.key")
    secure, plain = RpcServer([health.service()], "127.0.0.1:0", tls=tls), RpcServer([health.service()], "127.0.0.1:0")
    there, bare = [Target("127.0.0.1", int((await each.start()).rpartition(":")[2])) for each in (secure, plain)]
    (tmp_path / "junk.crt").write_text("junk")
    ca = str(tmp_path / "ca.crt")
    try:
        assert await ask_grpc(there, 5, ProbeTls(ca)) == ""
        assert await ask_grpc(there, 5, ProbeTls(ca, "localhost")) == ""
        assert await ask_grpc(there, 5, ProbeTls(ca, "elsewhere.example")) == "CertificateRefused"
        assert await ask_grpc(there, 5, ProbeTls(str(tmp_path / "other.crt"))) == "CertificateRefused"
        assert await ask_grpc(there, 5, ProbeTls()) == "CertificateRefused"
        assert await ask_grpc(there, 5, ProbeTls(str(tmp_path / "none.crt"))) == "CaUnreadable"
        assert await ask_grpc(there, 5, ProbeTls(str(tmp_path / "junk.crt"))) == "CaUnreadable"
        assert await ask_grpc(bare, 5, ProbeTls(ca)) == "NoTls"
        assert await ask_grpc(there, 5) != "", "without TLS it does not answer"
        prober = Prober(ProbePlan(Method.GRPC, there, tls=ProbeTls(ca)), lambda turn: [], lambda: 0.5)
        await prober.round(0)
        assert prober.data_plane is DataPlane.UP
    finally:
        await secure.stop(0)
        await plain.stop(0)


async def test_one_answer_of_the_sample_is_enough(nobody: Target) -> None:
    async with listener() as target:
        prober = Prober(ProbePlan(endpoints=2), lambda turn: [nobody, target], lambda: 0.5)
        await prober.round(0)
        assert prober.data_plane is DataPlane.UP
        assert dict(prober.last.said) == {nobody: "Refused", target: ""}


async def test_each_round_asks_the_sample_of_its_turn() -> None:
    asked: list[Target] = []

    async def ask(target: Target, timeout: float) -> str:
        asked.append(target)
        return ""

    prober = Prober(ProbePlan(endpoints=1, **SOON), lambda turn: [Target("10.0.0.1", turn)], lambda: 0.5, ask)
    task = asyncio.create_task(prober.run())
    await until(lambda: len(asked) >= 3, "three rounds", 5)
    assert prober.data_plane is DataPlane.UP
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [target.port for target in asked[:3]] == [0, 1, 2]
    assert prober.data_plane is DataPlane.UNKNOWN, "nobody looks any more"


class Told:
    """What the watch says."""

    def __init__(self) -> None:
        self.standings: list[tuple[ClusterId, Standing]] = []
        self.conditions: ConditionBoard[ClusterId] = ConditionBoard(lambda: 0.0)
        self.news: list[Condition] = []

    def set_standing(self, cluster: ClusterId, standing: Standing) -> None:
        self.standings.append((cluster, standing))

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        if self.conditions.set(cluster, condition):
            self.news.append(condition)

    def withdraw(self, cluster: ClusterId, kind: ConditionType) -> None:
        self.conditions.withdraw(cluster, kind)

    def of(self, cluster: ClusterId, kind: ConditionType) -> Condition | None:
        found = [each.condition for each in self.conditions.of(cluster) if each.condition.type is kind]
        return found[0] if found else None


class Scene:
    """A watch whose looks and whose clock are the test's; its probes are real."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told = Told()
        self.heard: dict[ClusterId, float | None] = {A: None, B: None}
        self.watch = LivenessWatch(Rules(stale=10, evict=20, grace=3), lambda: self.now, self.told)

    def pass_time(self, seconds: int, *speaking: ClusterId) -> None:
        for _ in range(seconds):
            self.now += 1
            self.heard.update(dict.fromkeys(speaking, self.now))
            self.watch.tick()

    def heard_at(self, cluster: ClusterId) -> float | None:
        return self.heard[cluster]


async def test_cluster_whose_api_and_gateway_are_lost_goes_and_comes_back_whole() -> None:
    scene = Scene()
    told = scene.told
    async with listener() as target:
        prober = Prober(ProbePlan(target=target, **SOON), lambda turn: [], lambda: 0.5)
        scene.watch.add(A, lambda: scene.heard_at(A), prober)
        scene.watch.add(B, lambda: scene.heard_at(B))
        scene.watch.start()
        await until(lambda: prober.data_plane is DataPlane.UP, "the gateway answers", 5)
        scene.pass_time(2, A, B)
        assert told.of(A, ConditionType.DATA_PLANE_UP) == Condition(
            ConditionType.DATA_PLANE_UP, True, "Answered", f"tcp://{target}"
        )
        assert told.of(B, ConditionType.DATA_PLANE_UP) is None
        scene.pass_time(11, B)
        assert told.standings == [(A, Standing.KEPT)]
    await until(lambda: prober.data_plane is DataPlane.DOWN, "the gateway is gone", 5)
    scene.pass_time(22, B)
    assert told.standings[1:] == [(A, Standing.DEMOTED), (A, Standing.EVICTED)]
    down = told.of(A, ConditionType.DATA_PLANE_UP)
    assert down is not None
    assert (down.status, down.reason) == (False, "Refused")
    assert "left out where a service has others" in down.message
    async with listener(target):
        await until(lambda: prober.data_plane is DataPlane.UP, "the gateway is back", 5)
        scene.pass_time(1, B)
        assert told.standings[-1] == (A, Standing.KEPT)
        scene.pass_time(1, A, B)
        assert told.standings[-1] == (A, Standing.CURRENT)
    assert {cluster for cluster, _ in told.standings} == {A}
    await scene.watch.stop()
    assert prober.data_plane is DataPlane.UNKNOWN


async def test_conditions_are_news_only_when_they_change() -> None:
    scene = Scene()
    scene.watch.add(A, lambda: scene.heard_at(A))
    scene.pass_time(2)
    scene.pass_time(5, A)
    scene.pass_time(50)
    scene.pass_time(5, A)
    assert [(each.status, each.reason) for each in scene.told.news] == [
        (True, "Heard"),
        (False, "Quiet"),
        (True, "Heard"),
    ]


async def test_flapper_is_said_to_be_held_back(nobody: Target) -> None:
    scene = Scene()
    prober = Prober(ProbePlan(target=nobody, down=1), lambda turn: [], lambda: 0.5)
    await prober.round(0)
    scene.watch.add(A, lambda: scene.heard_at(A), prober)
    for _ in range(4):
        scene.pass_time(2, A)
        scene.pass_time(12)
    scene.pass_time(1, A)
    fresh = scene.told.of(A, ConditionType.API_FRESH)
    assert fresh is not None
    assert (fresh.status, fresh.reason) == (True, "Flapping")
    assert scene.watch.standing(A) is Standing.DEMOTED


async def test_members_that_come_and_go_take_their_probes_with_them() -> None:
    scene = Scene()
    scene.watch.start()
    async with listener() as target:
        prober = Prober(ProbePlan(target=target, **SOON), lambda turn: [], lambda: 0.5)
        scene.watch.add(A, lambda: scene.heard_at(A), prober, before=Before(Standing.DEMOTED))
        assert scene.told.standings == [(A, Standing.DEMOTED)]
        await until(lambda: prober.data_plane is DataPlane.UP, "the first probes", 5)
        scene.pass_time(1)
        assert scene.watch.standing(A) is Standing.KEPT
        scene.watch.remove(A)
        await until(lambda: prober.data_plane is DataPlane.UNKNOWN, "the first probes' end", 5)
        scene.watch.add(A, lambda: scene.heard_at(A))
        other = Prober(ProbePlan(method=Method.GRPC, target=target, **SOON), lambda turn: [], lambda: 0.5)
        scene.watch.probe(A, other)
        await until(lambda: other.data_plane is DataPlane.DOWN, "a listener that speaks no gRPC", 20)
        scene.watch.probe(A, None)
        await until(lambda: other.data_plane is DataPlane.UNKNOWN, "the second probes' end", 5)
        scene.pass_time(1)
        assert scene.told.of(A, ConditionType.DATA_PLANE_UP) is None
    await scene.watch.stop()
    with pytest.raises(ValueError, match="watched already"):
        scene.watch.add(A, lambda: None)


async def test_sample_that_never_answered_is_said_and_does_not_count(nobody: Target) -> None:
    scene = Scene()
    prober = Prober(ProbePlan(endpoints=1), lambda turn: [nobody], lambda: 0.5)
    scene.watch.add(A, lambda: scene.heard_at(A), prober)
    for turn in range(4):
        await prober.round(turn)
    scene.pass_time(60)
    assert scene.watch.standing(A) is Standing.KEPT
    said = scene.told.of(A, ConditionType.DATA_PLANE_UP)
    assert said is not None
    assert (said.status, said.reason) == (False, "NeverAnswered")
