"""Which keys of a configuration file there are not, and which values are not of their field's type: all of them.

msgspec ends at the first. So each field is converted by itself, section by section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from registry.config.sections import (
    ClusterConfig,
    CoalesceConfig,
    Config,
    EnvoyConfig,
    ExportConfig,
    FollowConfig,
    GatewayConfig,
    GuardConfig,
    LimitsConfig,
    ListenConfig,
    LivenessConfig,
    NetworkConfig,
    PeersConfig,
    PeerTlsConfig,
    ProbeConfig,
    ProbeTlsConfig,
    RemoteSecretsConfig,
    Section,
    SelectorConfig,
    ServiceEntriesConfig,
    SnapshotConfig,
    StartupConfig,
    TlsConfig,
    TrafficConfig,
)

AT_PATH = re.compile(r" - at `(?P<path>\$[^`]*)`$")
"""How an error ends that is not of the whole document."""

_INDEX = re.compile(r"\[\d+\]")

_SECTIONS: dict[str, type[Section]] = {
    "$": Config,
    "$.clusters[]": ClusterConfig,
    "$.remoteSecrets": RemoteSecretsConfig,
    "$.listen": ListenConfig,
    "$.listen.tls": TlsConfig,
    "$.limits": LimitsConfig,
    "$.export": ExportConfig,
    "$.guard": GuardConfig,
    "$.clusters[].probe": ProbeConfig,
    "$.clusters[].probe.tls": ProbeTlsConfig,
    "$.follow": FollowConfig,
    "$.liveness": LivenessConfig,
    "$.liveness.probe": ProbeConfig,
    "$.snapshot": SnapshotConfig,
    "$.peers": PeersConfig,
    "$.peers.tls": PeerTlsConfig,
    "$.startup": StartupConfig,
    "$.traffic[]": TrafficConfig,
    "$.traffic[].failover[]": SelectorConfig,
    "$.networks[]": NetworkConfig,
    "$.networks[].gateways[]": GatewayConfig,
    "$.serviceEntries": ServiceEntriesConfig,
    "$.envoy": EnvoyConfig,
    "$.coalesce": CoalesceConfig,
}


def violations(value: Any, where: str = "$") -> Iterator[str]:
    """Everything of the section at ``where`` that msgspec refuses, in its words."""
    section = _SECTIONS[_INDEX.sub("[]", where)]
    if not isinstance(value, dict):
        yield from _refused(value, section, where)
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(section)}
    for key, each in value.items():
        at = f"{where}.{key}"
        path = _INDEX.sub("[]", at)
        if key not in fields:
            yield f"Object contains unknown field `{key}` - at `{where}`"
        elif isinstance(each, dict) and path in _SECTIONS:
            yield from violations(each, at)
        elif isinstance(each, list) and f"{path}[]" in _SECTIONS:
            for position, item in enumerate(each):
                yield from violations(item, f"{at}[{position}]")
        else:
            yield from _refused(each, fields[key].type, at)
    for key, field in fields.items():
        if field.required and key not in value:
            yield f"Object missing required field `{key}` - at `{where}`"


def sound(value: Any, where: str = "$") -> Any:
    """The section at ``where`` without the keys below which something is refused; of a list all goes."""
    section = _SECTIONS.get(where)
    if section is None or not isinstance(value, dict):
        return value
    kept = {key: sound(each, f"{where}.{key}") for key, each in value.items()}
    required = {field.encode_name for field in msgspec.structs.fields(section) if field.required}
    needed = {key: each for key, each in kept.items() if key in required}
    return {key: each for key, each in kept.items() if not any(violations({**needed, key: each}, where))}


def known_keys(where: str) -> tuple[str, ...]:
    """The keys of the section at ``where``."""
    section = _SECTIONS.get(_INDEX.sub("[]", where), Config)
    return tuple(field.encode_name for field in msgspec.structs.fields(section))


def _refused(value: Any, kind: Any, where: str) -> Iterator[str]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        at = AT_PATH.search(text)
        below = at["path"].removeprefix("$") if at else ""
        yield f"{AT_PATH.sub('', text)} - at `{where}{below}`"
