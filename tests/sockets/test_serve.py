"""The command as users run it: a process, its ports, its output, its exit codes."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
import pytest_asyncio
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.processes import free_port, until
from support.registry import PROGRAM, RunningRegistry, at_once

import registry.cli.demo

CLUSTERS = Path(registry.cli.demo.__file__).with_name("clusters")
ECHO = "shop/echo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The demo's clusters ``a`` and ``b``, to be changed."""
    shutil.copytree(CLUSTERS, tmp_path / "clusters")
    return tmp_path / "clusters"


def manifests(folder: Path) -> list[str]:
    return [f"--manifests={name}={folder / name}" for name in ("a", "b")]


@pytest_asyncio.fixture
async def running(folder: Path) -> AsyncIterator[RunningRegistry]:
    async with RunningRegistry(folder.parent, *manifests(folder)) as it:
        yield it


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_get_lists_services_endpoints_and_clusters(running: RunningRegistry) -> None:
    def get(*arguments: str) -> list[list[str]]:
        done = running.command("get", *arguments, "--server", running.http)
        assert done.returncode == 0, done.stderr
        return rows(done.stdout)

    assert get("services") == [
        ["NAMESPACE", "NAME", "PORTS", "CLUSTERS", "ENDPOINTS"],
        ["shop", "echo", "80/http", "a,b", "4"],
    ]
    wide = get("endpoints", ECHO, "-o", "wide")
    assert [row[7] for row in wide] == ["POD", "pod3", "pod4", "pod1", "pod2"]
    assert wide[1][1:7] == ["127.10.2.1", "80:18080", "HEALTHY", "b", "eu-north", "eu-north-1"]
    assert wide[1][8:] == ["b-node-1", "-", "echo", "1", "app=echo,version=v1", "-"]
    clusters = get("clusters", "-o", "wide")
    assert [row[:7] for row in clusters] == [
        ["NAME", "STATE", "REASON", "SERVICES", "SLICES", "PODS", "NODES"],
        ["a", "Synced", "-", "1", "1", "2", "2"],
        ["b", "Synced", "-", "1", "1", "2", "2"],
    ]
    assert get("clients") == [["ID", "CLUSTER", "PROTOCOL", "TYPES", "PEER"]]
    assert get("services", "-n", "nowhere") == [["NAMESPACE", "NAME", "PORTS", "CLUSTERS", "ENDPOINTS"]]


@pytest.mark.parametrize("what", ["services", "endpoints", "clusters", "clients"])
async def test_json_and_yaml_are_the_same_document(running: RunningRegistry, what: str) -> None:
    documents = []
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        done = running.command("get", what, "-o", output, "--server", running.http)
        assert done.returncode == 0, done.stderr
        documents.append(load(done.stdout))
    assert documents[0] == documents[1]
    assert len(next(iter(documents[0].values()))) == {"clusters": 2, "clients": 0}.get(what, 1)


async def test_serviceentry_prints_what_the_api_has(running: RunningRegistry) -> None:
    one = running.command("serviceentry", ECHO, "--server", running.http)
    entry = yaml.safe_load(one.stdout)
    assert entry == await running.get(f"/api/v1/serviceentries/{ECHO}")
    assert {endpoint["address"] for endpoint in entry["spec"]["endpoints"]} == {
        "127.10.1.1",
        "127.10.1.2",
        "127.10.2.1",
        "127.10.2.2",
    }
    everything = running.command("serviceentry", "--server", running.http)
    assert list(yaml.safe_load_all(everything.stdout)) == [entry]
    in_b = running.command("serviceentry", ECHO, "--cluster", "b", "--server", running.http)
    assert yaml.safe_load(in_b.stdout) == entry
    nowhere = running.command("serviceentry", ECHO, "--cluster", "nowhere", "--server", running.http)
    assert (nowhere.returncode, "no member cluster nowhere" in nowhere.stderr) == (1, True)
    as_json = running.command("serviceentry", "-o", "json", "--server", running.http)
    assert json.loads(as_json.stdout)["items"] == [entry]


