"""Files short: what runs goes on, probes are answered, and newcomers come in when there are files again."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest
import yaml
from support.http_port import client, fetched, get
from support.processes import until
from support.registry import RunningRegistry

import registry.cli.demo
from registry.protos import registry_pb2 as pb

CLUSTERS = Path(registry.cli.demo.__file__).with_name("clusters")
WATCH = "/registry.v1.Registry/Watch"


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def no_files(pid: int) -> Iterator[None]:
    """The process may open no file more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


async def test_what_runs_goes_on_and_newcomers_come_in_again(tmp_path: Path) -> None:
    shutil.copytree(CLUSTERS, tmp_path / "clusters")
    folder = tmp_path / "clusters" / "a"
    async with (
        RunningRegistry(tmp_path, f"--manifests=a={folder}") as it,
        grpc.aio.insecure_channel(it.grpc) as channel,
    ):
        watch = channel.unary_stream(
            WATCH,
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )(pb.WatchRequest(services=[pb.ServiceName(namespace="shop", name="echo")]))
        assert len((await watch.read()).service.endpoints) == 2
        async with client(it.http, get("/healthz")) as kept:
            assert (await kept.answer())[0] == 200
            with no_files(it.process.pid):
                kept.writer.write(get("/healthz"))
                assert (await kept.answer())[0] == 200
                async with client(it.grpc) as newcomer:
                    await until(lambda: "cannot accept connections" in it.process.tail(), "it is logged")
                    kept.writer.write(get("/readyz"))
                    assert (await kept.answer())[0] == 503
                    assert not newcomer.reader.at_eof()
                    # When there are files again it is served: it waited in the backlog.
            await until(it.ready, "it is ready again")
        path = folder / "endpointslices.yaml"
        document = yaml.safe_load(path.read_text())
        document["endpoints"].pop()
        path.write_text(yaml.safe_dump(document))
        assert len((await watch.read()).service.endpoints) == 1
        assert "ulimit -n" in it.process.tail()


@pytest.mark.parametrize("files", [256])
async def test_connections_leave_files_for_all_else(tmp_path: Path, files: int) -> None:
    """More connections than there are files: a quarter of the files is kept, and nothing is ever short."""
    shutil.copytree(CLUSTERS, tmp_path / "clusters")
    folder = tmp_path / "clusters" / "a"
    async with RunningRegistry(tmp_path, f"--manifests=a={folder}", files=files) as it:
        strangers = [client(it.grpc, source=f"127.6.6.{1 + number % 40}") for number in range(2 * files)]
        async with contextlib.AsyncExitStack() as stack:
            for each in strangers:
                await stack.enter_async_context(each)
            assert (await fetched(it.http, "/readyz"))[0] == 200
            assert open_files(it.process.pid) <= files * 3 // 4 + 40
            path = folder / "endpointslices.yaml"
            document = yaml.safe_load(path.read_text())
            document["endpoints"].pop()
            path.write_text(yaml.safe_dump(document))

            async def one_left() -> bool:
                return len(await it.addresses("shop/echo")) == 1

            await until(one_left, "a change of the member arrives")
