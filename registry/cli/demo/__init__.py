"""``mesh-registry demo``: two clusters, four pods, the registry and a real Envoy, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
import uvloop
from rich.console import Console

from registry.cli.demo.stage import Addresses, find_envoy, stage
from registry.cli.demo.tour import Tour
from registry.cli.output import say


@click.command()
@click.option("--once", is_flag=True, help="Run the tour and exit: 0 only if each step was seen to hold.")
@click.option("--envoy", metavar="PROGRAM", help="The Envoy to run; by default the one beside this Python or on PATH.")
def demo(once: bool, envoy: str | None) -> None:
    """Show the registry at work: two clusters, four pods and a real Envoy on this machine.

    Runs a tour of what it does, then serves until Ctrl-C.
    """
    finished = uvloop.run(_run(once, envoy))
    if not finished:
        say("mesh-registry: the tour was interrupted", err=True)
        sys.exit(1)


async def _run(once: bool, envoy: str | None) -> bool:
    """Whether the tour came to its end. The first signal ends the demo in order; more change nothing."""
    show = asyncio.create_task(_show(once, envoy))
    told_to_stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, told_to_stop.set)
    stop = asyncio.create_task(told_to_stop.wait())
    await asyncio.wait({show, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not show.done():
        show.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await show
    return False


async def _show(once: bool, envoy: str | None) -> bool:
    console = Console()
    began = time.perf_counter()

    def progress(text: str) -> None:
        console.print(f"[green]✓[/] {text} [dim]({time.perf_counter() - began:.1f} s)[/]", highlight=False)

    with tempfile.TemporaryDirectory(prefix="mesh-registry-demo-") as folder:
        starting = console.status("starting pods, registry and Envoy ...")
        starting.start()
        try:
            async with stage(Path(folder), envoy or find_envoy(), progress) as scene:
                starting.stop()
                await Tour(scene, console).run()
                console.print(f"\n[bold green]Every step held[/], {time.perf_counter() - began:.0f} s in all.")
                if not once:
                    _say_what_to_try(console, scene.addresses, Path(folder))
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
        finally:
            starting.stop()
    return True


def _say_what_to_try(console: Console, addresses: Addresses, folder: Path) -> None:
    lines = (
        f"curl -H 'Host: echo.shop' http://{addresses.outbound}/",
        f"mesh-registry get endpoints -o wide --server {addresses.http}",
        f"mesh-registry get clients --server {addresses.http}",
        f"mesh-registry watch shop/echo --server {addresses.grpc}",
        f"$EDITOR {folder}/clusters/a/endpointslices.yaml",
    )
    console.print("\nEverything keeps running until Ctrl-C. From another terminal (with .venv/bin on PATH):")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
