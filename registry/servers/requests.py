"""Requests of the lookup API as they come from strangers: read only when they are of a bearable size."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from registry.model.names import ServiceKey
from registry.protos import registry_pb2 as pb
from registry.rpc.seam import Code, RpcError
from registry.views.place import OWN_ADDRESSES
from registry.xds import wire

MAX_WATCHED = 10_000
"""Services one Watch may name."""

NAMESPACE_CHARACTERS, NAME_CHARACTERS = 63, 253
"""Kubernetes has no longer ones."""

CLIENT_CHARACTERS = 253
"""How long each text may be by which a client says who it is."""

CLIENT_BYTES = 256 << 10

SMALL_BYTES = 8 << 10
"""A request of this size is small, whatever is in it."""

_OTHER_FIELDS = 16
"""Fields of a request that are no names."""

Request = TypeVar("Request", bound=Message)


def parse_lookup(message: bytes) -> pb.LookupRequest:
    """Raises RpcError INVALID_ARGUMENT, as all of these do."""
    _measure(message, 1, 1)
    request = _parse(pb.LookupRequest, message)
    if request.HasField("client"):
        _bound(request.client)
    return request


def parse_watch(message: bytes) -> pb.WatchRequest:
    """The request; it has 1 to ``MAX_WATCHED`` names, which are not looked at yet."""
    _measure(message, 1, MAX_WATCHED)
    request = _parse(pb.WatchRequest, message)
    if not 1 <= len(request.services) <= MAX_WATCHED:
        raise _wrong_count(len(request.services))
    if request.HasField("client"):
        _bound(request.client)
    return request


def service_key(name: pb.ServiceName, field: str) -> ServiceKey:
    """The service of that name; ``field`` says where in the request it is."""
    if not name.namespace or not name.name:
        raise RpcError(Code.INVALID_ARGUMENT, f"{field}: a service has a namespace and a name")
    if len(name.namespace) > NAMESPACE_CHARACTERS or len(name.name) > NAME_CHARACTERS:
        lengths = f"{NAMESPACE_CHARACTERS} and {NAME_CHARACTERS} characters"
        raise RpcError(Code.INVALID_ARGUMENT, f"{field}: namespace and name have at most {lengths}")
    return ServiceKey(name.namespace, name.name)


def _measure(message: bytes, names: int, most: int) -> None:
    """Refuse what would be large in memory before it is there: names without end, and a client of many claims."""
    if len(message) <= SMALL_BYTES:
        return
    found: dict[int, tuple[int, int]] = {}
    wire.count_fields(message, 0, most + _OTHER_FIELDS + 1, found)
    count, longest = found.get(names, (0, 0))
    if count > most > 1:
        raise _wrong_count(count)
    if sum(count for count, _ in found.values()) > most + _OTHER_FIELDS:
        raise RpcError(Code.INVALID_ARGUMENT, f"a request of more than {most + _OTHER_FIELDS} fields")
    if longest > 2 * NAME_CHARACTERS:
        lengths = f"{NAMESPACE_CHARACTERS} and {NAME_CHARACTERS} characters"
        raise RpcError(Code.INVALID_ARGUMENT, f"a name of {longest} bytes; namespace and name have at most {lengths}")
    size = max((longest for number, (_, longest) in found.items() if number != names), default=0)
    if size > CLIENT_BYTES:
        raise RpcError(Code.INVALID_ARGUMENT, f"client: {size} bytes; at most {CLIENT_BYTES} are read")


def _wrong_count(count: int) -> RpcError:
    said = f"{count} or more" if count > MAX_WATCHED + _OTHER_FIELDS else str(count)
    return RpcError(Code.INVALID_ARGUMENT, f"services: name 1 to {MAX_WATCHED} services to watch, not {said}")


def _parse(kind: type[Request], message: bytes) -> Request:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}: {error}") from error


def _bound(client: pb.Client) -> None:
    """Cut the claims of a client to what counts, or refuse them."""
    for name in ("cluster", "region", "zone", "network", "node", "pod", "namespace"):
        if len(getattr(client, name)) > CLIENT_CHARACTERS:
            raise RpcError(Code.INVALID_ARGUMENT, f"client.{name}: at most {CLIENT_CHARACTERS} characters")
    del client.addresses[OWN_ADDRESSES:]
