"""``mesh-registry``: the command group, and how an error becomes a text and an exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from importlib import import_module

import click

from registry import __version__
from registry.cli.output import say
from registry.errors import RegistryError

COMMANDS = ("serve", "demo", "get", "serviceentry", "watch", "bootstrap", "guard", "explain", "check-config")


class _Commands(click.Group):
    """The subcommands, each a module of its name, imported when it is wanted: `get` needs no server."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "serve":
            # While the program is loaded a reload is no end of it: the configuration is read after that.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"registry.cli.{name}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mesh-registry")
def cli() -> None:
    """One live list of the endpoints of every service in many Kubernetes clusters."""


def main() -> None:
    """Run the command line. Exit codes: 0, 1 failed, 2 wrong usage or configuration."""
    # gRPC's own log on stderr says in other words what the commands say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a file of few characters gets the others as their escapes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        cli(prog_name="mesh-registry")
    except RegistryError as error:
        say(*f"mesh-registry: {error}".split("\n"), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # Of click's own output, as of --help; click says nothing where the reader is gone.
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = None
        sys.exit(f"mesh-registry: cannot write the output: {error.strerror}")
