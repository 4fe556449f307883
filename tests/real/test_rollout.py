"""Two replicas over two real clusters, one of which is down: what clients see of the rollout."""

from __future__ import annotations

import time
from pathlib import Path

import yaml
from support.moving_client import moving_clients, transcript
from support.outages import killed
from support.processes import free_port, until
from support.registry import RunningRegistry
from support.scene import Planes, scene


def configuration(folder: Path, name: str, *peers: str, **more: object) -> list[str]:
    """The arguments of a replica with peers."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"peers": list(peers), **more}))
    return ["--config", str(path)]


async def test_rollout_while_a_member_is_down_loses_nothing_of_it(planes: Planes, tmp_path: Path) -> None:
    """The transcript is in the folder of the test, as ``transcript.txt``."""
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    flags = [f"--kubeconfig={plane.name}={plane.kubeconfig('admin')}" for plane in planes.both]
    arguments = [*configuration(tmp_path, "one", first, second), "--grpc", first]
    events: list[tuple[float, str]] = []

    def happens(what: str) -> None:
        events.append((time.monotonic(), what))

    async with scene(planes, tmp_path, *arguments) as it:
        before = await it.settled(4)
        began = time.monotonic()
        async with moving_clients(it.cluster, first, second) as clients:
            await until(lambda: all(each.addresses == before for each in clients), "the pods of both clusters")
            async with killed(planes.b, planes.b.apiserver):
                happens("API server of b is killed")
                two = RunningRegistry(
                    tmp_path, *configuration(tmp_path, "two", first, second), *flags, "--grpc", second, name="two"
                )
                happens("replica 2 starts, without a snapshot")
                async with two:
                    happens("replica 2 is ready")
                    conditions = {each["type"]: each["reason"] for each in (await two.cluster("b"))["conditions"]}
                    assert conditions["Verified"] == "FromPeer"
                    it.registry.process.stop()
                    happens("replica 1 is stopped")
                    await until(lambda: all(each.joined[-1][1] == second for each in clients), "they moved")
                    await it.a.scale(3)
                    happens("the Deployment in a is scaled from 2 to 3")
                    await until(lambda: all(len(each.addresses) == 5 for each in clients), "the news of a", 60)
                    assert before < clients[0].addresses == clients[1].addresses
                    assert all(each.lost == set() for each in clients)
                    names = {first: "replica 1", second: "replica 2"}
                    text = transcript(began, clients, events, names.__getitem__)
                    (tmp_path / "transcript.txt").write_text(text + "\n")
                    it.registry.process.start()
