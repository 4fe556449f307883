"""``mesh-registry serve``: run the registry until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import click

from registry import runtime
from registry.app import Registry
from registry.cli.output import say
from registry.cli.signals import Signals
from registry.config import ClusterConfig, Config, load, with_flags
from registry.telemetry import start_logging

log = logging.getLogger(__name__)

EPILOG = """\b
Examples:
  mesh-registry serve --kubeconfig a=~/.kube/a --kubeconfig b=~/.kube/b
  mesh-registry serve --manifests a=clusters/a --kubeconfig b=~/.kube/b
  mesh-registry serve --config registry.yaml
"""


@click.command(epilog=EPILOG)
@click.option("--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file.")
@click.option("--kubeconfig", "kubeconfigs", multiple=True, metavar="NAME=PATH", help="A member cluster.")
@click.option("--manifests", multiple=True, metavar="NAME=DIR", help="A member cluster as a folder of manifests.")
@click.option(
    "--kubeconfig-dir",
    "kubeconfig_folder",
    type=click.Path(),
    metavar="DIR",
    help="A folder of kubeconfigs, one for each member cluster, named after it.",
)
@click.option("--grpc", metavar="HOST:PORT", help="xDS and lookup listen here.  [default: 127.0.0.1:15010]")
@click.option("--http", metavar="HOST:PORT", help="The HTTP API listens here.  [default: 127.0.0.1:15014]")
@click.option(
    "--write-service-entries", is_flag=True, default=None, help="Write Istio ServiceEntries into the member clusters."
)
@click.option("--snapshot", metavar="FILE", help="Keep what is known in FILE, and start from it.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Log messages of this level and above, on stderr.",
)
def serve(
    config_path: Path | None,
    kubeconfigs: tuple[str, ...],
    manifests: tuple[str, ...],
    kubeconfig_folder: str | None,
    grpc: str | None,
    http: str | None,
    write_service_entries: bool | None,
    snapshot: str | None,
    log_level: str,
) -> None:
    """Follow the member clusters and serve their services over xDS, gRPC and HTTP.

    Member clusters come from flags, from a configuration file, from a folder of kubeconfigs and from Secrets; all of
    these are followed as they change. SIGHUP reloads the configuration file. SIGTERM and Ctrl-C stop it; a second one
    stops it at once.
    """
    from_file = load(config_path) if config_path else Config()
    config = with_flags(
        from_file,
        kubeconfigs=kubeconfigs,
        manifests=manifests,
        kubeconfig_folder=kubeconfig_folder,
        grpc=grpc,
        http=http,
        write_service_entries=write_service_entries,
        snapshot=snapshot,
    )
    start_logging(log_level)
    file = (config_path.absolute(), from_file) if config_path else None
    runtime.run(_serve(config, config.clusters[len(from_file.clusters) :], file))


async def _serve(config: Config, flags: Sequence[ClusterConfig], file: tuple[Path, Config] | None) -> None:
    signals = Signals()
    registry = Registry(config, flags, file, opened=runtime.loaded)
    await registry.start()
    reloading = asyncio.create_task(_reload(registry, signals), name="reload")
    try:
        say(f"mesh-registry: gRPC on {registry.grpc_address}, HTTP on http://{registry.http_address}", err=True)
        await signals.stop.wait()
    finally:
        reloading.cancel()
        await registry.stop()


async def _reload(registry: Registry, signals: Signals) -> None:
    """Once for all SIGHUPs that came meanwhile."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        try:
            await registry.reload()
        except Exception:
            log.exception("reload: failed; what was in force is")
