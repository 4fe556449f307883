"""``mesh-registry get``: what the registry holds, as columns or as documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import click

from registry.cli.api import fetch, service_path, understanding
from registry.cli.options import ServiceArgument, http_server_address
from registry.cli.output import JSON, TABLE, WIDE, YAML, print_document, say, table
from registry.cli.server import Server
from registry.model.names import ServiceKey

Document = Mapping[str, Any]


@click.command()
@click.argument("what", type=click.Choice(["services", "endpoints", "clusters", "clients"]))
@click.argument("service", type=ServiceArgument(), required=False)
@click.option("-o", "--output", type=click.Choice([TABLE, WIDE, JSON, YAML]), default=TABLE, show_default=True)
@click.option("-n", "--namespace", metavar="NS", help="Only services of this namespace.")
@http_server_address
def get(what: str, service: ServiceKey | None, output: str, namespace: str | None, server: Server) -> None:
    """List services, endpoints, member clusters or connected xDS clients.

    NS/NAME picks one service, of services and endpoints.
    """
    if what in ("clusters", "clients"):
        if service is not None or namespace is not None:
            raise click.UsageError(f"`get {what}` takes no service and no namespace")
        document = fetch(server, f"/api/v1/{what}")
    elif service is not None:
        document = {"services": [fetch(server, service_path("services", service))]}
    else:
        document = fetch(server, "/api/v1/services" + (f"?{urlencode({'namespace': namespace})}" if namespace else ""))
    if output in (JSON, YAML):
        print_document(document, output)
        return
    tables: dict[str, tuple[str, Callable[[Sequence[Document], bool], list[str]]]] = {
        "services": ("services", service_table),
        "endpoints": ("services", endpoint_table),
        "clusters": ("clusters", cluster_table),
        "clients": ("clients", client_table),
    }
    key, render = tables[what]
    with understanding(server):
        text = render(document[key], output == WIDE)
        lines = {"clusters": membership_lines, "services": refused_lines}.get(what)
        text += lines(document) if lines else ()
    say(*text)


def service_table(services: Sequence[Document], wide: bool) -> list[str]:
    """One row per service; ENDPOINTS are those in the list, whatever their health."""
    header = ["NAMESPACE", "NAME", "PORTS", "CLUSTERS", "ENDPOINTS"]
    rows = []
    for service in services:
        ports = ",".join(f"{port['port']}/{port['name'] or port['protocol']}" for port in service["ports"])
        clusters = ",".join(service["clusters"])
        row = [service["namespace"], service["name"], ports, clusters, len(service["endpoints"])]
        if wide:
            draining = sum(endpoint["health"] == "DRAINING" for endpoint in service["endpoints"])
            row += [draining, service["unready"], service["host"], service["type"]]
            row += [service["traffic"]["distribution"], notes(service)]
        rows.append(row)
    return table(header + (["DRAINING", "UNREADY", "HOST", "TYPE", "TRAFFIC", "NOTES"] if wide else []), rows)


def notes(service: Document) -> str:
    """Where its exports are in conflict, what of its ports is not served everywhere, and what is not understood."""
    said = [each["message"] for each in service["conflicts"]]
    said += [
        f"{port['port']}/{port['protocol']}: {port['unsupported']}" for port in service["ports"] if port["unsupported"]
    ]
    return " ".join([*said, *service["traffic"]["problems"]])


def refused_lines(document: Document) -> Iterator[str]:
    """What clusters export and is not in the list, after an empty line."""
    lines = [
        f"refused: {each['namespace']}/{each['name']} of cluster {each['cluster']}: {each['reason']}: {each['message']}"
        for each in document.get("refused", ())
    ]
    yield from ["", *lines] if lines else ()


def endpoint_table(services: Sequence[Document], wide: bool) -> list[str]:
    """One row per endpoint of each service."""
    header = ["SERVICE", "ADDRESS", "PORTS", "HEALTH", "CLUSTER", "REGION", "ZONE", "POD"]
    rows = []
    for service in services:
        for endpoint in service["endpoints"]:
            locality = endpoint["locality"]
            row = [
                f"{service['namespace']}/{service['name']}",
                ",".join([endpoint["address"], *endpoint["additionalAddresses"]]),
                ",".join(f"{pair['port']}:{pair['target']}" for pair in endpoint["ports"]),
                endpoint["health"],
                endpoint["cluster"],
                locality["region"],
                locality["zone"],
                endpoint["pod"],
            ]
            if wide:
                labels = ",".join(f"{key}={value}" for key, value in endpoint["labels"].items())
                row += [endpoint[name] for name in ("node", "network", "serviceAccount", "weight")]
                row += [labels, endpoint["hostname"]]
            rows.append(row)
    further = ["NODE", "NETWORK", "SERVICEACCOUNT", "WEIGHT", "LABELS", "HOSTNAME"]
    return table(header + (further if wide else []), rows)


def cluster_table(clusters: Sequence[Document], wide: bool) -> list[str]:
    """One row per member cluster."""
    header = ["NAME", "STATE", "REASON", "SERVICES", "SLICES", "PODS", "NODES", "ORIGIN"]
    rows = []
    for cluster in clusters:
        objects = cluster["objects"]
        counts = [objects.get(kind, 0) for kind in ("Service", "EndpointSlice", "Pod", "Node")]
        row = [cluster["name"], cluster["state"], cluster["reason"], *counts, cluster["origin"]]
        if wide:
            row += [cluster["standing"], cluster["network"], entries_text(cluster["serviceEntries"])]
            row += [conditions_text(cluster["conditions"]), cluster["message"]]
        rows.append(row)
    return table(header + (["STANDING", "NETWORK", "SERVICEENTRIES", "CONDITIONS", "MESSAGE"] if wide else []), rows)


def entries_text(writer: Document | None) -> str:
    """How many ServiceEntries are in the cluster, and how many services' could not be written, or why none is."""
    if writer is None:
        return ""
    failed = len(writer["failures"])
    if failed:
        reasons = ",".join(sorted({each["reason"] for each in writer["failures"]}))
        return f"{writer['entries']}, {failed} failed: {reasons}"
    return f"{writer['entries']}, {writer['reason']}" if writer["reason"] else str(writer["entries"])


