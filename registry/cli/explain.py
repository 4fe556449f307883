"""``mesh-registry explain``: why an endpoint is there, or is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import click

from registry.cli.api import fetch, service_path, understanding
from registry.cli.get import conditions_text
from registry.cli.options import ServiceArgument, http_server_address
from registry.cli.output import JSON, TABLE, YAML, print_document, say, table
from registry.cli.server import Server
from registry.model.names import ServiceKey

Document = Mapping[str, Any]


@click.command()
@click.argument("service", type=ServiceArgument())
@click.argument("address", required=False)
@click.option("--client", metavar="ID", help="Also what this client is shown: its node's id, as `get clients` has it.")
@click.option("-o", "--output", type=click.Choice([TABLE, JSON, YAML]), default=TABLE, show_default=True)
@http_server_address
def explain(service: ServiceKey, address: str | None, client: str | None, output: str, server: Server) -> None:
    """Say of each endpoint of NS/NAME, or of the one with ADDRESS, why it is in the list, or is not.

    Every endpoint that a slice of any cluster has is told, with the rules that kept, held, dropped, ordered or weighted
    it; with --client also where it is in what that client was sent, and whether the client has it.
    """
    query = {name: value for name, value in (("address", address), ("client", client)) if value is not None}
    path = service_path("explain", service) + (f"?{urlencode(query)}" if query else "")
    document = fetch(server, path)
    if output in (JSON, YAML):
        print_document(document, output)
        return
    with understanding(server):
        text = list(explained(document))
    say(*text)


def explained(document: Document) -> Iterator[str]:
    """The whole for people, from the clusters down to each endpoint's rules."""
    yield f"{document['namespace']}/{document['name']}  {document['host']}"
    yield ""
    yield from clusters_table(document["clusters"], document["refusedClusters"])
    for each in document["clusters"]:
        untrue = conditions_text(each["conditions"])
        yield from [f"{each['name']}: {untrue}"] if untrue else ()
    policy = document["policy"]
    origins = ", ".join(f"{what} from {origin}" for what, origin in policy["from"].items())
    yield ""
    yield f"policy: {policy['distribution']}" + (f" ({origins})" if origins else "")
    yield from (f"  not understood: {each}" for each in policy["problems"])
    yield from (f"its ServiceEntry cannot say {each}" for each in document["serviceEntry"]["unsaid"])
    if document["client"] is not None:
        yield ""
        yield from client_lines(document["client"])
    for endpoint in document["endpoints"]:
        yield ""
        yield from endpoint_lines(endpoint)
    if not document["endpoints"]:
        yield ""
        yield "no slice of any cluster has an endpoint of it"


def clusters_table(clusters: Sequence[Document], refused: Sequence[Document]) -> list[str]:
    """One row per member, and per one that is not followed."""
    rows = []
    for each in clusters:
        version = each["service"]["resourceVersion"] if each["service"] else ""
        heard = "never" if each["heardSecondsAgo"] is None else f"{each['heardSecondsAgo']:.0f} s ago"
        why = f"{each['reason']}: {each['meaning']}" if each["reason"] else each["held"] or ""
        export = f", export {each['serviceExport']['resourceVersion']}" if each["serviceExport"] else ""
        rows.append([each["name"], each["standing"], each["state"], heard, version + export, why])
    rows += [[each["name"], "", "", "", "", f"{each['reason']}: {each['message']}"] for each in refused]
    return table(["CLUSTER", "STANDING", "STATE", "HEARD", "SERVICE", "GIVES NOTHING BECAUSE"], rows)


def client_lines(client: Document) -> Iterator[str]:
    """Where the client is, and how far it is with each port."""
    place = "/".join(filter(None, (client["place"][part] for part in ("region", "zone", "node")))) or "nowhere known"
    place += f" (node from {client['nodeFrom']})" if client["nodeFrom"] else ""
    network = f", network {client['place']['network']}" if client["place"]["network"] else ""
    yield f"client {client['id']} ({client['protocol']}, {client['peer']}), at {place}{network}"
    answers = client["answers"]
    if answers:
        said = f"ACKed at {answers['ackedAt']}" if answers["ackedAt"] else "never ACKed"
        said += f", NACKed at {answers['nackedAt']}: {answers['error']}" if answers["nackedAt"] else ""
        yield f"  last response sent at {answers['sentAt']}, {'not answered yet; ' if answers['waiting'] else ''}{said}"
    for port in client["ports"]:
        state = "not subscribed" if not port["subscribed"] else "has it" if port["upToDate"] else "has another version"
        version = port["version"] or "not served"
        yield f"  port {port['port']}/{port['protocol']}: {version}, sent {port['sentVersion'] or 'nothing'}: {state}"


def endpoint_lines(endpoint: Document) -> Iterator[str]:
    """One endpoint: what is known of it, then each rule in order."""
    where = "in the list" if endpoint["present"] else "not in the list"
    doubt = ", in doubt" if endpoint["inDoubt"] else ""
    yield f"{endpoint['address']}  {endpoint['cluster']}  {where}{doubt}: {endpoint['reason']}"
    conditions = " ".join(f"{name}={str(value).lower()}" for name, value in endpoint["conditions"].items())
    fact = endpoint["slice"]
    held = " (held)" if fact["held"] else ""
    yield f"  EndpointSlice {fact['name']} at {fact['resourceVersion'] or '-'}{held}: {conditions}"
    if endpoint["podNamed"]:
        pod = endpoint["pod"]
        said = "not there" if pod is None else f"at {pod['resourceVersion'] or '-'}, ready={str(pod['ready']).lower()}"
        yield f"  Pod {endpoint['podNamed']} {said}"
    if endpoint["nodeNamed"]:
        node = endpoint["node"]
        said = "not there" if node is None else f"in {node['region'] or '-'}/{node['zone'] or '-'}"
        said += f", at {node['resourceVersion'] or '-'}" if node is not None else ""
        yield f"  Node {endpoint['nodeNamed']} {said}"
    yield from map(_rule, endpoint["steps"])
    for view in endpoint["views"]:
        seat = "not shown"
        if view["shown"]:
            seat = f"priority {view['priority']}, locality {view['locality'] or '-'} of weight {view['localityWeight']}"
            seat += f", weight {view['weight']}"
        through = f", through {', '.join(view['gateways'])}" if view["gateways"] else ""
        yield f"  port {view['port']}: {seat}{through}"
        yield from (f"  {_rule(step)}" for step in view["steps"])


def _rule(step: Document) -> str:
    detail = f" ({step['detail']})" if step["detail"] else ""
    return f"  {step['effect']:<8} {step['reason']}: {step['meaning']}{detail}"
