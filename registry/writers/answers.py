"""What an API server answers to a writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import msgspec

from registry.sources.kubernetes.api import retry_after
from registry.sources.kubernetes.client import ApiResponse
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.decode import decode_status_message
from registry.writers.refusals import Refusal, refusal, shortened

Result = TypeVar("Result")

SUCCESS = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Page(Generic[Result]):
    """A page of a list, as of ``version``; ``token`` continues it, empty on the last."""

    items: list[Result]
    version: str
    token: str


class WriteError(Exception):
    """The API server answered, and not with success.

    ``refusal`` says why it does not take this object, None where the answer may not be about the object.
    """

    def __init__(self, condition: Fault, status: int, refusal: Refusal | None, retry_after: float | None) -> None:
        super().__init__(condition.message)
        self.condition = condition
        self.status = status
        self.refusal = refusal
        self.retry_after = retry_after

    @classmethod
    def of_object(cls, refusal: Refusal, message: str) -> WriteError:
        """An object that the API server would not take: it is not asked."""
        return cls(Fault(Reason.BAD_OBJECT, message), HTTPStatus.UNPROCESSABLE_ENTITY, refusal, None)

    def with_outcome(self, outcome: str) -> WriteError:
        """The same, with what became of the object."""
        fault = Fault(self.condition.reason, f"{self.condition.message}; {outcome}")
        return WriteError(fault, self.status, self.refusal, self.retry_after)

    @property
    def reason(self) -> str:
        """One word, fit for a metric label."""
        return self.refusal or self.condition.reason


def success(
    verb: str, what: str, response: ApiResponse, missing: str, read: Callable[[Mapping[str, Any]], Result]
) -> Result:
    """What ``read`` makes of the answer's document. ``missing`` says what is probably not installed where there is 404.

    Raises:
        WriteError: it is no success, or says something else than an API server does.
    """
    if response.status not in SUCCESS:
        raise failure(verb, what, response, missing)
    try:
        return read(msgspec.json.decode(response.body))
    except (
        msgspec.MsgspecError,
        UnicodeDecodeError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        RecursionError,
    ) as error:
        text = f"{verb} {what}: {response.status} without the object ({error!r}): is this the API server?"
        raise WriteError(Fault(Reason.BAD_RESPONSE, text), response.status, None, None) from error


def list_page(kind: str, read: Callable[[Mapping[str, Any]], Result]) -> Callable[[Mapping[str, Any]], Page[Result]]:
    """Reads a page of a list of ``kind``. Whatever else is JSON must not pass for a list of nothing."""

    def page(document: Mapping[str, Any]) -> Page[Result]:
        if document["kind"] != f"{kind}List":
            raise ValueError(f"a {kind}List was expected")
        metadata = document["metadata"]
        items = [read(item) for item in document.get("items") or ()]
        return Page(items, metadata.get("resourceVersion") or "", metadata.get("continue") or "")

    return page


def failure(verb: str, what: str, response: ApiResponse, missing: str) -> WriteError:
    """The error that an answer without success is."""
    status, message = response.status, decode_status_message(response.body)
    why = refusal(status, message)
    if why is not None:
        condition = Fault(Reason.BAD_OBJECT, f"{verb} {what}: {status} {shortened(message)}")
    elif status == HTTPStatus.NOT_FOUND:
        condition = Fault(Reason.NOT_FOUND, f"{verb} {what}: {missing}")
    else:
        condition = refused(verb, what, status)
    return WriteError(condition, status, why, retry_after(response.headers))
