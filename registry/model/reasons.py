"""Why an endpoint is in the list, or is not, and where in it: the one table of rules, a code for each.

A code is what ``mesh-registry explain`` and ``/api/v1/explain`` say of a rule; the function that decides names it
(``registry.model.trace``). What stands here is also the list in ARCHITECTURE.md (``markdown``).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum


class Effect(StrEnum):
    """What a rule does to an endpoint."""

    KEPT = "kept"
    """It is in the list."""
    HELD = "held"
    """It is in the list, in doubt: it comes one priority later."""
    DROPPED = "dropped"
    """It is not in the list, or not in what the client is shown."""
    ORDERED = "ordered"
    """It has its priority by this."""
    WEIGHTED = "weighted"
    """It has its weight by this."""
    REPLACED = "replaced"
    """Something else stands for it."""


class Reason(StrEnum):
    """One rule; ``effect`` is what it does, ``meaning`` when it applies, and how that is mended where it can be."""

    effect: Effect
    meaning: str

    def __new__(cls, code: str, effect: Effect, meaning: str) -> Reason:
        made = str.__new__(cls, code)
        made._value_ = code
        made.effect = effect
        made.meaning = meaning
        return made

    READY = "Ready", Effect.KEPT, "the slice says that it is ready"
    DRAINING = "Draining", Effect.KEPT, "it serves and terminates (KEP-1669): no new work while others are ready"
    FURTHER_ADDRESS = (
        "FurtherAddress",
        Effect.KEPT,
        "the other family's address of a Pod that is listed: one endpoint with two addresses",
    )
    FROM_SNAPSHOT = (
        "FromSnapshot",
        Effect.KEPT,
        "an earlier run knew it; the cluster has not listed its slices since the start",
    )
    LENT_IN_DOUBT = (
        "LentInDoubt",
        Effect.KEPT,
        "a list lacks its Pod or Node, which still counts: labels, service account or place are from there",
    )

    SERVICE_EMPTIED = "ServiceEmptied", Effect.HELD, "a list lacks it and every other endpoint of the service here"
    SERVICE_SHRUNK = "ServiceShrunk", Effect.HELD, "a list lacks it and too many others of the service"
    CLUSTER_SHRUNK = "ClusterShrunk", Effect.HELD, "a list lacks it and too many others of the cluster"
    REWOUND = "Rewound", Effect.HELD, "a list of an earlier time lacks it"
    UNVERIFIED = "Unverified", Effect.HELD, "a list lacks it; the snapshot has it, and the first lists are not complete"
    DEMOTED = "Demoted", Effect.HELD, "its cluster is silent, and its data plane is down (or `demoteWhenSilent`)"
    LAST_OF_EVICTED = "LastOfEvicted", Effect.HELD, "its cluster is Evicted, but nobody else offers one of its ports"

    CLUSTER_REFUSED = (
        "ClusterRefused",
        Effect.DROPPED,
        "the member is not followed: its name, its credentials or its identity (`get clusters`)",
    )
    CLUSTER_NOT_LISTED = "ClusterNotListed", Effect.DROPPED, "the cluster has not listed every kind yet"
    NAMESPACE_EXCLUDED = "NamespaceExcluded", Effect.DROPPED, "nothing of its namespace is exported (`export`)"
    SERVICE_EXCLUDED = "ServiceExcluded", Effect.DROPPED, "the service is never exported (`export`)"
    NO_SERVICE = "NoService", Effect.DROPPED, "its cluster has slices of the service, but no Service of that name"
    SERVICE_COPY = (
        "ServiceCopy",
        Effect.DROPPED,
        "its Service is one that a multi-cluster controller made for endpoints of other clusters (docs/endpoints.md)",
    )
    EXTERNAL_NAME = "ExternalName", Effect.DROPPED, "its Service is an ExternalName, which is not exported (KEP-1645)"
    NOT_EXPORTED = "NotExported", Effect.DROPPED, "its cluster has no ServiceExport of the service, and one is needed"
    NOT_SELECTED = "NotSelected", Effect.DROPPED, "its Service lacks the labels of the export's selector"
    SLICE_COPY = (
        "SliceCopy",
        Effect.DROPPED,
        "its slice is a copy: endpoints count in the cluster they run in, which has to be a member (docs/endpoints.md)",
    )
    ADDRESS_TYPE_FQDN = "AddressTypeFQDN", Effect.DROPPED, "its slice is of the address type FQDN"
    PORT_NOT_OFFERED = (
        "PortNotOffered",
        Effect.DROPPED,
        "its slice has no port of the name and protocol of one of the Service's",
    )
    TOO_MANY_PORTS = (
        "TooManyPorts",
        Effect.DROPPED,
        "its Service has more ports than are served of one Service, and these are beyond (docs/limits.md)",
    )
    TOO_MANY_ENDPOINTS = (
        "TooManyEndpoints",
        Effect.DROPPED,
        "its Service has more endpoints, or slices, than are served of one in one cluster (docs/limits.md)",
    )
    NO_ADDRESS = "NoAddress", Effect.DROPPED, "its address is no IP address of its slice's address type"
    SPECIAL_ADDRESS = (
        "SpecialAddress",
        Effect.DROPPED,
        "its address is loopback, link-local, unspecified, multicast or broadcast: no Pod is reached there",
    )
    NOT_READY = "NotReady", Effect.DROPPED, "the slice says that it is not ready"
    TERMINATING = "Terminating", Effect.DROPPED, "it terminates, and serves no more"
    PORT_CONFLICT = (
        "PortConflict",
        Effect.DROPPED,
        "an older export has another protocol or number for the port, and its word counts (KEP-1645)",
    )
    DUPLICATE = "Duplicate", Effect.DROPPED, "another endpoint of its network has the same address and port"
    EVICTED = "Evicted", Effect.DROPPED, "neither its cluster nor the data plane there was heard of for long"

    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol", Effect.DROPPED, "xDS serves TCP, and the port is of another protocol"
    FAILOVER_NONE = (
        "FailoverNone",
        Effect.DROPPED,
        "no selector of the failover list names it, and the fallback is None",
    )
    NOT_ON_NODE = (
        "NotOnNode",
        Effect.DROPPED,
        "`internalTrafficPolicy: Local`, and it is on another node than the client, or on none that is known",
    )
    SHADOWED = (
        "Shadowed",
        Effect.DROPPED,
        "the client is shown the same address and port on another network, which comes first",
    )
    IS_GATEWAY = (
        "IsGateway",
        Effect.DROPPED,
        "the client is shown a gateway of another network at its address and port, with the weight of what is behind",
    )
    NETWORK_WITHOUT_GATEWAY = (
        "NetworkWithoutGateway",
        Effect.DROPPED,
        "it is on another network than the client, and that has no gateway: configure or label one",
    )
    NOT_COUNTED = (
        "NotCounted",
        Effect.DROPPED,
        "it is behind gateways, whose weight is that of what is ready and not in doubt; it is neither, others are",
    )
    NOTHING_READY = (
        "NothingReady",
        Effect.DROPPED,
        "it is on another network, where nothing is ready behind the gateways",
    )
    OTHER_NETWORK = (
        "OtherNetwork",
        Effect.REPLACED,
        "it is on another network: gateways there stand for it, by its weight",
    )

    NONE_READY = (
        "NoneReady",
        Effect.KEPT,
        "nothing that the client is shown is ready: what drains takes new requests, and is told as HEALTHY",
    )
    ON_NODE = "OnNode", Effect.ORDERED, "`internalTrafficPolicy: Local`, and it is on the client's node"
    NODE_UNKNOWN = (
        "NodeUnknown",
        Effect.ORDERED,
        "`internalTrafficPolicy: Local`, and the client's node is not known (`NODE_NAME`, or its Pod's): all is shown",
    )
    OWN_FAMILY_FIRST = (
        "OwnFamilyFirst",
        Effect.ORDERED,
        "it has addresses of both families, and the client's own comes before the one that its Service prefers",
    )
    UNORDERED = "Unordered", Effect.ORDERED, "the policy asks for no order by place"
    FAILOVER_TIER = "FailoverTier", Effect.ORDERED, "the failover list: the first selector that names it"
    SAME_NODE = "SameNode", Effect.ORDERED, "it is on the client's node"
    SAME_ZONE = "SameZone", Effect.ORDERED, "it is in the client's zone"
    SAME_REGION = "SameRegion", Effect.ORDERED, "it is in the client's region"
    ELSEWHERE = "Elsewhere", Effect.ORDERED, "it is in another region, or one of the two does not say where it is"
    IN_DOUBT = (
        "InDoubt",
        Effect.ORDERED,
        "it is held or its cluster is in doubt: after those that are like it and are not",
    )
    OWN_CLUSTER = "OwnCluster", Effect.ORDERED, "its cluster is in doubt, and the client is in it: it is where it was"
    WEIGHT_SHARE = "WeightShare", Effect.WEIGHTED, "its locality has this share of what nearer ones left over"
    NO_SHARE = "NoShare", Effect.ORDERED, "nearer localities take everything: one priority later"


_BY_CODE = {each.value: each for each in Reason}


def reason(code: str) -> Reason:
    """The rule of that code.

    Raises:
        KeyError: there is none.
    """
    return _BY_CODE[code]


def markdown() -> Iterator[str]:
    """The table's lines."""
    yield "| code | endpoint is | when |"
    yield "| --- | --- | --- |"
    for each in Reason:
        yield f"| `{each}` | {each.effect} | {each.meaning.replace('|', chr(92) + '|')} |"