async def test_watch_shows_the_list_and_then_each_change(running: RunningRegistry, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "watch", ECHO, "--server", running.grpc, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    first = [(await process.stdout.readline()).decode() for _ in range(5)]
    assert first[0].endswith("shop/echo  4 endpoints\n")
    assert [line.split()[0] for line in first[1:]] == ["+"] * 4
    path = folder / "a" / "endpointslices.yaml"
    document = yaml.safe_load(path.read_text())
    document["endpoints"].pop()
    path.write_text(yaml.safe_dump(document))
    change = [(await process.stdout.readline()).decode() for _ in range(2)]
    assert change[0].endswith("shop/echo  3 endpoints\n")
    assert change[1].split()[:2] == ["-", "127.10.1.2"]
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0


async def test_watch_from_a_place_shows_what_a_client_there_is_to_use(running: RunningRegistry) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "watch", ECHO, "--server", running.grpc, "--region", "eu-north", "--reasons", "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    service = json.loads(await process.stdout.readline())["service"]
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
    assignment = service["ports"][0]["assignment"]
    assert sum(len(group["targets"]) for group in assignment["groups"]) == 4
    assert [[each["code"] for each in end["reasons"]] for end in assignment["reasons"]] == [["Unordered"]] * 4


async def test_cluster_that_cannot_be_read_holds_up_no_other_and_loses_nothing(
    running: RunningRegistry, folder: Path
) -> None:
    before = await running.addresses(ECHO)
    (folder / "b").rename(folder / "b.gone")
    await until(lambda: is_failing(running, "b"), "b is failing")
    assert await running.addresses(ECHO) == before
    assert await running.ready()
    listed = running.command("get", "clusters", "-o", "wide", "--server", running.http).stdout
    assert "FolderUnreadable" in listed
    assert "what was read before still counts" in listed


async def test_kubeconfig_that_is_missing_or_leads_nowhere_is_named_and_the_rest_is_served(folder: Path) -> None:
    nowhere = folder / "nowhere.kubeconfig"
    server = {"server": f"https://127.0.0.1:{free_port()}"}
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": server}],
        "users": [{"name": "it", "user": {"token": "x"}}],
    }
    nowhere.write_text(yaml.safe_dump(document))
    flags = [f"--kubeconfig=missing={folder / 'missing'}", f"--kubeconfig=nowhere={nowhere}", at_once(folder.parent)]
    async with RunningRegistry(folder.parent, *manifests(folder), *flags) as it:
        assert len(await it.addresses(ECHO)) == 4
        ready = await it.get("/readyz")
        states = {each["name"]: (each["state"], each["reason"]) for each in ready["clusters"]}
        assert states == {
            "a": ("Synced", ""),
            "b": ("Synced", ""),
            "missing": ("Failing", "KubeconfigInvalid"),
            "nowhere": ("Failing", "Unreachable"),
        }
        assert str(folder / "missing") in (await it.cluster("missing"))["message"]
        assert server["server"] in (await it.cluster("nowhere"))["message"]


async def test_refused_members_and_what_is_wrong_with_their_places_are_shown(folder: Path) -> None:
    kubeconfigs = folder / "kubeconfigs"
    kubeconfigs.mkdir()
    (kubeconfigs / "a.yaml").write_text("x")
    (kubeconfigs / "no name.yaml").write_text("x")
    config = folder / "registry.yaml"
    config.write_text("kubeconfigFolder: kubeconfigs\n")
    arguments = [*manifests(folder), f"--config={config}"]
    async with RunningRegistry(folder.parent, *arguments) as it, aiohttp.ClientSession() as session:
        config.write_text("kubeconfigFolder: [\n")

        async def shown() -> list[str]:
            done = it.command("get", "clusters", "--server", it.http)
            lines = done.stdout.splitlines()
            return lines if any("ConfigurationInvalid" in line for line in lines) else []

        lines = await until(shown, "the broken file is shown")
        assert [line.split()[0] for line in lines[:3]] == ["NAME", "a", "b"]
        text = "\n".join(lines[3:])
        assert f"refused: a of folder {kubeconfigs} (a.yaml): flags has a cluster of this name already" in text
        assert f"refused: no name of folder {kubeconfigs} (no name.yaml): expected letters" in text
        assert f"file {config}: ConfigurationInvalid: {config}:2: " in text
        metrics = (await (await session.get(f"http://{it.http}/metrics")).text()).splitlines()
        assert "mesh_registry_members_refused 2.0" in metrics
        problem = f'mesh_registry_membership_problem{{origin="file {config}",reason="ConfigurationInvalid"}} 1.0'
        assert problem in metrics


