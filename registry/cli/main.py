"""``mesh-registry``: the command group, and how an error becomes a text and an exit code."""

from __future__ import annotations

import sys

import click

from registry import __version__
from registry.cli.bootstrap import bootstrap
from registry.cli.demo import demo
from registry.cli.get import get
from registry.cli.serve import serve
from registry.cli.serviceentry import serviceentry
from registry.cli.watch import watch
from registry.errors import RegistryError


@click.group(
    commands=[serve, demo, get, serviceentry, watch, bootstrap],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="mesh-registry")
def cli() -> None:
    """One live list of the endpoints of every service in many Kubernetes clusters."""


def main() -> None:
    """Run the command line. Exit codes: 0, 1 failed, 2 wrong usage or configuration."""
    try:
        cli(prog_name="mesh-registry")
    except RegistryError as error:
        click.echo(f"mesh-registry: {error}", err=True)
        sys.exit(error.exit_code)
