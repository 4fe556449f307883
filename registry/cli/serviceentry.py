"""``mesh-registry serviceentry``: the Istio ServiceEntry of one service, or of all."""

from __future__ import annotations

from urllib.parse import urlencode

import click

from registry.cli.api import fetch, service_path, understanding
from registry.cli.options import ServiceArgument, http_server_address
from registry.cli.output import JSON, YAML, print_document, print_yaml_documents
from registry.cli.server import Server
from registry.model.names import ServiceKey


@click.command()
@click.argument("service", type=ServiceArgument(), required=False)
@click.option("-o", "--output", type=click.Choice([YAML, JSON]), default=YAML, show_default=True, help="Format.")
@click.option("--cluster", metavar="NAME", help="As in this one: its own family of addresses comes first.")
@http_server_address
def serviceentry(service: ServiceKey | None, output: str, cluster: str | None, server: Server) -> None:
    """Print ServiceEntries as the registry writes them into its clusters.

    Of all services without NS/NAME. Several are YAML documents apart by ``---``, or a JSON list object.
    """
    asked = "" if cluster is None else f"?{urlencode({'cluster': cluster})}"
    if service is not None:
        document = fetch(server, service_path("serviceentries", service) + asked)
    else:
        document = fetch(server, f"/api/v1/serviceentries{asked}")
    with understanding(server):
        several = service is None or document["kind"] == "List"
        items = list(document["items"]) if several else [document]
    if output == JSON:
        print_document(document, JSON)
    elif several:
        print_yaml_documents(items)
    else:
        print_document(document, YAML)
