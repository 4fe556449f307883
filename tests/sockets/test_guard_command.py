"""What is held in doubt, as operators see it and let it go: the program before an API server that forgets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from support.fake_apiserver import FakeApiServer, kubeconfig, stream
from support.kube_wire import a_service
from support.processes import until
from support.registry import RunningRegistry, at_once

from registry.model.names import Kind

ECHO = "shop/echo"
ADDRESSES = ("10.0.0.1", "10.0.0.2")
PODS = ("cart-1", "cart-2", "cart-3", "cart-4")
JSON = {"Content-Type": "application/json"}


def a_slice(*addresses: str) -> dict[str, object]:
    labels = {"kubernetes.io/service-name": "echo"}
    return {
        "metadata": {"name": "echo-1", "namespace": "shop", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def a_pod(name: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "shop"}, "status": {"phase": "Running"}}


@pytest_asyncio.fixture
async def forgetful(tmp_path: Path) -> AsyncIterator[RunningRegistry]:
    """The program when its cluster's slice has vanished from a list, and nobody said that it was deleted."""
    async with forgetting(tmp_path, Kind.ENDPOINT_SLICE, "echo-1") as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doubtful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRegistry]:
    """The same, when it is noticed, and doubted for as long as these tests take. They let nothing go."""
    folder = tmp_path_factory.mktemp("doubtful")
    patient = folder / "patient.yaml"
    patient.write_text("guard: {confirmSeconds: 600}\n")
    async with forgetting(folder, Kind.ENDPOINT_SLICE, "echo-1", arguments=[f"--config={patient}"]) as it:
        await until(lambda: doubted(it), "it is noticed")
        yield it


@asynccontextmanager
async def forgetting(
    tmp_path: Path, kind: Kind, *names: str, arguments: Sequence[str] = ()
) -> AsyncIterator[RunningRegistry]:
    async with FakeApiServer() as server:
        (tmp_path / "kubeconfig").write_text(kubeconfig(server.url))
        await server.put(Kind.SERVICE, a_service("echo"))
        await server.put(Kind.ENDPOINT_SLICE, a_slice(*ADDRESSES))
        for pod in PODS:
            await server.put(Kind.POD, a_pod(pod))
        outage = asyncio.Event()
        server.script("watch", kind, stream(gate=outage))
        async with RunningRegistry(tmp_path, f"--kubeconfig=a={tmp_path / 'kubeconfig'}", *arguments) as it:
            await server.requests("watch", kind, 1)
            for name in names:
                server.forget(kind, name)
            outage.set()
            await server.requests("list", kind, 2)
            yield it


async def doubted(registry: RunningRegistry) -> bool:
    found = await registry.get("/api/v1/guard")
    return bool(found["held"] or found["objects"])


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_list_lacks_is_shown_and_kept(doubtful: RunningRegistry) -> None:
    assert await doubtful.addresses(ECHO) == set(ADDRESSES)
    shown = doubtful.command("guard", "list", "-o", "wide", "--server", doubtful.http)
    header, row = (line.split() for line in shown.stdout.splitlines())
    assert header == ["CLUSTER", "SERVICE", "ENDPOINTS", "REASON", "SINCE", "UNTIL", "ADDRESSES"]
    assert row[:4] == ["a", ECHO, "2", "ServiceEmptied"]
    assert row[6] == ",".join(ADDRESSES)
    (said,) = [each for each in (await doubtful.cluster("a"))["conditions"] if each["type"] == "ListsBelieved"]
    assert (said["status"], said["reason"]) == (False, "ServiceEmptied")
    wide = doubtful.command("get", "clusters", "-o", "wide", "--server", doubtful.http).stdout
    assert "ListsBelieved=ServiceEmptied since 20" in wide
    endpoints = (await doubtful.get(f"/api/v1/services/{ECHO}"))["endpoints"]
    assert [each["inDoubt"] for each in endpoints] == [True, True]


async def test_it_is_let_go_by_hand(forgetful: RunningRegistry) -> None:
    await until(lambda: doubted(forgetful), "it is noticed")
    other = forgetful.command("guard", "release", "shop/other", "--server", forgetful.http)
    assert (other.returncode, other.stdout) == (0, "nothing of that is held\n")
    done = forgetful.command("guard", "release", ECHO, "--cluster", "a", "--server", forgetful.http)
    assert (done.returncode, done.stdout) == (0, f"a: {ECHO}: 2 endpoints let go\n")
    assert await forgetful.addresses(ECHO) == set()
    shown = forgetful.command("guard", "list", "-o", "json", "--server", forgetful.http)
    assert json.loads(shown.stdout) == {"held": [], "objects": [], "members": []}
    (said,) = [each for each in (await forgetful.cluster("a"))["conditions"] if each["type"] == "ListsBelieved"]
    assert said["status"]


