"""What can be wrong with a member cluster, in words fit for a metric label."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class Reason(StrEnum):
    """One word for each thing an operator would mend differently."""

    KUBECONFIG_INVALID = "KubeconfigInvalid"
    """The kubeconfig is missing or malformed, or the credentials it names cannot be had."""
    UNREACHABLE = "Unreachable"
    """No connection, or a connection that broke."""
    CERTIFICATE_REFUSED = "CertificateRefused"
    """One side did not accept the other's certificate."""
    TIMEOUT = "Timeout"
    UNAUTHORIZED = "Unauthorized"
    """401: the API server does not know who we are."""
    FORBIDDEN = "Forbidden"
    """403: it knows, and the role lacks the verb."""
    NOT_FOUND = "NotFound"
    """404: the server has no such API."""
    TOO_MANY_REQUESTS = "TooManyRequests"
    SERVER_ERROR = "ServerError"
    """5xx, or an error event of a watch."""
    BAD_RESPONSE = "BadResponse"
    """What came back is not what the API promises."""
    LIMIT_EXCEEDED = "LimitExceeded"
    """It told more than ``follow`` allows: an object, a list, or all of it. What was complete before still counts."""
    WATCH_CLOSED = "WatchClosed"
    """Watches are accepted and end at once, without an event: the kind is listed again and again instead."""
    INTERNAL_ERROR = "InternalError"
    """A bug of the registry's own; its log has the details."""
    IDENTITY_REFUSED = "IdentityRefused"
    """The credentials lead to another cluster than is meant."""
    BAD_OBJECT = "BadObject"
    """An object cannot be read; what was read of it before still counts."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something is wrong. ``message`` names the verb and the resource, and the mend where there is one."""

    reason: Reason
    message: str


_BY_STATUS: dict[int, Reason] = {
    HTTPStatus.UNAUTHORIZED: Reason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Reason.FORBIDDEN,
    HTTPStatus.NOT_FOUND: Reason.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: Reason.TOO_MANY_REQUESTS,
}
_MENDS = {
    Reason.UNAUTHORIZED: "renew the credentials of the kubeconfig",
    Reason.FORBIDDEN: "grant the registry's user this verb (deploy/ has the roles)",
}


def refused(verb: str, resource: str, status: int) -> Fault:
    """The condition for an HTTP status that is no success.

    What the answer says is not in it: whoever may name a member would read there what servers tell the registry alone.
    """
    reason = _BY_STATUS.get(status)
    if reason is None:
        reason = Reason.SERVER_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Reason.BAD_RESPONSE
    mend = f"; {_MENDS[reason]}" if reason in _MENDS else ""
    return Fault(reason, f"{verb} {resource}: {named(status)}{mend}")


def named(status: int) -> str:
    """The status with HTTP's own words for it, never the server's."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
