"""``mesh-registry check-config``: what is wrong with a configuration file, before a registry reads it."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.output import JSON, print_document, say
from registry.config import check
from registry.config.schema import schema
from registry.errors import ConfigError

EPILOG = """\b
Examples:
  mesh-registry check-config registry.yaml
  mesh-registry check-config --schema > registry.schema.json
"""


@click.command("check-config", epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON schema of a configuration file.")
def check_config(file: Path | None, as_schema: bool) -> None:
    """Check the configuration FILE as `serve --config FILE` would, and print every problem with its line.

    The files that it names (kubeconfigs, certificates) are not opened. Exit codes: 0 the file is good, 2 it is not.
    """
    if as_schema:
        if file is not None:
            raise click.UsageError("--schema takes no FILE: it prints what any file may say")
        print_document(schema(), JSON)
        return
    if file is None:
        raise click.UsageError("name the FILE to check")
    config = check(file)
    sources = [f"clusters: {', '.join(each.name for each in config.clusters)}"] if config.clusters else []
    sources += [f"kubeconfigFolder: {config.kubeconfig_folder}"] if config.kubeconfig_folder else []
    sources += [f"remoteSecrets: namespace {config.remote_secrets.namespace}"] if config.remote_secrets else []
    if not sources:
        raise ConfigError(f"{file}: no member cluster: name one under clusters, kubeconfigFolder or remoteSecrets")
    say(f"{file}: good ({'; '.join(sources)})")