async def test_pods_that_a_list_lacks_are_shown_and_let_go_by_hand(tmp_path: Path) -> None:
    async with forgetting(tmp_path, Kind.POD, *PODS) as it:
        await until(lambda: doubted(it), "it is noticed")
        tables = it.command("guard", "list", "-o", "wide", "--server", it.http).stdout.split("\n\n")
        assert len(tables[0].splitlines()) == 1, "no endpoint is held"
        header, row = (line.split() for line in tables[1].splitlines())
        assert header == ["CLUSTER", "KIND", "OBJECTS", "REASON", "SINCE", "UNTIL", "NAMES"]
        assert row[:4] == ["a", "Pod", "4", "ObjectsShrunk"]
        assert row[6] == ",".join(f"shop/{pod}" for pod in PODS)
        (said,) = [each for each in (await it.cluster("a"))["conditions"] if each["type"] == "ListsBelieved"]
        assert (said["status"], said["reason"]) == (False, "ObjectsShrunk")
        assert "a list lacks 4 of kind Pod, and they are kept" in said["message"]
        count = 'mesh_registry_held_objects{cluster="a",kind="Pod",reason="ObjectsShrunk"} 4.0'
        assert count in await it.text("/metrics")
        of_service = it.command("guard", "release", ECHO, "--server", it.http)
        assert of_service.stdout == "nothing of that is held\n"
        done = it.command("guard", "release", "--all", "--server", it.http)
        assert (done.returncode, done.stdout) == (0, "a: 4 of kind Pod let go\n")
        assert not await doubted(it)
        (said,) = [each for each in (await it.cluster("a"))["conditions"] if each["type"] == "ListsBelieved"]
        assert (said["status"], said["reason"]) == (True, "NothingHeld")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name NS/NAME, --cluster NAME, or both; or --all"),
        (("--all", "--cluster", "a"), "or --all"),
        (("echo",), "write NAMESPACE/NAME"),
    ],
)
async def test_a_release_that_names_nothing_or_too_much_is_wrong_usage(
    doubtful: RunningRegistry, arguments: tuple[str, ...], says: str
) -> None:
    done = doubtful.command("guard", "release", *arguments, "--server", doubtful.http)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff", "expected cluster, service (NS/NAME) or all"),
        ("", "expected cluster, service (NS/NAME) or all"),
        ("{}", "name a cluster, a service, or both"),
        ('{"service": "echo"}', "write NAMESPACE/NAME"),
        ('{"servce": "shop/echo"}', "unknown field `servce`"),
        ('{"all": true, "cluster": "a"}', "name a cluster, a service, or both"),
    ],
)
async def test_a_request_that_is_none_lets_nothing_go(doubtful: RunningRegistry, body: str | bytes, says: str) -> None:
    url = f"http://{doubtful.http}/api/v1/guard/release"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=JSON) as response:
        assert response.status == 400
        assert says in (await response.json())["error"]
    assert await doubtful.addresses(ECHO) == set(ADDRESSES)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (JSON | {"Origin": "http://127.0.0.1:15014"}, 403),
        (JSON | {"Origin": "null"}, 403),
        (JSON | {"Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
async def test_a_page_in_an_operators_browser_lets_nothing_go(
    doubtful: RunningRegistry, headers: dict[str, str], status: int
) -> None:
    url = f"http://{doubtful.http}/api/v1/guard/release"
    async with aiohttp.ClientSession() as session, session.post(url, data='{"all": true}', headers=headers) as response:
        assert response.status == status
    assert await doubtful.addresses(ECHO) == set(ADDRESSES)


async def test_members_that_nobody_names_any_more_are_shown_and_removed_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "kubeconfigs"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(kubeconfig("http://127.0.0.1:1"))

    async def members() -> list[str]:
        return [each["name"] for each in (await it.get("/api/v1/clusters"))["clusters"]]

    async def in_doubt() -> bool:
        return [each["cluster"] for each in (await it.get("/api/v1/guard"))["members"]] == ["b", "c"]

    async with RunningRegistry(tmp_path, f"--kubeconfig-dir={folder}", at_once(tmp_path)) as it:
        assert await members() == ["a", "b", "c"]
        (folder / "b").rename(folder / ".b")
        (folder / "c").rename(folder / ".c")
        await until(in_doubt, "it is noticed that two of three are gone")
        shown = it.command("guard", "list", "--server", it.http).stdout
        assert "MEMBER" in shown
        assert "NamedNoMore" in shown
        assert f"folder {folder} names it no more" in shown
        everything = it.command("guard", "release", "--all", "--server", it.http)
        assert everything.stdout == "nothing of that is held\n", "members go by their names only"
        done = it.command("guard", "release", "--cluster", "b", "--server", it.http)
        assert (done.returncode, done.stdout) == (0, "b: no member any more\n")

        async def gone() -> bool:
            return await members() == ["a", "c"]

        await until(gone, "b is gone")
        again = it.command("guard", "release", "--cluster", "b", "--server", it.http)
        assert again.stdout == "nothing of that is held\n"
