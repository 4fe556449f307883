"""Why an API server does not take one object, in one word fit for a metric label. Pure."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

MESSAGE_LENGTH = 300
"""How much of an API server's message is shown: validation may quote the whole object."""


class Refusal(StrEnum):
    """It is about the object, so others may be taken: what an operator would mend differently has a word of its own."""

    INVALID = "Invalid"
    """422: validation, of the custom resource definition or of a policy."""
    BAD_REQUEST = "BadRequest"
    TOO_LARGE = "TooLarge"
    """413, or etcd's limit for a value."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    DENIED = "Denied"
    """An admission webhook or policy."""
    TERMINATING = "NamespaceTerminating"
    """The namespace is being deleted, and takes nothing new."""


_TEXTS = (
    ("because it is being terminated", Refusal.TERMINATING),
    ("exceeded quota", Refusal.QUOTA_EXCEEDED),
    ("failed quota", Refusal.QUOTA_EXCEEDED),
    ("admission webhook", Refusal.DENIED),
    ("ValidatingAdmissionPolicy", Refusal.DENIED),
    ("denied the request", Refusal.DENIED),
    ("request is too large", Refusal.TOO_LARGE),
    ("message larger than max", Refusal.TOO_LARGE),
)
"""What admission says comes with any status (a webhook chooses its own), and etcd's limit with 500."""

_STATUSES = {
    HTTPStatus.BAD_REQUEST: Refusal.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Refusal.TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY: Refusal.INVALID,
}


def refusal(status: int, message: str) -> Refusal | None:
    """Why the object is not taken; None where the answer may not be about the object."""
    for text, reason in _TEXTS:
        if text in message:
            return reason
    return _STATUSES.get(HTTPStatus(status)) if status in _STATUSES else None


def shortened(message: str) -> str:
    """The beginning of a message, in one line."""
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_LENGTH else f"{line[: MESSAGE_LENGTH - 3]}..."