async def test_metrics_count_what_there_is(running: RunningRegistry) -> None:
    async with aiohttp.ClientSession() as session:
        text = await (await session.get(f"http://{running.http}/metrics")).text()
    for line in (
        "mesh_registry_ready 1.0",
        "mesh_registry_services 1.0",
        'mesh_registry_endpoints{cluster="a",health="HEALTHY"} 2.0',
        'mesh_registry_cluster_listed{cluster="b"} 1.0',
        'mesh_registry_cluster_drift_total{cluster="a"} 0.0',
        'mesh_registry_cluster_objects{cluster="a",kind="Pod"} 2.0',
        "mesh_registry_xds_clients 0.0",
    ):
        assert line in text.splitlines()


async def test_http_answers_health_lists_its_paths_and_says_what_is_not_there(running: RunningRegistry) -> None:
    async with aiohttp.ClientSession(f"http://{running.http}") as session:
        assert await (await session.get("/healthz")).text() == "ok\n"
        assert "/api/v1/services" in await (await session.get("/")).text()
        for path, status, text in (
            ("/api/v1/services/shop/nobody", 404, "no service shop/nobody"),
            ("/nothing", 404, "/ lists the paths"),
        ):
            answer = await session.get(path)
            assert answer.status == status
            assert text in (await answer.json())["error"]
        assert (await session.post("/api/v1/services")).status == 405


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["get", "services", "nonsense"], 2, "is not a service: write NAMESPACE/NAME"),
        (["get", "clusters", ECHO], 2, "takes no service"),
        (["get", "nothing"], 2, "is not one of"),
        (["serve"], 2, "no member cluster: name one with --kubeconfig"),
        (["serve", "--manifests", "a"], 2, "expected NAME=DIR"),
        (["serve", "--manifests", "a=x", "--manifests", "a=y"], 2, "named twice"),
        (["serve", "--manifests", "a=x", "--grpc", "15010"], 2, "--grpc: expected HOST:PORT"),
        (["serve", "--config", "/nonexistent"], 2, "/nonexistent: cannot be read"),
        (["bootstrap", "envoy", "--server", "x"], 2, "expected HOST:PORT"),
        (["watch"], 2, "Missing argument"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_the_place(arguments: list[str], code: int, text: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["get", "services"], ["serviceentry", ECHO], ["watch", ECHO]])
def test_registry_that_is_not_there_is_exit_code_1_with_the_mend(command: list[str]) -> None:
    done = run(*command, "--server", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "--server" in done.stderr
    assert "Traceback" not in done.stderr


async def test_service_that_is_not_there_is_exit_code_1(running: RunningRegistry) -> None:
    done = running.command("get", "endpoints", "shop/nobody", "--server", running.http)
    assert done.returncode == 1
    assert "no service shop/nobody" in done.stderr


@pytest.mark.parametrize("flag", ["--grpc", "--http"])
def test_port_in_use_is_exit_code_1_and_names_the_flag(folder: Path, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = {"--grpc": "--http", "--http": "--grpc"}[flag]
        done = run("serve", *manifests(folder), flag, address, other, "127.0.0.1:0")
    assert done.returncode == 1
    assert address in done.stderr
    assert flag in done.stderr
    assert "Traceback" not in done.stderr


def test_certificate_that_is_not_there_is_exit_code_1_and_named(folder: Path) -> None:
    config = folder / "registry.yaml"
    config.write_text("listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', tls: {certificate: tls.crt, key: tls.key}}\n")
    done = run("serve", "--config", str(config), *manifests(folder))
    assert done.returncode == 1
    assert f"listen.tls: {folder / 'tls.crt'}: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


async def test_grpc_is_served_on_a_unix_socket(folder: Path) -> None:
    path = folder / "registry.sock"
    async with (
        RunningRegistry(folder.parent, *manifests(folder), f"--grpc=unix:{path}"),
        grpc.aio.insecure_channel(f"unix:{path}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    assert not path.exists()


def test_configuration_that_is_wrong_is_exit_code_2_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("clusters:\n  - name: a\n    manifest: x\n")
    done = run("serve", "--config", str(path))
    assert done.returncode == 2
    assert f"{path}:3: clusters[0].manifest: unknown key; did you mean 'manifests'?" in done.stderr


async def is_failing(running: RunningRegistry, cluster: str) -> bool:
    return bool((await running.cluster(cluster))["state"] == "Failing")
