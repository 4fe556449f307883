"""``mesh-registry guard``: what lists lack and is kept in doubt, and letting it go by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from registry.cli.api import fetch, post, understanding
from registry.cli.options import ServiceArgument, http_server_address
from registry.cli.output import JSON, TABLE, WIDE, YAML, print_document, say, table
from registry.cli.server import Server
from registry.model.names import ServiceKey

Document = Mapping[str, Any]


@click.group()
def guard() -> None:
    """What a cluster's list lacks, and is kept until something else says that it is gone."""


@guard.command("list")
@click.option("-o", "--output", type=click.Choice([TABLE, WIDE, JSON, YAML]), default=TABLE, show_default=True)
@http_server_address
def list_(output: str, server: Server) -> None:
    """Show what is held in doubt, why, since when, and until when."""
    document = fetch(server, "/api/v1/guard")
    if output in (JSON, YAML):
        print_document(document, output)
        return
    with understanding(server):
        text = held_table(document["held"], output == WIDE)
        if document["objects"]:
            text += ["", *objects_table(document["objects"], output == WIDE)]
        if document["members"]:
            rows = [[each["cluster"], each["reason"], each["since"], each["message"]] for each in document["members"]]
            text += ["", *table(["MEMBER", "REASON", "SINCE", "WHY"], rows)]
    say(*text)


@guard.command()
@click.argument("service", type=ServiceArgument(), required=False)
@click.option("--cluster", metavar="NAME", help="Only what is held of this cluster.")
@click.option("--all", "everything", is_flag=True, help="Everything that is held.")
@http_server_address
def release(service: ServiceKey | None, cluster: str | None, everything: bool, server: Server) -> None:
    """Let go what is held of NS/NAME, of a cluster, or of both together; with --all, everything.

    Pods, Nodes and Namespaces are let go with their cluster, or with --all. A member that no place names any more,
    where that is doubted, is removed with --cluster.
    """
    if everything == (service is not None or cluster is not None):
        raise click.UsageError("name NS/NAME, --cluster NAME, or both; or --all")
    asked = {"service": None if service is None else str(service), "cluster": cluster, "all": everything}
    document = post(server, "/api/v1/guard/release", asked)
    with understanding(server):
        text = released_lines(document)
    say(*text)


def released_lines(document: Document) -> list[str]:
    """What was let go."""
    lines = [
        f"{each['cluster']}: {each['namespace']}/{each['name']}: {len(each['endpoints'])} endpoints let go"
        for each in document["released"]
    ]
    lines += [f"{each['cluster']}: {len(each['names'])} of kind {each['kind']} let go" for each in document["objects"]]
    lines += [f"{each}: no member any more" for each in document["members"]]
    return lines or ["nothing of that is held"]


def held_table(held: Sequence[Document], wide: bool) -> list[str]:
    """One row per service and cluster."""
    header = ["CLUSTER", "SERVICE", "ENDPOINTS", "REASON", "SINCE", "UNTIL"]
    rows = []
    for each in held:
        row = [each["cluster"], f"{each['namespace']}/{each['name']}", len(each["endpoints"]), each["reason"]]
        row += [each["since"], each["until"] or "first list"]
        rows.append(row + ([",".join(each["endpoints"])] if wide else []))
    return table(header + (["ADDRESSES"] if wide else []), rows)


def objects_table(held: Sequence[Document], wide: bool) -> list[str]:
    """One row per cluster and kind."""
    header = ["CLUSTER", "KIND", "OBJECTS", "REASON", "SINCE", "UNTIL"]
    rows = []
    for each in held:
        row = [each["cluster"], each["kind"], len(each["names"]), each["reason"]]
        row += [each["since"], each["until"] or "first list"]
        rows.append(row + ([",".join(each["names"])] if wide else []))
    return table(header + (["NAMES"] if wide else []), rows)