def conditions_text(conditions: Sequence[Document]) -> str:
    """Those that are not true, with reason, time and message."""
    said = (f"{each['type']}={each['reason']} since {each['since']}: {each['message']}" for each in conditions)
    return "; ".join(text for each, text in zip(conditions, said, strict=True) if not each["status"])


def membership_lines(document: Document) -> Iterator[str]:
    """What is wrong with the membership itself, and whom the start waits for, after an empty line."""
    lines = list(start_lines(document.get("start") or {}))
    lines += [f"refused: {each['name']} of {each['origin']}: {each['message']}" for each in document["refused"]]
    lines += [f"{each['origin']}: {each['reason']}: {each['message']}" for each in document["problems"]]
    yield from ["", *lines] if lines else ()


def start_lines(start: Document) -> Iterator[str]:
    """Of whom nothing is known."""
    for each in start.get("waitingFor", ()):
        seconds = start["atMostSeconds"]
        bound = "" if seconds is None else f", {seconds:.0f} s more at most"
        yield f"not ready: waiting for {each['name']}{bound}: {each['reason']}: {each['message']}"
    for each in start.get("unknown", ()):
        yield f"nothing is known of {each['name']}: {each['reason']}: {each['message']}"


def client_table(clients: Sequence[Document], wide: bool) -> list[str]:
    """One row per xDS stream; TYPES says for each type whether the client has what it was last sent."""
    header = ["ID", "CLUSTER", "PROTOCOL", "TYPES", "PEER"]
    rows = []
    for client in clients:
        types = ",".join(f"{each['type']}:{each['state']}" for each in client["types"])
        row = [client["node"]["id"], client["node"]["metadata"].get("CLUSTER_ID", ""), client["protocol"]]
        row += [types, client["peer"]]
        if wide:
            errors = "; ".join(f"{each['type']}: {each['error']}" for each in client["types"] if each["error"])
            row += [client["node"]["userAgent"], errors]
        rows.append(row)
    return table(header + (["USERAGENT", "NACKED"] if wide else []), rows)
