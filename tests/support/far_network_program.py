"""A program: a network namespace of its own with pods in it, which nobody outside reaches, and a TCP gateway that does.

    python far_network_program.py LINK ADDRESS/LENGTH PORT SUBNET POD...

Says ``apart`` when it is in its namespace, and waits for a line: the end ``LINK`` of a pair of virtual interfaces has
to be in the namespace by then. Then ``SUBNET`` is local to it, each address ``POD`` answers HTTP on port 8080 with
itself, and the gateway at ``ADDRESS`` and ``PORT`` leads each connection to one of them in turn. Says ``ready``, and
ends with its input.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import subprocess
import sys
from collections.abc import Sequence

CLONE_NEWNET = 0x40000000
POD_PORT = 8080
CHUNK = 1 << 16


async def serve(address: str, port: int, pods: Sequence[str]) -> None:
    turns = itertools.cycle(pods)

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("sockname")[0].encode()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name))
        except asyncio.IncompleteReadError:
            writer.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(next(turns), POD_PORT)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    servers = [await asyncio.start_server(say, pod, POD_PORT) for pod in pods]
    servers.append(await asyncio.start_server(lead, address, port))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


def main(link: str, gateway: str, port: str, subnet: str, *pods: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        sys.exit("no network namespace can be had")
    print("apart", flush=True)
    sys.stdin.readline()
    for command in (
        ["link", "set", "lo", "up"],
        ["route", "add", "local", subnet, "dev", "lo"],
        ["address", "add", gateway, "dev", link],
        ["link", "set", link, "up"],
    ):
        subprocess.run(["ip", *command], check=True)
    asyncio.run(serve(gateway.partition("/")[0], int(port), pods))


if __name__ == "__main__":
    main(*sys.argv[1:])
