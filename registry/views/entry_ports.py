"""The ports of a service as Istio's ServiceEntries have them: which of them, under which names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from registry.model.facts import Protocol, ServicePort
from registry.views.protocol import AppProtocol, app_protocol, one_per_number

MAX_NAME = 62
"""Istio's custom resource definition refuses a port name of 63 characters in an endpoint."""

TAKES_ALL_TRAFFIC = frozenset(
    {AppProtocol.TCP, AppProtocol.MONGO, AppProtocol.REDIS, AppProtocol.MYSQL, AppProtocol.UNKNOWN}
)
"""Without ``addresses`` a sidecar listens for these on 0.0.0.0: it cannot tell whose traffic it gets on the port."""

_REFUSED = re.compile(r"[^a-z0-9]+")


def entry_ports(ports: Iterable[ServicePort]) -> tuple[ServicePort, ...]:
    """The ports that Istio has a word for. Istio has no SCTP, and one port for each number: TCP rather than UDP."""
    return one_per_number(port for port in ports if port.protocol is not Protocol.SCTP)


def takes_all_traffic(port: ServicePort) -> bool:
    """Whether sidecars would send all TCP traffic to that port number to the service, whatever its destination."""
    return app_protocol(port) in TAKES_ALL_TRAFFIC


def unique_port_names(ports: Sequence[ServicePort]) -> Mapping[int, str]:
    """A name for each port number: no name twice, each at most ``MAX_NAME`` characters, a DNS label.

    A ServiceEntry's ports and its endpoints' meet by name. A port without a name is called ``<protocol>-<number>``.
    Of ports with one name the lowest number keeps it. The others, and names that Istio refuses, get their number
    behind what is left of the name.
    """
    found: dict[int, str] = {}
    taken: set[str] = set()
    renamed: list[tuple[int, str]] = []
    for port in sorted(ports):
        name = port.name or f"{(app_protocol(port) or AppProtocol.TCP).lower()}-{port.port}"
        label = _REFUSED.sub("-", name.lower()).strip("-") if not _is_label(name) else name
        if label != name or len(name) > MAX_NAME or name in taken:
            renamed.append((port.port, label or "port"))
        else:
            found[port.port] = name
            taken.add(name)
    for number, label in renamed:
        ending, attempt = f"-{number}", 1
        while (name := label[: MAX_NAME - len(ending)].rstrip("-") + ending) in taken:
            attempt += 1
            ending = f"-{number}-{attempt}"
        found[number] = name
        taken.add(name)
    return found


def _is_label(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) is not None
